"""IW202 exploding_gradient: the backward signal grows over layers or over time steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth, sensitivity, updates
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplodingGradient:
    """The backward signal grows on its way to the input: over layers, or over time steps.

    What it means:
        delta, the gradient of the loss with respect to a layer's output, is many times larger
        at the first layers than at the last hidden layer. Or, as in an RNN whose recurrent
        kernel is too large, a layer's gradient is out of all proportion to its weights.
    Why it hurts:
        A learning rate that suits the last layers throws the first ones about; one that suits
        the first leaves the last ones where they are. A gradient out of proportion holds for
        steps far smaller than any that trains.
    How it is measured:
        As in vanishing_gradient, with the sign turned: fires where the fit and the outer
        quarters both grow by more than e^3 = 20 from the last hidden layer to the first, and
        by more than what the normalisation layers on the way account for. Else by the
        sensitivity of the loss to each kernel of n weights, norm(dL/dw) x RMS(w) x n^(1/4) / L,
        in the first step, or in the last 3: by how many times its own size the loss would change
        if the kernel changed by its own size along the gradient. L is the loss with its
        penalties, or that of a constant guess if it is larger.
    What it does not flag:
        Large gradients as such: a sum-reduced or scaled loss, large targets, loss scaling in
        float16. A single step of large gradients past the first.

    References:
        Schoenholz et al. 2017, sec. 4; Hanin & Rolnick 2018. Over time: Bengio et al. 1994;
        Pascanu et al. 2013, sec. 2.
    """

    code: ClassVar[str] = "IW202"
    symptom: ClassVar[str] = "exploding_gradient"
    summary: ClassVar[str] = "the backward signal grows over layers or over time steps"
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
    max_sensitivity: Threshold = threshold(
        1e3,
        unit="norm(dL/dw) x RMS(w) x n^(1/4) / L",
        source="a customary update, 1e-3 of the weights (Karpathy 2015), would change the loss by "
        "all of it; healthy: up to 5.2 in the first 10 steps (tests.bench.zoo.figures)",
    )
    max_sensitivity_error: Threshold = threshold(
        1e5,
        unit="norm(dL/dw) x RMS(w) x n^(1/4) / L",
        source="1e-5 of the weights is past any step that trains; recurrent kernels over 80 steps: "
        "6 at gain 1.5, which trains, 1e5 at gain 2, which does not",
    )
    window: int = depth.WINDOW
    recent: int = 3

    def abstains(self, history: History) -> str | None:
        """Neither over depth nor by its proportion can every gradient be judged."""
        reason = depth.too_short(self, history)
        if reason is None or sensitivity.known(history).any():
            return None
        return f"{reason}; and what a constant guess would lose is not known of this loss"

    def check(self, history: History) -> Iterator[Finding]:
        if not depth.speaks(history):
            return
        over_depth = self._over_depth(history)
        found = over_depth if over_depth is not None else self._out_of_proportion(history)
        if found is not None:
            yield found

    def _over_depth(self, history: History) -> Finding | None:
        profile = depth.profile(history, Statistic.DELTA_NORM, self.window)
        if profile is None:
            return None
        total = -profile.total  # ln of the whole growth, positive
        normalized = sum(layer.trunk and layer.normalized for layer in history.layers)
        limit = self.log_limit + self.normalized_growth * normalized
        if total <= limit:
            return None
        factor = float(np.exp(-profile.fit.log_slope))
        grown = profile.values > profile.values[-1] * np.exp(self.log_limit)
        return Finding(
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

    def _out_of_proportion(self, history: History) -> Finding | None:
        columns = updates.kernels(history)
        # weights may be gone after the first step; later, one step says little
        begun = len(history.steps) <= self.recent
        rows = slice(0, 1) if begun else slice(-self.recent, None)
        worst = sensitivity.sensitivity(history, columns, rows).min(axis=0)
        order = [int(i) for i in np.argsort(-worst) if worst[i] > self.max_sensitivity]
        if not order:
            return None
        row, column, top = (0 if begun else -1), columns[order[0]], float(worst[order[0]])
        variable = history.variables[column]
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if top > self.max_sensitivity_error else "warning",
            layers=history.layers_of(history.variables[columns[i]].layer for i in order),
            step=history.step,
            evidence={
                "sensitivity": top,
                "sensitivity_limit": self.max_sensitivity,
                "gradient_norm": float(history.series[Statistic.GRADIENT_NORM][row, column]),
                "weight_rms": float(history.series[Statistic.WEIGHT_RMS][row, column]),
                "loss": float(history.series[Statistic.LOSS][row, 0]),
            },
            message=(
                f"The gradient of {variable.path} is out of proportion: a change of the weights by "
                f"{1.0 / top:.1e} of their size along it would change the loss by all of it."
            ),
        )
