"""What outlets are handed: one sampled step, and what has been found by then."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.records.finding import Finding
from initwatch.records.layer import LayerSpec, VariableSpec
from initwatch.records.reinitialized import Reinitialized
from initwatch.records.report import Report
from initwatch.records.statistic import Statistic, Subject


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of one tensor's values in equal bins.

    Attributes:
        quantity: ``weight``, ``gradient``, ``activation``.
        subject: whether ``index`` counts layers or variables.
        index: of the layer or variable.
        low, high: the smallest and the largest finite value.
        counts: float64[bins], from low to high.
    """

    quantity: str
    subject: Subject
    index: int
    low: float
    high: float
    counts: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A finding that was told as warning or error and no longer is one; why, in a few words."""

    code: str
    symptom: str
    reason: str


@dataclass(frozen=True, slots=True)
class Update:
    """One sampled step.

    Attributes:
        step: the optimizer step it was.
        layers: every layer with an output.
        variables: every trainable variable.
        values: float64[subjects] of each statistic.
        histograms: empty on most steps.
        news: findings that are new, or more severe, with this step.
        report: everything found so far.
        tried: True if ``news`` were in an update before: their advice has been measured since.
        changes: what has been drawn anew behind this step.
        withdrawn: findings that were told as warning or error and no longer are.
    """

    step: int
    layers: tuple[LayerSpec, ...]
    variables: tuple[VariableSpec, ...]
    values: Mapping[Statistic, NDArray[np.float64]]
    histograms: tuple[Histogram, ...]
    news: tuple[Finding, ...]
    report: Report
    tried: bool = False
    changes: tuple[Reinitialized, ...] = ()
    withdrawn: tuple[Withdrawn, ...] = ()
