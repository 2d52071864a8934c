"""What to do about a finding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AdviceKind = Literal[
    "initializer",
    "activation",
    "normalization",
    "learning_rate",
    "input_scale",
    "target_scale",
    "data",
    "clipping",
    "regularization",
    "output_loss",
    "train_step",
    "optimizer",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to change.

    Attributes:
        layer: path of the layer to change; empty where it is no single layer's matter.
        kind: what is to be changed.
        current: for an initializer the ``keras.initializers.Initializer`` in use, else text.
        suggested: for an initializer the ``keras.initializers.Initializer`` to use, else text.
        code: the line to paste.
        predicted: theory's figures before and after, empty where theory has none.
        measured: a trial's figures before and after, None where no trial ran.
        reason: one sentence, with its source.
        codes: codes of the findings it answers.
        variable: path of the variable the initializer is for, empty for other kinds.
        place: (index of that variable, number) among the model's trainable variables.
    """

    layer: str
    kind: AdviceKind
    current: Any
    suggested: Any
    code: str
    reason: str
    codes: tuple[str, ...]
    predicted: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] | None = None
    variable: str = ""
    place: tuple[int, int] = (-1, 0)
