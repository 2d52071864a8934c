"""Which units were ever positive, over many batches."""

import itertools
from collections import deque

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.layout import Layout

LEAST = 3  # full blocks


class Activity:
    """Share of dead units per layer over a sliding span of sampled steps.

    Units are OR-ed in blocks of ``block`` steps and the newest ``blocks`` blocks are kept, so
    memory is ``blocks`` bools a unit however long the run. Of these the newest count that hold
    ``enough`` examples, so that a unit that dies late is seen soon, and three at least.
    """

    def __init__(self, block: int = 4, blocks: int = 17, enough: int = 512) -> None:
        self._block = block
        self._enough = enough
        self._seen: deque[NDArray[np.bool_]] = deque(maxlen=blocks)
        self._examples: deque[int] = deque(maxlen=blocks)
        self._rows = 0

    def add(self, active: NDArray[np.bool_], examples: int) -> None:
        """Adds one step: bool[units of all rectifying layers], True where ever positive."""
        if self._rows % self._block == 0 or len(self._seen[-1]) != len(active):
            self._seen.append(active.copy())
            self._examples.append(0)
        else:
            self._seen[-1] |= active
        self._examples[-1] += examples
        self._rows += 1

    @property
    def examples(self) -> int:
        """Number of examples looked at in the present span."""
        return sum(list(self._examples)[-self._span :])

    @property
    def _span(self) -> int:
        """Newest blocks that count: those before the present one hold enough examples."""
        full = np.cumsum(list(self._examples)[-2::-1])
        return 1 + max(LEAST, int(np.searchsorted(full, self._enough)) + 1)

    def dead_fractions(self, layout: Layout) -> NDArray[np.float64]:
        """float64[layers]: share of units never positive, NaN for layers that do not rectify."""
        if not self._seen:
            return np.full(layout.layers, np.nan)
        newest = self._seen[-1]
        ever = newest.copy()
        for seen in itertools.islice(reversed(self._seen), 1, self._span):
            if len(seen) == len(newest):
                ever |= seen
        places, owners = layout.units
        # a layer called twice: a unit lives if it is positive in either call
        alive = np.zeros(len(owners))
        alive[places[ever]] = 1.0
        units = np.bincount(owners, minlength=layout.layers)
        living = np.bincount(owners, alive, minlength=layout.layers)
        with np.errstate(invalid="ignore"):
            dead: NDArray[np.float64] = 1.0 - living / units
        return dead
