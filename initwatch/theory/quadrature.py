"""Expectations over a standard normal variable, for functions that may have kinks."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initwatch.records.layer import ActivationFunction

# Midpoints of a uniform grid. Gauss-Hermite converges only like 1/n at a kink (ReLU) or a jump
# (its slope); midpoints that lie symmetrically around 0 are exact for the jump at 0, and the
# normal weight makes the rule converge faster than any power of the spacing for smooth parts.
_HALF_WIDTH = 10.0  # standard deviations; the normal tail beyond holds 1.5e-23
_POINTS = 8000
_STEP = 2.0 * _HALF_WIDTH / _POINTS
NODES: NDArray[Any] = -_HALF_WIDTH + _STEP * (np.arange(_POINTS) + 0.5)
_DENSITY = np.exp(-0.5 * NODES**2)
WEIGHTS: NDArray[Any] = _DENSITY / _DENSITY.sum()


def expectation(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """E[f(z)], z ~ N(0, 1), for an elementwise ``function`` of float64[n]."""
    return float(WEIGHTS @ np.asarray(function(NODES), dtype=np.float64))


@np.errstate(over="ignore", invalid="ignore")  # phi may leave the range of floats
def mean_square(phi: ActivationFunction, q: float) -> float:
    """E[phi(sqrt(q) z)^2], z ~ N(0, 1): what a layer passes on at pre-activation variance q.

    Source: Poole et al. 2016, eq. 3.
    """
    return expectation(lambda z: np.square(phi(np.sqrt(q) * z)))


@np.errstate(over="ignore", invalid="ignore")  # phi may leave the range of floats
def mean_square_slope(phi: ActivationFunction, q: float) -> float:
    """E[phi'(sqrt(q) z)^2], z ~ N(0, 1), phi' by differences between neighbouring nodes.

    The difference over one cell, (phi(b) - phi(a)) / (b - a), is the mean of phi' over it, so
    a kink on a cell border costs nothing and no step size has to be chosen.

    Source: Schoenholz et al. 2017, eq. 5 (chi_1 without sigma_w^2).
    """
    # below, phi is its tangent at 0 to 1e-4, and differences over still smaller cells would be
    # nothing but rounding where phi(0) is not 0
    q = max(q, 1e-8)
    borders = np.sqrt(q) * (NODES[0] - 0.5 * _STEP + _STEP * np.arange(_POINTS + 1))
    values = np.asarray(phi(borders), dtype=np.float64)
    slopes = np.diff(values) / np.diff(borders)
    return float(WEIGHTS @ np.square(slopes))
