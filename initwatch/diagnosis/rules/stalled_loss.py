"""IW501 stalled_loss: the loss has not moved from that of a constant guess."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis.course import (
    FEW_ERRORS,
    Course,
    course_of,
    ends_above,
    newer_part,
    solved,
)
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.diagnosis.skill import READS, skills_of
from initwatch.measurement.trend import Trend, trend_of
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class StalledLoss:
    """The loss has not fallen since the first step, and is that of a constant guess.

    What it means:
        After 100 steps the network predicts no better than one that ignores its input.
    Why it hurts:
        Nothing is being learned.
    How it is measured:
        The step's own losses: no significant downward trend (Mann-Kendall z above -3, or a
        steady fall below 0.1 %), a fall below 2 % from first to last, and, over the last tenth
        of the steps seen, a loss not below 0.95 of that of the best constant prediction on the
        same batch; also a loss that has come down to that of a constant (0.99 of it or more),
        and has not fallen for 100 steps since. Taken back when the loss begins to fall. At the
        end of a fit of 300 steps and more also a loss that has fallen (a warning), if it is not
        below 0.95 of that of a constant nor are the errors below 0.7 of a constant's; of 100 and
        more if it is above 1.25 of it, or at it and has come to rest. Where the
        loss is one whose baseline is not known, predictions are held against labels instead: their
        error against that of the best constant prediction, and their correlation with the labels.
    What it does not flag:
        A converged or fine-tuned model (its loss is below a constant guess, or 0); a slow but
        steady fall under noise; a run that has fallen below a guess and is flat now; a
        cross-entropy that has fallen and stands far above a guess, which a few sure and wrong
        predictions can do.

    References:
        Mann 1945; Kendall 1975; Sen 1968 (median slope).
    """

    code: ClassVar[str] = "IW501"
    symptom: ClassVar[str] = "stalled_loss"
    summary: ClassVar[str] = "the loss has not moved from that of a constant guess"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.LOSS})
    uses: ClassVar[frozenset[Statistic]] = READS
    retracted: ClassVar[bool] = True

    min_fall: Threshold = threshold(
        0.02, unit="relative fall", source="half of it is the median batch noise of digit MLPs"
    )
    max_z: Threshold = threshold(
        -3.0, unit="standard deviations", source="one trendless run in 700 by chance"
    )
    max_z_of_fall: Threshold = threshold(
        -2.0, unit="standard deviations", source="one trendless run in 44 by chance"
    )
    negligible: Threshold = threshold(
        1e-3, unit="relative fall", source="learning only class frequencies of digits gives 1e-3"
    )
    trivial_share: Threshold = threshold(
        0.95, unit="loss / loss of a constant", source="batch entropy is up to 5 % low at batch 32"
    )
    at_guess: Threshold = threshold(
        0.99,
        unit="loss / loss of a constant",
        source="published vanishing models fall from above to 1.000 of it and stay there",
    )
    above: Threshold = threshold(
        1.03,
        unit="loss / loss of a constant",
        source="what has come down to a constant's loss and learned nothing else is within 3 %; a "
        "new head on a frozen base stands at 1.06 after 150 steps, and goes on falling",
    )
    sure: Threshold = threshold(
        1.5,
        unit="cross-entropy / that of a constant",
        source="above it, a few sure and wrong predictions make the loss: accuracy 0.81 at 30",
    )
    few_errors: Threshold = threshold(
        FEW_ERRORS,
        unit="wrong predictions / those of a constant",
        source="published models that end well stand at 0.41 and below, those that fail at 0.7 and "
        "above",
    )
    min_span: int = 100  # steps
    long: int = 300  # steps, in which small networks that learn have learned (tests.bench.zoo)
    min_points: int = 30
    recent: int = 4  # steps

    def abstains(self, history: History) -> str | None:
        """Without a constant's loss a converged model looks the same."""
        known = np.isfinite(history.trivial_losses).any() or bool(skills_of(history))
        if len(history.trivial_losses) and not known:
            return (
                "predictions cannot be held against labels, and what the best constant prediction "
                "would lose is not known of this loss: it is judged by its own course alone"
            )
        return None

    def check(self, history: History) -> Iterator[Finding]:
        finite = np.isfinite(history.losses)
        steps = history.loss_steps[finite]
        if len(steps) < self.min_points or steps[-1] - steps[0] < self.min_span:
            return
        course = course_of(history, self.min_points)
        if course is None or solved(history, self.recent):
            return
        if course.creeps and not history.over:
            return
        found = self._stands(history, course)
        if found is None and history.over:
            found = self._no_better(history, course) or self._predicts_nothing(history, course)
        if found is not None:
            yield found

    def _no_better(self, history: History, course: Course) -> Finding | None:
        """For a loss that has fallen, and ends no better than a constant guess."""
        errors = course.errors
        if course.guess is None or course.share is None or course.share < self.trivial_share:
            return None
        if course.steps < self.long and not (
            ends_above(history, course) or self._has_come_to_rest(history, course)
        ):
            return None
        if errors is not None and errors < self.few_errors:
            return None  # a few sure and wrong predictions make the loss
        now, guess = course.trend.end, course.guess
        still_falls = self._falls(trend_of(self._newer_losses(history)))
        when = "still fell" if still_falls else "fell at first"
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=[],
            step=history.step,
            evidence={
                "loss_share_of_a_constant": course.share,
                "loss_share_of_a_constant_limit": self.trivial_share,
                **course.evidence(),
                **({} if errors is None else {"error_share_of_a_constant": errors}),
            },
            message=(
                f"Training has ended after {course.steps} steps, and the loss ({now:.4g}) is no "
                f"better than that of a constant guess ({guess:.4g}), though it {when}."
            ),
        )

    def _has_come_to_rest(self, history: History, course: Course) -> bool:
        """True if the newer half of a fit does not fall any more, at the baseline."""
        if course.creeps or course.share is None or course.share < self.at_guess:
            return False
        return self._newer_half_rests(history)

    def _newer_half_rests(self, history: History) -> bool:
        newer = self._newer_losses(history)
        return len(newer) >= self.min_points and not self._falls(trend_of(newer))

    @staticmethod
    def _newer_losses(history: History) -> NDArray[np.float64]:
        """Those of the newer half of the course."""
        finite = np.isfinite(history.losses)
        return history.losses[finite][newer_part(history.loss_steps[finite]) :]

    def _predicts_nothing(self, history: History, course: Course) -> Finding | None:
        """For an output that is predicted no better than by a constant, whatever the loss does."""
        if course.guess is not None and history.output.loss:
            return None
        rests = not course.creeps and self._newer_half_rests(history)
        if course.steps < self.long and not (rests or ends_above(history, course)):
            return None
        lost = [skill for skill in skills_of(history) if skill.at_baseline]
        if not lost:
            return None
        worst = max(lost, key=lambda skill: skill.share)
        several = len(skills_of(history)) > 1
        of = f" of output {worst.output + 1}" if several else ""
        every = (
            "are the same for every example"
            if worst.same
            else "are no better than always predicting the mean, or the most common class"
        )
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=[],
            step=history.step,
            evidence={
                "error_over_baseline": worst.share,
                "error_over_baseline_limit": self.trivial_share,
                "agreement": worst.agreement,
                "labels": worst.labels,
                "output": worst.output,
                **course.evidence(),
            },
            message=(
                f"Training has ended after {course.steps} steps, and the predictions{of} {every}: "
                f"their error is {worst.share:.2g} times as large."
            ),
        )

    def _stands(self, history: History, course: Course) -> Finding | None:
        if course.share is None and course.skill is not None and not course.skill.at_baseline:
            return None
        finite = np.isfinite(history.losses)
        losses, steps = history.losses[finite], history.loss_steps[finite]
        guess, trend = course.guess, course.trend
        share = 1.0 if course.share is None else course.share
        if share < self.trivial_share:
            return None
        begin = 0
        if self._falls(trend):
            # what fell to a guess and stands still since is judged by its newer half; below a
            # guess it could be a slow fall under noise
            begin = newer_part(steps)
            long_enough = steps[-1] - steps[begin] >= self.min_span
            long_enough &= len(losses) - begin >= self.min_points
            constant = history.trivial_losses[finite][begin:]
            known = constant > 0.0
            if not long_enough or not known.any():
                return None
            if "crossentropy" in history.output.loss and share > self.sure:
                return None
            if share > self.above and (course.creeps or course.steps < self.long):
                return None
            if np.median(losses[begin:][known] / constant[known]) < self.at_guess:
                return None
            trend = trend_of(losses[begin:])
            if self._falls(trend):
                return None
        above = bool(begin) and share > self.above
        evidence: dict[str, float | int] = {
            "loss_fall": trend.fall,
            "loss_fall_limit": self.min_fall,
            "trend_z": trend.z,
            "steady_fall": trend.steady,
            "loss_start": trend.start,
            "loss_now": trend.end,
            "batch_noise": trend.noise,
            "steps": int(steps[-1] - steps[begin]),
        }
        if guess is not None:
            evidence["loss_of_a_constant"] = guess
            evidence["loss_share_of_a_constant"] = share
        against = ""
        skill = course.skill if guess is None else None
        if skill is not None:
            evidence["error_over_baseline"] = skill.share
            evidence["agreement"] = skill.agreement
            against = ", and the predictions are no better than always the same one"
        if guess is not None:
            near = share < 1.1
            against = f", {'that of a' if near else 'and a'} constant guess ({guess:.4g})"
            against += "" if near else " is better"
        return Finding(
            code=self.code,
            symptom=self.symptom,
            # without a known constant's loss a converged model would look the same
            severity="info" if not course.is_known else "warning" if above else "error",
            layers=[],
            step=history.step,
            evidence=evidence,
            message=(
                f"The loss has not fallen in {evidence['steps']} steps: {trend.start:.4g} at "
                f"first, {trend.end:.4g} now{against}."
            ),
        )

    def _falls(self, trend: Trend) -> bool:
        # batches that come round again, or one batch of all rows, have no noise: there a fall of
        # nothing is significant too
        steadily = trend.z < self.max_z and trend.steady > self.negligible
        # the medians of few noisy losses differ by more than that without a trend
        clearly = trend.fall > self.min_fall and trend.z < self.max_z_of_fall
        return clearly or steadily
