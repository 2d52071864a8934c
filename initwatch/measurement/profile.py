"""A quantity as a function of depth: how much of it is left from end to end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PAIRS_DEPTH = 200  # deeper profiles are thinned: 20,000 pairs decide a median well enough


@dataclass(frozen=True, slots=True)
class DepthFit:
    """A robust exponential fit over depth.

    Attributes:
        log_slope: change of ln(value) per layer towards the output (median of all pairs).
        depth: layers between the first and the last one fitted.
        log_total: log_slope x depth: ln(last / first) by the fit.
        log_ends: ln(last / first) as measured, medians of the outer quarters.
    """

    log_slope: float
    depth: int
    log_total: float
    log_ends: float


def fit_over_depth(values: NDArray[np.float64]) -> DepthFit | None:
    """Fits values[l] ~ exp(log_slope * l) by the Theil-Sen estimator.

    The median of the slopes of all pairs of layers (Theil 1950; Sen 1968) is not moved by up
    to 29 % outliers: a pooling layer, a small head, a single odd layer.

    Args:
        values: float64[layers], input side first. Layers that are 0 or not finite are left
            out; they are other rules' business.

    Returns:
        The fit, or None with fewer than 3 usable layers.
    """
    usable = np.isfinite(values) & (values > 0.0)
    depth = np.flatnonzero(usable)
    if len(depth) < 3:
        return None
    if len(depth) > MAX_PAIRS_DEPTH:
        depth = depth[np.linspace(0, len(depth) - 1, MAX_PAIRS_DEPTH).astype(int)]
    logs = np.log(values[depth])
    first, second = np.triu_indices(len(depth), k=1)
    slope = float(np.median((logs[second] - logs[first]) / (depth[second] - depth[first])))
    span = int(depth[-1] - depth[0])
    outer = max(1, len(depth) // 4)
    ends = float(np.median(logs[-outer:]) - np.median(logs[:outer]))
    # the outer quarters' medians lie `outer // 2` layers inside each end
    covered = float(np.median(depth[-outer:]) - np.median(depth[:outer]))
    return DepthFit(slope, span, slope * span, ends * span / covered if covered else ends)
