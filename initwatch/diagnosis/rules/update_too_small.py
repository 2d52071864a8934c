"""IW401 update_too_small: updates too small to get anywhere, in a run that does not learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import updates
from initwatch.diagnosis.course import FEW_ERRORS, Course, course_of, solved
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTooSmall:
    """Even the kernel that moves most changes by next to nothing in a step.

    What it means:
        At this pace no kernel changes by a tenth of its size within thousands of steps: the
        learning rate is too small for these gradients, or clipping leaves nothing of them.
    Why it hurts:
        The loss cannot fall faster than the weights move.
    How it is measured:
        The real update, so that it is right for Adam, schedules, clipping and weight decay: the
        largest median ratio of any kernel over the last 20 sampled steps, after 100 steps of
        which the loss has not fallen; at the end of a fit also where it has fallen, and is still
        above 0.9 of the baseline, of updates ten times as large.
    What it does not flag:
        A converged run (its loss is below a constant guess); a warm-up, whose updates grow and
        are not far off; single layers that get less than others (see vanishing_gradient);
        updates of exactly zero (see unchanged_weights).

    References:
        Karpathy 2015, CS231n (updates of about 1e-3 are customary); SageMaker Debugger's
        WeightUpdateRatio stops at 1e-8.
    """

    code: ClassVar[str] = "IW401"
    symptom: ClassVar[str] = "update_too_small"
    summary: ClassVar[str] = "updates too small to get anywhere, in a run that does not learn"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.UPDATE_RATIO, Statistic.UPDATE_RMS, Statistic.LOSS}
    )
    retracted: ClassVar[bool] = True

    min_ratio: Threshold = threshold(
        2e-5,
        unit="RMS(update) / RMS(weight)",
        source="a fiftieth of the customary 1e-3; 5,000 steps for a tenth of the weights' size",
    )
    slow_ratio: Threshold = threshold(
        2e-4,
        unit="RMS(update) / RMS(weight)",
        source="a fifth of the customary 1e-3; 500 steps for a tenth of the weights' size",
    )
    near: Threshold = threshold(
        0.9,
        unit="loss / loss of a constant at the end of a fit",
        source="a tenth of what there is to learn, at best",
    )
    growth: Threshold = threshold(
        3.0, unit="ratio now / ratio at first", source="a linear warm-up of 100 steps grows by 5"
    )
    far: Threshold = threshold(
        10.0,
        unit="factor below min_ratio",
        source="a linear warm-up that far below takes ten times the steps so far to reach it",
    )
    recent: int = 20
    min_span: int = 100

    def check(self, history: History) -> Iterator[Finding]:
        course = course_of(history)
        if course is None or course.steps < self.min_span:
            return
        # one that falls so slowly that it ends near where it began has not learned either
        crawls = history.over and self._is_near_baseline(course)
        if not (course.hurt or crawls):
            return
        if solved(history, self.recent):
            return
        columns = updates.kernels(history)
        now = updates.ratios(history, columns, slice(-self.recent, None))
        first = updates.ratios(history, columns, slice(0, self.recent))
        if not np.isfinite(now).any():
            return
        top = int(np.nanargmax(now))
        grows = now[top] > self.growth * first[top]
        limit = self.slow_ratio if crawls else self.min_ratio
        if not 0.0 < now[top] < (limit / self.far if grows else limit):
            return
        path = history.variables[columns[top]].layer
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            # without a known constant's loss a converged model would look the same
            severity="warning" if course.is_known else "info",
            layers=[],
            step=history.step,
            evidence={
                "update_ratio": float(now[top]),
                "update_ratio_limit": limit,
                **course.evidence(),
            },
            message=(
                f"No kernel changes by more than {now[top]:.1e} of its size in a step "
                f"({path or 'the largest'}), and the loss stays at {course.trend.end:.4g}."
            ),
        )

    def _is_near_baseline(self, course: Course) -> bool:
        if course.share is not None:
            return course.share >= self.near and (
                course.errors is None or course.errors > FEW_ERRORS
            )
        return course.skill is not None and course.skill.at_baseline
