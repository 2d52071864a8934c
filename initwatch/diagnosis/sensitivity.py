"""How sensitive the loss is to each kernel: whether a gradient is in proportion to its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from initwatch.records import History, Statistic

_NEEDS = {Statistic.GRADIENT_NORM, Statistic.WEIGHT_RMS, Statistic.LOSS, Statistic.TRIVIAL_LOSS}


def known(history: History, rows: slice = slice(None)) -> NDArray[np.bool_]:
    """bool[rows]: steps in which sensitivity can be told.

    The loss of a converged model is no measure for its gradient: that of a constant guess has to
    be known.
    """
    if not history.series.keys() >= _NEEDS:
        return np.zeros(len(history.steps[rows]), dtype=bool)
    guess = history.series[Statistic.TRIVIAL_LOSS][rows, 0]
    return np.asarray(np.isfinite(guess) & (guess > 0.0))


def sensitivity(
    history: History, columns: Sequence[int], rows: slice = slice(None)
) -> NDArray[np.float64]:
    """norm(dL/dw) x RMS(w) x n^(1/4) / L of kernels of n weights: float64[rows, columns].

    By how many times its own size the loss would change, to first order, if the kernel changed
    by its own size along the gradient. A gradient is of low rank: the size it compares with is
    that of a random kernel in one direction, its spectral norm, twice RMS(w) x n^(1/4) for a
    square one (Marchenko & Pastur 1967), and not the norm of all its weights, which would grow
    with the width. Neither a factor on the loss nor one on the weights of a layer before a
    normalisation changes it. L is the loss with its penalties, or that of a constant guess where
    it is larger. 0 where it is not known.
    """
    told = known(history, rows)
    out = np.zeros((len(told), len(columns)))
    if not told.any():
        return out
    gradient, rms = (
        history.series[statistic][rows][told][:, columns]
        for statistic in (Statistic.GRADIENT_NORM, Statistic.WEIGHT_RMS)
    )
    loss, guess = (
        history.series[statistic][rows][told]
        for statistic in (Statistic.LOSS, Statistic.TRIVIAL_LOSS)
    )
    size = np.array([history.variables[i].size for i in columns]) ** 0.25
    with np.errstate(over="ignore", invalid="ignore"):
        found = gradient * rms * size / np.fmax(loss, guess)
    out[told] = np.where(np.isfinite(found), found, 0.0)
    return out
