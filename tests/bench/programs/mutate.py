"""Mutation operators: each makes of a sound program a faulty one, or another that is sound.

After the published studies of faults in deep learning programs (DeepCrime, AUTOTRAINER, DeepFD,
DEFault). Every operator changes one thing, as a user would have written it. Whether that does harm
is not said here: it is measured (see ``truth.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.programs.program import Run

Change = Callable[[Run], Run | None]

SYMPTOMS = frozenset(
    """
    vanishing_gradient exploding_gradient non_finite zero_gradient dead_relu saturated_activation
    vanishing_signal exploding_signal symmetric_units initializer_mismatch stalled_loss
    diverging_loss oscillating_loss update_too_small update_too_large unchanged_weights
    unscaled_input output_loss_mismatch initial_loss regularization uphill
    """.split()
)
ADVICE = frozenset(
    """
    initializer activation normalization learning_rate input_scale target_scale data clipping
    regularization output_loss optimizer loss
    """.split()
)
FAMILIES = (
    "initial_weights activation output_loss loss rate optimizer step normalization regularization "
    "frozen labels inputs sound_change"
).split()


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One way to change a program.

    Attributes:
        name: unique.
        family: one of ``FAMILIES``; ``sound_change`` for those that are meant to do no harm.
        symptoms: those that name the cause rightly.
        advice: kinds that are right as the first advice.
        change: makes the changed run; None where the operator does not apply.
        doc: what it does, in a few words.
    """

    name: str
    family: str
    symptoms: frozenset[str]
    advice: frozenset[str]
    change: Change
    doc: str

    @property
    def harmless(self) -> bool:
        """True if it is meant to do no harm."""
        return self.family == "sound_change"


OPERATORS: dict[str, Operator] = {}


def operator(
    name: str, family: str, doc: str, symptoms: str = "", advice: str = ""
) -> Callable[[Change], Change]:
    """Registers the function below; ``symptoms`` and ``advice`` are words."""

    def keep(change: Change) -> Change:
        add(name, family, doc, symptoms, advice, change)
        return change

    return keep


def add(name: str, family: str, doc: str, symptoms: str, advice: str, change: Change) -> None:
    """Registers an operator."""
    assert name not in OPERATORS, name
    OPERATORS[name] = Operator(
        name=name,
        family=family,
        symptoms=frozenset(symptoms.split()),
        advice=frozenset(advice.split()),
        change=change,
        doc=doc,
    )


def operators() -> dict[str, Operator]:
    """All operators by name."""
    from tests.bench.programs import (  # noqa: F401  # each registers its own
        mutate_activations,
        mutate_data,
        mutate_harmless,
        mutate_losses,
        mutate_steps,
        mutate_training,
        mutate_weights,
    )

    return OPERATORS
