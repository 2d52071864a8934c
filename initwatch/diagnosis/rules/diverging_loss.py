"""IW502 diverging_loss: the loss has risen far above where it began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from initwatch.diagnosis.course import NO_BETTER, SIGNIFICANT, course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergingLoss:
    """The loss is far above both its start and a constant guess, and does not come back.

    What it means:
        Training makes the model worse: nearly always the learning rate is too large, for these
        inputs and weights.
    Why it hurts:
        It ends in NaN, in dead units, or on a plateau far from any solution.
    How it is measured:
        The median of the last tenth of the step's own losses (5 at least) against that of the
        first tenth and the loss of a constant guess: twice the larger of them with a rise beyond
        the batches' noise (Mann-Kendall z above 3), or ten times it. Also a model that began
        well below a constant guess and has lost that.
    What it does not flag:
        A spike that passes; the rise that a warm-up or a restart of the learning rate brings, as
        long as it stays below a guess; losses of players against each other, which have no
        constant guess.

    References:
        Mann 1945; Kendall 1975.
    """

    code: ClassVar[str] = "IW502"
    symptom: ClassVar[str] = "diverging_loss"
    summary: ClassVar[str] = "the loss has risen far above where it began"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.LOSS})
    retracted: ClassVar[bool] = True

    rise: Threshold = threshold(
        2.0,
        unit="loss / max(start, guess)",
        source="healthy: up to 1.13, a GAN 1.8 (tests.bench.zoo.figures)",
    )
    lost: Threshold = threshold(
        10.0, unit="loss / max(start, guess)", source="as far as no batch of a healthy run goes"
    )
    min_points: int = 10

    def check(self, history: History) -> Iterator[Finding]:
        course = course_of(history, self.min_points)
        if course is None or course.ceiling <= 0.0:
            return
        trend, guess = course.trend, course.guess
        times = trend.end / course.ceiling
        rises = trend.z > SIGNIFICANT
        fell_back = (
            guess is not None
            and course.share is not None
            and trend.start < 0.5 * guess
            and course.share >= NO_BETTER
            and trend.end > self.rise * trend.start
            and rises
        )
        far = times > self.lost if guess is not None else times > self.lost and rises
        if not (far or fell_back or (guess is not None and times > self.rise and rises)):
            return
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if far else "warning",
            layers=[],
            step=history.step,
            evidence={
                "loss_rise": trend.end / trend.start if fell_back else times,
                "loss_rise_limit": self.rise,
                **course.evidence(),
            },
            message=(
                f"The loss has risen from {trend.start:.4g} to {trend.end:.4g}"
                f"{'' if guess is None else f' (a constant guess: {guess:.4g})'}."
            ),
        )
