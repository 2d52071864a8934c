"""What several rules ask of the initial weights: their size, and whether they have a mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from initwatch.records import History, Kernel, LayerSpec, Statistic, VariableSpec
from initwatch.theory.choice import TEXTBOOK, sigma_w2

# Largest difference between units / largest weight: in float32 equal units drift apart by rounding,
# measured below 1e-6 in 100 steps.
EQUAL = 1e-5
# In variance: twice the standard deviation that the textbook gives.
FAR_OFF = 4.0
# Embeddings are drawn from U(-0.05, 0.05) by Keras, and of variance 1 by others.
LARGE_EMBEDDING = 2.0
# |mean| x sqrt(fan_in) / std of a kernel, from which all its units add up alike.
ONE_SIDED = 5.0


@dataclass(frozen=True, slots=True)
class Oversized:
    """Weights that begin too large.

    Attributes:
        layer: path of their layer.
        variable: path of the variable.
        factor: their size (RMS) over the suitable one.
        text: a sentence about them, without its full stop.
    """

    layer: str
    variable: str
    factor: float
    text: str


def suitable_rms(layer: LayerSpec, kernel: Kernel) -> float:
    """Standard deviation that the textbook initializer of the layer's activation gives."""
    alone = kernel is layer.kernel
    name = layer.activation.name if alone and layer.activation is not None else "linear"
    family = TEXTBOOK.get(name, "glorot")
    return float(np.sqrt(sigma_w2(family, 0.0, kernel.fan_in, kernel.fan_out) / kernel.fan_in))


def oversized(history: History) -> list[Oversized]:
    """Kernels and embeddings whose first values are more than twice the suitable size."""
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    out = []
    for layer in history.layers:
        for kernel in layer.kernels:
            if kernel.variable not in columns or kernel is layer.recurrent_kernel:
                continue
            if layer.normalized:  # whatever its size is, what comes behind brings it back
                continue
            size, suitable = float(rms[columns[kernel.variable]]), suitable_rms(layer, kernel)
            if size**2 > FAR_OFF * suitable**2:
                out.append(
                    Oversized(
                        layer.path,
                        kernel.variable,
                        size / suitable,
                        f"The weights of {layer.path} have a typical size (RMS) of {size:.2g} "
                        f"where {suitable:.2g} suits {kernel.fan_in} inputs",
                    )
                )
    for i, variable in enumerate(history.variables):
        if variable.role == "embeddings" and rms[i] > LARGE_EMBEDDING:
            out.append(
                Oversized(
                    variable.layer,
                    variable.path,
                    float(rms[i]),
                    f"The vectors of {variable.layer} have a typical size (RMS) of {rms[i]:.2g} "
                    "where 1 or less is customary",
                )
            )
    return out


def one_sided(history: History) -> list[tuple[LayerSpec, Kernel, float]]:
    """Kernels that begin with a mean: layer, kernel, and |mean| x sqrt(fan_in) / std.

    Of inputs that are all of one sign, as behind ReLU, a unit sums mean x fan_in of their size in
    common with all other units, and std x sqrt(fan_in) of its own.
    """
    shares = _common_over_own(history)
    return [
        (layer, kernel, shares[kernel.variable] * float(np.sqrt(kernel.fan_in)))
        for layer in history.layers
        for kernel in layer.kernels
        if kernel.variable in shares and kernel is not layer.recurrent_kernel
    ]


def one_sided_embeddings(history: History) -> list[tuple[VariableSpec, float]]:
    """Embeddings whose vectors begin so alike that entries are hardly told apart; |mean| / std."""
    shares = _common_over_own(history)
    return [
        (variable, shares[variable.path])
        for variable in history.variables
        if variable.role == "embeddings" and shares.get(variable.path, 0.0) > ONE_SIDED
    ]


def _common_over_own(history: History) -> dict[str, float]:
    """Variable -> |mean| / std of its first values; infinite for a constant, left out for zeros."""
    needed = (Statistic.WEIGHT_MEAN, Statistic.WEIGHT_STD)
    if any(statistic not in history.series for statistic in needed):
        return {}
    means, stds = (np.abs(history.first(statistic, 1)[0]) for statistic in needed)
    out = {}
    for variable, mean, std in zip(history.variables, means, stds, strict=True):
        if mean > 0.0 or std > 0.0:
            # what float32 leaves of the deviation of a constant is none
            out[variable.path] = float(mean / std) if std > EQUAL * mean else np.inf
    return out


def equal_at_first(history: History) -> list[str]:
    """Hidden layers that every signal goes through, and whose units all began as copies.

    Those of a branch may begin so: what goes past them carries the signal.
    """
    if Statistic.WEIGHT_UNIT_SPREAD not in history.series:
        return []
    spread = history.first(Statistic.WEIGHT_UNIT_SPREAD, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    return [
        layer.path
        for layer in history.layers
        if layer.kernel is not None
        and layer.kernel.variable in columns
        and layer.kernel.shape[-1] > 1
        and (layer.trunk or layer.tower)
        and not layer.is_output
        and spread[columns[layer.kernel.variable]] <= EQUAL
    ]
