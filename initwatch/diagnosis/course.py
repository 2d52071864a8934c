"""What several rules ask of the loss: where it stands, and whether the run is hurt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis.skill import Skill, skills_of
from initwatch.measurement.trend import Trend, trend_of
from initwatch.records import History, Statistic

LONG = 100  # steps after which a run that learns is better than a guess
MIN_POINTS = 20  # losses: fewer do not part a trend from the batches' noise
# The loss of a batch is up to 5 % below that of its own constant guess at batch 32.
NO_BETTER = 0.95
# Published vanishing models, which learn the labels' frequencies only, end at 1.000 of a guess.
AT_GUESS = 0.99
# A model whose loss is below this share of a constant guess's has learned most of what labels of
# 10 % noise let it: the published models that end well stand at 0.39 to 0.56.
LEARNED_WELL = 0.6
# Of labels that are classes: a constant guess's errors left. Published models that end well, on
# data with a sixth of noise, stand at 0.25 to 0.41, those that fail at 0.7 and above: between the
# two on a scale of ratios, and more than half of what a guess gets wrong is right.
LEARNED_CLASSES = 0.5
# -ln of the smallest float32: a softmax gives the right class exactly 0 from there on, and a mean
# cross-entropy beyond it is no matter of a few sure and wrong predictions.
MOST_NATS = 149.0 * float(np.log(2.0))
LEAST_NATS = 1e-3  # what a sum in another order, or in few digits, cannot make of 0
# A new head on a frozen base stands at 1.06 of the baseline after 150 steps, and goes on falling.
FAR_ABOVE = 1.25
# Wrong predictions / those of a constant: below, a few sure and wrong ones may make the loss.
FEW_ERRORS = 0.7
SIGNIFICANT = 3.0  # standard deviations: one trendless run in 700


@dataclass(frozen=True, slots=True)
class Course:
    """The loss so far.

    Attributes:
        trend: against its own noise.
        first: the first loss.
        guess: loss of a constant guess now, None where it is not known.
        share: median of loss / loss of a constant guess over the last tenth, None likewise.
        mean_share: all loss / all loss of a constant guess over the last tenth, None likewise.
        errors: median of wrong predictions / those of a constant guess over the last tenth, None
            where labels are no classes.
        finite: False if the newest loss is not.
        steps: optimizer steps from the first loss to the last.
        stands: True if it came down to that of a constant guess and has stood still there for
            the newer half of its course.
        skill: of the output that is predicted best, None where predictions cannot be compared.
        creeps: True if the mean loss of each of the newest epochs was below that of the one
            before.
    """

    trend: Trend
    first: float
    guess: float | None
    share: float | None
    mean_share: float | None
    errors: float | None
    finite: bool
    steps: int
    stands: bool
    skill: Skill | None = None
    creeps: bool = False

    @property
    def falls(self) -> bool:
        """True if it has fallen by 2 % or more, beyond its noise, or does so slowly and surely."""
        return _falls(self.trend) or self.creeps

    @property
    def is_known(self) -> bool:
        """True if the run can be held against the baseline: by its loss, or its predictions."""
        return self.guess is not None or self.skill is not None

    @property
    def no_better(self) -> bool:
        """True if the run is seen to be no better than the baseline."""
        if self.share is not None:
            return self.share >= NO_BETTER
        return self.skill is not None and self.skill.at_baseline

    @property
    def ceiling(self) -> float:
        """The larger of the loss at the start and that of a constant guess."""
        if self.guess is None:
            return self.trend.start
        # a loss may be thrown up by the very first step
        return max(min(self.first, self.trend.start), self.guess)

    @property
    def hurt(self) -> bool:
        """True if the run does not learn: lost, above where it began, or no better than a guess."""
        if not self.finite:
            return True
        if self.risen:
            return True
        if self.share is None and self.skill is not None and not self.skill.at_baseline:
            return False
        return (self.stands and not self.creeps) or (
            not self.falls and (self.share is None or self.share >= NO_BETTER)
        )

    @property
    def risen(self) -> bool:
        """True if it stands above where it began and above a constant guess's by half of that."""
        return self.trend.end > 1.5 * self.ceiling > 0.0

    @property
    def above_guess(self) -> bool:
        """True if the loss is above that of a constant guess."""
        return self.share is not None and self.share > 1.0

    @property
    def learns_well(self) -> bool:
        """True if most of what can be learned is; without a known guess, at a half of its start."""
        if not self.finite:
            return False
        if self.share is not None and self.errors is not None:
            if self.above_guess:
                # a few sure and wrong predictions hold a good classifier's loss above a guess's
                return self.errors < LEARNED_CLASSES and self.trend.end < MOST_NATS
            # a loss of shares that stay near each other, as behind two softmaxes, cannot fall far
            return self.errors < LEARNED_CLASSES or max(self.share, self.errors) < LEARNED_WELL
        if self.share is not None and self.mean_share is not None:
            # of batches of one example more than half can be right and the rest far off
            return self.share < LEARNED_WELL and self.mean_share < 1.0
        if self.skill is not None and self.skill.at_baseline:
            return False
        good = self.skill is not None and self.skill.is_good
        return self.falls and (good or (self.trend.fall > 0.5 and self.trend.start > 0.0))

    def evidence(self) -> dict[str, float | int]:
        """The figures of the loss, for a finding."""
        found: dict[str, float | int] = {
            "loss_start": self.trend.start,
            "loss_now": self.trend.end,
            "trend_z": self.trend.z,
            "batch_noise": self.trend.noise,
            "steps": self.steps,
        }
        if self.guess is not None:
            found["loss_of_a_constant"] = self.guess
        return found


