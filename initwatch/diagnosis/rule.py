"""What a rule is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, ClassVar, Protocol

from initwatch.records import Finding, History, Statistic

Threshold = Annotated[float, "a named limit; unit and source stand in its field's metadata"]


def threshold(default: float, *, unit: str, source: str) -> Any:
    """A rule's named limit with where it comes from; override it in the rule's constructor."""
    return field(default=default, metadata={"unit": unit, "source": source})


class Rule(Protocol):
    """One diagnosis.

    Attributes:
        code: unique, ``IW`` and three digits; the first is the family.
        symptom: what it reports, one of the fixed names.
        summary: one line.
        needs: statistics without which it abstains.
        uses: statistics that it reads where they are measured; left out, none.
        retracted: True if a finding has recovered once ``check`` no longer yields it.
        persists: True if what it finds is a fault also in a run that learns well; left out, a
            finding of such a run has recovered.
        waits_for_harm: True if its warnings are only mentioned as long as no harm is measured: the
            loss is not lost and, as far as it is known, not that of a run that fails to learn, nor
            of one that ends without having learned well.
        hurts_above_guess: True if a run in which it is found does not learn well while its loss
            is above that of a constant guess, or ends near it, few as its errors may be.

    A rule that cannot judge every model has a method ``abstains(history)`` besides, which gives
    the reason in one line, or None. One that takes back some of what it finds only has a method
    ``lets_go(finding)``, True for those.
    """

    code: ClassVar[str]
    symptom: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Statistic]]
    retracted: ClassVar[bool]

    def check(self, history: History) -> Iterator[Finding]:
        """Findings for this history; pure: the same history gives the same findings."""
        ...
