"""Theory's line through the measured profile: how the signals would run by the initial weights."""

from __future__ import annotations

import math

import numpy as np

from initwatch.diagnosis.stack import PlainStack, plain_stack
from initwatch.records import History, LayerSpec, Statistic
from initwatch.records.update import Update
from initwatch.theory.quadrature import mean_square, mean_square_slope

Line = list[float | None]


def predicted(update: Update) -> dict[str, Line] | None:
    """What the weights' mean squares and the activations say of both signals at this step.

    It is told for the longest run of trunk layers without shortcut or normalisation (see
    ``diagnosis.stack.PlainStack``): those are what theory follows (Poole et al. 2016, eq. 3;
    Schoenholz et al. 2017, eq. 5).

    Returns:
        ``forward``: predicted RMS of each layer's output over that of the first layer told of
        whose output was measured, ``backward``: predicted RMS of dL/d(output) over that of the last
        one; None for layers that theory does not follow. None altogether where there is no such
        run of layers.
    """
    history = History(
        layers=update.layers,
        variables=update.variables,
        steps=np.array([update.step], np.int64),
        series={name: value[None] for name, value in update.values.items()},
        loss_steps=np.zeros(0, np.int64),
        losses=np.zeros(0),
        trivial_losses=np.zeros(0),
        error_shares=np.zeros(0),
    )
    stack = plain_stack(history, input_square=lambda first: _input_square(update, first))
    if stack is None:
        return None
    forward, backward = _squares(stack, {layer.path: layer for layer in update.layers})
    return {
        "forward": _relative(update, forward, Statistic.ACTIVATION_RMS, 0),
        "backward": _relative(update, backward, Statistic.DELTA_RMS, -1),
    }


def _input_square(update: Update, first: LayerSpec) -> float:
    """Measured mean square of what the first layer is given: 1 where it is not known."""
    before = None
    for i, layer in enumerate(update.layers):
        if layer.path == first.path:
            break
        if layer.trunk:
            before = i
    activations = update.values.get(Statistic.ACTIVATION_RMS)
    inputs = update.values.get(Statistic.INPUT_RMS)
    found = math.nan
    if before is not None and activations is not None:
        found = float(activations[before]) ** 2
    elif inputs is not None and len(inputs) == 1:
        found = float(inputs[0]) ** 2
    return found if 0.0 < found < math.inf else 1.0


def _squares(
    stack: PlainStack, layers: dict[str, LayerSpec]
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean squares of outputs and of dL/d(output) by layer path, each up to a common factor."""
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    # of dL/dz, over all units: chi is the factor of it, whatever the widths are
    squares = [1.0]
    for chi in reversed(stack.theory.chi):
        squares.append(squares[-1] * chi)
    for layer, phi, q, square in zip(
        stack.layers, stack.activations, stack.theory.q, reversed(squares), strict=True
    ):
        if layer.path != phi.layer:
            forward[layer.path], backward[layer.path] = q, square / layer.outputs
        bent = layers.get(phi.layer)
        if bent is not None and math.isfinite(q):
            slope = mean_square_slope(phi.function, q)
            forward[bent.path] = mean_square(phi.function, q)
            backward[bent.path] = square / slope / bent.outputs if slope > 0.0 else math.nan
    return forward, backward


def _relative(
    update: Update, squares: dict[str, float], statistic: Statistic, reference: int
) -> Line:
    """Square roots by layer, over that of the first or last one with a measured ``statistic``."""
    told = {path: square for path, square in squares.items() if 0.0 < square < math.inf}
    measured = update.values.get(statistic)
    places = [i for i, layer in enumerate(update.layers) if layer.path in told]
    if measured is not None:
        places = [i for i in places if measured[i] > 0.0] or places
    if not places:
        return [None] * len(update.layers)
    unit = told[update.layers[places[reference]].path]
    return [
        math.sqrt(told[layer.path] / unit) if layer.path in told else None
        for layer in update.layers
    ]
