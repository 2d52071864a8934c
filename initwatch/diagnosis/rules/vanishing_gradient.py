"""IW201 vanishing_gradient: the backward signal fades on its way to the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishingGradient:
    """The backward signal shrinks layer by layer on its way to the input.

    What it means:
        delta, the gradient of the loss with respect to a layer's output, arrives at the first
        layers at a small fraction of the size it has at the last hidden layer.
    Why it hurts:
        The layers near the input get no direction to learn in; the whole network then works
        on features that are random.
    How it is measured:
        The norm of delta per example, median of 3 steps, at every layer of the trunk (or of a
        tower that others join before the output, then a warning at most), fitted by
        ln(norm) = a + b * layer (Theil-Sen). Fires where the fit and the outer quarters
        both lose more than e^3 = 20 from the last hidden layer to the first. At any depth it
        fires where delta, or the gradient of all weights, is exactly 0 at the first layer in 4
        steps in a row, of which the network was updated in at least two, or had no gradient at
        all.
    What it does not flag:
        Small gradients as such: a scaled loss, a converged run, wide layers, frozen layers.
        Branches of residual blocks, zero-initialised or not: the signal goes round them.
        Kernel gradients are not used: under ReLU with Glorot weights they look perfect.

    References:
        Glorot & Bengio 2010; He et al. 2015, sec. 2.2; Schoenholz et al. 2017, sec. 4.
    """

    code: ClassVar[str] = "IW201"
    symptom: ClassVar[str] = "vanishing_gradient"
    summary: ClassVar[str] = "the backward signal fades on its way to the input"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.DELTA_NORM, Statistic.GRADIENT_MAX_ABS, Statistic.UPDATE_RMS}
    )
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    window: int = depth.WINDOW
    window_of_zeros: int = 4  # steps: a zero-initialised branch needs two updates to open

    abstains = depth.too_short

    def check(self, history: History) -> Iterator[Finding]:
        gone = self._gone(history)
        if gone is not None:
            yield gone
            return
        if not depth.speaks(history):
            return
        profiles = depth.profiles(history, Statistic.DELTA_NORM, self.window)
        # ln of the whole loss, positive
        profile = next((p for p in profiles if p.total > self.log_limit), None)
        if profile is None:
            return
        total = profile.total
        factor = float(np.exp(-profile.fit.log_slope))
        faded = profile.values < profile.values[-1] * np.exp(-self.log_limit)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity=profile.severity(self.log_limit_error),
            layers=profile.where(faded, otherwise=0),
            step=history.step,
            evidence=profile.evidence(
                "gradient_left", float(np.exp(-total)), float(np.exp(-self.log_limit)), factor
            ),
            message=(
                f"The gradient keeps {factor:.2f} of its size per layer on its way to the input: "
                f"{np.exp(-total):.1e} of it is left at {profile.layers[0].path}."
            ),
        )

    def _gone(self, history: History) -> Finding | None:
        """Of the trunk's layers at which no gradient arrives, if the first is among them."""
        found = depth.at_zero(history, Statistic.DELTA_NORM, self.window_of_zeros)
        columns = depth.trunk_columns(history.layers)
        if found is None or not columns or not depth.speaks(history):
            return None
        zero, _ = found
        if zero[columns[0]]:
            paths = [history.layers[i].path for i in columns if zero[i]]
            return self._nothing_left(history, paths)
        # of a ReLU layer that is dead as a whole delta says nothing: it is taken behind the ReLU
        first = self._weights_without_gradient(history)
        return self._nothing_left(history, [first], gradient_max_abs=0.0) if first else None

    def _weights_without_gradient(self, history: History) -> str | None:
        """Path of the trunk's first layer with weights, if none of them gets a gradient."""
        found = depth.at_zero(history, Statistic.GRADIENT_MAX_ABS, self.window_of_zeros)
        first = history.first_weights
        if found is None or first is None or first.is_output or not first.trunk:
            return None
        zero, _ = found
        own = [i for i, variable in enumerate(history.variables) if variable.layer == first.path]
        return first.path if own and all(zero[i] for i in own) else None

    def lets_go(self, finding: Finding) -> bool:
        """A layer that gets its gradient back is no longer cut off."""
        return "gradient_max_abs" in finding.evidence

    def _nothing_left(self, history: History, layers: list[str], **evidence: float) -> Finding:
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=layers,
            step=history.step,
            evidence={
                "gradient_left": 0.0,
                "gradient_left_limit": 0.0,
                "steps": self.window_of_zeros,
                "layers_without": len(layers),
                **evidence,
            },
            message=(
                f"Nothing is left of the gradient at {layers[0]}: it was exactly 0 in "
                f"{self.window_of_zeros} steps in a row."
            ),
        )
