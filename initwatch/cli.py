"""The command line: ``initwatch rules``, ``explain IW201``, ``report LOGDIR``."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import initwatch
from initwatch.diagnosis.catalogue import CATALOGUE
from initwatch.diagnosis.rule import Rule

_TERMINAL = Path("-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit status."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough; Python would flush once more at its end, and fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="initwatch", description=inspect.getdoc(initwatch))
    parser.add_argument("--version", action="version", version=initwatch.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rules", help="list all rules")
    explain = commands.add_parser("explain", help="what a rule means and how it is measured")
    explain.add_argument("rule", help="a code such as IW201, or a symptom")
    report = commands.add_parser(
        "report",
        help="print the report of a log, also of a run that is going on or was killed",
        description="Prints the report of every run under a log folder, as fit does at its end.",
    )
    report.add_argument("logdir", type=Path, help="what InitWatch(log_dir) was given, or above it")
    report.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_TERMINAL,
        metavar="FILE",
        help="write everything the log holds as JSON instead (to the terminal without FILE)",
    )
    report.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the pictures of TensorBoard's initwatch tab as one page that needs neither "
        "server nor network (to the terminal if FILE is -)",
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "report":
        return report_on(chosen.logdir, chosen.json, chosen.html)
    if chosen.command == "rules":
        for rule in CATALOGUE:
            print(f"{rule.code}  {rule.symptom:<22} {rule.summary}")
        return 0
    wanted = chosen.rule.lower().replace("-", "_")
    # several rules may share a symptom
    chosen_rules = [rule for rule in CATALOGUE if wanted in (rule.code.lower(), rule.symptom)]
    if chosen_rules:
        print("\n\n".join(map(explanation, chosen_rules)))
        return 0
    known = ", ".join(rule.code for rule in CATALOGUE)
    return _fault(f"no rule {chosen.rule!r}; there are {known}")


def report_on(logdir: Path, json_file: Path | None, html_file: Path | None = None) -> int:
    """Prints the report of the runs under ``logdir``, or writes what they hold as JSON or HTML."""
    # here and not above: TensorBoard's messages and rich take a second to load
    from initwatch.outlets.console import ConsoleOutlet
    from initwatch.plugin.answers import gathered
    from initwatch.plugin.log import NewerLogError, read_logs
    from initwatch.plugin.page import page

    if not logdir.is_dir():
        return _fault(f"{str(logdir)!r} is no folder. Give the one that InitWatch(log_dir) wrote.")
    try:
        logs = read_logs(logdir)
    except (NewerLogError, OSError) as error:
        return _fault(str(error))
    if not logs:
        return _fault(
            f"no initwatch log under {str(logdir)!r}. Give a folder that InitWatch(log_dir) of "
            "this version wrote; `tensorboard --logdir` shows what else is there."
        )
    try:
        if html_file is not None and _written(html_file, page(logs)):
            size = html_file.stat().st_size
            # beside JSON that another program reads
            where = sys.stderr if json_file == _TERMINAL else sys.stdout
            print(f"{html_file}: {size / 1e6:.1f} MB, for any browser", file=where)
        if json_file is not None:
            _written(json_file, json.dumps(gathered(logs), allow_nan=False) + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fault(f"{error.filename!r} cannot be written ({error.strerror or error}).")
    if json_file is not None or html_file is not None:
        return 0
    console = ConsoleOutlet()
    for log in logs:
        if len(logs) > 1:
            print(f"{log.run}:")
        if not log.ended:
            print("The run is going on, or did not end: this is what it has logged.")
        console.show(log.report, log.state.get("changes", []))
    return 0


def _written(path: Path, text: str) -> bool:
    """Writes a file, or to the terminal if it is ``-``; True if it was a file."""
    if path == _TERMINAL:
        print(text, end="")
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _fault(message: str) -> int:
    print(f"initwatch: {message}", file=sys.stderr)
    return 2


def explanation(rule: type[Rule]) -> str:
    """A rule's text and its thresholds."""
    lines = [f"{rule.code} {rule.symptom}: {rule.summary}", "", inspect.getdoc(rule) or ""]
    named = [field for field in fields(rule) if "source" in field.metadata]  # type: ignore[arg-type]
    if named:
        lines += ["", "Thresholds:"]
    for field in named:
        unit, source = field.metadata["unit"], field.metadata["source"]
        lines.append(f"    {field.name} = {field.default:.4g} [{unit}]: {source}")
    return "\n".join(lines)
