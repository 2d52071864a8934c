"""How a model is being trained, as far as advice needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Training:
    """The compiled optimizer and loss.

    Attributes:
        optimizer: its class name, such as ``Adam``.
        learning_rate: its learning rate now, None under a schedule or if unknown.
        loss: canonical name of the loss, such as ``mean_squared_error``; None if it is not one
            whose constant guess is known.
        settings: the optimizer's other arguments that are not at their default, such as momentum.
        scales_loss: whether it is wrapped in a ``LossScaleOptimizer``.
    """

    optimizer: str
    learning_rate: float | None
    loss: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    scales_loss: bool = False

    def code_without(self, *names: str, **changed: Any) -> str:
        """The line that makes this optimizer at its present rate, without these arguments."""
        kept = {name: value for name, value in self.settings.items() if name not in names}
        rate = "..." if self.learning_rate is None else f"{self.learning_rate:.3g}"
        return replace(self, settings=kept).code(rate, **changed)

    def code(self, rate: str, **changed: Any) -> str:
        """The line that makes this optimizer with another learning rate, and what else changes."""
        given = {**self.settings, **changed}
        arguments = "".join(f", {name}={value!r}" for name, value in given.items())
        line = f"keras.optimizers.{self.optimizer}(learning_rate={rate}{arguments})"
        return f"keras.optimizers.LossScaleOptimizer({line})" if self.scales_loss else line
