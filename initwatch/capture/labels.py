"""The loss of the best constant prediction for a batch's labels, inside the step.

A loss that has not moved tells a stalled run only if the model is no better than that:
a fine-tuned model starts low and stays low.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

Tensor = Any
_TINY = 1e-12

_ALIASES = {
    "CategoricalCrossentropy": "categorical_crossentropy",
    "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
    "BinaryCrossentropy": "binary_crossentropy",
    "MeanSquaredError": "mean_squared_error",
    "mse": "mean_squared_error",
    "MSE": "mean_squared_error",
}
KNOWN = frozenset(_ALIASES.values())


def loss_name(loss: Any) -> str | None:
    """Canonical name of a compiled loss this module knows the trivial value of, else None."""
    if isinstance(loss, str):
        name = loss
    elif hasattr(loss, "reduction"):
        if loss.reduction not in ("sum_over_batch_size", "mean"):
            return None
        if getattr(loss, "label_smoothing", 0.0):
            return None
        name = type(loss).__name__
    else:
        name = getattr(loss, "__name__", "")
    name = _ALIASES.get(name, name)
    return name if name in KNOWN else None


def trivial_loss(name: str, y: Tensor, y_pred: Tensor) -> Tensor:
    """Loss of the best constant prediction, float32 scalar.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction; only its static shape is used.

    Cross-entropies: the entropy of the batch's label frequencies in nats, with Miller's and
    Madow's correction (classes seen - 1) / 2n for small batches (Miller 1955). Squared error:
    the unbiased variance of the targets, each output by itself. Absolute error has no such
    correction that holds for small batches of every distribution: its guess is not known.
    """
    if name == "sparse_categorical_crossentropy":
        classes = y_pred.shape[-1]
        flat = ops.reshape(ops.cast(y, "int32"), (-1,))
        ones = ops.ones_like(ops.cast(flat, "float32"))
        share = ops.segment_sum(ones, flat, num_segments=classes)
        labels = ops.maximum(ops.sum(share), 1.0)
        return _entropy(share / labels, labels)
    y = ops.cast(y, "float32")
    if len(y.shape) == len(y_pred.shape) - 1:
        y = ops.expand_dims(y, -1)
    if name == "categorical_crossentropy":
        axes = tuple(range(len(y.shape) - 1))
        labels = ops.cast(ops.size(y[..., 0]), "float32")
        return _entropy(ops.mean(y, axis=axes), labels)
    share = ops.mean(y, axis=0)
    labels = ops.cast(ops.shape(y)[0], "float32")
    if name == "binary_crossentropy":
        both = ops.stack([share, 1.0 - share], axis=-1)
        outputs = ops.cast(ops.size(share), "float32")
        return _entropy(both, labels) / outputs
    return ops.mean(ops.square(y - share)) * labels / ops.maximum(labels - 1.0, 1.0)


def _entropy(share: Tensor, labels: Tensor) -> Tensor:
    """Entropy in nats of frequencies that were estimated from so many labels."""
    plain = -ops.sum(share * ops.log(ops.maximum(share, _TINY)))
    seen = ops.sum(ops.cast(share > 0.0, "float32"))
    groups = ops.cast(ops.size(share), "float32") / share.shape[-1]
    # the correction may overshoot what entropy there can be at all
    most = groups * math.log(share.shape[-1])
    return ops.minimum(plain + (seen - groups) / (2.0 * labels), most)
