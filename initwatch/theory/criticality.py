"""Where a deep random network comes to rest, and the weights with which it is critical.

The forward map q' = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2 tends to a fixed point q* (Poole
et al. 2016, eq. 3). There chi, the factor of the mean squared gradient per layer, decides how
deep a network can be trained: below 1 gradients vanish, above they explode, and at 1 the
network is critical (Schoenholz et al. 2017, eq. 5 and sec. 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from initwatch.errors import ArgumentError
from initwatch.records.layer import ActivationFunction
from initwatch.theory.propagation import (
    backward_factor,
    depth_scale,
    forward_map,
    trainable_depth,
)
from initwatch.theory.quadrature import mean_square, mean_square_slope

# Fixed points are looked for between these; a signal that leaves them has died or has no bound.
MIN_Q, MAX_Q = 1e-10, 1e12
# The critical line is followed between these. Below, differences of it are mere rounding; above,
# a bend of width 1 begins to fall between the nodes of the quadrature.
_LINE = 1e-6, 1e4
_STEPS_PER_DECADE = 8
# A start whose variance the map keeps to this share is a fixed point: rounding alone moves it.
_KEPT = 1e-9
# Below this E[phi'^2] phi is flat (softshrink at small inputs): no weights make up for it.
_FLAT = 1e-9
# How far chi may be from 1 at the fixed point that the map reaches: 1 % over 100 layers.
_CRITICAL = 1e-4


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Where the forward map comes to rest.

    Attributes:
        q: the pre-activation variance q*; 0 where the signal dies, inf where it has no bound.
        chi: factor of the mean squared gradient per layer there.
    """

    q: float
    chi: float

    @property
    def depth_scale(self) -> float:
        """Xi = 1/|ln chi|: layers over which the squared gradient changes by e."""
        return depth_scale(self.chi)

    @property
    def trainable_depth(self) -> float:
        """6 xi: layers through which a signal can be trained."""
        return trainable_depth(self.chi)


@dataclass(frozen=True, slots=True)
class CriticalPoint:
    """Weights and biases with which a network is critical.

    Attributes:
        sigma_w2: fan_in x Var(w).
        sigma_b2: variance of the biases.
        q: the pre-activation variance q* at which chi is 1.
    """

    sigma_w2: float
    sigma_b2: float
    q: float


@np.errstate(over="ignore", invalid="ignore")
def fixed_point(
    sigma_w2: float, sigma_b2: float, phi: ActivationFunction, q: float = 1.0
) -> FixedPoint:
    """The fixed point that the forward map reaches from the variance ``q``.

    It is the next one in the direction in which the map moves ``q``. A map that keeps every
    variance (ReLU with sigma_w^2 = 2) rests where it starts.

    Args:
        sigma_w2: fan_in x Var(w).
        sigma_b2: variance of the biases.
        phi: the activation, elementwise on float64[n].
        q: pre-activation variance of the first layer.

    Raises:
        ArgumentError: if a variance is negative or not finite, or ``q`` is not positive.
    """
    _check_variance("sigma_w2", sigma_w2)
    _check_variance("sigma_b2", sigma_b2)
    if not 0.0 < q < np.inf:
        raise ArgumentError(f"q must be a finite variance above 0. Received: {q!r}")

    def moved(at: float) -> float:
        return forward_map(at, sigma_w2, sigma_b2, phi) - at

    def resting(at: float) -> FixedPoint:
        # phi's outer slopes decide over a signal without bound; they overflow for exp alone
        chi = backward_factor(min(at, MAX_Q), sigma_w2, phi)
        return FixedPoint(at, np.inf if np.isnan(chi) else chi)

    start = moved(q)
    if abs(start) <= _KEPT * q:
        return resting(q)
    limit, end = (0.0, min(MIN_Q, q)) if start < 0.0 else (np.inf, max(MAX_Q, q))
    previous = q
    for at in _between(q, end):
        if (moved(at) < 0.0) != (start < 0.0):
            return resting(_root(moved, previous, at))
        previous = at
    return resting(limit)


def critical_line(q: float, phi: ActivationFunction) -> CriticalPoint:
    """The weights and biases with which chi is 1 at the fixed point ``q``.

    sigma_w^2 = 1 / E[phi'(sqrt(q) z)^2], sigma_b^2 = q - sigma_w^2 E[phi(sqrt(q) z)^2]; a
    negative sigma_b^2 says that no network is critical there (Hayou et al. 2019, alg. 1).

    Raises:
        ArgumentError: if phi is flat at every input of this size.
    """
    slope = mean_square_slope(phi, q)
    if not slope > 0.0:
        raise ArgumentError(
            f"the activation has no slope at inputs of variance {q:.3g}, so no gradient passes "
            "it whatever the weights are. Give one that is not constant there."
        )
    return CriticalPoint(1.0 / slope, q - mean_square(phi, q) / slope, q)


