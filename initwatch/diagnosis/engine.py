"""Runs the rules and keeps their findings: one a rule, updated, taken back, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from initwatch.diagnosis.rule import Rule
from initwatch.errors import Faults
from initwatch.records import Finding, History
from initwatch.records.finding import SEVERITIES

# Rules look back on many rows: past the first ones, a step more changes little.
EVERY_ROW = 32
EVERY_STEPS = 8


class Engine:
    """The findings of a run so far.

    Args:
        rules: in the order in which causes come before symptoms.
        faults: where a rule's own fault goes; that rule is left out from then on.
    """

    def __init__(self, rules: Sequence[Rule], faults: Faults) -> None:
        self._rules = list(rules)
        self._faults = faults
        self._found: dict[str, Finding] = {}
        self._abstained: dict[str, str] = {}
        self._judged = -1

    def judge(self, history: History) -> list[Finding]:
        """Runs every rule; gives the findings that are new or have become more severe."""
        news: list[Finding] = []
        if not self._due(history):
            return news
        self._judged = history.step
        for rule in self._rules:
            stage = f"rule {rule.code}"
            if self._faults.failed(stage):
                continue
            missing = sorted(rule.needs - history.series.keys())
            if missing:
                self._abstained[rule.code] = f"not measured: {', '.join(missing)}"
                continue
            self._abstained.pop(rule.code, None)
            with self._faults.contained(stage, f"{rule.symptom} is not looked for any more."):
                self._update(rule, list(rule.check(history)), news)
        return news

    def _due(self, history: History) -> bool:
        """Each of the first rows, then every few steps; at once where the loss is not finite."""
        lost = len(history.losses) > 0 and not np.isfinite(history.losses[-1])
        early = len(history.steps) <= EVERY_ROW
        return early or bool(lost) or history.step - self._judged >= EVERY_STEPS

    def _update(self, rule: Rule, now: list[Finding], news: list[Finding]) -> None:
        known = self._found.get(rule.code)
        if not now:
            if known is not None and rule.retracted:
                del self._found[rule.code]
            return
        worst = max(now, key=lambda finding: SEVERITIES.index(finding.severity))
        if known is None:
            self._found[rule.code] = worst
            news.append(worst)
            return
        # else the finding stays as it was made: its figures are those of its step
        if SEVERITIES.index(worst.severity) > SEVERITIES.index(known.severity):
            self._found[rule.code] = worst
            news.append(worst)

    @property
    def findings(self) -> list[Finding]:
        """Most severe first; among equals causes before symptoms."""
        order = {rule.code: i for i, rule in enumerate(self._rules)}
        return sorted(
            self._found.values(),
            key=lambda f: (-SEVERITIES.index(f.severity), order[f.code]),
        )

    @property
    def abstained(self) -> dict[str, str]:
        """Code of each rule that could not judge -> why."""
        return dict(self._abstained)
