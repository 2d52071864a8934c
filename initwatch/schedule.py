"""Which batches are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from initwatch.errors import ArgumentError

# Gaps between two batches with histograms, in gaps between samples: they are read and drawn by
# the epoch, and cost as much as several steps.
HISTOGRAM_GAPS = 10
# In step with epochs of as many batches, whose order may be the same each time, one batch would
# stand for all: a gap is longer or shorter than planned by up to this share.
UNEVEN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Dense while it matters, sparse afterwards.

    Attributes:
        first: so many batches at the beginning of ``fit`` are all sampled.
        every: after that the gap between sampled batches is 1 at first, 2 when twice as many are
            done, 3 when three times as many are, up to ``every``; from 4 on give or take a
            quarter, so that it does not keep step with the epochs.
        alarm: so many batches are all sampled after a finding and after a jump of the loss.
        histograms: True: histograms at the first batch of an epoch, if the last ones are ten
            sampled batches old; False: none.

    With ``steps_per_execution=K`` a batch here is one execution: K steps, all of them sampled.

    Raises:
        ArgumentError: if ``first``, ``every`` or ``alarm`` is no whole number, ``first`` or
            ``alarm`` is negative, ``every`` below 1, or ``histograms`` neither True nor False.
    """

    first: int = 20
    every: int = 50
    alarm: int = 10
    histograms: bool = True

    def __post_init__(self) -> None:
        for name, least in (("first", 0), ("every", 1), ("alarm", 0)):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or value < least:
                raise ArgumentError(
                    f"Schedule({name}=...) must be a whole number, {least} or more. "
                    f"Received: {value!r}"
                )
        if not isinstance(self.histograms, bool):
            raise ArgumentError(
                f"Schedule(histograms=...) must be True or False. Received: {self.histograms!r}"
            )

    def gap(self, batch: int) -> int:
        """From sampled batch ``batch`` of this fit (0 = the first) to the next one, as planned."""
        return min(self.every, max(1, batch // max(1, self.first)))


class Agenda:
    """What is due when, in one fit.

    Args:
        schedule: the plan.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._next = 0
        self._next_histograms = 0
        self._epoch_begins = True
        self._dense_until = 0
        self._draws = np.random.default_rng(0)  # the same in every fit

    def epoch(self) -> None:
        """An epoch begins with the next batch."""
        self._epoch_begins = True

    def due(self, batch: int) -> bool:
        """True if batch number ``batch`` of this fit (0 = the first) is to be sampled."""
        return batch >= self._next or batch < self._dense_until or self._histograms_due(batch)

    def take(self, batch: int) -> bool:
        """Batch ``batch`` is sampled; True if histograms are to be drawn of it."""
        gap = self._schedule.gap(batch)
        draw = self._histograms_due(batch)
        spread = int(UNEVEN * gap)
        self._next = batch + gap + int(self._draws.integers(-spread, spread, endpoint=True))
        self._epoch_begins = False
        if draw:
            self._next_histograms = batch + HISTOGRAM_GAPS * gap
        return draw

    def alarm(self, batch: int) -> None:
        """Something has happened in batch ``batch``: the next ones are all sampled."""
        self._dense_until = batch + 1 + self._schedule.alarm

    def _histograms_due(self, batch: int) -> bool:
        wanted = self._schedule.histograms and self._epoch_begins
        return wanted and batch >= self._next_histograms
