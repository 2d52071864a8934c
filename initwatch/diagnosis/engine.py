"""Runs the rules and keeps their findings: one a rule, updated, recovered, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from initwatch.diagnosis.causes import EXPLANATIONS, LEADS_TO, can_follow
from initwatch.diagnosis.course import LEARNED_WELL, course_of, is_harmed, is_lost
from initwatch.diagnosis.rule import Rule
from initwatch.errors import Faults
from initwatch.records import Finding, History
from initwatch.records.finding import SEVERITIES
from initwatch.records.update import Withdrawn

# Rules look back on many rows: past the first ones, a step more changes little.
EVERY_ROW = 32
EVERY_STEPS = 8
# What was told is withdrawn when it has not been seen for so many steps: evidence at the edge of a
# limit comes and goes.
WITHDRAWN_AFTER = 2 * EVERY_STEPS


class Engine:
    """The findings of a run so far.

    Args:
        rules: in the order in which causes come before symptoms.
        faults: where a rule's own fault goes; that rule is left out from then on.
        patient: a warning of a rule that waits for harm is only mentioned before the run is seen
            to be harmed. False where somebody may act on it before.
    """

    def __init__(self, rules: Sequence[Rule], faults: Faults, patient: bool = True) -> None:
        self.patient = patient
        self._rules = {rule.code: rule for rule in rules}
        self._faults = faults
        self._found: dict[str, Finding] = {}
        self._seen: dict[str, int] = {}  # code -> the newest step at which it was found
        self._gone: set[str] = set()  # codes whose evidence is no longer there
        self._learns_well = False
        self._loss_high = False
        self._abstained: dict[str, str] = {}
        self._judged = -1
        self._harmed = False
        self._loud: set[str] = set()  # codes that were told as warning or error
        self._quiet: dict[str, int] = {}  # those that are none any more -> since which step
        self._silenced: set[str] = set()  # codes that were told and taken back
        self._withdrawn: list[Withdrawn] = []

    def judge(self, history: History) -> list[Finding]:
        """Runs every rule; gives the findings that are new or have become more severe.

        Args:
            history: what was measured so far; of one that is over rules are asked, whenever they
                were last.
        """
        news: set[str] = set()
        if not (history.over or self._due(history)):
            return []
        self._judged = history.step
        waiting = {code for code, finding in self._found.items() if self._waits(finding)}
        course, lost = course_of(history), is_lost(history)
        # what has been seen to do harm does not wait again; it recovers with the run
        self._harmed = self._harmed or is_harmed(history)
        self._learns_well = course is not None and course.learns_well
        share = None if course is None else course.share
        self._loss_high = share is not None and share >= (LEARNED_WELL if history.over else 1.0)
        for rule in self._rules.values():
            stage = f"rule {rule.code}"
            if self._faults.failed(stage):
                continue
            missing = sorted(rule.needs - history.series.keys())
            if missing:
                self._abstained[rule.code] = f"not measured: {', '.join(missing)}"
                continue
            self._abstained.pop(rule.code, None)
            with self._faults.contained(stage, f"{rule.symptom} is not looked for any more."):
                abstains = getattr(rule, "abstains", None)
                reason = abstains(history) if abstains is not None else None
                if reason:
                    self._abstained[rule.code] = reason
                found = list(rule.check(history))
                # a run that is lost has not mended what hurt it
                if found or not lost:
                    self._update(rule, found, history.step, news)
        # at the end a high loss is harm, few as the errors may be
        self._harmed |= history.over and self._learns_well and not self._does_well
        news |= {code for code in waiting if not self._waits(self._found[code])}
        by_code = {finding.code: finding for finding in self.findings}
        self._keep_told(by_code, news, history)
        return [by_code[code] for code in self._rules if code in news]

    def _keep_told(self, by_code: Mapping[str, Finding], news: set[str], history: History) -> None:
        """What was told as warning or error and has not been one for a while is withdrawn, and
        told again if it comes back.
        """
        loud = {code for code, finding in by_code.items() if finding.severity != "info"}
        since = {code: self._quiet.get(code, history.step) for code in self._loud - loud}
        over = {
            code
            for code, step in since.items()
            if history.over or history.step - step >= WITHDRAWN_AFTER
        }
        self._quiet = {code: step for code, step in since.items() if code not in over}
        self._withdrawn += [
            Withdrawn(code, by_code[code].symptom, self._why_not(by_code[code]))
            for code in self._rules
            if code in over
        ]
        unheard = {gone.code for gone in self._withdrawn} & loud
        self._withdrawn = [gone for gone in self._withdrawn if gone.code not in unheard]
        returned = (self._silenced & loud) - unheard
        self._silenced = (self._silenced | over) - loud
        news |= returned
        self._loud = (self._loud - over) | ((news | unheard) & loud)

    def _why_not(self, finding: Finding) -> str:
        if finding.state == "active":
            return "something else explains the run"
        return "it no longer holds" if finding.code in self._gone else "the run learns"

    def withdrawn(self) -> list[Withdrawn]:
        """Findings that were told as warning or error and no longer are, since the last call."""
        found, self._withdrawn = self._withdrawn, []
        return found

    def _waits(self, finding: Finding) -> bool:
        """True for a warning whose harm has not been measured."""
        waits = getattr(self._rules[finding.code], "waits_for_harm", False)
        return bool(self.patient and waits and finding.severity == "warning" and not self._harmed)

    def _due(self, history: History) -> bool:
        """Each of the first rows, then every few steps; at once where the loss is not finite."""
        lost = len(history.losses) > 0 and not np.isfinite(history.losses[-1])
        early = len(history.steps) <= EVERY_ROW
        return early or bool(lost) or history.step - self._judged >= EVERY_STEPS

    def _update(self, rule: Rule, now: list[Finding], step: int, news: set[str]) -> None:
        code = rule.code
        known = self._found.get(code)
        if not now:
            if known is not None and (rule.retracted or _lets_go(rule, known)):
                self._gone.add(code)
            return
        self._seen[code] = step
        worst = max(now, key=lambda finding: SEVERITIES.index(finding.severity))
        # else the finding stays as it was made: its figures are those of its step
        if known is None or code in self._gone or _graver(worst, known):
            self._found[code] = worst
            self._gone.discard(code)
            # one that was told and was gone for less than a while is none
            told = code in self._quiet and known is not None and not _graver(worst, known)
            if not self._recovered(worst) and not told:
                news.add(code)

    def _recovered(self, finding: Finding) -> bool:
        """True if the evidence is gone, or the run learns well in spite of it."""
        if finding.code in self._gone:
            return True
        persists = getattr(self._rules[finding.code], "persists", False)
        persists = persists and not finding.evidence.get("often_works")
        return self._does_well and not persists and finding.severity != "info"

    @property
    def _does_well(self) -> bool:
        """True if the run learns well, and by more than its errors where something hurts it.

        Few errors under a loss that is high are predictions that are sure where they are wrong.
        """
        hurts = any(
            getattr(self._rules[code], "hurts_above_guess", False)
            for code in self._found.keys() - self._gone
        )
        return self._learns_well and not (self._loss_high and hurts)

    @property
    def findings(self) -> list[Finding]:
        """Most severe first; among equals causes before symptoms."""
        order = {code: i for i, code in enumerate(self._rules)}
        found = without_doubtful([self._as_it_stands(f) for f in self._found.values()])
        found = with_misfits(found)
        return sorted(
            with_causes(found), key=lambda f: (-SEVERITIES.index(f.severity), order[f.code])
        )

    def _as_it_stands(self, finding: Finding) -> Finding:
        last_step = max(finding.step, self._seen[finding.code])
        if self._recovered(finding):
            return replace(finding, severity="info", state="recovered", last_step=last_step)
        if self._waits(finding):
            return replace(finding, severity="info", last_step=last_step)
        return replace(finding, last_step=last_step)

    @property
    def active(self) -> list[Finding]:
        """Those that still hold, without warnings that wait for a sign of harm."""
        return [f for f in self.findings if f.state == "active" and not self._is_waiting(f.code)]

    def _is_waiting(self, code: str) -> bool:
        return self._waits(self._found[code])

    @property
    def abstained(self) -> dict[str, str]:
        """Code of each rule that could not judge -> why."""
        return dict(self._abstained)


def without_doubtful(findings: Sequence[Finding]) -> list[Finding]:
    """What often works is not blamed while something else explains the run."""
    others = [f for f in findings if f.severity != "info" and f.code in EXPLANATIONS]
    return [
        replace(f, severity="info") if others and f.evidence.get("often_works") else f
        for f in findings
    ]


def with_misfits(findings: Sequence[Finding]) -> list[Finding]:
    """A loss that stands still where a guess's is not known could have converged: not behind a
    misfit of output and labels, which keeps it from the labels.
    """
    misfit = any(f.code == "IW602" and f.severity == "error" for f in findings)
    return [
        replace(f, severity="warning")
        if misfit and f.code == "IW501" and f.state == "active" and f.severity == "info"
        else f
        for f in findings
    ]


def with_causes(findings: Sequence[Finding]) -> list[Finding]:
    """Each finding with the code of its cause; a cause is as severe as what follows from it."""
    active = [f for f in findings if f.severity != "info"]
    out: list[Finding] = []
    for finding in findings:
        causes = [f.code for f in active if can_follow(finding, f)]
        causes.sort(key=list(LEADS_TO).index)
        out.append(replace(finding, cause=causes[0] if causes and finding in active else ""))
    gravest = {f.cause: f.severity for f in sorted(out, key=lambda f: _rank(f)) if f.cause}
    return [
        replace(f, severity=gravest[f.code])
        if f.code in gravest and SEVERITIES.index(gravest[f.code]) > _rank(f)
        else f
        for f in out
    ]


def _lets_go(rule: Rule, finding: Finding) -> bool:
    lets_go = getattr(rule, "lets_go", None)
    return lets_go is not None and bool(lets_go(finding))


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _graver(finding: Finding, than: Finding) -> bool:
    return _rank(finding) > _rank(than)
