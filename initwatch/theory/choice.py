"""Which weight variance carries a signal best through a given stack of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initwatch.records.layer import ActivationFunction
from initwatch.theory.propagation import DEPTH_SCALES, Stack, propagate, propagate_from_one
from initwatch.theory.quadrature import expectation, mean_square, mean_square_slope

# The textbook match of an activation is preferred to any other family unless that one leaves
# the signal better by half the depth limit over the whole stack.
PREFERENCE = DEPTH_SCALES / 2.0

# Where the mean of phi carries most of its power the variance that theory follows is not the
# signal (all inputs look alike), and a scale computed from it would be worthless: sigmoid 0.85,
# softplus 0.71; ReLU 0.32, GELU 0.19.
MAX_MEAN_SHARE = 0.5

# He et al. 2015 for the rectifiers and their smooth kin, Klambauer et al. 2017 for SELU (with
# LeCun et al. 1998), Glorot & Bengio 2010 for all that are odd or linear around 0.
_RECTIFIERS = "relu relu6 leaky_relu prelu elu gelu silu swish softplus mish hard_swish hard_silu"
TEXTBOOK = dict.fromkeys(_RECTIFIERS.split(), "he") | {"selu": "lecun"}
TEXTBOOK |= dict.fromkeys("tanh sigmoid hard_sigmoid softsign linear".split(), "glorot")


# The variance of a computed scale is a fixed point of one layer. Where that repels, as with the
# exponential, whose map is q -> sigma_w^2 exp(2 q), the variance stays there for no real input:
# with one of twice the assumed variance it is beyond all numbers after four layers.
OTHER_INPUT = 2.0
FEW_LAYERS = (
    16  # what grows beyond all numbers does so within them: its logarithm doubles, or worse
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A family of initializers.

    Attributes:
        name: ``glorot``, ``he``, ``lecun``, or ``computed``.
        scale: for ``computed``: fan_in x Var(w); of the others it is fixed.
        stack: theory's course of the signal with it.
        members: name and scale for each layer: a layer without activation among others that
            have one gets LeCun's variance where they get one made for theirs.
    """

    name: str
    scale: float
    stack: Stack
    members: tuple[tuple[str, float], ...]


def sigma_w2(name: str, scale: float, fan_in: int, fan_out: int) -> float:
    """fan_in x Var(w) of a family of initializers.

    Glorot: 2 / (fan_in + fan_out) per weight (Glorot & Bengio 2010, eq. 12); He: 2 / fan_in
    (He et al. 2015, eq. 10); LeCun: 1 / fan_in (LeCun et al. 1998, sec. 4.6).
    """
    if name == "glorot":
        return 2.0 * fan_in / (fan_in + fan_out)
    return {"he": 2.0, "lecun": 1.0}.get(name, scale)


def candidates(
    fans: Sequence[tuple[int, int]],
    activations: Sequence[ActivationFunction],
    name: str = "",
    keep: Sequence[float] = (),
    linear: Sequence[bool] = (),
) -> list[Candidate]:
    """Families of initializers for a stack, best first.

    Textbook families, and two whose scale is computed from the stack's activation (the first
    that is not linear): the one that keeps the forward variance at q = 1, and the one that
    keeps the backward one, where that holds for other inputs too.

    Args:
        fans: (fan_in, fan_out) of each layer.
        activations: phi of each layer.
        name: name of the stack's activation, for its textbook match.
        keep: factor on sigma_w^2 of each layer by what stands between (dropout's 1 / (1 - p)).
        linear: whether phi of each layer is the identity; none is by default.
    """
    straight = list(linear) or [False] * len(fans)
    bent = [phi for phi, is_straight in zip(activations, straight, strict=True) if not is_straight]
    phi = bent[0] if bent else activations[0]
    factors = list(keep) or [1.0] * len(fans)
    families = [("glorot", 0.0), ("he", 0.0), ("lecun", 0.0)]
    forward, backward = mean_square(phi, 1.0), mean_square_slope(phi, 1.0)
    if expectation(phi) ** 2 < MAX_MEAN_SHARE * forward and backward > 0.0:
        families += [("computed", 1.0 / forward), ("computed", 1.0 / backward)]
    found = []
    for family, scale in families:
        # what suits a bend in the activation would make a layer without one grow
        other = bool(bent) and family in ("he", "computed")
        members = [
            ("lecun", 0.0) if other and is_straight else (family, scale) for is_straight in straight
        ]
        variances = [
            sigma_w2(*member, *pair) * factor
            for member, pair, factor in zip(members, fans, factors, strict=True)
        ]
        if family == "computed" and not _bears(OTHER_INPUT, variances, activations):
            continue
        stack = propagate_from_one(variances, activations)  # the same start for all
        found.append(Candidate(family, scale, stack, tuple(members)))
    match = TEXTBOOK.get(name)

    def cost(candidate: Candidate) -> float:
        return candidate.stack.distortion + (0.0 if candidate.name == match else PREFERENCE)

    return sorted(found, key=cost)


def _bears(q: float, sigma_w2: Sequence[float], activations: Sequence[ActivationFunction]) -> bool:
    """True if the signal stays finite from a first pre-activation of variance ``q``."""
    few = sigma_w2[:FEW_LAYERS]
    course = propagate(q / few[0], few, [0.0] * len(few), activations[:FEW_LAYERS])
    return bool(np.isfinite(course.q[-1]))
