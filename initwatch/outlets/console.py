"""The terminal: silent while all is well but for one closing line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from initwatch.records import Advice, Finding, Report
from initwatch.records.report import (
    abbreviated,
    by_trial,
    changes_lines,
    closing_line,
    closing_lines,
    evidence_text,
    finding_lines,
    grouped,
    in_order,
)
from initwatch.records.update import Update

_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}


class ConsoleOutlet:
    """Prints one block for each finding when it appears.

    Args:
        console: where to print; standard output by default.
        in_progress: tells whether a progress bar stands unfinished on the line.
    """

    name = "console"
    waits = True

    def __init__(
        self, console: Console | None = None, in_progress: Callable[[], bool] = lambda: False
    ) -> None:
        self._console = console or Console(highlight=False)
        self._in_progress = in_progress
        self._said: set[tuple[str, str]] = set()
        self._printed: set[str] = set()  # codes of findings

    def open(self, step: int) -> None:
        self._said = set()
        self._printed = set()

    def emit(self, update: Update) -> None:
        # what is only worth knowing stands in the report
        for finding in (f for f in update.news if f.severity != "info"):
            self._printed.add(finding.code)
            self._print(self._block(finding, update.report.advice))
        for gone in (w for w in update.withdrawn if w.code in self._printed):
            self._printed.discard(gone.code)
            line = f"initwatch: {gone.code} {gone.symptom} withdrawn: {gone.reason}."
            self._print(Text(line, style="green"))
        for line in changes_lines(update.changes):
            self._print(Text(f"initwatch: {line}.", style="yellow"))

    def note(self, text: str) -> None:
        self._print(Text(f"initwatch: {text}", style="yellow"))

    def close(self, report: Report) -> None:
        style = "green" if report.healthy else "yellow"
        self._console.print(Text(closing_line(report), style=style))

    def show(self, report: Report, changes: Sequence[str]) -> None:
        """A whole report at once, as plain text if this is no terminal.

        Args:
            report: the findings with their advice, and how far it came.
            changes: what was drawn anew, a line each.
        """
        ending = [*changes, *closing_lines(report)]
        if not self._console.is_terminal:
            # not through the console, which would break lines at its width
            print(*finding_lines(report), *ending, sep="\n", file=self._console.file)
            return
        for finding in in_order(report.findings):
            self._print(self._block(finding, report.advice))
        for line in ending:
            self._print(Text(line, style="green" if report.healthy else "yellow"))

    def _print(self, block: Panel | Text) -> None:
        # Keras redraws its bar from the start of the line: a line of its own keeps both whole
        if self._in_progress():
            self._console.print()
        self._console.print(block)

    def _block(self, finding: Finding, advice: list[Advice]) -> Panel:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        if finding.layers:
            rows.add_row("layers", Text(abbreviated(finding.layers)))
        if finding.cause:
            rows.add_row("follows", Text(f"from {finding.cause}"))
        rows.add_row("evidence", Text(evidence_text(finding)))
        answers = [item for item in advice if finding.code in item.codes]
        groups = grouped(answers)
        fresh = {key: layers for key, layers in groups.items() if key not in self._said}
        self._said |= set(groups)
        if groups and not fresh:
            rows.add_row("advice", Text("as above"))
        given = [a for a in answers if (a.code, a.reason) in fresh]
        for part, text in by_trial(given):
            for (code, reason), layers in grouped(part).items():
                rows.add_row("advice", Text(code, style="bold green"))
                if layers:
                    rows.add_row("  for", Text(abbreviated(layers)))
                rows.add_row("  why", Text(reason))
            if text:
                rows.add_row("measured", Text(text))
        title = Text(f"{finding.code} {finding.symptom}", style=_STYLES[finding.severity])
        recovered = finding.state == "recovered"
        until = f", recovered after step {finding.last_step}" if recovered else ""
        return Panel(
            Group(Text(finding.message), rows),
            title=title,
            subtitle=f"{finding.severity}, step {finding.step}{until}",
            title_align="left",
            subtitle_align="right",
            border_style=_STYLES[finding.severity].removeprefix("bold "),
        )
