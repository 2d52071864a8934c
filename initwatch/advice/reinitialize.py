"""Applying initializer advice to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from initwatch.errors import ArgumentError
from initwatch.records import Advice, Report


@dataclass(frozen=True, slots=True)
class Reinitialized:
    """One kernel that was drawn anew.

    Attributes:
        layer: path of its layer.
        variable: path of the kernel.
        previous: the initializer it came from.
        initializer: the initializer it was drawn with.
    """

    layer: str
    variable: str
    previous: Any
    initializer: Any


def reinitialize(
    model: keras.Model, report: Report, layers: Sequence[str] | None = None
) -> list[Reinitialized]:
    """Draws the kernels that ``report`` has initializer advice for anew, in place.

    The layers' ``kernel_initializer`` is set too, so that a saved model tells the truth. Draws
    come from seeds of their own; no other random state is touched. The optimizer's slots are
    left alone: call it before training, or compile again.

    Args:
        model: the model of the report, or one built alike (its variables have the same paths).
        report: from ``InitWatch.report``.
        layers: paths of the layers to change; all with initializer advice by default.

    Returns:
        What was changed, in the order of the report's advice; empty if it advises no
        initializer.

    Raises:
        ArgumentError: if a layer was named that the report has no initializer advice for, or
            if the model has no variable of that path and shape.
    """
    advice = [item for item in report.advice if item.kind == "initializer"]
    if layers is not None:
        unknown = sorted(set(layers) - {item.layer for item in advice})
        if unknown:
            raise ArgumentError(
                f"the report has no initializer advice for {', '.join(unknown)}; it has some "
                f"for: {', '.join(item.layer for item in advice) or 'no layer'}."
            )
        advice = [item for item in advice if item.layer in set(layers)]
    # all are looked up before the first is changed: an error leaves the model as it was
    found = [(item, *_owner(model, item)) for item in advice]
    changed = []
    for item, layer, variable in found:
        variable.assign(item.suggested(variable.shape, dtype=variable.dtype))
        argument = item.code.partition("=")[0]
        if hasattr(layer, argument):
            setattr(layer, argument, item.suggested)
        changed.append(
            Reinitialized(
                layer=item.layer,
                variable=item.variable,
                previous=item.current,
                initializer=item.suggested,
            )
        )
    return changed


def _owner(model: keras.Model, item: Advice) -> tuple[Any, Any]:
    """(layer, variable) that the advice speaks of."""
    matches = [
        (layer, variable)
        for layer in model._flatten_layers()
        for variable in layer._trainable_variables
        if variable.path == item.variable
    ]
    if len(matches) != 1:
        raise ArgumentError(
            f"the model {model.name!r} has {len(matches)} trainable variables of path "
            f"{item.variable!r}, one was expected. Give reinitialize() the model the report is "
            "of, or one built alike with the same layer names."
        )
    return matches[0]
