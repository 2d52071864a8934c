"""How a model is being trained, as far as advice needs it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Training:
    """The compiled optimizer and loss.

    Attributes:
        optimizer: its class name, such as ``Adam``.
        learning_rate: its learning rate now, None under a schedule or if unknown.
        loss: canonical name of the loss, such as ``mean_squared_error``; None if it is not one
            whose constant guess is known.
    """

    optimizer: str
    learning_rate: float | None
    loss: str | None = None
