"""IW105 initial_loss: the loss starts far above the baseline, because outputs start too large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import Course, course_of
from initwatch.diagnosis.initial_weights import Oversized, oversized
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.diagnosis.skill import READS
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialLoss:
    """The outputs start so large that the loss starts many times above the baseline.

    What it means:
        Before any training a network should know nothing: its loss should be about that of always
        predicting the mean, or the frequencies of the classes. Here the initial weights of some
        layers are so large that the predictions are wild, and wrong.
    Why it hurts:
        The first part of the training is spent on undoing that. Under a cross-entropy, nearly all
        examples are surely and wrongly classified, and many runs never recover.
    How it is measured:
        The loss of the first step against that of the best constant prediction (the baseline) for
        the same labels; of a loss whose baseline is not known, the squared error of the
        predictions against the labels' variance. Layers whose weights (or embeddings, or biases)
        are to blame are found by their size at the first step: fan_in x mean(w^2) against what
        the textbook initializer of their activation gives. Fires where the loss is 5 times the
        baseline or more, and such layers are there. It is a warning once the loss is still above
        twice the baseline after 20 steps, as long as it stays above the baseline.
    What it does not flag:
        Targets far from 0 under outputs that start near 0; inputs out of scale (see
        unscaled_input); a penalty; a loss that is below the baseline soon.

    References:
        Glorot & Bengio 2010, sec. 4; Hanin & Rolnick 2018; Karpathy 2019, "A Recipe for Training
        Neural Networks" (verify the loss at the start).
    """

    code: ClassVar[str] = "IW105"
    symptom: ClassVar[str] = "initial_loss"
    summary: ClassVar[str] = "the loss starts far above the baseline: outputs start too large"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.LOSS, Statistic.WEIGHT_RMS})
    uses: ClassVar[frozenset[Statistic]] = READS
    retracted: ClassVar[bool] = False
    hurts_above_guess: ClassVar[bool] = True

    times: Threshold = threshold(
        5.0,
        unit="loss of the first step / baseline",
        source="textbook weights start at 1.0 to 3 times it (tests.bench.programs)",
    )
    still: Threshold = threshold(
        2.0,
        unit="loss now / baseline",
        source="twice what a network that knows nothing loses is not on its way yet",
    )
    patience: int = 20  # steps
    long: int = 100  # steps after which a run that learns is better than the baseline

    def check(self, history: History) -> Iterator[Finding]:
        if not len(history.steps):
            return
        times = start_over_baseline(history)
        if times is None or times < self.times:
            return
        blamed = oversized(history)
        if not blamed:
            return
        course = course_of(history)
        severity = "info"
        if course is not None and course.steps >= self.patience and self._is_above(course):
            severity = "error" if self._is_lost(course) else "warning"
        first, now = float(history.losses[0]), float(history.losses[-1])
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity=severity,  # type: ignore[arg-type]
            layers=[each.layer for each in blamed],
            step=history.step,
            evidence={
                "loss_over_baseline": times,
                "loss_over_baseline_limit": self.times,
                "loss_first": first,
                "loss_now": now,
                "weights_over_suitable": [each.factor for each in blamed],
                **({} if course is None else course.evidence()),
            },
            message=self._message(times, first, blamed),
        )

    def _message(self, times: float, first: float, blamed: list[Oversized]) -> str:
        worst = max(blamed, key=lambda each: each.factor)
        return (
            f"The loss starts at {first:.3g}, about {times:.2g} times what always predicting the "
            f"same would give: the outputs start far too large. {worst.text}, and "
            "training has to undo that first."
        )

    def _is_above(self, course: Course) -> bool:
        if course.share is not None:
            return course.share > self.still
        return course.skill is not None and course.skill.share > self.still

    def _is_lost(self, course: Course) -> bool:
        """True if nothing has been learned for long: not even the labels' order."""
        errors = course.errors
        return course.steps >= self.long and (not course.falls or (errors or 0.0) > 0.9)

    def lets_go(self, finding: Finding) -> bool:
        """Once the weights are not found too large, nothing is blamed on them."""
        return True


def start_over_baseline(history: History) -> float | None:
    """Loss of the first step / that of the baseline; None where that cannot be told.

    Not where it is the targets that are far from the outputs, and not the outputs from 0.
    """
    guess = float(history.trivial_losses[0]) if len(history.trivial_losses) else np.nan
    if np.isfinite(guess) and guess > 0.0 and "crossentropy" in history.output.loss:
        return _finite(float(history.losses[0]) / guess)
    series = history.series
    needed = (Statistic.PREDICTION_ERROR, Statistic.BASELINE_ERROR, Statistic.PREDICTION_SQUARE)
    if any(statistic not in series for statistic in needed):
        return None
    error, baseline, square = (float(series[statistic][0, 0]) for statistic in needed)
    if (
        series[needed[0]].shape[1] != 1
        or history.output.numbered
        or _are_classes(history)
        or not baseline > 0.0
    ):
        return None
    # most of the error is the outputs' own size
    return _finite(error / baseline) if square > 0.5 * error else None


def _are_classes(history: History) -> bool:
    """True for labels of 0 and 1, whose errors are counted and not squared."""
    needed = (Statistic.LABEL_MIN, Statistic.LABEL_MAX, Statistic.LABEL_WHOLE_FRACTION)
    if any(statistic not in history.series for statistic in needed):
        return False
    low, high, whole = (history.series[statistic][:, 0] for statistic in needed)
    return bool(np.nanmin(low) >= 0.0 and np.nanmax(high) <= 1.0 and np.nanmin(whole) == 1.0)


def _finite(ratio: float) -> float | None:
    return ratio if np.isfinite(ratio) else None
