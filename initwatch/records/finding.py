"""A diagnosis: what is wrong, where, since when, and the figures it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]
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
    """

    code: str
    symptom: str
    severity: Severity
    layers: list[str]
    step: int
    evidence: Mapping[str, Any]
    message: str
