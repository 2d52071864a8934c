"""What was drawn anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reinitialized:
    """One variable that was drawn anew.

    Attributes:
        layer: path of its layer.
        variable: path of the variable.
        previous: the initializer it came from, or text where that is not known.
        initializer: the initializer it was drawn with.
        step: optimizer steps that had been taken, None outside of a training.
        measured: the trial's figures before and after, None where no trial ran.
    """

    layer: str
    variable: str
    previous: Any
    initializer: Any
    step: int | None = None
    measured: Mapping[str, float] | None = None
