"""Whether targets that are quantities lie where outputs begin."""

from __future__ import annotations

import numpy as np

from initwatch.records import History, Statistic

# Targets so many standard deviations wide are out of reach of steps made for outputs near 1; of
# targets so many times narrower, what the output begins with and every step of it is an error.
OUT_OF_SCALE = 10.0


def off_target(history: History) -> tuple[str, float] | None:
    """What of the targets is out of scale: its name and how much it is; else None.

    Of the mean of targets whose spread is far smaller, or of their standard deviation. Whole
    numbers may be classes, and have no mean that says anything.
    """
    output = history.output
    told = [_median(history, s) for s in (Statistic.LABEL_MEAN, Statistic.LABEL_STD)]
    if output.numbered or "crossentropy" in output.loss or None in told:
        return None
    mean, std = (value for value in told if value is not None)
    if output.loss == "mean_squared_error":
        first = float(history.losses[0]) if len(history.losses) else np.nan
        narrow = 0.0 < std < 1.0 / OUT_OF_SCALE and first > OUT_OF_SCALE * std**2
        if std > OUT_OF_SCALE or narrow:
            return "standard deviation", std
    if output.low >= 0.0 or _median(history, Statistic.LABEL_WHOLE_FRACTION) == 1.0:
        return None
    return ("mean", mean) if abs(mean) >= OUT_OF_SCALE * max(std, 1.0) else None


def _median(history: History, statistic: Statistic) -> float | None:
    values = history.series.get(statistic)
    if values is None or np.isnan(values).all():
        return None
    return float(np.nanmedian(values))
