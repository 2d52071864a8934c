"""The gain of chosen initializers, tuned until the gradient is even over depth.

A gain from theory holds for wide layers and a variance that stays where it is. In a network it is
off by what theory leaves out: tanh at its critical weights lets the variance decay with depth, the
borders of convolutions take part of the signal, fan-in and fan-out differ. What is left is a slope
of delta of up to 0.1 a layer, and one factor on all gains takes it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis import depth
from initwatch.records import History, LayerSpec, Statistic

# Change of ln(RMS delta) a layer: half a depth limit (e^3 in RMS) over thirty layers.
SLOPE_LIMIT = 0.05
# The slope of one draw scatters by up to 0.1 (six layers of 64; tests/bench/reinit.py).
DRAWS = 6
TRIES = 4
# Twice the standard deviation is another initializer, not a correction of this one's gain.
MOST = float(np.log(2.0))

# With weights ``exp(log_gain)`` times as large, of the n-th draw: delta's slope, and the cost of a
# trial, ln of how far the signals spread over depth; NaN if unknown.
MeasureDraw = Callable[[float, int], tuple[float, float]]


def slope(history: History, row: int = -1) -> float:
    """Change of ln(RMS delta) per layer towards the output; NaN where depth shows no trend."""
    if Statistic.DELTA_NORM not in history.series:
        return np.nan
    found = depth.profile(history.until(int(history.steps[row])), Statistic.DELTA_NORM, 1)
    return np.nan if found is None else found.fit.log_slope


def can_be_tuned(layers: Iterable[LayerSpec], drawn: set[str]) -> bool:
    """True for a plain stack most of whose kernels are to be drawn anew.

    Past a normalisation the gain does not count, nor does that of a branch on the trunk; one layer
    among many is not to make up for the others.
    """
    kernels = [x for x in layers if x.kernel is not None and not x.is_output]
    plain = all(x.trunk and not x.normalized for x in kernels)
    return plain and 2 * sum(x.kernel.variable in drawn for x in kernels if x.kernel) > len(kernels)


def tuned(first: float, margin: float, measure: MeasureDraw) -> tuple[float, int] | None:
    """Gain and draw with which delta is even over depth.

    The gain is that of several draws together, the same ones each time; of these the one is taken
    whose own slope is least. Where a deviation grows over depth (GELU, SiLU: their fixed point is
    unstable) another gain may cost the forward signal more than it gives the gradient: none is
    taken that leaves some draw's signals less even than the worst was, beyond ``margin``.

    Args:
        first: the slope of draw 0 as it is.
        margin: cost up to which signals count as even.
        measure: tries a gain and a draw.

    Returns:
        (ln of the factor on all gains, number of the draw); None where delta is even as it is, or
        nothing makes it more so.
    """
    if not abs(first) > SLOPE_LIMIT:
        return None
    seen: dict[float, NDArray[np.float64]] = {}
    costs: dict[float, float] = {}

    def mean_of(log_gain: float) -> float:
        found = np.array([measure(log_gain, draw) for draw in range(DRAWS)])
        seen[log_gain], costs[log_gain] = found[:, 0], float(found[:, 1].max())
        return float(seen[log_gain].mean())

    log_gain, mean = 0.0, mean_of(0.0)
    sensitivity = -1.0  # of a linear or ReLU network: the gain multiplies delta at every layer
    while abs(mean) > SLOPE_LIMIT / 2.0 and len(seen) <= TRIES:
        following = float(np.clip(log_gain - mean / sensitivity, -MOST, MOST))
        if following in seen:
            break
        moved = mean_of(following) - mean
        sensitivity = min(moved / (following - log_gain), -0.1)
        log_gain, mean = following, mean + moved
    known = [
        gain
        for gain, slopes in seen.items()
        if np.isfinite(slopes).all() and costs[gain] <= max(costs[0.0], margin)
    ]
    if not known:
        return None
    best = min(known, key=lambda gain: abs(float(seen[gain].mean())))
    draw = int(np.argmin(np.abs(seen[best])))
    return (best, draw) if abs(seen[best][draw]) < abs(first) else None
