"""The state of a diagnosed run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from initwatch.records.advice import Advice
from initwatch.records.finding import Finding
from initwatch.records.reinitialized import Reinitialized


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything initwatch has to say about a run so far.

    Attributes:
        findings: diagnoses, most severe first.
        advice: what to do, best supported first.
        steps_seen: optimizer steps that were measured.
        last_step: the newest step measured, -1 before the first.
        abstained: rule code to the reason why that rule could not judge.
        changes: what ``AutoReinit`` has drawn anew.
        problems: faults of initwatch's own, each said once; training went on.
    """

    findings: list[Finding] = field(default_factory=list)
    advice: list[Advice] = field(default_factory=list)
    steps_seen: int = 0
    last_step: int = -1
    abstained: Mapping[str, str] = field(default_factory=dict)
    changes: list[Reinitialized] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """True if steps were measured and no finding has severity ``warning`` or ``error``."""
        sound = all(finding.severity == "info" for finding in self.findings)
        return sound and self.steps_seen > 0

    def __str__(self) -> str:
        return "\n".join(report_lines(self))


def report_lines(report: Report) -> list[str]:
    """The whole report as plain lines."""
    return [*finding_lines(report), *changes_lines(report.changes), *closing_lines(report)]


def finding_lines(report: Report) -> list[str]:
    """The findings with the advice on them, an empty line behind each."""
    lines: list[str] = []
    said: set[int] = set()
    for finding in in_order(report.findings):
        lines += [headline(finding), *body_lines(finding, report.advice, said), ""]
    return lines


def closing_lines(report: Report) -> list[str]:
    """One line on the whole run, what could not be judged, and faults of initwatch's own."""
    reasons: dict[str, list[str]] = {}
    for code, reason in report.abstained.items():
        reasons.setdefault(reason, []).append(code)
    return [
        closing_line(report),
        *(f"not judged: {', '.join(codes)}: {reason}." for reason, codes in reasons.items()),
        *(f"initwatch: {problem}" for problem in report.problems),
    ]


def changes_lines(changes: Sequence[Reinitialized]) -> list[str]:
    """What was drawn anew, a line for each kind of change."""
    groups: dict[str, list[str]] = {}
    for change in changes:
        name = type(change.initializer).__name__
        role = change.variable.rsplit("/", 1)[-1]
        when = ""
        if change.step is not None:
            when = f" after {change.step} step{'' if change.step == 1 else 's'}"
        figures = "" if change.measured is None else f": {measured_text(change.measured)}"
        groups.setdefault(f"drawn anew{when}: {role} by {name}{figures}", []).append(change.layer)
    return [f"{text}; {abbreviated(layers)}" for text, layers in groups.items()]


def measured_text(measured: Mapping[str, float]) -> str:
    """The trial's figures, before and after, on one line."""
    names = [key.removesuffix("_before") for key in measured if key.endswith("_before")]
    return ", ".join(
        f"{name.replace('_', ' ')} {figure_text(measured[f'{name}_before'])} -> "
        f"{figure_text(measured[f'{name}_after'])}"
        for name in names
        if f"{name}_after" in measured
    )


def in_order(findings: list[Finding]) -> list[Finding]:
    """Each cause with what follows from it behind it."""
    out: list[Finding] = []

    def add(finding: Finding) -> None:
        if finding not in out:
            out.append(finding)
            for follower in findings:
                if follower.cause == finding.code:
                    add(follower)

    for finding in findings:
        if not finding.cause:
            add(finding)
    # findings that are each other's cause have no beginning
    return out + [finding for finding in findings if finding not in out]


def headline(finding: Finding) -> str:
    """Code, symptom, severity, steps, and what it follows from: one line."""
    what = f"{finding.code} {finding.symptom} [{finding.severity}] at step {finding.step}"
    if finding.state == "recovered":
        return f"{what}, recovered after step {finding.last_step}"
    return f"{what}, follows from {finding.cause}" if finding.cause else what


def body_lines(finding: Finding, advice: list[Advice], said: set[int]) -> list[str]:
    """Message, layers, evidence, advice. ``said`` collects advice already given in full."""
    lines = [finding.message]
    if finding.layers:
        lines.append(f"layers:   {abbreviated(finding.layers)}")
    lines.append(f"evidence: {evidence_text(finding)}")
    answers = [item for item in advice if finding.code in item.codes]
    fresh = [item for item in answers if id(item) not in said]
    said.update(id(item) for item in fresh)
    if answers and not fresh:
        lines.append("advice:   as above")
    for part, text in by_trial(fresh):
        for (code, reason), layers in grouped(part).items():
            where = f"{abbreviated(layers)}: " if layers else ""
            lines += [f"advice:   {where}{code}", f"          {reason}"]
        lines += [f"measured: {text}"] if text else []
    return lines


def grouped(advice: list[Advice]) -> dict[tuple[str, str], list[str]]:
    """(code to paste, reason) to the layers it is for, in the order given."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in advice:
        layers = groups.setdefault((item.code, item.reason), [])
        if item.layer:
            layers.append(item.layer)
    return groups


def by_trial(advice: list[Advice]) -> list[tuple[list[Advice], str]]:
    """What was tried together, in the order given, and what was measured of it: "" if nothing."""
    parts: list[tuple[list[Advice], str]] = []
    for item in advice:
        text = "" if item.measured is None else measured_text(item.measured)
        if not parts or parts[-1][1] != text:
            parts.append(([], text))
        parts[-1][0].append(item)
    return parts


def evidence_text(finding: Finding) -> str:
    """The evidence on one line, each figure with the limit it is held against."""
    evidence = finding.evidence
    parts = []
    for name, value in evidence.items():
        if name.endswith("_limit") and name.removesuffix("_limit") in evidence:
            continue
        limit = evidence.get(f"{name}_limit")
        against = "" if limit is None else f" (limit {figure_text(limit)})"
        parts.append(f"{name} {figure_text(value)}{against}")
    return ", ".join(parts)


def figure_text(value: object) -> str:
    """A figure as people read it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(figure_text(item) for item in value[:6])
        return f"[{shown}{', ...' if len(value) > 6 else ''}]"
    return str(value)


def abbreviated(layers: list[str]) -> str:
    """A list of layer paths, shortened in the middle."""
    if len(layers) <= 4:
        return ", ".join(layers)
    return f"{layers[0]}, {layers[1]} ... {layers[-1]} ({len(layers)} layers)"


def closing_line(report: Report) -> str:
    """One line on the whole run."""
    steps = "step" if report.steps_seen == 1 else "steps"
    seen = f"{report.steps_seen} {steps} measured up to step {report.last_step}"
    if report.steps_seen == 0:
        return "initwatch: no step was measured."
    counts = [
        f"{number} {severity}{'s' if number > 1 and severity != 'info' else ''}"
        for severity in ("error", "warning", "info")
        if (number := sum(f.severity == severity for f in report.findings))
    ]
    if not counts:
        return f"initwatch: healthy, nothing to report ({seen})."
    return f"initwatch: {', '.join(counts)} ({seen})."
