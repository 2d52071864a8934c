"""What can follow from what: a symptom is reported under the cause that was found with it."""

from __future__ import annotations

from initwatch.records import Finding

# Evidence of a gradient that grew from step to step: what the updates did, not the first weights.
GROWTH = "gradient_growth_over_steps"
# Evidence of a gradient that is large because inputs or targets are.
DATA_SCALE = "gradient_to_weights"

# Codes of causes -> codes of what they bring about.
_WEIGHTS = frozenset(
    "IW103 IW104 IW105 IW201 IW202 IW203 IW204 IW301 IW302 IW402 IW501 IW502 IW503".split()
)
# Findings any of which explains by itself that a run does not learn.
EXPLANATIONS = frozenset(
    (
        "IW101 IW102 IW103 IW104 IW105 IW106 IW201 IW202 IW203 IW204 IW301 IW302 IW401 IW402 IW403 "
        "IW404 IW405 IW504 IW601"
    ).split()
)
LEADS_TO: dict[str, frozenset[str]] = {
    "IW602": frozenset("IW201 IW203 IW204 IW401 IW501 IW502 IW503".split()),
    "IW601": _WEIGHTS,
    "IW101": _WEIGHTS,
    "IW102": _WEIGHTS | {"IW106"},
    "IW106": _WEIGHTS,
    "IW105": frozenset("IW202 IW203 IW301 IW302 IW402 IW501 IW502 IW503".split()),
    "IW405": frozenset("IW401 IW403 IW204 IW501".split()),
    "IW404": frozenset("IW202 IW203 IW204 IW301 IW402 IW501 IW502 IW503".split()),
    "IW504": frozenset("IW103 IW201 IW204 IW301 IW401 IW501".split()),
    "IW103": frozenset("IW201 IW204 IW301 IW501".split()),
    "IW104": frozenset("IW202 IW203 IW301 IW302 IW501 IW502".split()),
    "IW403": frozenset(["IW501"]),
    "IW401": frozenset(["IW501"]),
    "IW402": frozenset("IW201 IW203 IW204 IW401 IW301 IW302 IW501 IW502 IW503".split()),
    "IW201": frozenset(["IW501"]),
    "IW202": frozenset("IW203 IW502 IW503 IW501".split()),
    "IW203": frozenset("IW201 IW204 IW301 IW401 IW501 IW502".split()),
    "IW301": frozenset("IW201 IW204 IW501".split()),
    "IW302": frozenset("IW201 IW204 IW501".split()),
    "IW204": frozenset("IW201 IW501".split()),
}


def can_follow(finding: Finding, cause: Finding) -> bool:
    """Whether ``finding`` is one of those that ``cause`` brings about."""
    if GROWTH in finding.evidence and cause.code in ("IW402", "IW602"):
        return True
    if DATA_SCALE in cause.evidence and finding.code == "IW402":
        return True
    return finding.code in LEADS_TO.get(cause.code, ())
