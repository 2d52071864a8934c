"""Which batches are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

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
        ArgumentError: if ``first`` or ``every`` is no whole number, ``first`` is negative,
            ``every`` below 1, or ``histograms`` neither True nor False.
    """

    first: int = 20
    every: int = 10
    histograms: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (("first", self.first, 0), ("every", self.every, 1)):
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

    def due(self, batch: int) -> bool:
        """True if batch number ``batch`` of this fit (0 = the first) is to be sampled."""
        return batch < self.first or batch % self.every == 0
