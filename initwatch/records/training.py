"""How a model is being trained, as far as advice needs it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Training:
    """The compiled optimizer.

    Attributes:
        optimizer: its class name, such as ``Adam``.
        learning_rate: its learning rate now, None under a schedule or if unknown.
    """

    optimizer: str
    learning_rate: float | None