@lru_cache(maxsize=4)  # every rule that looks at the loss asks
def course_of(history: History, points: int = MIN_POINTS) -> Course | None:
    """The loss's course; None with fewer than ``points`` finite losses, unless the newest is not.

    A run that is lost within its first steps has a course too, if it has ten losses.
    """
    finite = np.isfinite(history.losses)
    losses = history.losses[finite]
    lost = len(history.losses) > 0 and not finite[-1]
    if len(losses) < (10 if lost else points):
        return None
    late = slice(-max(5, len(losses) // 10), None)
    trivial, newest = history.trivial_losses[finite][late], losses[late]
    known = trivial > 0.0  # on a batch of one row a constant is always right
    steps = history.loss_steps[finite]
    return Course(
        trend=trend_of(losses),
        first=float(losses[0]),
        guess=float(np.median(trivial[known])) if known.any() else None,
        share=float(np.median(newest[known] / trivial[known])) if known.any() else None,
        mean_share=float(newest[known].sum() / trivial[known].sum()) if known.any() else None,
        errors=_median(history.error_shares[finite][late]),
        finite=not lost,
        steps=int(steps[-1] - steps[0]),
        stands=_stands(steps, losses, history.trivial_losses[finite]),
        skill=min(skills_of(history), key=lambda skill: skill.share, default=None),
        creeps=_creeps(history),
    )


HARM_AFTER = 50  # steps: before, a deep network may still be about to begin to learn
UNKNOWN_AFTER = 100  # steps, where a loss has to tell by its own course alone


def is_harmed(history: History) -> bool:
    """True if there is a measured sign of harm, after enough steps or at the end of a fit."""
    if is_lost(history) or below_zero(history):
        return True
    course = course_of(history)
    if ends_poorly(history, course):
        return True
    if course is None or not course.hurt:
        return False
    return history.over or course.steps >= (HARM_AFTER if course.is_known else UNKNOWN_AFTER)


def is_lost(history: History) -> bool:
    """True if the newest loss was seen and is no finite number, however few there are."""
    newest = history.losses[-1:]
    return bool(history.output.loss_seen and len(newest) and not np.isfinite(newest[0]))


def is_hurt(history: History, course: Course | None) -> bool:
    """True if the loss is lost, or its course, as far as it is known, is that of a run in harm."""
    if is_lost(history) or below_zero(history) or ends_poorly(history, course):
        return True
    return course is not None and course.hurt


def ends_above(history: History, course: Course | None) -> bool:
    """True if a fit of 100 steps or more has ended far above the baseline, though it fell."""
    if course is None or not history.over or course.steps < LONG:
        return False
    if course.share is None:
        skill = course.skill
        return skill is not None and skill.at_baseline and skill.share >= FAR_ABOVE
    return course.share >= FAR_ABOVE and not (
        course.errors is not None and course.errors < FEW_ERRORS
    )


def ends_poorly(history: History, course: Course | None) -> bool:
    """True if a fit of 100 steps or more is known to end without having learned well.

    By itself that is no fault: it may need more steps. Beside one it is what the fault has done.
    """
    if course is None or not history.over or course.steps < LONG or course.learns_well:
        return False
    skill = course.skill
    if course.share is not None:
        return True
    if skill is None:
        return False
    # a loss that asks for another scale than the labels' is served by what goes with them
    told = skill.agreement if np.isfinite(skill.agreement) else 0.0
    return skill.at_baseline or min(skill.share, 1.0 - told) >= LEARNED_WELL


def below_zero(history: History) -> bool:
    """True if a cross-entropy is below 0, where no labels lead that are shares of 1.

    It can fall for ever, and its gradient grows with it. Under weights of examples, which may be
    negative themselves, no guess is known.
    """
    newest, guesses = history.losses[-5:], history.trivial_losses[-5:]
    if "crossentropy" not in history.output.loss or not np.isfinite(guesses).any():
        return False
    return bool(np.median(newest) < -LEAST_NATS)


def does_not_learn(history: History, steps: int) -> bool:
    """True if the loss is lost, or no better than a known constant guess after ``steps`` steps."""
    if is_lost(history) or below_zero(history):
        return True
    course = course_of(history)
    return course is not None and course.is_known and course.hurt and course.steps >= steps


def solved(history: History, window: int) -> bool:
    """True if the loss began above 0, and was exactly 0 in one of the last ``window`` steps seen.

    A hinge's is where all margins are met: there is neither gradient nor anything left to learn.
    """
    losses = history.losses[np.isfinite(history.losses)]
    return bool(len(losses) and losses[0] > 0.0 and (history.losses[-window:] == 0.0).any())


NEWER_POINTS = 30  # losses in which a run that goes on falling would show it


def newer_part(steps: NDArray[np.int64]) -> int:
    """Where the newer half of int64[n] steps begins, with 30 of them or half of them at least.

    Sampling thins out: half of the losses may all be from the first tenth of the run.
    """
    middle = int(np.searchsorted(steps, (steps[0] + steps[-1]) / 2.0))
    return max(len(steps) // 2, min(middle, len(steps) - NEWER_POINTS))


EPOCHS = 3  # in a row: by chance they would all be lower once in six times two
# A loss that learns the labels' frequencies only falls by less over a whole run of digits.
LEAST_FALL = 2e-3


def _creeps(history: History) -> bool:
    """True if the mean loss of each of the newest epochs was below that of the one before.

    It is that of all batches, sampled or not, so that it tells a slow fall under the noise of
    single batches. Penalties are in it: with some, it tells nothing of the data's loss.
    """
    penalties = history.series.get(Statistic.PENALTY)
    if penalties is not None and (np.nan_to_num(penalties) > 0.0).any():
        return False
    newest = history.epoch_losses[-EPOCHS - 1 :]
    if len(newest) <= EPOCHS or not (np.isfinite(newest).all() and (newest > 0.0).all()):
        return False
    return bool((newest[1:] < (1.0 - LEAST_FALL) * newest[:-1]).all())


def _median(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _falls(trend: Trend) -> bool:
    return trend.z < -SIGNIFICANT and trend.fall > 0.02


def _stands(
    steps: NDArray[np.int64], losses: NDArray[np.float64], guesses: NDArray[np.float64]
) -> bool:
    begin = newer_part(steps)
    newer, known = losses[begin:], guesses[begin:] > 0.0
    if len(newer) < MIN_POINTS or not known.any() or _falls(trend_of(newer)):
        return False
    return bool(np.median(newer[known] / guesses[begin:][known]) >= AT_GUESS)
