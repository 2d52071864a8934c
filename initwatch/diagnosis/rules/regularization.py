"""IW504 regularization: a penalty or a constraint outweighs the loss of the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import Course, course_of, ends_poorly, solved
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Regularization:
    """Regularizers weigh more than the data's own loss, or constraints cut the weights down.

    What it means:
        The steps make the weights smaller before they make the predictions better. A factor that
        is usual for one kind of penalty or one size of network is far too large for another. A
        constraint, such as a largest norm, does the same to the weights after each step.
    Why it hurts:
        Weights that are pulled to 0 faster than the data can pull them away carry no signal.
    How it is measured:
        What regularizers and add_loss put into the step's loss, against the rest of it, a median
        over the last 20 sampled steps; or the run began with such a penalty, and that has shrunk to
        a tenth, or the weights to a half. Of a constraint: the size of its kernel after the first
        step and now, less than a half of what it was initialised to. Both in a run that is no
        better than the baseline after 50 steps, or ends after 100 without having learned well.
    What it does not flag:
        Penalties and constraints of a run that learns, however tight; losses that are made by
        add_loss alone.

    References:
        Goodfellow, Bengio & Courville 2016, sec. 7.1.
    """

    code: ClassVar[str] = "IW504"
    symptom: ClassVar[str] = "regularization"
    summary: ClassVar[str] = "a penalty or a constraint outweighs the loss of the data"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.PENALTY, Statistic.LOSS})
    uses: ClassVar[frozenset[Statistic]] = frozenset({Statistic.WEIGHT_RMS})
    retracted: ClassVar[bool] = True

    outweighs: Threshold = threshold(
        1.0,
        unit="penalty / loss of the data",
        source="above, most of what the steps are made of is the penalty",
    )
    shrunk: Threshold = threshold(
        0.5,
        unit="RMS(w) now / at first",
        source="customary penalties (1e-4) leave weights as large as they were or larger",
    )
    spent: Threshold = threshold(
        0.1,
        unit="penalty now / at first",
        source="a tenth: what it was to shrink is gone, and the run is no better for it",
    )
    window: int = 20
    min_steps: int = 50

    def check(self, history: History) -> Iterator[Finding]:
        course = course_of(history)
        if course is None or course.steps < self.min_steps or solved(history, self.window):
            return
        if not (course.no_better or ends_poorly(history, course)) or not course.finite:
            return
        yield from self._cut_down(history, course)
        penalties = np.nan_to_num(history.last(Statistic.PENALTY, self.window)[:, 0])
        at_first = float(np.nan_to_num(history.series[Statistic.PENALTY][0, 0]))
        penalty = float(np.median(penalties))
        loss = float(np.median(history.losses[-self.window :]))
        left = self._left(history)
        # weights or outputs that a penalty has shrunk to nothing no longer cost any
        shrunk = left < self.shrunk or penalty < self.spent * at_first
        began = at_first > self.outweighs * float(history.losses[0]) and shrunk
        if not (penalty > self.outweighs * loss > 0.0 or began):
            return
        size = max(penalty, at_first)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if course.hurt else "warning",
            layers=[],
            step=history.step,
            evidence={
                "penalty_over_loss": size / loss if loss > 0.0 else float("inf"),
                "penalty_over_loss_limit": self.outweighs,
                "penalty_first": at_first,
                "penalty_now": penalty,
                "weights_left": left,
                **course.evidence(),
            },
            message=(
                f"The penalty on the weights ({size:.3g}) outweighs the loss of the data "
                f"({loss:.3g}), and {_outcome(course)}: the steps shrink the weights instead of "
                "fitting the data."
            ),
        )

    def _cut_down(self, history: History, course: Course) -> Iterator[Finding]:
        """For kernels that their constraint has made smaller than they were initialised."""
        if Statistic.WEIGHT_RMS not in history.series or len(history.steps) < 2:
            return
        first, second = history.first(Statistic.WEIGHT_RMS, 2)
        now = history.last(Statistic.WEIGHT_RMS, 1)[0]
        held = [
            i
            for i, variable in enumerate(history.variables)
            if variable.constraint
            and variable.role.endswith("kernel")
            and max(second[i], now[i]) < self.shrunk * first[i]
        ]
        if not held:
            return
        tightest = min(held, key=lambda i: now[i] / first[i])
        variable, left = history.variables[tightest], float(now[tightest] / first[tightest])
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if course.hurt else "warning",
            layers=history.layers_of([history.variables[i].layer for i in held]),
            step=history.step,
            evidence={
                "kernel_left_by_constraint": left,
                "kernel_left_by_constraint_limit": self.shrunk,
                "constraint": variable.constraint,
                **course.evidence(),
            },
            message=(
                f"{variable.constraint} cuts the kernel of {variable.layer} to {left:.2g} of the "
                f"size it was initialised to, and {_outcome(course)}."
            ),
        )

    def _left(self, history: History) -> float:
        """Median over kernels of their size now over that at first."""
        if Statistic.WEIGHT_RMS not in history.series:
            return 1.0
        first, now = (
            history.first(Statistic.WEIGHT_RMS, 1)[0],
            history.last(Statistic.WEIGHT_RMS, 1)[0],
        )
        kernels = [
            i
            for i, v in enumerate(history.variables)
            if v.role.endswith("kernel") and first[i] > 0.0
        ]
        return float(np.median(now[kernels] / first[kernels])) if kernels else 1.0


def _outcome(course: Course) -> str:
    if course.no_better:
        return "the model predicts no better than always the same"
    return "the model has not learned well"
