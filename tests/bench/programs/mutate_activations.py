"""Activations that do not belong: inside the network, and at its end."""

from collections.abc import Callable
from dataclasses import replace

import keras
from keras import layers as kl

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_rebuild import (
    activation_name,
    at_the_end,
    end_activation,
    hidden_activations,
    is_in,
    like,
    rebuilt,
    with_activation,
    with_end,
)
from tests.bench.programs.program import Run

FLAT = "vanishing_gradient vanishing_signal saturated_activation stalled_loss initializer_mismatch"
BENT = "activation normalization initializer"


def hidden(name: str, activation: str, doc: str, symptoms: str, advice: str) -> None:
    """Registers another activation in all hidden layers."""

    def change(run: Run) -> Run | None:
        layers = [x for x in hidden_activations(run.model) if activation_name(x) != activation]
        if not layers:
            return None
        return replace(run, model=with_activation(run.model, layers, activation))

    add(name, "activation", doc, symptoms, advice, change)


# fmt: off
hidden("linear", "", "no hidden activation", "stalled_loss", "activation")
hidden("sigmoid", "sigmoid", "sigmoid in all hidden layers", FLAT, BENT)
hidden("hard_sigmoid", "hard_sigmoid", "hard_sigmoid in all hidden layers", FLAT, BENT)
hidden("softmax", "softmax", "softmax in all hidden layers", FLAT, "activation normalization")
hidden("exponential", "exponential", "exp in all hidden layers",
    "exploding_signal exploding_gradient non_finite initial_loss saturated_activation", BENT)
# fmt: on


def several_sigmoids(run: Run) -> Run | None:
    """Sigmoids in front of every hidden activation as well: twice as many."""
    layers = hidden_activations(run.model)

    def exchange(layer, config):
        if not is_in(layer, layers):
            return None
        return [like(layer, config), kl.Activation("sigmoid"), kl.Activation("sigmoid")]

    return replace(run, model=rebuilt(run.model, exchange)) if layers else None


add("twice_sigmoid", "activation", "two sigmoids behind each hidden layer", FLAT, BENT,
    several_sigmoids)  # fmt: skip


def relu_from_five(run: Run) -> Run | None:
    """Rectifiers that only let through what is above 5."""
    layers = [x for x in hidden_activations(run.model) if activation_name(x) == "relu"]

    def exchange(layer, config):
        if not is_in(layer, layers):
            return None
        cut = kl.ReLU(threshold=5.0)
        if isinstance(layer, (kl.ReLU, kl.Activation)):
            return [cut]
        return [like(layer, config | {"activation": None}), cut]

    return replace(run, model=rebuilt(run.model, exchange)) if layers else None


add("relu_from_5", "activation", "ReLU(threshold=5) in all hidden layers",
    "dead_relu zero_gradient vanishing_signal", BENT, relu_from_five)  # fmt: skip


# ------------------------------------------------------------------------------ at the output

MISFIT = "output_loss_mismatch initial_loss"
HEAD = "output_loss loss activation"


def ending(name: str, wanted: Callable[[str], bool], activation: str, doc: str, also="") -> None:
    """Registers another activation of the output, where ``wanted`` holds of the present one."""

    def change(run: Run) -> Run | None:
        layer, present = end_activation(run.model)
        if layer is None or present == activation or not wanted(present):
            return None
        model = with_end(run.model, activation)
        return None if model is None else replace(run, model=model)

    add(name, "output_loss", doc, f"{MISFIT} {also}", HEAD, change)


def of_classes(present: str) -> bool:
    return present == "softmax"


def of_labels(present: str) -> bool:
    return present == "sigmoid"


def probable(present: str) -> bool:
    return present in ("softmax", "sigmoid")


def free(present: str) -> bool:
    return present == ""


BOUND = "saturated_activation dead_relu zero_gradient stalled_loss"

# fmt: off
ending("output_linear", probable, "", "no activation at an output of probabilities", "non_finite")
ending("output_relu", probable, "relu", "relu at an output of probabilities",
    "dead_relu zero_gradient non_finite stalled_loss")
ending("output_tanh", probable, "tanh", "tanh at an output of probabilities",
    "saturated_activation stalled_loss")
ending("output_sigmoid", of_classes, "sigmoid", "sigmoid over several classes")
ending("output_softmax", of_labels, "softmax", "softmax where a sigmoid belongs",
    "zero_gradient stalled_loss")
ending("values_sigmoid", free, "sigmoid", "sigmoid at a free output", BOUND)
ending("values_relu", free, "relu", "relu at a free output", BOUND)
ending("values_tanh", free, "tanh", "tanh at a free output", BOUND)
ending("values_softmax", free, "softmax", "softmax at a free output", BOUND)
# fmt: on


def behind(name: str, layer: Callable[[], kl.Layer], doc: str) -> None:
    """Registers a layer put behind the output of a classifier."""

    def change(run: Run) -> Run | None:
        heads, _ = at_the_end(run.model)
        if len(heads) != 1 or end_activation(run.model)[1] != "softmax":
            return None
        model = rebuilt(run.model, lambda *_: None)
        if isinstance(model, keras.Sequential):
            model.add(layer())
        else:
            model = keras.Model(model.input, layer()(model.output), name=model.name)
        return replace(run, model=model)

    add(name, "output_loss", doc, f"{MISFIT} stalled_loss vanishing_gradient", HEAD, change)


behind("softmax_twice", kl.Softmax, "softmax behind softmax")
behind("dropout_behind_softmax", lambda: kl.Dropout(0.5), "dropout behind the output")


def wrong_axis(run: Run) -> Run | None:
    """Softmax over the examples of a batch instead of over the classes."""
    layer, present = end_activation(run.model)
    if present != "softmax" or with_end(run.model, "") is None:
        return None

    def exchange(part, config):
        if part is not layer:
            return None
        if isinstance(part, (kl.Softmax, kl.Activation)):
            return [kl.Softmax(axis=0)]
        return [like(part, config | {"activation": None}), kl.Softmax(axis=0)]

    return replace(run, model=rebuilt(run.model, exchange))


add("softmax_axis_0", "output_loss", "softmax over the batch", f"{MISFIT} stalled_loss", HEAD,
    wrong_axis)  # fmt: skip
