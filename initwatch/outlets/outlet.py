"""What an outlet is."""

from __future__ import annotations

from typing import Protocol

from initwatch.records import Report
from initwatch.records.update import Update


class Outlet(Protocol):
    """Shows or stores what was measured and found. May raise: the conductor contains it."""

    name: str
    waits: bool  # True: it is told of findings once their advice has been measured

    def open(self, step: int) -> None:
        """Training begins at optimizer step ``step``."""

    def emit(self, update: Update) -> None:
        """One sampled step."""

    def note(self, text: str) -> None:
        """One line about initwatch itself."""

    def close(self, report: Report) -> None:
        """Training has ended."""
