"""Runs the rules and keeps their findings: one a rule, updated, taken back, in order."""

from __future__ import annotations

from collections.abc import Sequence

from initwatch.diagnosis.rule import Rule
from initwatch.errors import Faults
from initwatch.records import Finding, History
from initwatch.records.finding import SEVERITIES


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

    def judge(self, history: History) -> list[Finding]:
        """Runs every rule; gives the findings that are new or have become more severe."""
        news: list[Finding] = []
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
