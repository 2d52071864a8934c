"""Weights that are not what their initializer draws: loaded, trained, or set by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.advice.initializers import drawn, moments_of
from initwatch.errors import ArgumentError
from initwatch.records import History, Statistic

# Standard errors by which a draw's mean square may be off: one layer in 5e8 by chance (normal).
SIGMAS = 6.0
# On top of it: one optimizer step moves weights by up to a hundredth of their size.
SLACK = 0.02


def not_as_drawn(model: keras.Model, history: History) -> frozenset[str]:
    """Paths of trained variables of layers that do not look like a draw of their initializers.

    Judged by mean and mean square at the first step measured, against what the initializers of
    the layer give: in a layer that was loaded or trained before, one variable at least differs.
    Variables whose initializer is not known are named as well.

    Args:
        model: the model of the history.
        history: its first row is of the first step of a fit.
    """
    origins = origins_of(model, history)
    mean = history.first(Statistic.WEIGHT_MEAN, 1)[0]
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    unknown, changed = set(), set()
    for i, variable in enumerate(history.variables):
        known = origins.get(variable.path)
        if known is None:
            unknown.add(variable.path)
        elif not _looks_drawn(known, float(mean[i]), float(rms[i])):
            changed.add(variable.layer)
    # biases that have left their zeros tell that the kernel beside them was trained as well
    of_changed = {variable.path for variable in history.variables if variable.layer in changed}
    return frozenset(unknown | of_changed)


def drawn_anew(
    model: keras.Model, history: History
) -> list[tuple[Any, NDArray[np.float64]]] | None:
    """Each trained variable with values that its initializer gives it; generators stand still.

    None if the initializer of some variable is not known.
    """
    origins = origins_of(model, history)
    if not all(variable.path in origins for variable in model.trainable_variables):
        return None
    return [
        (variable, drawn(origins[variable.path].initializer, tuple(variable.shape)))
        for variable in model.trainable_variables
    ]


@dataclass(frozen=True, slots=True)
class Origin:
    """How a variable is drawn: its initializer, shape, and the fans if Keras is told them."""

    initializer: Any
    shape: tuple[int, ...]
    fans: tuple[int, int] | None = None


def origins_of(model: keras.Model, history: History) -> dict[str, Origin]:
    """Path of each variable whose initializer is known -> how it is drawn."""
    found: dict[str, Origin] = {}
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables:
            if variable.name == "bias" and getattr(layer, "unit_forget_bias", False):
                continue  # LSTM: zeros and ones
            # kernel_initializer, recurrent_initializer of recurrent_kernel, depthwise_initializer
            names = (variable.name, variable.name.removesuffix("_kernel"), "depthwise")
            given = (getattr(layer, f"{name}_initializer", None) for name in names)
            initializer = next(filter(callable, given), None)
            if initializer is not None:
                found[variable.path] = Origin(initializer, tuple(variable.shape))
    for layer in history.layers:
        for kernel in layer.kernels:
            if kernel.initializer is not None:
                told = getattr(kernel.initializer, "input_axes", None) is not None
                fans = (kernel.fan_in, kernel.fan_out) if told else None
                found[kernel.variable] = Origin(kernel.initializer, kernel.shape, fans)
    return found


def _looks_drawn(origin: Origin, mean: float, rms: float) -> bool:
    try:
        expected = moments_of(origin.initializer, origin.shape, origin.fans)
    except ArgumentError:
        return False
    size = int(np.prod(origin.shape))
    # a normal's fourth moment is 3 variance^2; of a uniform or a truncated one it is less
    scatter = SIGMAS * np.sqrt(2.0 / size) + SLACK
    scale = np.sqrt(expected.mean_square)
    if scale == 0.0:
        return rms < SLACK
    close = abs(rms**2 / expected.mean_square - 1.0) <= scatter
    centred = abs(mean - expected.mean) <= scale * (SIGMAS / np.sqrt(size) + SLACK)
    return bool(close and centred)
