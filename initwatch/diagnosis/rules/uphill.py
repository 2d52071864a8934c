"""IW404 uphill: the updates go against the direction in which the loss falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import updates
from initwatch.diagnosis.course import LONG, course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.diagnosis.skill import NO_BETTER, READS
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Uphill:
    """Training moves the weights the wrong way: the loss, or the fit to the labels, gets worse.

    What it means:
        A sign is wrong: an optimizer of the user's own adds the gradient instead of subtracting
        it, or the loss that is minimised is one that should be maximised.
    Why it hurts:
        Every step makes the model worse.
    How it is measured:
        The sign of each weight's update against that of its gradient, in the first sampled steps:
        plain descent and Adam move every weight against its gradient, so a share of those that go
        along with it above 0.9 is no accident. Or a loss that falls below 0 without end while the
        predictions get worse than the baseline by more than a factor of two. Or sample weights
        none of which is above 0, beside a loss that is not 0.
    What it does not flag:
        Momentum and weight decay, which move some weights along their gradient; a learning rate
        that is too large, under which the loss rises although every step goes downhill; losses
        that may be below 0 (likelihoods) of a model whose predictions fit.

    References:
        Robbins & Monro 1951; Kingma & Ba 2015, alg. 1 (the sign of an update).
    """

    code: ClassVar[str] = "IW404"
    symptom: ClassVar[str] = "uphill"
    summary: ClassVar[str] = "updates go against the direction in which the loss falls"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.UPDATE_DESCENT, Statistic.UPDATE_RMS, Statistic.LOSS}
    )
    uses: ClassVar[frozenset[Statistic]] = READS
    retracted: ClassVar[bool] = False
    persists: ClassVar[bool] = True

    min_descent: Threshold = threshold(
        -0.9,
        unit="share of weights moved against their gradient less share moved along it",
        source="descent 1, Adam 1; at random 0 with 0.02 to either side (4096 weights)",
    )
    worse: Threshold = threshold(
        2.0,
        unit="error / that of the baseline",
        source="predictions that fit what labels there are do not get there by chance",
    )
    faster: Threshold = threshold(
        3.0,
        unit="loss now / loss at the middle of its course, both below 0",
        source="a steady fall doubles it, an error that grows steadily squares that: 4",
    )
    early: int = 5  # rows
    min_steps: int = LONG

    def check(self, history: History) -> Iterator[Finding]:
        if len(history.steps) < 2:
            return
        for way in (self._by_updates, self._by_weights, self._by_loss):
            found = way(history)
            if found is not None:
                yield found
                return

    def _found(self, history: History, evidence: dict[str, float | int], message: str) -> Finding:
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=[],
            step=history.step,
            evidence=evidence,
            message=message,
        )

    def _by_updates(self, history: History) -> Finding | None:
        rows = history.first(Statistic.UPDATE_DESCENT, self.early)
        columns = updates.kernels(history)
        known = np.isfinite(rows[:, columns])
        if not columns or not known.any():
            return None
        descent = float(np.median(rows[:, columns][known]))
        if descent > self.min_descent:
            return None
        return self._found(
            history,
            {
                "update_descent": descent,
                "update_descent_limit": self.min_descent,
                "steps": len(rows),
            },
            f"{(1.0 - descent) / 2.0:.0%} of the weights are moved along their gradient, "
            "not against it: the optimizer goes uphill, and every step makes the loss "
            "larger. Look at the sign in the optimizer's update.",
        )

    def _by_weights(self, history: History) -> Finding | None:
        """For labels none of which counts for more than nothing, under a loss that is not 0."""
        if not history.output.weighted or Statistic.LABELS_COUNTED not in history.series:
            return None
        counted, losses = history.series[Statistic.LABELS_COUNTED], history.losses
        if len(counted) < self.early or not (counted == 0.0).all() or not losses.all():
            return None
        return self._found(
            history,
            {
                "labels_counted": 0.0,
                "labels_counted_limit": 0.0,
                "loss_now": float(losses[-1]),
                "steps": len(counted),
            },
            "Every sample weight is below 0, so that training drives predictions away "
            f"from their labels; the loss is {losses[-1]:.3g}.",
        )

    def _by_loss(self, history: History) -> Finding | None:
        course = course_of(history)
        if course is None or course.steps < self.min_steps or course.skill is None:
            return None
        if history.output.loss:
            return None  # of Keras's, some may be below 0, and of others another rule speaks
        start, end = course.trend.start, course.trend.end
        falls_without_end = end < 0.0 and end < start and course.trend.z < -3.0
        skill = course.skill
        # errors of classes cannot be twice those of the baseline
        against = skill.agreement < 0.0 and skill.share > NO_BETTER
        # a similarity converges; what is driven away from its labels gains speed
        losses = history.losses[np.isfinite(history.losses)]
        runs_away = end < self.faster * float(losses[len(losses) // 2]) < 0.0
        unfit = skill.share >= self.worse and (runs_away or not skill.is_good)
        lost = skill.at_baseline or against or unfit
        if not (falls_without_end and lost):
            return None
        return self._found(
            history,
            {
                "error_over_baseline": course.skill.share,
                "error_over_baseline_limit": self.worse,
                **course.evidence(),
            },
            f"The loss falls below 0 ({end:.3g} now) while the predictions get worse "
            f"({course.skill.share:.2g} times the error of always predicting the same): "
            "the loss has the wrong sign.",
        )
