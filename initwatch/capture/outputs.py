"""What the model predicts with: the layer, its activation and range, and the compiled loss."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import keras

from initwatch.capture.activations import own_function
from initwatch.capture.backends.protocol import Backend
from initwatch.capture.observer import Observer, is_stock
from initwatch.capture.predictions import is_class_numbers
from initwatch.capture.targets import facts_of
from initwatch.capture.topology import kernels_of
from initwatch.records.output import Output

_INF = math.inf
# Ranges of activations; those not named have no bound, or are not known.
_RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, _INF),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, _INF),
    "exponential": (0.0, _INF),
    "elu": (-1.0, _INF),
    "selu": (-1.7580993408473766, _INF),  # scale x alpha, Klambauer et al. 2017
}
# What a model computes itself behind its last layer, by the operation's name in the graph.
_OPERATIONS = {"Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh", "Relu": "relu"}
# Layers that hand the prediction on as it is.
_PASSING: tuple[type, ...] = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
)


def describe_output(observer: Observer, backend: Backend, paths: Mapping[int, str]) -> Output:
    """The model's prediction and its loss; neither where there are several outputs.

    Args:
        observer: what one step showed.
        backend: whose tensors these are.
        paths: id(layer) -> its path.
    """
    targets = [target for target in observer.targets if target.comparable]
    everywhere = Output(
        loss_seen=observer.loss is not None,
        labels_seen=bool(targets),
        weighted=any(t.weight is not None or t.mask is not None for t in targets),
        own_step=not is_stock(observer.model),
        loss_scale_forgotten=_forgets_scale(observer),
    )
    if len(targets) != 1:
        return everywhere
    target = targets[0]
    facts = facts_of(target.loss)
    layer, activation = _last(observer)
    low, high = _RANGES.get(activation, (-_INF, _INF))
    shape = target.prediction.shape
    return replace(
        everywhere,
        layer=paths.get(id(layer), ""),
        activation=activation,
        units=int((shape[-1] if len(shape) > 1 else 1) or 0),
        low=low,
        high=high,
        loss=facts.name,
        from_logits=facts.from_logits,
        label_smoothing=facts.smoothing,
        logits_read=backend.logits_of(target.prediction) is not None,
        aligned=hasattr(target.loss, "fn"),
        numbered=bool(is_class_numbers(target.y, target.prediction, facts.name)),
        label_rank=len(target.y.shape),
        label_units=_label_units(list(target.y.shape), len(shape)),
        rank=len(shape),
        softmaxes=_softmaxes(observer),
    )


def _label_units(shape: list[int | None], rank: int) -> int:
    """How many numbers of the labels are held against a row of the prediction."""
    if len(shape) == rank - 1:
        return 1
    return int((shape[-1] if len(shape) > 1 else 1) or 0)


def _forgets_scale(observer: Observer) -> bool:
    """True if the optimizer divides gradients by a scale that the loss was not multiplied by."""
    scaled = any(applied.loss_scale is not None for applied in observer.applied)
    return scaled and not observer.scales_loss


def _softmaxes(observer: Observer) -> int:
    """How many softmaxes stand one behind the other at the end of the model."""
    origins, count = observer.prediction_origins, 0
    operations: Collection[str] = () if origins is None else origins.operations
    while origins is not None and len(origins.known) == 1:
        if set(operations) - {"Softmax"}:
            return count
        count += len(operations)
        call = observer.calls[next(iter(origins.known))]
        own = own_function(call.layer)
        if own is not None and own[0] == "softmax":
            count += 1
            if kernels_of(call.layer):
                return count + int("Softmax" in call.between)
        elif not isinstance(call.layer, _PASSING):
            return count
        origins, operations = call.origins, call.between
    return count


def _last(observer: Observer) -> tuple[Any, str]:
    """(the layer whose output is the prediction, its activation); None and "" if not known."""
    origins = observer.prediction_origins
    while origins is not None and len(origins.known) == 1:
        call = observer.calls[next(iter(origins.known))]
        operations = origins.operations
        if len(operations) == 1 and (name := _OPERATIONS.get(next(iter(operations)))):
            return call.layer, name
        if operations:
            return call.layer, ""
        if not isinstance(call.layer, _PASSING):
            own = own_function(call.layer)
            return call.layer, own[0] if own is not None else ""
        origins = call.origins
    return None, ""
