"""A diagnosis: what is wrong, where, since when, and the figures it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]
State = Literal["active", "recovered"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One diagnosis.

    Attributes:
        code: the rule's code, such as ``IW201``.
        symptom: the symptom's fixed name, such as ``vanishing_gradient``.
        severity: ``error``: the run will not learn as it is; ``warning``: it is being hurt,
            by the measured sign in ``evidence``; ``info``: worth knowing.
        layers: paths of the layers concerned, the first is where it starts.
        step: optimizer step (0 = the first) at which the evidence was complete.
        evidence: the figures the verdict rests on, the decisive one first; the limit it is held
            against stands beside it as ``<name>_limit``.
        message: one sentence a person understands.
        last_step: the newest step at which the evidence was still there, -1 if it was not asked
            for again.
        state: ``recovered`` once the evidence is gone, or the run learns well all the same; such
            a finding has severity ``info``.
        cause: code of the finding that this one follows from, empty if it stands by itself.
    """

    code: str
    symptom: str
    severity: Severity
    layers: list[str]
    step: int
    evidence: Mapping[str, Any]
    message: str
    last_step: int = -1
    state: State = "active"
    cause: str = ""
