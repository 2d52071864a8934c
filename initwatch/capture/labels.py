"""How well a batch's labels are predicted, and by the best constant, inside the step.

A loss that has not moved tells a stalled run only if the model is no better than that:
a fine-tuned model starts low and stays low.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

Tensor = Any
_TINY = 1e-12
# The mean distance of 32 normal targets from their own median is 2.4 % below that from the true
# one, of exponential ones 2.3 %.
FEW_LABELS = 32.0

_ALIASES = {
    "CategoricalCrossentropy": "categorical_crossentropy",
    "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
    "BinaryCrossentropy": "binary_crossentropy",
    "MeanSquaredError": "mean_squared_error",
    "mse": "mean_squared_error",
    "MSE": "mean_squared_error",
    "MeanAbsoluteError": "mean_absolute_error",
    "mae": "mean_absolute_error",
    "MAE": "mean_absolute_error",
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


def trivial_loss(name: str, y: Tensor, y_pred: Tensor, whole: bool = False) -> Tensor:
    """Loss of the best constant prediction, float32 scalar; NaN where it is not known.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction; only its static shape is used.
        whole: these are all the labels there are, not a sample of them: nothing is corrected.

    Cross-entropies: the entropy of the batch's label frequencies in nats, with Miller's and
    Madow's correction (classes seen - 1) / 2n for small batches (Miller 1955). Squared error:
    the unbiased variance of the targets, each output by itself. Absolute error of labels that
    are all 0 or 1: the rarer one's share, each output by itself; of one output, the mean distance
    from the median of 32 labels and more. It has no correction that holds for small batches of
    every distribution: of other targets its guess is not known.
    """
    if name == "sparse_categorical_crossentropy":
        counts, labels = _class_counts(y, y_pred.shape[-1])
        return _entropy(counts / labels, labels, whole)
    y = _aligned(y, y_pred)
    if name == "categorical_crossentropy":
        axes = tuple(range(len(y.shape) - 1))
        labels = ops.cast(ops.size(y[..., 0]), "float32")
        return _entropy(ops.mean(y, axis=axes), labels, whole)
    share = ops.mean(y, axis=0)
    labels = ops.cast(ops.shape(y)[0], "float32")
    if name == "binary_crossentropy":
        both = ops.stack([share, 1.0 - share], axis=-1)
        outputs = ops.cast(ops.size(share), "float32")
        return _entropy(both, labels, whole) / outputs
    if name == "mean_absolute_error":
        binary = ops.all(ops.logical_or(ops.equal(y, 0.0), ops.equal(y, 1.0)))
        if len(y.shape) == 2 and y.shape[-1] == 1:
            distance = ops.mean(ops.abs(y - ops.median(y, axis=0)))
            known = ops.logical_or(binary, labels >= (1.0 if whole else FEW_LABELS))
            return ops.where(known, distance, float("nan"))
        return ops.where(binary, ops.mean(ops.minimum(share, 1.0 - share)), float("nan"))
    squared = ops.mean(ops.square(y - share))
    return squared if whole else squared * labels / ops.maximum(labels - 1.0, 1.0)


def error_rate(name: str, y: Tensor, y_pred: Tensor, bar: float = 0.5) -> Tensor:
    """Share of wrong predictions, float32 scalar; NaN for losses that are not of classes.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction, or its logits.
        bar: binary: a prediction above it is a yes: 0.5 for probabilities, 0 for logits.
    """
    if name == "binary_crossentropy":
        wrong = ops.not_equal(_aligned(y, y_pred) > 0.5, ops.cast(y_pred, "float32") > bar)
    elif name in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        chosen = ops.reshape(ops.argmax(y_pred, axis=-1), (-1,))
        right = y if name.startswith("sparse") else ops.argmax(y, axis=-1)
        wrong = ops.not_equal(ops.cast(ops.reshape(right, (-1,)), chosen.dtype), chosen)
    else:
        return ops.convert_to_tensor(float("nan"), "float32")
    return ops.mean(ops.cast(wrong, "float32"))


def trivial_error_rate(name: str, y: Tensor, y_pred: Tensor) -> Tensor:
    """Share of wrong predictions of the best constant one, float32 scalar; NaN as above.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction; only its static shape is used.
    """
    if name == "binary_crossentropy":
        share = ops.mean(ops.cast(_aligned(y, y_pred) > 0.5, "float32"), axis=0)
        return ops.mean(ops.minimum(share, 1.0 - share))
    if name == "sparse_categorical_crossentropy":
        counts, labels = _class_counts(y, y_pred.shape[-1])
        return 1.0 - ops.max(counts) / labels
    if name == "categorical_crossentropy":
        y = ops.cast(y, "float32")
        return 1.0 - ops.max(ops.mean(y, axis=tuple(range(len(y.shape) - 1))))
    return ops.convert_to_tensor(float("nan"), "float32")


def _aligned(y: Tensor, y_pred: Tensor) -> Tensor:
    """Labels as float32 with the axes of the prediction, as Keras's losses see them."""
    y = ops.cast(y, "float32")
    return ops.expand_dims(y, -1) if len(y.shape) == len(y_pred.shape) - 1 else y


def _class_counts(y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """float32[classes], how often each label occurs, and how many labels there are."""
    flat = ops.reshape(ops.cast(y, "int32"), (-1,))
    ones = ops.ones_like(ops.cast(flat, "float32"))
    counts = ops.segment_sum(ones, flat, num_segments=classes)
    return counts, ops.maximum(ops.sum(counts), 1.0)


def _entropy(share: Tensor, labels: Tensor, whole: bool) -> Tensor:
    """Entropy in nats of frequencies that were estimated from so many labels."""
    plain = -ops.sum(share * ops.log(ops.maximum(share, _TINY)))
    if whole:
        return plain
    seen = ops.sum(ops.cast(share > 0.0, "float32"))
    groups = ops.cast(ops.size(share), "float32") / share.shape[-1]
    # the correction may overshoot what entropy there can be at all
    most = groups * math.log(share.shape[-1])
    return ops.minimum(plain + (seen - groups) / (2.0 * labels), most)
