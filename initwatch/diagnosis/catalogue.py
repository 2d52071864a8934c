"""Every rule, in the order in which causes come before their symptoms. The only such table."""

from __future__ import annotations

from initwatch.diagnosis.rule import Rule
from initwatch.diagnosis.rules.dead_relu import DeadRelu
from initwatch.diagnosis.rules.diverging_loss import DivergingLoss
from initwatch.diagnosis.rules.exploding_gradient import ExplodingGradient
from initwatch.diagnosis.rules.exploding_signal import ExplodingSignal
from initwatch.diagnosis.rules.forgotten_loss_scale import ForgottenLossScale
from initwatch.diagnosis.rules.initial_loss import InitialLoss
from initwatch.diagnosis.rules.initializer_mismatch import InitializerMismatch
from initwatch.diagnosis.rules.non_finite import NonFinite
from initwatch.diagnosis.rules.one_sided_weights import OneSidedWeights
from initwatch.diagnosis.rules.oscillating_loss import OscillatingLoss
from initwatch.diagnosis.rules.output_loss_mismatch import OutputLossMismatch
from initwatch.diagnosis.rules.regularization import Regularization
from initwatch.diagnosis.rules.saturated_activation import SaturatedActivation
from initwatch.diagnosis.rules.stalled_loss import StalledLoss
from initwatch.diagnosis.rules.symmetric_units import SymmetricUnits
from initwatch.diagnosis.rules.unchanged_weights import UnchangedWeights
from initwatch.diagnosis.rules.unscaled_input import UnscaledInput
from initwatch.diagnosis.rules.update_too_large import UpdateTooLarge
from initwatch.diagnosis.rules.update_too_small import UpdateTooSmall
from initwatch.diagnosis.rules.uphill import Uphill
from initwatch.diagnosis.rules.vanishing_gradient import VanishingGradient
from initwatch.diagnosis.rules.vanishing_signal import VanishingSignal
from initwatch.diagnosis.rules.zero_gradient import ZeroGradient

CATALOGUE: tuple[type[Rule], ...] = (
    OutputLossMismatch,  # IW602
    UnscaledInput,  # IW601
    InitializerMismatch,  # IW101
    SymmetricUnits,  # IW102
    OneSidedWeights,  # IW106
    InitialLoss,  # IW105
    VanishingSignal,  # IW103
    ExplodingSignal,  # IW104
    ForgottenLossScale,  # IW405
    Uphill,  # IW404
    Regularization,  # IW504
    UnchangedWeights,  # IW403
    UpdateTooSmall,  # IW401
    UpdateTooLarge,  # IW402
    VanishingGradient,  # IW201
    ExplodingGradient,  # IW202
    NonFinite,  # IW203
    ZeroGradient,  # IW204
    DeadRelu,  # IW301
    SaturatedActivation,  # IW302
    DivergingLoss,  # IW502
    OscillatingLoss,  # IW503
    StalledLoss,  # IW501
)


def default_rules() -> list[Rule]:
    """One of each, with its own thresholds."""
    return [rule() for rule in CATALOGUE]
