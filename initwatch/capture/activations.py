"""Activation functions of Keras layers: what theory and the reductions need of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from initwatch.advice.initializers import moments_of
from initwatch.capture import backends
from initwatch.capture.reductions import SlopeOfOutput, step_function
from initwatch.records.layer import Activation, ActivationFunction

# Layers that apply an activation to what the layer before them gives.
_ACTIVATION_LAYERS: tuple[type, ...] = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
)

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017

# phi'(z) as a function of a = phi(z), and the largest phi'(z)^2. Functions that are not
# monotone (gelu, silu) have no such form: their slope needs z, which no layer gives out.
_SLOPES: dict[str, tuple[SlopeOfOutput, float]] = {
    "relu": (step_function, 1.0),
    "relu6": (lambda a: ops.cast(ops.logical_and(a > 0, a < 6), "float32"), 1.0),
    "tanh": (lambda a: 1.0 - a * a, 1.0),
    "sigmoid": (lambda a: a * (1.0 - a), 1.0 / 16.0),
    "hard_sigmoid": (
        lambda a: ops.cast(ops.logical_and(a > 0, a < 1), "float32") / 6.0,
        1.0 / 36.0,
    ),
    "hard_tanh": (lambda a: ops.cast(ops.abs(a) < 1, "float32"), 1.0),
    "softsign": (lambda a: ops.square(1.0 - ops.abs(a)), 1.0),
    "softplus": (lambda a: 1.0 - ops.exp(-a), 1.0),
    "elu": (lambda a: ops.where(a > 0, 1.0, a + 1.0), 1.0),
    "selu": (
        lambda a: ops.where(a > 0, _SELU_SCALE, a + _SELU_SCALE * _SELU_ALPHA),
        (_SELU_SCALE * _SELU_ALPHA) ** 2,
    ),
}


def is_activation_layer(layer: Any) -> bool:
    """True for a layer that does nothing but apply an activation elementwise."""
    return isinstance(layer, _ACTIVATION_LAYERS)


def own_function(layer: Any) -> tuple[str, Callable[[Any], Any]] | None:
    """(name, phi on tensors) that the layer itself applies last; None if there is none.

    Recurrent and other composite layers use their ``activation`` inside: not meant here.
    """
    if isinstance(layer, keras.layers.Activation):
        return _name(layer.activation), layer.activation
    if isinstance(layer, keras.layers.PReLU):
        if layer.built:
            slope = float(np.mean(ops.convert_to_numpy(layer.alpha)))
        else:
            slope = moments_of(layer.alpha_initializer, (1,)).mean
        return "prelu", lambda z: ops.where(z > 0, z, slope * z)
    if is_activation_layer(layer):
        return _snake(type(layer).__name__), layer.call
    if isinstance(layer, keras.layers.RNN) or not hasattr(layer, "activation"):
        return None
    if not any(hasattr(layer, name) for name in ("kernel", "_kernel", "depthwise_kernel")):
        return None
    function = layer.activation
    return ("linear", lambda z: z) if function is None else (_name(function), function)


def activation_of(layer: Any, path: str) -> Activation | None:
    """The activation that the layer itself applies last, as theory needs it."""
    own = own_function(layer)
    if own is None:
        return None
    name, on_tensors = own
    if name == "softmax":
        # not elementwise: no theory here can speak of it
        return None
    return described(name, on_tensors, path)


def described(name: str, on_tensors: Callable[[Any], Any], path: str) -> Activation | None:
    """An activation as theory needs it; None if it does not act elementwise on arrays."""
    function = on_arrays(on_tensors)
    grid = np.linspace(-8.0, 8.0, 161)
    try:
        values = function(grid)
    except Exception:
        # a custom function that asks for more than an array (a shape, a batch): whoever needs
        # phi is told by None that it is not known
        return None
    if values.shape != grid.shape or not np.all(np.isfinite(values)):
        return None
    below, above = values[grid < -0.05], values[(grid > 0.05) & (grid < 5.0)]
    return Activation(
        name=name,
        function=function,
        layer=path,
        rectifies=bool(np.all(below == 0.0) and np.all(above > 0.0)),
        max_slope=_SLOPES[name][1] if name in _SLOPES else None,
    )


def slope_of_output(name: str, layer: Any) -> SlopeOfOutput | None:
    """phi'(z) from phi(z), on tensors inside the step; None where there is no such form."""
    if isinstance(layer, keras.layers.ReLU) and (
        layer.negative_slope or layer.threshold or layer.max_value is not None
    ):
        return None
    if isinstance(layer, keras.layers.ELU) and layer.alpha != 1.0:
        return None
    return _SLOPES[name][0] if name in _SLOPES else None


def on_arrays(on_tensors: Callable[[Any], Any]) -> ActivationFunction:
    """Phi on float64 arrays from phi on tensors."""

    def function(z: NDArray[np.float64]) -> NDArray[np.float64]:
        with backends.current().double():
            values = on_tensors(ops.convert_to_tensor(z, "float64"))
            return np.asarray(ops.convert_to_numpy(values), dtype=np.float64)

    return function


def _name(function: Any) -> str:
    name = getattr(function, "__name__", None) or getattr(function, "name", None)
    return str(name) if name and name != "<lambda>" else _snake(type(function).__name__)


def _snake(name: str) -> str:
    special = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu"}
    return special.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
