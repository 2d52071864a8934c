"""The command line: ``initwatch rules``, ``initwatch explain IW201``."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import fields

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
    chosen = parser.parse_args(arguments)
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
    print(f"initwatch: no rule {chosen.rule!r}; there are {known}", file=sys.stderr)
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
