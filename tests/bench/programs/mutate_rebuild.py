"""Building a model again with something else in it: as if it had been written so."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import layers as kl
from keras.src.models.functional import Functional

# What a user calls a layer's weights; a bias is none.
KERNELS = (
    "kernel_initializer",
    "recurrent_initializer",
    "depthwise_initializer",
    "pointwise_initializer",
    "embeddings_initializer",
)
Config = dict[str, Any]
# layer, its configuration -> layers that stand in its place (none: it is left out); None: a copy
Exchange = Callable[[Any, Config], list[Any] | None]
ACTIVATION_LAYERS = (kl.Activation, kl.ReLU, kl.LeakyReLU, kl.ELU, kl.PReLU, kl.Softmax)


def rebuilt(model: keras.Model, exchange: Exchange) -> keras.Model:
    """A copy of a sequential or functional model in which ``exchange`` has put other layers.

    Weights whose initializers stay are carried over: some were loaded or adapted.
    """
    made: dict[int, tuple[Any, list[Any]]] = {}
    copy = _copied(model, exchange, made)
    for old, new in made.values():
        if len(new) == 1 and not isinstance(old, keras.Model):
            _carry(old, new[0])
    return copy


def _copied(model: Any, exchange: Exchange, made: dict[int, tuple[Any, list[Any]]]) -> Any:
    def chain(layer: Any) -> list[Any]:
        if id(layer) not in made:
            made[id(layer)] = layer, _in_place_of(layer, exchange, made)
        return made[id(layer)][1]

    if isinstance(model, keras.Sequential):
        new = [stand_in for layer in model.layers for stand_in in chain(layer)]
        start = keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)
        return keras.Sequential([start, *new], name=model.name)
    starts = keras.tree.map_structure(_start, model.input)
    return keras.models.clone_model(model, starts, chain, _called)


def _start(tensor: Any) -> Any:
    """An input like this one, of the same name."""
    name = tensor._keras_history.operation.name
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _called(chain: list[Any], *args: Any, **kwargs: Any) -> Any:
    """What a chain of layers makes of the arguments of the layer it stands for."""
    if not chain:
        return args[0]
    out = chain[0](*args, **kwargs)
    for layer in chain[1:]:
        out = layer(out)
    return out


def _in_place_of(layer: Any, exchange: Exchange, made: Any) -> list[Any]:
    if is_network(layer):
        return [_copied(layer, exchange, made)]
    if not isinstance(layer, keras.layers.Layer) or isinstance(layer, kl.Lambda):
        return [layer]  # an operation, or a function that has no configuration
    new = exchange(layer, layer.get_config())
    return [like(layer, layer.get_config())] if new is None else new


def like(layer: Any, config: Config) -> Any:
    """A layer of the same class."""
    if isinstance(config.get("activation"), dict) and callable(getattr(layer, "activation", None)):
        config = config | {"activation": layer.activation}  # may be a function of the user's own
    return type(layer).from_config(config)


def _carry(old: Any, new: Any) -> None:
    if old is new or type(old) is not type(new) or not (old.built and new.built):
        return
    before, after = old.get_config(), new.get_config()
    for a, b in zip(settings(before), settings(after), strict=False):
        if any(a[key] != b.get(key) for key in a if key.endswith("_initializer")):
            return
    weights = old.get_weights()
    if [w.shape for w in weights] == [w.shape for w in new.get_weights()]:
        new.set_weights(weights)
        if isinstance(new, kl.Normalization):
            new.finalize_state()


def settings(config: Config) -> Iterator[Config]:
    """The configuration of a layer, and those of the layers it wraps."""
    yield config
    for key, value in config.items():
        inner = value.get("config") if isinstance(value, dict) else None
        if isinstance(inner, dict) and not key.endswith(("_initializer", "_regularizer", "dtype")):
            yield from settings(inner)


def has_kernel(layer: Any) -> bool:
    """True for a layer whose weights an initializer draws."""
    if isinstance(layer, keras.Model) or not isinstance(layer, keras.layers.Layer):
        return False
    try:
        config = layer.get_config()
    except Exception:  # an own layer without a configuration
        return False
    return any(key in part for part in settings(config) for key in KERNELS)


def is_network(layer: Any) -> bool:
    """True for a model that is made of layers, of which it can be built again."""
    return isinstance(layer, (keras.Sequential, Functional))


def parts(model: keras.Model) -> Iterator[Any]:
    """The layers of the model and of the models inside it, each once, in their order."""
    seen: list[Any] = []

    def walk(network: Any) -> Iterator[Any]:
        for layer in network.layers:
            if is_network(layer):
                yield from walk(layer)
            elif not is_in(layer, seen):
                seen.append(layer)
                yield layer

    yield from walk(model)


def kernel_layers(model: keras.Model) -> list[Any]:
    """Layers with weights that are trained, in the order of the model."""
    return [layer for layer in parts(model) if has_kernel(layer) and layer.trainable_variables]


def at_the_end(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """Layers whose kernels give the prediction, and the layers without one behind them."""
    heads: list[Any] = []
    behind: list[Any] = []

    def back(operation: Any) -> None:
        if any(operation is known for known in heads + behind):
            return
        if is_network(operation):
            for inner in outputs_of(operation):
                back(inner)
        elif has_kernel(operation):
            heads.append(operation)
        else:
            behind.append(operation)
            for node in operation._inbound_nodes[-1:]:
                for tensor in node.input_tensors:
                    back(tensor._keras_history.operation)

    for operation in outputs_of(model):
        back(operation)
    return heads, behind


def outputs_of(model: keras.Model) -> list[Any]:
    """The operations that give the model's outputs."""
    if isinstance(model, keras.Sequential):
        return [model.layers[-1]]
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(model.outputs)]


