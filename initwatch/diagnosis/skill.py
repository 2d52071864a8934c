"""How well labels are predicted, whatever the loss is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.records import History, Statistic

# As for losses: the error on a batch is up to 5 % off that of its own constant prediction.
NO_BETTER = 0.95
# r^2: a tenth of the labels' variance is told by a straight line of the predictions. A loss may
# ask for another scale than the labels have (logits, logarithms, quantiles), and is served by it.
TELLS = 0.1
LEARNED = 0.6  # as for losses, and half of the variance told by a straight line
TOLD_WELL = 0.5
LEAST_LABELS = 50  # below, r^2 of chance reaches TELLS
LATE_ROWS = 8
# Standard deviation of the predictions over examples / their RMS: float32 tells 1e-7.
SAME = 1e-5

_NEEDS = (
    Statistic.PREDICTION_ERROR,
    Statistic.BASELINE_ERROR,
    Statistic.PREDICTION_COVARIANCE,
    Statistic.PREDICTION_VARIANCE,
    Statistic.TARGET_VARIANCE,
    Statistic.PREDICTION_SQUARE,
    Statistic.LABELS_COUNTED,
)
# What ``skills_of`` reads, for the rules that ask it.
READS = frozenset(_NEEDS) | {
    Statistic.LABEL_MIN,
    Statistic.LABEL_MAX,
    Statistic.LABEL_WHOLE_FRACTION,
}


@dataclass(frozen=True, slots=True)
class Skill:
    """How well one output is predicted in the newest steps.

    Attributes:
        output: which, in the order of the model's losses.
        share: error / that of the best constant prediction (errors of classes, else squared).
        agreement: r^2 of predictions and labels, below 0 where one falls as the other rises; NaN
            where it cannot be told.
        labels: how many labels that is of.
        same: True if the predictions are the same for every example.
    """

    output: int
    share: float
    agreement: float
    labels: int
    same: bool

    @property
    def at_baseline(self) -> bool:
        """True if the predictions are no better than a constant, and do not go with the labels."""
        # a distance falls as the label it is told by rises, and tells as much
        told = np.isfinite(self.agreement) and abs(self.agreement) >= TELLS and not self.same
        return self.labels >= LEAST_LABELS and self.share >= NO_BETTER and not told

    @property
    def is_good(self) -> bool:
        """True if most of what can be told of the labels is."""
        return self.share < LEARNED or self.agreement > TOLD_WELL


def skills_of(history: History) -> tuple[Skill, ...]:
    """Of each output that can be held against labels, over the newest quarter of the rows."""
    if any(statistic not in history.series for statistic in _NEEDS):
        return ()
    rows = len(history.steps)
    newest = slice(-max(LATE_ROWS, rows // 4), None)
    late = {statistic: history.series[statistic][newest] for statistic in _NEEDS}
    found = (_skill(i, late) for i in range(late[_NEEDS[0]].shape[1]))
    if _may_be_no_classes(history):
        return ()
    return tuple(skill for skill in found if skill is not None)


def _may_be_no_classes(history: History) -> bool:
    """True where a loss of the user's own is given class numbers, and not one unit for each.

    Such outputs are features, of which the loss makes something else.
    """
    output = history.output
    if output.loss or not output.numbered:
        return False
    needed = (Statistic.LABEL_MIN, Statistic.LABEL_MAX, Statistic.LABEL_WHOLE_FRACTION)
    if any(statistic not in history.series for statistic in needed):
        return True
    low, high, whole = (history.series[statistic][:, 0] for statistic in needed)
    numbers = np.nanmin(low) >= 0.0 and np.nanmin(whole) == 1.0
    return not (numbers and np.nanmax(high) == output.units - 1)


def _skill(output: int, late: dict[Statistic, NDArray[np.float64]]) -> Skill | None:
    columns = {statistic: values[:, output] for statistic, values in late.items()}
    counts = columns[Statistic.LABELS_COUNTED]
    known = np.isfinite(columns[Statistic.PREDICTION_ERROR]) & (counts > 0.0)
    baseline = _pooled(columns[Statistic.BASELINE_ERROR], counts, known)
    if not known.any() or not baseline > 0.0:
        return None
    error = _pooled(columns[Statistic.PREDICTION_ERROR], counts, known)
    covariance, variance, target, square = (
        _pooled(columns[statistic], counts, known)
        for statistic in (
            Statistic.PREDICTION_COVARIANCE,
            Statistic.PREDICTION_VARIANCE,
            Statistic.TARGET_VARIANCE,
            Statistic.PREDICTION_SQUARE,
        )
    )
    both = variance * target
    agreement = np.nan
    if np.isfinite(both) and both > 0.0:
        agreement = np.sign(covariance) * covariance**2 / both
    if np.isfinite(variance) and variance <= 0.0:
        agreement = 0.0
    same = bool(np.isfinite(square) and square > 0.0 and variance <= SAME**2 * square)
    return Skill(
        output=output,
        share=float(error / baseline),
        agreement=float(agreement),
        labels=int(counts[known].sum()),
        same=same,
    )


def _pooled(
    values: NDArray[np.float64], counts: NDArray[np.float64], known: NDArray[np.bool_]
) -> float:
    """Mean over the labels of all rows in which it is known."""
    used = known & np.isfinite(values)
    if not used.any():
        return float("nan")
    return float(np.average(values[used], weights=counts[used]))
