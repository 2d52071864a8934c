"""The command line: ``initwatch rules``, ``explain IW201``, ``report LOGDIR``."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import initwatch
from initwatch.diagnosis.catalogue import CATALOGUE
from initwatch.diagnosis.rule import Rule


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit status."""
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
        const=Path("-"),
        metavar="FILE",
        help="write everything the log holds as JSON instead (to the terminal without FILE)",
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "report":
        return report_on(chosen.logdir, chosen.json)
    if chosen.command == "rules":
        for rule in CATALOGUE:
            print(f"{rule.code}  {rule.symptom:<22} {rule.summary}")
        return 0
    wanted = chosen.rule.lower().replace("-", "_")
    for rule in CATALOGUE:
        if wanted in (rule.code.lower(), rule.symptom):
            print(explanation(rule))
            return 0
    known = ", ".join(rule.code for rule in CATALOGUE)
    return _fault(f"no rule {chosen.rule!r}; there are {known}")


def report_on(logdir: Path, json_file: Path | None) -> int:
    """Prints the report of the runs under ``logdir``, or writes what they hold as JSON."""
    # here and not above: TensorBoard's messages and rich take a second to load
    from initwatch.outlets.console import ConsoleOutlet
    from initwatch.plugin.answers import gathered
    from initwatch.plugin.log import NewerLogError, read_logs

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
    if json_file is not None:
        text = json.dumps(gathered(logs), allow_nan=False)
        if json_file == Path("-"):
            print(text)
            return 0
        try:
            json_file.write_text(text, encoding="utf-8")
        except OSError as error:
            return _fault(f"{str(json_file)!r} cannot be written ({error.strerror or error}).")
        return 0
    console = ConsoleOutlet()
    for log in logs:
        if len(logs) > 1:
            print(f"{log.run}:")
        if not log.ended:
            print("The run is going on, or did not end: this is what it has logged.")
        console.show(log.report, log.state.get("changes", []))
    return 0


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
