"""Mean-field propagation of signals through a random network.

For pre-activation variance q, weights of variance sigma_w^2 / fan_in and biases of variance
sigma_b^2 (Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5):

    forward   q'  = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2
    backward  chi = sigma_w^2 E[phi'(sqrt(q) z)^2]          z ~ N(0, 1)

chi is the factor of the mean squared gradient per layer: 1 is critical, below vanishes,
above explodes. For ReLU the forward map at sigma_b = 0 is He et al. 2015, eq. 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initwatch.records.layer import ActivationFunction
from initwatch.theory.quadrature import mean_square, mean_square_slope

# A signal is trained through at most about 6 depth scales (Schoenholz et al. 2017, sec. 4:
# trainable depth ~ 6 xi, xi = 1/|ln chi|), that is until its variance has changed by e^6.
DEPTH_SCALES = 6.0


def forward_map(q: float, sigma_w2: float, sigma_b2: float, phi: ActivationFunction) -> float:
    """Pre-activation variance of the next layer (Poole et al. 2016, eq. 3)."""
    return sigma_w2 * mean_square(phi, q) + sigma_b2


def backward_factor(q: float, sigma_w2: float, phi: ActivationFunction) -> float:
    """chi: factor of the mean squared gradient over one layer (Schoenholz et al. 2017, eq. 5)."""
    return sigma_w2 * mean_square_slope(phi, q)


def gain(phi: ActivationFunction, q: float = 1.0) -> float:
    """sqrt(q / E[phi(sqrt(q) z)^2]): factor on 1/sqrt(fan_in) that keeps the variance q.

    sqrt(2) for ReLU (He et al. 2015, eq. 10).
    """
    return float(np.sqrt(q / mean_square(phi, q)))


def depth_scale(chi: float) -> float:
    """Xi = 1/|ln chi|: layers over which the gradient changes by e (Schoenholz et al. 2017)."""
    log = abs(np.log(chi)) if chi > 0.0 else np.inf
    return float(1.0 / log) if log > 0.0 else np.inf


def trainable_depth(chi: float) -> float:
    """6 xi: layers through which a signal can be trained (Schoenholz et al. 2017, sec. 4).

    The papers' xi is that of the correlations; in the ordered phase, chi < 1, it is this one.
    """
    return DEPTH_SCALES * depth_scale(chi)


@dataclass(frozen=True, slots=True)
class Stack:
    """Theory's course of a signal through layers.

    Attributes:
        q: pre-activation variance of each layer, first layer first.
        chi: backward factor of each layer but the last, through its activation and the
            next layer's weights.
    """

    q: tuple[float, ...]
    chi: tuple[float, ...]

    @property
    def log_backward(self) -> float:
        """Ln of the squared gradient at the first layer over that at the last."""
        with np.errstate(divide="ignore"):
            return float(np.sum(np.log(self.chi)))

    @property
    def log_forward(self) -> float:
        """Ln of the pre-activation variance at the last layer over that at the first."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.log(self.q[-1]) - np.log(self.q[0]))

    @property
    def distortion(self) -> float:
        """The worse of the two signals: largest |ln| change of variance over the stack."""
        worst = max(abs(self.log_backward), abs(self.log_forward))
        return worst if np.isfinite(worst) else np.inf


def propagate_from_one(
    sigma_w2: Sequence[float], activations: Sequence[ActivationFunction]
) -> Stack:
    """The signal through a stack without biases whose first pre-activation has variance 1.

    Args:
        sigma_w2: fan_in x Var(w) of each layer.
        activations: phi of each layer.
    """
    return propagate(1.0 / sigma_w2[0], sigma_w2, [0.0] * len(sigma_w2), activations)


def propagate(
    input_square: float,
    sigma_w2: Sequence[float],
    sigma_b2: Sequence[float],
    activations: Sequence[ActivationFunction],
) -> Stack:
    """The signal through a stack of layers.

    Args:
        input_square: mean square of the first layer's input.
        sigma_w2: fan_in x Var(w) of each layer.
        sigma_b2: mean square of the bias of each layer.
        activations: phi of each layer; that of the last is not used.

    The unrecorded part of an input's structure (means, correlations) is not modelled.
    """
    q = [sigma_w2[0] * input_square + sigma_b2[0]]
    chi = []
    known: dict[tuple[int, float, float, float], tuple[float, float]] = {}
    for i in range(1, len(sigma_w2)):
        phi = activations[i - 1]
        # Equal layers at a fixed point need one quadrature, not one each (1,000-layer models).
        key = (id(phi), float(f"{q[-1]:.12g}"), sigma_w2[i], sigma_b2[i])
        if key not in known:
            known[key] = (
                backward_factor(q[-1], sigma_w2[i], phi),
                forward_map(q[-1], sigma_w2[i], sigma_b2[i], phi),
            )
        factor, following = known[key]
        chi.append(factor)
        q.append(following)
        if not np.isfinite(following) or following > 1e100:
            remaining = len(sigma_w2) - i - 1
            return Stack(tuple(q) + (np.inf,) * remaining, tuple(chi) + (factor,) * remaining)
    return Stack(tuple(q), tuple(chi))
