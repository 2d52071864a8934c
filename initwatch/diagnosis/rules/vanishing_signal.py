"""IW103 vanishing_signal: the forward signal fades on its way to the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic

RESOLVED = 1e-6  # 1 - cosine: what rounding of float32 leaves of it


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishingSignal:
    """The activations shrink layer by layer on their way to the output.

    What it means:
        The standard deviation of the activations falls by a steady factor per layer, so that
        the last hidden layer hardly depends on the input. Or their size stays and their rank
        collapses: the outputs of all examples point the same way.
    Why it hurts:
        The output layer sees next to nothing of the example; predictions are the same for
        all, and the loss stays at that of a constant guess.
    How it is measured:
        Standard deviation over batch and units, at every layer of the trunk (or of a tower that
        others join before the output, then a warning at most), fitted over depth (Theil-Sen).
        Fires where the fit and the outer quarters both lose more than e^3 = 20 from the first
        hidden layer to the last. Of the rank: 1 - cosine between the outputs of different
        examples (Poole et al. 2016, sec. 3: 1 - c), at the last hidden layer below 1e-4 of what
        it is at the first, in the first step.
    What it does not flag:
        Small inputs as such, a single small layer, networks that normalise their layers;
        examples that are alike at the first layer already.

    References:
        Glorot & Bengio 2010, sec. 4.2; He et al. 2015, eq. 9; Poole et al. 2016, eq. 3.
    """

    code: ClassVar[str] = "IW103"
    symptom: ClassVar[str] = "vanishing_signal"
    summary: ClassVar[str] = "the forward signal fades on its way to the output"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.ACTIVATION_STD, Statistic.ACTIVATION_SIMILARITY}
    )
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    apart_limit: Threshold = threshold(
        depth.ALIKE,
        unit="(1 - cosine) at the last hidden layer / at the first",
        source="the zoo's healthy trainings keep 0.01 or more (depthwise_plain); float32: 1e-6",
    )
    apart_at_first: Threshold = threshold(
        depth.APART_AT_FIRST,
        unit="1 - cosine",
        source="a hundredth of unrelated examples: below, they are alike",
    )
    window: int = 1  # the first step's forward pass is the initialisation itself

    abstains = depth.too_short

    def check(self, history: History) -> Iterator[Finding]:
        profiles = list(depth.profiles(history, Statistic.ACTIVATION_STD, self.window))
        if not profiles or not depth.speaks(history):
            return
        # ln of the whole loss, positive
        profile = next((p for p in profiles if -p.total > self.log_limit), None)
        if profile is None:
            yield from self._alike(history)
            return
        total = -profile.total
        factor = float(np.exp(profile.fit.log_slope))
        faded = profile.values < profile.values[0] * np.exp(-self.log_limit)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity=profile.severity(self.log_limit_error),
            layers=profile.where(faded, otherwise=-1),
            step=history.step,
            evidence=profile.evidence(
                "signal_left", float(np.exp(-total)), float(np.exp(-self.log_limit)), factor
            ),
            message=(
                f"The signal keeps {factor:.2f} of its size per layer on its way to the output: "
                f"{np.exp(-total):.1e} of it is left at {profile.layers[-1].path}."
            ),
        )

    def _alike(self, history: History) -> Iterator[Finding]:
        """For a signal that keeps its size and no longer tells examples apart."""
        columns = depth.trunk_columns(history.layers)
        # of the initialisation: a step that throws a layer into saturation is another matter
        rows = history.first(Statistic.ACTIVATION_SIMILARITY, self.window)[:, columns]
        known = np.flatnonzero(np.isfinite(rows).all(axis=0))
        if len(known) < depth.MIN_POINTS or len(rows) < self.window:
            return
        apart = np.maximum(1.0 - np.median(rows[:, known], axis=0), RESOLVED)
        if apart[0] < self.apart_at_first or apart[-1] >= self.apart_limit * apart[0]:
            return
        paths = [history.layers[columns[i]].path for i in known]
        lost = np.flatnonzero(apart < self.apart_limit * apart[0])
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            # what rounding leaves of a difference tells nothing of the example
            severity="error" if apart[-1] <= RESOLVED else "warning",
            layers=[paths[i] for i in lost],
            step=history.step,
            evidence={
                "apart": float(apart[-1] / apart[0]),
                "apart_limit": self.apart_limit,
                "activation_similarity_first": float(1.0 - apart[0]),
                "activation_similarity_last_hidden": float(1.0 - apart[-1]),
                "layers_of_depth": len(known),
            },
            message=(
                f"Examples look the same from {paths[lost[0]]} on: their outputs differ by "
                f"{apart[0]:.2g} (1 - cosine) at {paths[0]} and by {apart[-1]:.1e} at {paths[-1]}."
            ),
        )
