"""IW402 update_too_large: updates as large as the weights they change, in a run that is hurt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import updates
from initwatch.diagnosis.course import LONG, NO_BETTER, course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTooLarge:
    """One step of the optimizer changes kernels by a large part of their own size.

    What it means:
        RMS(w_after - w_before) is a third of RMS(w) or more: after three steps little is left
        of what the weights were. The learning rate is too large for this model, optimizer and
        initialisation.
    Why it hurts:
        The gradient holds for small steps only; what such a step does to the loss is chance.
    How it is measured:
        The real update, so that it is right for Adam, schedules, clipping and weight decay:
        the median ratio of each kernel over the first 5 sampled steps, or over the last 10,
        whichever is larger, together with a loss that does not fall, has risen, or is no better
        than a constant guess after 100 steps.
    What it does not flag:
        A run that learns with large steps; biases, scales and kernels that begin at zero.
        Kernels before a normalisation, whose size has no effect, are given three times as much.

    References:
        Karpathy 2015, CS231n (updates of about 1e-3 are customary); SageMaker Debugger's
        WeightUpdateRatio stops at 10.
    """

    code: ClassVar[str] = "IW402"
    symptom: ClassVar[str] = "update_too_large"
    summary: ClassVar[str] = "updates as large as the weights they change, in a run that is hurt"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.UPDATE_RATIO, Statistic.UPDATE_RMS, Statistic.LOSS}
    )
    retracted: ClassVar[bool] = True

    max_ratio: Threshold = threshold(
        0.3,
        unit="RMS(update) / RMS(weight)",
        source="300 x the customary 1e-3; healthy: up to 0.05, one 0.25 (tests.bench.zoo.figures)",
    )
    normalized_factor: Threshold = threshold(
        3.0,
        unit="factor on max_ratio",
        source="weights before a normalisation grow until their steps turn them less",
    )
    early: int = 5
    recent: int = 10
    min_losses: int = 20
    long: int = LONG

    def check(self, history: History) -> Iterator[Finding]:
        if len(history.steps) < self.early:
            return
        course = course_of(history, self.min_losses)
        if course is None:
            return
        # with such steps behind it, a run that is no better than a guess is not on its way
        no_better = course.steps >= self.long and (course.share or 0.0) >= NO_BETTER
        if not course.hurt and not no_better:
            return
        columns = updates.kernels(history)
        with np.errstate(invalid="ignore"):
            ratio = np.fmax(
                updates.ratios(history, columns, slice(0, self.early)),
                updates.ratios(history, columns, slice(-self.recent, None)),
            )
        free = {layer.path for layer in history.layers if layer.normalized}
        paths = [history.variables[i].layer for i in columns]
        limits = [
            self.max_ratio * (self.normalized_factor if path in free else 1.0) for path in paths
        ]
        found = sorted(
            (
                (float(value), limit, path)
                for value, limit, path in zip(ratio, limits, paths, strict=True)
                if value > limit
            ),
            reverse=True,
        )
        if not found:
            return
        worst, limit, path = found[0]
        lost = not course.finite or course.trend.end > 10.0 * course.ceiling
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if lost else "warning",
            layers=list(dict.fromkeys(place for _, _, place in found if place)),
            step=history.step,
            evidence={"update_ratio": worst, "update_ratio_limit": limit, **course.evidence()},
            message=(
                f"One step changes the kernel of {path or 'a layer'} by {worst:.2g} of its size, "
                f"and the loss went from {course.trend.start:.4g} to "
                f"{'NaN or infinity' if not course.finite else format(course.trend.end, '.4g')}."
            ),
        )
