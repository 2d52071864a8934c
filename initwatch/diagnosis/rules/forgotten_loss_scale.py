"""IW405 forgotten_loss_scale: gradients are divided by a scale the loss was not multiplied by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import course_of, is_hurt
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenLossScale:
    """A ``train_step`` of the user's own leaves out ``optimizer.scale_loss``.

    What it means:
        Under mixed_float16 Keras wraps the optimizer: it divides every gradient by a loss scale
        (32,768 at first), which undoes what ``scale_loss`` multiplied the loss by. Here the loss
        was never multiplied.
    Why it hurts:
        Every gradient, and with plain descent every update, is tens of thousands of times too
        small. Adam and its kin hide it, until gradients fall below their epsilon.
    How it is measured:
        Whether the step calls ``scale_loss``, seen while it runs. An error once the run is seen
        to be no better than the baseline, a warning while its loss does not fall, else it is only
        mentioned.
    What it does not flag:
        Keras's own ``train_step``; bfloat16, which has no loss scale.

    References:
        Micikevicius et al. 2018, sec. 3.2.
    """

    code: ClassVar[str] = "IW405"
    symptom: ClassVar[str] = "update_too_small"
    summary: ClassVar[str] = "gradients are divided by a loss scale that the loss never had"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.UPDATE_RATIO, Statistic.LOSS})
    retracted: ClassVar[bool] = True

    largest_ratio: Threshold = threshold(
        1e-5,
        unit="RMS(update) / RMS(weight)",
        source="a hundredth of the customary 1e-3 (Karpathy 2015)",
    )
    min_rows: int = 2
    enough: int = 20  # rows

    def check(self, history: History) -> Iterator[Finding]:
        if not history.output.loss_scale_forgotten or len(history.steps) < self.min_rows:
            return
        ratios = np.nan_to_num(history.last(Statistic.UPDATE_RATIO, 10))
        largest = float(np.median(ratios.max(axis=1, initial=0.0)))
        course = course_of(history)
        stands = course is not None and is_hurt(history, course)
        small = largest < self.largest_ratio and len(history.steps) >= self.enough
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if stands else "warning" if small else "info",
            layers=[],
            step=history.step,
            evidence={
                "update_ratio": largest,
                "update_ratio_limit": self.largest_ratio,
                **({} if course is None else course.evidence()),
            },
            message=(
                "The optimizer divides every gradient by its loss scale, and this train_step never "
                "multiplies the loss by it: call self.optimizer.scale_loss(loss) before taking "
                f"gradients. The largest update changes weights by {largest:.1g} of their size."
            ),
        )
