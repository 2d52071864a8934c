"""What several rules ask of the optimizer's updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from initwatch.records import History, Statistic


def kernels(history: History) -> list[int]:
    """Columns of the variables that are matrices.

    A bias or a scale that starts at zero is as large as its updates at any learning rate.
    """
    return [i for i, v in enumerate(history.variables) if v.role.endswith(("kernel", "embeddings"))]


def ratios(history: History, columns: list[int], rows: slice) -> NDArray[np.float64]:
    """float64[columns]: median update ratio over the rows in which the optimizer changed anything.

    NaN where a variable has no ratio (it began at zero), or nothing changed.
    """
    changed = np.nan_to_num(history.series[Statistic.UPDATE_RMS][rows]).max(axis=1, initial=0.0) > 0
    values = history.series[Statistic.UPDATE_RATIO][rows][changed][:, columns]
    if not len(values):
        return np.full(len(columns), np.nan)
    out = np.full(len(columns), np.nan)
    known = np.isfinite(values).all(axis=0)
    out[known] = np.median(values[:, known], axis=0)
    return out
