"""IW503 oscillating_loss: the loss falls and is thrown back, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis.course import course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class OscillatingLoss:
    """The loss swings by as much as there is to learn, not by what batches differ.

    What it means:
        Steps overshoot: what one of them gains, another throws away. The learning rate is too
        large for this stretch of the loss.
    Why it hurts:
        Training goes on for long without getting anywhere.
    How it is measured:
        The second half of the step's own losses, in 20 spans of at least 4: their means turn and
        swing, up and down again, by more than half of the loss of a constant guess (or of the
        start, where that is not known), three times or more.
    What it does not flag:
        Noise of small batches, which means over spans even out; one spike; restarts of the
        learning rate, which come seldom.

    References:
        The range and turns of the loss as AUTOTRAINER counts them (Zhang et al. 2021, sec. 3),
        here on steps and relative to what a constant guess loses.
    """

    code: ClassVar[str] = "IW503"
    symptom: ClassVar[str] = "oscillating_loss"
    summary: ClassVar[str] = "the loss falls and is thrown back, again and again"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.LOSS})
    retracted: ClassVar[bool] = True

    swing: Threshold = threshold(
        0.5,
        unit="swing / loss of a constant guess",
        source="healthy trainings swing so by 0.35 at most (tests.bench.zoo.figures)",
    )
    turns: int = 3
    spans: int = 20
    min_points: int = 160

    def check(self, history: History) -> Iterator[Finding]:
        course = course_of(history, self.min_points)
        if course is None or not course.finite or course.ceiling <= 0.0:
            return
        losses = history.losses[np.isfinite(history.losses)]
        late = losses[len(losses) // 2 :]
        starts = np.arange(self.spans) * len(late) // self.spans
        means = np.add.reduceat(late, starts) / np.diff([*starts, len(late)])
        size = course.guess if course.guess is not None else course.trend.start
        turns = swings(means / size, self.swing)
        if turns < self.turns:
            return
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=[],
            step=history.step,
            evidence={
                "loss_swings": turns,
                "loss_swings_limit": self.turns,
                "loss_lowest": float(means.min()),
                "loss_highest": float(means.max()),
                **course.evidence(),
            },
            message=(
                f"The loss swings between {means.min():.4g} and {means.max():.4g}: {turns} times "
                f"in the last {len(late)} steps seen."
            ),
        )


def swings(values: NDArray[np.float64], least: float) -> int:
    """How often float64[n] rises by ``least`` or more from a low that it had fallen to as far."""
    count, high, low, falling = 0, float(values[0]), float(values[0]), False
    for value in values.tolist():
        if falling:
            low = min(low, value)
            if value >= low + least:
                count, falling, high = count + 1, False, value
        else:
            high = max(high, value)
            if value <= high - least:
                falling, low = True, value
    return count
