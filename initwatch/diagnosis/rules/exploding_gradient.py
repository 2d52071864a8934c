"""IW202 exploding_gradient: the backward signal grows on its way to the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplodingGradient:
    """The backward signal grows layer by layer on its way to the input.

    What it means:
        delta, the gradient of the loss with respect to a layer's output, is many times larger
        at the first layers than at the last hidden layer.
    Why it hurts:
        A learning rate that suits the last layers throws the first ones about; one that suits
        the first leaves the last ones where they are.
    How it is measured:
        As in vanishing_gradient, with the sign turned: fires where the fit and the outer
        quarters both grow by more than e^3 = 20 from the last hidden layer to the first, and
        by more than what the normalisation layers on the way account for.
    What it does not flag:
        Large gradients as such: a sum-reduced or scaled loss, large targets, loss scaling in
        float16. A single step of large gradients.

    References:
        Schoenholz et al. 2017, sec. 4; Hanin & Rolnick 2018.
    """

    code: ClassVar[str] = "IW202"
    symptom: ClassVar[str] = "exploding_gradient"
    summary: ClassVar[str] = "the backward signal grows on its way to the input"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.DELTA_NORM})
    retracted: ClassVar[bool] = False

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    normalized_growth: Threshold = threshold(
        0.5 * float(np.log(np.pi / (np.pi - 1.0))),
        unit="ln(RMS ratio) per normalised layer",
        source="Yang et al. 2019: batch normalisation before ReLU grows the squared gradient by "
        "pi / (pi - 1) a layer, and such nets train to about 50 layers",
    )
    window: int = depth.WINDOW

    abstains = depth.too_short

    def check(self, history: History) -> Iterator[Finding]:
        profile = depth.profile(history, Statistic.DELTA_NORM, self.window)
        if profile is None or not depth.speaks(history):
            return
        total = -profile.total  # ln of the whole growth, positive
        normalized = sum(layer.trunk and layer.normalized for layer in history.layers)
        limit = self.log_limit + self.normalized_growth * normalized
        if total <= limit:
            return
        factor = float(np.exp(-profile.fit.log_slope))
        grown = profile.values > profile.values[-1] * np.exp(self.log_limit)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if total > self.log_limit_error else "warning",
            layers=profile.where(grown, otherwise=0),
            step=history.step,
            evidence=profile.evidence(
                "gradient_growth", float(np.exp(total)), float(np.exp(limit)), factor
            ),
            message=(
                f"The gradient grows {factor:.2f}-fold per layer on its way to the input: at "
                f"{profile.layers[0].path} it is {np.exp(total):.1e} times that of the last "
                "hidden layer."
            ),
        )
