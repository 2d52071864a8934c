"""Whether a noisy series falls."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Trend:
    """A loss series' course against its own noise.

    Attributes:
        start: median of the first tenth (at least 5 points).
        end: median of the last tenth (at least 5 points).
        fall: (start - end) / |start|: relative fall over the series.
        steady: relative fall over the series by the median slope of all pairs (Sen 1968), which
            one odd batch does not move.
        noise: standard deviation from point to point, from first differences, relative to
            |start|: not inflated by the trend itself.
        z: Mann-Kendall's statistic: standard deviations by which the number of falling pairs
            exceeds chance (negative = falls).
    """

    start: float
    end: float
    fall: float
    steady: float
    noise: float
    z: float


MAX_POINTS = 100  # Mann-Kendall compares all pairs: a longer series is averaged in so many spans


@cache
def _pairs(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(n, k=1)


def trend_of(values: NDArray[np.float64]) -> Trend:
    """The trend of float64[n], n >= 10 finite values (Mann 1945; Kendall 1975)."""
    tenth = max(5, len(values) // 10)
    start = float(np.median(values[:tenth]))
    end = float(np.median(values[-tenth:]))
    size = abs(start) if start else 1.0
    differences = np.diff(values)
    noise = float(np.sqrt(np.mean(np.square(differences)) / 2.0)) / size
    points = values
    if len(points) > MAX_POINTS:
        starts = np.arange(MAX_POINTS) * len(points) // MAX_POINTS
        points = np.add.reduceat(points, starts) / np.diff([*starts, len(points)])
    n = len(points)
    earlier, later = _pairs(n)
    rises = points[later] - points[earlier]
    steady = -float(np.median(rises / (later - earlier))) * (n - 1) / size
    score = float(np.sum(np.sign(rises)))
    spread = np.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    return Trend(start, end, (start - end) / size, steady, noise, float(score / spread))
