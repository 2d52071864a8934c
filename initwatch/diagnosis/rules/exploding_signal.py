"""IW104 exploding_signal: the forward signal grows on its way to the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplodingSignal:
    """The activations grow layer by layer on their way to the output.

    What it means:
        The standard deviation of the activations rises by a steady factor per layer.
    Why it hurts:
        The output layer is driven into large logits or large predictions, the first losses are
        huge and the first updates wild; saturating activations behind it stop passing gradients.
    How it is measured:
        As in vanishing_signal, with the sign turned: fires where the fit and the outer
        quarters both grow by more than e^3 = 20 from the first hidden layer to the last.
    What it does not flag:
        Large inputs as such, a single layer with a large scale, the slow growth of the sum in
        a residual trunk.

    References:
        He et al. 2015, eq. 9; Hanin & Rolnick 2018; Klambauer et al. 2017 (SELU needs LeCun).
    """

    code: ClassVar[str] = "IW104"
    symptom: ClassVar[str] = "exploding_signal"
    summary: ClassVar[str] = "the forward signal grows on its way to the output"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.ACTIVATION_STD})
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    window: int = 1  # the first step's forward pass is the initialisation itself

    abstains = depth.too_short

    def check(self, history: History) -> Iterator[Finding]:
        if not depth.speaks(history):
            return
        profiles = depth.profiles(history, Statistic.ACTIVATION_STD, self.window)
        # ln of the whole growth, positive
        profile = next((p for p in profiles if p.total > self.log_limit), None)
        if profile is None:
            return
        total = profile.total
        factor = float(np.exp(profile.fit.log_slope))
        grown = profile.values > profile.values[0] * np.exp(self.log_limit)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity=profile.severity(self.log_limit_error),
            layers=profile.where(grown, otherwise=-1),
            step=history.step,
            evidence=profile.evidence(
                "signal_growth", float(np.exp(total)), float(np.exp(self.log_limit)), factor
            ),
            message=(
                f"The signal grows {factor:.2f}-fold per layer on its way to the output: at "
                f"{profile.layers[-1].path} it is {np.exp(total):.1e} times that of the first "
                "hidden layer."
            ),
        )
