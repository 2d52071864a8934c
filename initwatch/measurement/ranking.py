"""Loss curves in figures, and which of them differ by more than seeds do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initwatch.records import Candidate, Comparison, Run
from initwatch.records.comparison import Verdict

# The usual level, by convention only (Fisher 1925, sec. 12).
CONFIDENCE = 0.95


def final_loss(losses: NDArray[np.float64]) -> float:
    """Median of the last tenth of float64[steps], of 1 step or more; NaN if not all finite."""
    end = losses[-max(1, len(losses) // 10) :]
    return float(np.median(end)) if np.isfinite(end).all() else math.nan


def area_under(losses: NDArray[np.float64]) -> float:
    """Area under float64[steps] by the trapezoidal rule [loss x steps]; NaN if not all finite."""
    if not np.isfinite(losses).all():
        return math.nan
    return float(np.sum(losses) - (losses[0] + losses[-1]) / 2.0)


def coverage(t: float, freedom: int) -> float:
    """P(|T| <= t) of Student's T, t >= 0, with ``freedom`` >= 1 degrees of freedom.

    Abramowitz & Stegun 1964, eq. 26.7.3 (odd) and 26.7.4 (even): finite sums, exact.
    """
    theta = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(theta) if odd else 1.0), 0.0
    for j in range(freedom // 2):
        total += term
        term *= math.cos(theta) ** 2 * (2 * j + 1 + odd) / (2 * j + 2 + odd)
    total *= math.sin(theta)
    return 2.0 / math.pi * (theta + total) if odd else total


def quantile(probability: float, freedom: int) -> float:
    """The t with ``coverage(t, freedom)`` = probability, 0 < probability < 1, by bisection."""
    low, high = 0.0, math.pi / 2.0
    for _ in range(60):  # halves an angle of 1.6 down to float64's resolution
        middle = (low + high) / 2.0
        below = coverage(math.tan(middle), freedom) < probability
        low, high = (middle, high) if below else (low, middle)
    return math.tan(high)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Confidence interval of the mean of what float64[n] was drawn from; NaN for n < 2.

    mean +- t s / sqrt(n), s with n - 1 (Student 1908). It takes the values for normal draws, which
    with a handful of them nobody can check.
    """
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean = float(np.mean(values))
    reach = quantile(CONFIDENCE, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - reach, mean + reach


def paired_p_values(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How probable differences as large would be if candidates were equal.

    Student's paired t-test, two-sided, of each pair of rows (Student 1908, sec. IX): what a seed
    does to both alike cancels. Corrected by Holm's step-down procedure (Holm 1979) over all
    pairs, not only those with the best: which one that is, is read from the same values.

    Args:
        values: float64[candidates, seeds], column by column under the same seed.

    Returns:
        float64[candidates, candidates], symmetric, NaN on the diagonal; all NaN with one seed.
    """
    candidates, seeds = values.shape
    out = np.full((candidates, candidates), math.nan)
    if seeds < 2:
        return out
    pairs = list(itertools.combinations(range(candidates), 2))
    tested = sorted((_paired_p(values[a] - values[b]), a, b) for a, b in pairs)
    least = 0.0
    for rank, (p, a, b) in enumerate(tested):
        least = max(least, min(1.0, (len(pairs) - rank) * p))
        out[a, b] = out[b, a] = least
    return out


def _paired_p(differences: NDArray[np.float64]) -> float:
    mean, spread = abs(float(np.mean(differences))), float(np.std(differences, ddof=1))
    if mean == 0.0:
        return 1.0
    # no spread at all: never less sure than with some
    t = math.inf if spread == 0.0 else mean / spread * math.sqrt(len(differences))
    return 1.0 - coverage(t, len(differences) - 1)


def ranked(initializers: Mapping[str, Any], runs: Mapping[str, Sequence[Run]]) -> Comparison:
    """The candidates in order of their final losses, each held against the first.

    Args:
        initializers: label to initializer.
        runs: label to the runs of the candidate, one a seed, all under the same seeds.
    """
    finals = {
        label: np.array([run.final_loss if run.finite else math.nan for run in group])
        for label, group in runs.items()
    }  # float64[seeds] each
    ranking = sorted(runs, key=lambda label: _place(finals[label]))
    sound = [label for label in ranking if np.isfinite(finals[label]).all()]
    p_values = paired_p_values(np.array([finals[label] for label in sound])) if sound else None
    candidates = []
    for label in ranking:
        values = finals[label]
        difference = p_value = math.nan
        verdict: Verdict = "failed"
        if p_values is not None and label in sound:
            difference = float(np.mean(values - finals[sound[0]]))
            p_value = float(p_values[0, sound.index(label)])
            verdict = "worse" if p_value < 1.0 - CONFIDENCE else "not told apart"
        candidates.append(
            Candidate(
                label=label,
                initializer=initializers[label],
                runs=tuple(runs[label]),
                final_loss=float(np.mean(values)),
                interval=interval(values),
                difference=difference,
                p_value=p_value,
                verdict="lowest" if sound and label == sound[0] else verdict,
            )
        )
    first = candidates[0].runs
    return Comparison(
        candidates=tuple(candidates),
        seeds=len(first),
        steps=len(first[0].losses),
        confidence=CONFIDENCE,
    )


def _place(values: NDArray[np.float64]) -> tuple[int, float]:
    """Fewest runs that are not finite first, then the lowest mean of the others."""
    known = values[np.isfinite(values)]
    return len(values) - len(known), float(np.mean(known)) if len(known) else math.inf