def critical_point(phi: ActivationFunction, sigma_b2: float = 0.0) -> CriticalPoint | None:
    """The critical weights for a given variance of the biases, None where there are none.

    A point of the critical line counts if a signal of variance 1 comes to rest in it. GELU and
    SiLU have none at sigma_b^2 = 0: where chi would be 1 the variance grows without bound.
    Homogeneous activations (ReLU, LeakyReLU) are critical without biases only, and keep every
    variance: q is 1. tanh without biases is critical where the signal dies (slowly), at q* = 0.

    Args:
        phi: the activation, elementwise on float64[n].
        sigma_b2: variance of the biases.

    Raises:
        ArgumentError: if ``sigma_b2`` is negative or not finite.
    """
    _check_variance("sigma_b2", sigma_b2)

    dying = _slope_at_zero(phi)
    if sigma_b2 == 0.0 and dying > 0.0:
        reached = fixed_point(1.0 / dying, 0.0, phi)
        if reached.q < _LINE[0]:
            return CriticalPoint(1.0 / dying, 0.0, 0.0)
        if _is_critical(reached) and _holds(1.0 / dying, 0.0, reached.q, phi):  # homogeneous
            return CriticalPoint(1.0 / dying, 0.0, reached.q)

    def excess(q: float) -> float:
        return critical_line(q, phi).sigma_b2 - sigma_b2

    for low, high in pairwise(_line(phi)):
        if (low.sigma_b2 < sigma_b2) != (high.sigma_b2 < sigma_b2):
            sigma_w2 = critical_line(_root(excess, low.q, high.q), phi).sigma_w2
            reached = fixed_point(sigma_w2, sigma_b2, phi)
            if _is_critical(reached) and _holds(sigma_w2, sigma_b2, reached.q, phi):
                return CriticalPoint(sigma_w2, sigma_b2, reached.q)
    return None


def least_critical_biases(phi: ActivationFunction) -> float | None:
    """A sigma_b^2 near the least for which there is a critical point, None if there is none.

    0 for most activations, 0.2 for GELU, 0.6 for SiLU. It errs to the side where there is one,
    by less than a half.
    """
    if critical_point(phi) is not None:
        return 0.0
    for point in sorted(_line(phi), key=lambda point: point.sigma_b2):
        holds = _holds(point.sigma_w2, point.sigma_b2, point.q, phi)
        if point.sigma_b2 > 0.0 and holds and critical_point(phi, point.sigma_b2):
            return point.sigma_b2
    return None


@np.errstate(over="ignore", invalid="ignore")
def _line(phi: ActivationFunction) -> list[CriticalPoint]:
    """The critical line at variances evenly spaced in their logarithm, where phi has a slope."""
    slopes = [(q, mean_square_slope(phi, q)) for q in _between(*_LINE)]
    return [critical_line(q, phi) for q, slope in slopes if _FLAT < slope < np.inf]


def _slope_at_zero(phi: ActivationFunction) -> float:
    """The limit of E[phi'(sqrt(q) z)^2] towards q = 0.

    It is approached linearly in sqrt(q) at worst (where phi bends at 0, as ELU does), and so
    the error of two values at q and 4q cancels in the difference.
    """
    return 2.0 * mean_square_slope(phi, 1e-8) - mean_square_slope(phi, 4e-8)


def _is_critical(reached: FixedPoint) -> bool:
    return bool(np.isfinite(reached.q)) and abs(reached.chi - 1.0) < _CRITICAL


def _holds(sigma_w2: float, sigma_b2: float, q: float, phi: ActivationFunction) -> bool:
    """True if a signal near q does not move away: the forward map's slope is up to 1."""
    above, below = (forward_map(q * factor, sigma_w2, sigma_b2, phi) for factor in (1.001, 0.999))
    return above - below <= 0.002 * q * (1.0 + 1e-6)  # of homogeneous phi it is 1


def _check_variance(name: str, value: float) -> None:
    if not 0.0 <= value < np.inf:
        raise ArgumentError(
            f"{name} must be a finite variance, 0 or above (not a standard deviation). "
            f"Received: {value!r}"
        )


def _between(start: float, end: float) -> list[float]:
    """Variances from ``start`` to ``end``, evenly spaced in their logarithm."""
    steps = max(2, int(abs(np.log10(end / start)) * _STEPS_PER_DECADE) + 1)
    return [float(q) for q in np.geomspace(start, end, steps)]


def _root(function: Callable[[float], float], a: float, b: float) -> float:
    """The place between ``a`` and ``b`` where ``function`` changes sign, by bisection."""
    negative = function(b) < 0.0
    for _ in range(60):  # a step is a third of an e-fold: 60 halvings are beyond float64
        middle = float(np.sqrt(a * b))
        a, b = (a, middle) if (function(middle) < 0.0) == negative else (middle, b)
    return float(np.sqrt(a * b))
