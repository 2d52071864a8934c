"""IW103 vanishing_signal: the forward signal fades on its way to the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishingSignal:
    """The activations shrink layer by layer on their way to the output.

    What it means:
        The standard deviation of the activations falls by a steady factor per layer, so that
        the last hidden layer hardly depends on the input.
    Why it hurts:
        The output layer sees next to nothing of the example; predictions are the same for
        all, and the loss stays at that of a constant guess.
    How it is measured:
        Standard deviation over batch and units, at every layer of the
        trunk, fitted over depth (Theil-Sen). Fires where the fit and the outer quarters both
        lose more than e^3 = 20 from the first hidden layer to the last.
    What it does not flag:
        Small inputs as such, a single small layer, networks that normalise their layers.

    References:
        Glorot & Bengio 2010, sec. 4.2; He et al. 2015, eq. 9; Poole et al. 2016, eq. 3.
    """

    code: ClassVar[str] = "IW103"
    symptom: ClassVar[str] = "vanishing_signal"
    summary: ClassVar[str] = "the forward signal fades on its way to the output"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.ACTIVATION_STD})
    retracted: ClassVar[bool] = False

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    window: int = 1  # the first step's forward pass is the initialisation itself

    abstains = depth.too_short

    def check(self, history: History) -> Iterator[Finding]:
        profile = depth.profile(history, Statistic.ACTIVATION_STD, self.window)
        if profile is None or not depth.speaks(history):
            return
        total = -profile.total  # ln of the whole loss, positive
        if total <= self.log_limit:
            return
        factor = float(np.exp(profile.fit.log_slope))
        faded = profile.values < profile.values[0] * np.exp(-self.log_limit)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if total > self.log_limit_error else "warning",
            layers=profile.where(faded, otherwise=-1),
            step=history.step,
            evidence=profile.evidence(
                "signal_left", float(np.exp(-total)), float(np.exp(-self.log_limit)), factor
            ),
            message=(
                f"The signal keeps {factor:.2f} of its size per layer on its way to the output: "
                f"{np.exp(-total):.1e} of it is left at {profile.layers[-1].path}."
            ),
        )
