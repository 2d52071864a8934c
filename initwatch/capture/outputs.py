"""What the model predicts with: the layer, its activation and range, and the compiled loss."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import keras

from initwatch.capture.activations import own_function
from initwatch.capture.backends.protocol import Backend
from initwatch.capture.observer import Observer
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
    """The model's prediction and its loss; an ``Output`` without either where there are several.

    Args:
        observer: what one step showed.
        backend: whose tensors these are.
        paths: id(layer) -> its path.
    """
    given, seen = observer.labels, observer.loss is not None
    if given is None or not hasattr(given[1], "shape"):
        return Output(loss_seen=seen)
    loss, from_logits = _loss(getattr(observer.model, "loss", None))
    units = given[1].shape[-1] if len(given[1].shape) > 1 else 1
    layer, activation = _last(observer)
    low, high = _RANGES.get(activation, (-_INF, _INF))
    return Output(
        layer=paths.get(id(layer), ""),
        activation=activation,
        units=int(units or 0),
        low=low,
        high=high,
        loss=loss,
        from_logits=from_logits,
        logits_read=backend.logits_of(given[1]) is not None,
        loss_seen=seen,
    )


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


def _loss(loss: Any) -> tuple[str, bool]:
    """(canonical name of a compiled loss, whether it takes logits); "" if it is not Keras's."""
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, (list, tuple)):
        loss = loss[0] if len(loss) == 1 else None
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return "", False
    if isinstance(loss, keras.losses.Loss):
        if not type(loss).__module__.startswith("keras."):
            return "", False
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(loss).__name__).lower()
        kept = getattr(loss, "_fn_kwargs", {}).get("from_logits", False)
        return name, bool(getattr(loss, "from_logits", kept))
    if getattr(loss, "__module__", "").startswith("keras."):
        return str(getattr(loss, "__name__", "")), False
    return "", False
