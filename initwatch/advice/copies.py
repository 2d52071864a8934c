"""A copy of a model with something else in it: another activation, a normalisation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from initwatch.advice.generators import generators_put_back, names_put_back
from initwatch.advice.lsuv import FUSED
from initwatch.records import LayerSpec

# A copy has weights and optimizer slots of its own: 10 million weights are 120 MB under Adam.
MOST_WEIGHTS = 10_000_000
# Operation by operation, nine steps of 100 layers take 13 s of two cores, more than audit itself.
MOST_LAYERS = 50

# layer, its configuration -> what stands in for it; None: a plain copy
Exchange = Callable[[Any, dict[str, Any]], Any]


class CannotCopyError(Exception):
    """The model cannot be built again from its configuration; says why."""


@contextmanager
def copied(model: keras.Model, exchange: Exchange, keep: bool) -> Iterator[keras.Model]:
    """A compiled copy of the model in which ``exchange`` has put other layers.

    What it draws comes from a fixed seed; every generator, and the numbers in the names that
    Keras gives, stand afterwards where they stood.

    Args:
        model: sequential or functional, compiled and built; it is not touched.
        exchange: asked of every layer.
        keep: layers that are not exchanged have the model's weights, else drawn anew.

    Raises:
        CannotCopyError: if it cannot be copied.
    """
    if getattr(model.train_step, "__func__", None) is not keras.Model.train_step:
        raise CannotCopyError("the model has a train_step of its own")
    if sum(math.prod(v.shape) for v in model.weights) > MOST_WEIGHTS:
        raise CannotCopyError(f"the model has more than {MOST_WEIGHTS:.0e} weights")
    if sum(bool(layer._trainable_variables) for layer in model._flatten_layers()) > MOST_LAYERS:
        raise CannotCopyError(f"the model has more than {MOST_LAYERS} layers with weights")
    with generators_put_back(), names_put_back():
        random.seed(0)
        try:
            copy = _copy(model, exchange, keep)
        except CannotCopyError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:100]
            raise CannotCopyError(
                f"the model cannot be built again from its configuration ({type(error).__name__}: "
                f"{text})"
            ) from error
        yield copy


def _copy(model: keras.Model, exchange: Exchange, keep: bool) -> keras.Model:
    made: dict[int, tuple[Any, Any, bool]] = {}  # the layer, its copy, whether exchanged

    def copy_of(layer: Any) -> Any:
        if id(layer) not in made:
            if isinstance(layer, keras.Model):
                copy, other = keras.models.clone_model(layer, clone_function=copy_of), True
            else:
                copy = exchange(layer, layer.get_config())
                other = copy is not None
                if copy is None:
                    copy = type(layer).from_config(layer.get_config())
            made[id(layer)] = layer, copy, other
        return made[id(layer)][1]

    copy = keras.models.clone_model(model, clone_function=copy_of)
    for layer, new, other in made.values():
        if keep and not other and layer.built:
            new.set_weights(layer.get_weights())
    # a few steps do not pay for tracing; JAX compiles a step in any case
    eager = keras.backend.backend() == "tensorflow"
    optimizer = model.optimizer
    options = model._compile_config.config
    copy.compile(
        optimizer=type(optimizer).from_config(optimizer.get_config()),
        loss=options["loss"],
        loss_weights=options["loss_weights"],
        jit_compile=False if eager else model.jit_compile,
        run_eagerly=eager,
    )
    return copy


def other_activation(
    layers: Collection[LayerSpec], name: str, initializer: str, model: keras.Model
) -> Exchange:
    """These layers with activation ``name`` and kernels drawn by ``initializer``.

    Args:
        layers: of the model's history.
        name: a Keras activation.
        initializer: a Keras initializer.
        model: whose layers they are.
    """
    kernels = _owners(model, layers)
    separate = {
        layer.activation.layer
        for layer in layers
        if layer.activation is not None and layer.activation.layer != layer.path
    }

    def exchange(layer: Any, config: dict[str, Any]) -> Any:
        if id(layer) in kernels:
            for key in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer"):
                if key in config:
                    config[key] = initializer
            if config.get("activation", "linear") != "linear":
                config["activation"] = name
            return type(layer).from_config(config)
        if (layer.path or layer.name) in separate:
            return keras.layers.Activation(name, name=layer.name)
        return None

    return exchange


def with_normalization(
    layers: Collection[LayerSpec], kind: str, model: keras.Model
) -> Exchange | None:
    """``BatchNormalization`` between kernel and activation, ``LayerNormalization`` behind.

    None if there is no layer of a kind that this can be done to.
    """
    kernels = _owners(model, layers)
    behind = kind == "LayerNormalization"
    fit: tuple[Any, ...] = (keras.layers.RNN, *FUSED) if behind else FUSED
    if not any(isinstance(layer, fit) for layer in kernels.values()):
        return None

    def exchange(layer: Any, config: dict[str, Any]) -> Any:
        if id(layer) not in kernels or not isinstance(layer, fit):
            return None
        if behind:
            copy = type(layer).from_config(config)
            return keras.Sequential([copy, keras.layers.LayerNormalization()], name=layer.name)
        activation = layer.activation
        copy = type(layer).from_config(config | {"activation": "linear"})
        norm = keras.layers.BatchNormalization()
        behind_it = [] if activation is keras.activations.linear else [activation]
        added = [keras.layers.Activation(phi) for phi in behind_it]
        return keras.Sequential([copy, norm, *added], name=layer.name)

    return exchange


def _owners(model: keras.Model, layers: Collection[LayerSpec]) -> dict[int, Any]:
    """Id to layer of the model, for each of these that has a kernel (an RNN's is its cell's)."""
    wanted = {layer.kernel.variable for layer in layers if layer.kernel is not None}
    paths = {layer.path for layer in layers}
    return {
        id(layer): layer
        for layer in model._flatten_layers()
        if any(variable.path in wanted for variable in layer._trainable_variables)
        or (isinstance(layer, keras.layers.RNN) and layer.path in paths)
    }
