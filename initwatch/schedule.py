"""Which batches are sampled."""

from __future__ import annotations

from dataclasses import dataclass

from initwatch.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Dense at first, where initialisation shows; sparse afterwards.

    Attributes:
        first: so many batches at the beginning of ``fit`` are all sampled.
        every: after that, each ``every``-th batch.
        histograms: True: histograms at the first batch of each epoch; False: none.

    With ``steps_per_execution=K`` a batch here is one execution: K steps, all of them sampled.

    Raises:
        ArgumentError: if ``first`` is negative or ``every`` below 1.
    """

    first: int = 20
    every: int = 10
    histograms: bool = True

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ArgumentError(f"Schedule(first=...) must be 0 or more. Received: {self.first!r}")
        if self.every < 1:
            raise ArgumentError(f"Schedule(every=...) must be 1 or more. Received: {self.every!r}")

    def due(self, batch: int) -> bool:
        """True if batch number ``batch`` of this fit (0 = the first) is to be sampled."""
        return batch < self.first or batch % self.every == 0
