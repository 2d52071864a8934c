"""A bar over the steps of several runs."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class ProgressBar:
    """Stands on the terminal while its ``with`` block runs, and is gone afterwards.

    Args:
        total: steps of all runs together.
        shown: False keeps the terminal silent.
        console: where to print; standard output by default.
    """

    def __init__(self, total: int, shown: bool, console: Console | None = None) -> None:
        self._shown = shown
        console = console or Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # in a file it would leave empty lines
            disable=not shown or not (console.is_terminal or console.is_jupyter),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> ProgressBar:
        if not self._progress.disable:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        # some versions of rich end a bar that was never shown with an empty line
        if not self._progress.disable:
            self._progress.stop()

    def begin(self, run: str, done: int) -> None:
        """The run ``run`` begins, ``done`` steps of all are behind."""
        self._progress.update(self._task, description=run, completed=done)

    def step(self) -> None:
        """One step more."""
        self._progress.advance(self._task)

    def note(self, text: str, style: str = "yellow") -> None:
        """One line above the bar."""
        if self._shown:
            self._progress.console.print(Text(f"initwatch: {text}", style=style))