def hidden_kernels(model: keras.Model) -> list[Any]:
    """Layers with trained weights that do not give the prediction."""
    heads, _ = at_the_end(model)
    return [layer for layer in kernel_layers(model) if not is_in(layer, heads)]


def is_in(layer: Any, layers: list[Any]) -> bool:
    """True if it is one of them."""
    return any(layer is other for other in layers)


def activation_name(layer: Any) -> str:
    """Of a layer that has an activation or is one; "" if it has none."""
    if isinstance(layer, (kl.ReLU, kl.LeakyReLU, kl.ELU, kl.PReLU, kl.Softmax)):
        return {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu"}.get(
            type(layer).__name__, type(layer).__name__.lower()
        )
    function = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return ""
    return getattr(function, "__name__", type(function).__name__)


def hidden_activations(model: keras.Model, but: str = "sigmoid softmax") -> list[Any]:
    """Layers that apply an elementwise nonlinearity inside the network; gates are left out."""
    heads, behind = at_the_end(model)
    return [
        layer
        for layer in parts(model)
        if not isinstance(layer, (kl.RNN, kl.Wrapper))
        and not is_in(layer, heads + behind)
        and activation_name(layer)
        and activation_name(layer) not in but.split()
    ]


def with_activation(model: keras.Model, layers: list[Any], name: str, **changes: Any) -> Any:
    """The model with another activation in these layers ("" for none)."""

    def exchange(layer: Any, config: Config) -> list[Any] | None:
        if not is_in(layer, layers):
            return None
        if isinstance(layer, ACTIVATION_LAYERS):
            return [kl.Activation(name, name=layer.name)] if name else []
        return [like(layer, config | {"activation": name or None} | changes)]

    return rebuilt(model, exchange)


def end_activation(model: keras.Model) -> tuple[Any, str]:
    """The layer that applies the output's activation, and its name; the head and "" if none."""
    heads, behind = at_the_end(model)
    for layer in [*behind, *heads]:
        if activation_name(layer):
            return layer, activation_name(layer)
    return (heads or [None])[0], ""


def with_end(model: keras.Model, name: str) -> keras.Model | None:
    """The model with another activation of its output; None if it has several outputs."""
    heads, _ = at_the_end(model)
    if len(outputs_of(model)) != 1 or len(heads) != 1:
        return None
    layer, _ = end_activation(model)
    if isinstance(layer, ACTIVATION_LAYERS) or "activation" in layer.get_config():
        return with_activation(model, [layer], name)
    return None
