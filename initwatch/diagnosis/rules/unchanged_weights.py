"""IW403 unchanged_weights: the optimizer leaves weights as they are under a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchangedWeights:
    """Trainable weights stand still to the last bit, step after step, under a gradient.

    What it means:
        The optimizer gets a gradient and changes nothing: a learning rate of zero, or an update
        below the last digit of the weights (a tiny rate, or float16 weights).
    Why it hurts:
        These weights are not trained.
    How it is measured:
        w_after - w_before is exactly 0 in every sampled step so far, over 20 optimizer steps,
        while dL/dw is not 0 in at least half of them. Or the model has no trainable weights, or
        a fit ends before the optimizer's first update.
    What it does not flag:
        Frozen layers; weights without a gradient (see zero_gradient); steps that loss scaling
        skips; batches between two updates of accumulated gradients.

    References:
        Higham 2002, sec. 2.1: w + u = w in floating point for |u| below half a unit in the last
        place of w.
    """

    code: ClassVar[str] = "IW403"
    symptom: ClassVar[str] = "unchanged_weights"
    summary: ClassVar[str] = "the optimizer leaves weights as they are under a gradient"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.UPDATE_RMS, Statistic.GRADIENT_RMS}
    )
    retracted: ClassVar[bool] = True
    persists: ClassVar[bool] = True

    max_update: Threshold = threshold(
        0.0, unit="RMS(update)", source="exactly zero: not one bit of the weights has changed"
    )
    min_steps: int = 20

    def frozen(self, variables: int) -> Finding:
        """Of a model all of whose weights are frozen: there is no step to measure.

        Args:
            variables: how many it has.
        """
        return self._of_all(
            0,
            {"trainable_variables": 0, "of_variables": variables},
            "No weight can change: every layer of the model is frozen. Set "
            "layer.trainable = True on what is to be trained, then compile again.",
        )

    def _of_all(self, step: int, evidence: dict[str, float | int], message: str) -> Finding:
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=[],
            step=step,
            evidence=evidence,
            message=message,
        )

    def _never_updated(self, history: History) -> Finding | None:
        """Of a fit that has ended before the optimizer's first update."""
        moved = history.series[Statistic.UPDATE_RMS]
        gradient = history.series[Statistic.GRADIENT_RMS]
        if not history.over or len(moved) < self.min_steps or history.step > 0:
            return None
        if not (np.nan_to_num(moved) == 0.0).all() or not (np.nan_to_num(gradient) > 0.0).any():
            return None
        return self._of_all(
            history.step,
            {
                "update_rms": 0.0,
                "update_rms_limit": self.max_update,
                "batches_seen": len(moved),
            },
            f"Training has ended, and the optimizer has not made its first update "
            f"({len(moved)} batches were seen): it adds up the gradients of more batches "
            "than there are.",
        )

    def check(self, history: History) -> Iterator[Finding]:
        never = self._never_updated(history)
        if never is not None:
            yield never
            return
        if history.step - int(history.steps[0] if len(history.steps) else 0) < self.min_steps:
            return
        moved = history.series[Statistic.UPDATE_RMS]
        gradient = history.series[Statistic.GRADIENT_RMS]
        if len(moved) < self.min_steps:
            return
        stands = np.all(moved <= self.max_update, axis=0)
        pulled = np.mean(gradient > 0.0, axis=0) >= 0.5
        places = np.flatnonzero(stands & pulled).tolist()
        if not places:
            return
        whole = bool(stands[pulled].all())
        paths = dict.fromkeys(history.variables[i].layer for i in places)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if whole else "warning",
            layers=[path for path in paths if path],
            step=history.step,
            evidence={
                "update_rms": float(moved[:, places].max()),
                "update_rms_limit": self.max_update,
                "gradient_rms": float(np.median(gradient[:, places])),
                "variables": len(places),
                "of_variables": len(history.variables),
            },
            message=(
                f"{'No weight' if whole else f'No weight of {next(iter(paths))}'} has changed in "
                f"{len(moved)} sampled steps, though its gradient is not zero."
            ),
        )
