"""Applying initializer advice to a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from initwatch.errors import ArgumentError
from initwatch.records import Advice, Reinitialized, Report


def reinitialize(
    model: keras.Model, report: Report, layers: Sequence[str] | None = None
) -> list[Reinitialized]:
    """Draws the kernels that ``report`` has initializer advice for anew, in place.

    The layers' ``kernel_initializer`` is set too, so that a saved model tells the truth. Draws
    come from seeds of their own; no other random state is touched. What the compiled optimizer
    keeps of the variables (momenta, variances, averages) begins anew.

    Args:
        model: the model of the report, or one built alike: variables are looked up by path, and
            where Keras has counted its automatic names on, by their place.
        report: from ``InitWatch.report``.
        layers: paths of the layers to change; all with initializer advice by default.

    Returns:
        What was changed, in the order of the report's advice; empty if it advises no
        initializer.

    Raises:
        ArgumentError: if ``model`` is no Keras model or ``report`` no report, if a layer was
            named that the report has no initializer advice for, or if the model is not built
            like that of the report.
    """
    if not isinstance(model, keras.Model):
        raise ArgumentError(f"model must be a keras.Model. Received: {model!r}")
    if not isinstance(report, Report):
        raise ArgumentError(
            f"report must be an initwatch.Report, such as watch.report. Received: {report!r}"
        )
    if isinstance(layers, str):
        layers = [layers]
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
    found = owners(model, advice)
    changed = []
    for item, (layer, variable) in zip(advice, found, strict=True):
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
                measured=item.measured,
            )
        )
    if getattr(model, "optimizer", None) is not None:
        begin_anew(model.optimizer, [variable for _, variable in found])
    return changed


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer itself, where a loss scaler is wrapped around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


@contextmanager
def begun_anew(optimizer: Any, variables: Sequence[Any]) -> Iterator[None]:
    """For the while, what an optimizer keeps of these variables is what it would begin with."""
    if optimizer is None:
        yield
        return
    kept = [(v, keras.ops.convert_to_numpy(v).copy()) for v in inner_optimizer(optimizer).variables]
    try:
        begin_anew(optimizer, variables)
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


def begin_anew(optimizer: Any, variables: Sequence[Any]) -> None:
    """Sets what an optimizer keeps of these variables to what it would begin with.

    Each slot of a built Keras optimizer is in a list with one entry a trainable variable, in
    their order. What it begins with is read off an optimizer of the same configuration.
    """
    inner = inner_optimizer(optimizer)
    if not inner.built or not variables:
        return
    trained = list(inner._trainable_variables)
    chosen = [i for i, v in enumerate(trained) if any(v is given for given in variables)]
    if not chosen:
        return
    fresh = type(inner).from_config(inner.get_config())
    fresh.build(trained)
    for name, slots in vars(inner).items():
        anew = vars(fresh).get(name)
        if not isinstance(slots, list) or not isinstance(anew, list) or slots is trained:
            continue
        if name == "_trainable_variables" or {len(slots), len(anew)} != {len(trained)}:
            continue
        for i in chosen:
            if isinstance(slots[i], keras.Variable):
                # the average of weights is that of the new ones so far, from its first step on
                is_average = name == "_model_variables_moving_average"
                slots[i].assign(trained[i] if is_average else anew[i])


def owners(model: keras.Model, advice: Sequence[Advice]) -> list[tuple[Any, Any]]:
    """(layer, variable) that each advice speaks of."""
    there = [
        (layer, variable)
        for layer in model._flatten_layers()
        for variable in layer._trainable_variables
    ]
    by_path: dict[str, list[tuple[Any, Any]]] = {}
    for layer, variable in there:
        by_path.setdefault(variable.path, []).append((layer, variable))
    if all(len(by_path.get(item.variable, ())) == 1 for item in advice):
        return [by_path[item.variable][0] for item in advice]
    # Built again in one process, layers that Keras names have other numbers: dense_3 is dense_7.
    return [_counted(model, item, there) for item in advice]


def _counted(model: keras.Model, item: Advice, there: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The variable at the advice's place, if the model has as many and this one is named so."""
    place, number = item.place
    variables = model.trainable_variables
    if len(variables) == number and 0 <= place < number:
        variable = variables[place]
        owners = [pair for pair in there if pair[1] is variable]
        if len(owners) == 1 and _numberless(variable.path) == _numberless(item.variable):
            return owners[0]
    raise ArgumentError(
        f"the model {model.name!r} is not built like the one of the report: that has "
        f"{item.variable!r} as number {place} of {number} trainable variables. Give "
        "reinitialize() the model the report is of, or one that the same code builds."
    )


def _numberless(path: str) -> str:
    """A variable's path without the numbers Keras adds to its automatic names."""
    return "/".join(re.sub(r"_\d+$", "", part) for part in path.split("/"))
