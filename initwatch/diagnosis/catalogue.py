"""Every rule, in the order in which causes come before their symptoms. The only such table."""

from __future__ import annotations

from initwatch.diagnosis.rule import Rule
from initwatch.diagnosis.rules.dead_relu import DeadRelu
from initwatch.diagnosis.rules.exploding_gradient import ExplodingGradient
from initwatch.diagnosis.rules.exploding_signal import ExplodingSignal
from initwatch.diagnosis.rules.initializer_mismatch import InitializerMismatch
from initwatch.diagnosis.rules.non_finite import NonFinite
from initwatch.diagnosis.rules.saturated_activation import SaturatedActivation
from initwatch.diagnosis.rules.stalled_loss import StalledLoss
from initwatch.diagnosis.rules.symmetric_units import SymmetricUnits
from initwatch.diagnosis.rules.vanishing_gradient import VanishingGradient
from initwatch.diagnosis.rules.vanishing_signal import VanishingSignal
from initwatch.diagnosis.rules.zero_gradient import ZeroGradient

CATALOGUE: tuple[type[Rule], ...] = (
    InitializerMismatch,  # IW101
    SymmetricUnits,  # IW102
    VanishingSignal,  # IW103
    ExplodingSignal,  # IW104
    VanishingGradient,  # IW201
    ExplodingGradient,  # IW202
    NonFinite,  # IW203
    ZeroGradient,  # IW204
    DeadRelu,  # IW301
    SaturatedActivation,  # IW302
    StalledLoss,  # IW501
)


def default_rules() -> list[Rule]:
    """One of each, with its own thresholds."""
    return [rule() for rule in CATALOGUE]
