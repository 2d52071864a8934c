"""How well a batch's labels are predicted, and by the best constant, inside the step.

A loss that has not moved tells a stalled run only if the model is no better than that:
a fine-tuned model starts low and stays low. Only labels that count are looked at: sample weights,
masks and ``ignore_class`` leave others out.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from initwatch.capture.targets import LossFacts, Target

Tensor = Any
_TINY = 1e-12
# The mean distance of 32 normal targets from their own median is 2.4 % below that from the true
# one, of exponential ones 2.3 %.
FEW_LABELS = 32.0
# Losses whose best constant prediction is known.
KNOWN = frozenset(
    "categorical_crossentropy sparse_categorical_crossentropy binary_crossentropy "
    "mean_squared_error mean_absolute_error".split()
)
MEANS = frozenset(["sum_over_batch_size", "mean", "mean_with_sample_weight"])


def trivial_loss(
    name: str,
    y: Tensor,
    y_pred: Tensor,
    whole: bool = False,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Loss of the best constant prediction, float32 scalar; NaN where it is not known.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction; only its static shape is used.
        whole: these are all the labels there are, not a sample of them: nothing is corrected.
        weights: float32 of the prediction's shape but for its last axis, what each label counts;
            None: all count alike. The result is that of labels whose weights have a mean of 1.
        smoothing: the loss's ``label_smoothing``.

    Cross-entropies: the entropy of the batch's label frequencies in nats, with Miller's and
    Madow's correction (classes seen - 1) / 2n for small batches (Miller 1955). Squared error:
    the unbiased variance of the targets, each output by itself. Absolute error of labels that
    are all 0 or 1: the rarer one's share, each output by itself; of one output, the mean distance
    from the median of 32 labels and more. It has no correction that holds for small batches of
    every distribution: of other targets its guess is not known, nor under weights.
    """
    if name == "sparse_categorical_crossentropy":
        share, labels = _class_shares(y, y_pred.shape[-1], weights)
        return _entropy(share, labels, whole)
    y = _aligned(y, y_pred)
    if name == "categorical_crossentropy":
        axes = tuple(range(len(y.shape) - 1))
        share = _mean(y, weights, axes)
        share = share * (1.0 - smoothing) + smoothing / y.shape[-1]
        return _entropy(share, _counted(y[..., 0], weights), whole)
    share = _mean(y, weights, 0)
    labels = ops.cast(ops.shape(y)[0], "float32")
    if name == "binary_crossentropy":
        share = share * (1.0 - smoothing) + 0.5 * smoothing
        if weights is not None:
            return _weighted_entropy(share, y, weights, whole)
        both = ops.stack([share, 1.0 - share], axis=-1)
        outputs = ops.cast(ops.size(share), "float32")
        return _entropy(both, labels, whole) / outputs
    if name == "mean_absolute_error":
        return _mean_distance(y, share, labels, whole, weights)
    if weights is not None:
        spread, parts = _spread(y, share, weights)
        found = ops.sum(spread) / ops.maximum(ops.sum(parts), _TINY)
        labels = ops.maximum(_counted(y, weights) / ops.cast(ops.size(share), "float32"), 1.0)
    else:
        found = ops.mean(ops.square(y - share))
    return found if whole else found * labels / ops.maximum(labels - 1.0, 1.0)


def error_rate(
    name: str, y: Tensor, y_pred: Tensor, bar: float = 0.5, weights: Tensor | None = None
) -> Tensor:
    """Share of wrong predictions, float32 scalar; NaN for losses that are not of classes.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction, or its logits.
        bar: binary: a prediction above it is a yes: 0.5 for probabilities, 0 for logits.
        weights: as in ``trivial_loss``.
    """
    if name == "binary_crossentropy":
        wrong = ops.not_equal(_aligned(y, y_pred) > 0.5, ops.cast(y_pred, "float32") > bar)
        return _mean_of_all(wrong, weights)
    if name in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        chosen = ops.reshape(ops.argmax(y_pred, axis=-1), (-1,))
        right = y if name.startswith("sparse") else ops.argmax(y, axis=-1)
        wrong = ops.not_equal(ops.cast(ops.reshape(right, (-1,)), chosen.dtype), chosen)
        return _mean_of_all(wrong, None if weights is None else ops.reshape(weights, (-1,)))
    return ops.convert_to_tensor(float("nan"), "float32")


def trivial_error_rate(
    name: str, y: Tensor, y_pred: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Share of wrong predictions of the best constant one, float32 scalar; NaN as above.

    Args:
        name: one of ``KNOWN``.
        y: labels as the loss takes them.
        y_pred: the prediction; only its static shape is used.
        weights: as in ``trivial_loss``.
    """
    if name == "binary_crossentropy":
        share = _mean(ops.cast(_aligned(y, y_pred) > 0.5, "float32"), weights, 0)
        least = ops.minimum(share, 1.0 - share)
        if weights is None:
            return ops.mean(least)
        parts = ops.sum(spread_to(weights, _aligned(y, y_pred)), axis=0)
        return ops.sum(least * parts) / ops.maximum(ops.sum(parts), _TINY)
    if name == "sparse_categorical_crossentropy":
        share, _ = _class_shares(y, y_pred.shape[-1], weights)
        return 1.0 - ops.max(share)
    if name == "categorical_crossentropy":
        y = ops.cast(y, "float32")
        return 1.0 - ops.max(_mean(y, weights, tuple(range(len(y.shape) - 1))))
    return ops.convert_to_tensor(float("nan"), "float32")


def weights_of(target: Target, facts: LossFacts) -> tuple[Tensor | None, Tensor | None]:
    """What each label counts, and by what the loss of a batch is multiplied through weights.

    Both None where all labels count alike. The weights are float32 of the prediction's shape but
    for its last axis. The factor is 1 but for weights whose mean is another one, under which
    Keras divides by the number of labels all the same.
    """
    shape = ops.shape(target.prediction)[:-1] if len(target.prediction.shape) > 1 else None
    shape = ops.shape(target.prediction) if shape is None else shape
    kept, given = None, None
    if target.mask is not None:
        kept = _spread_over(ops.cast(target.mask, "float32"), shape)
    if facts.ignore_class is not None:
        y = ops.reshape(target.y, shape)
        valid = ops.cast(ops.not_equal(y, ops.cast(facts.ignore_class, y.dtype)), "float32")
        kept = valid if kept is None else kept * valid
    if target.weight is not None and hasattr(target.weight, "shape"):
        given = _spread_over(ops.cast(target.weight, "float32"), shape)
    if given is None:
        return kept, None
    if kept is None:
        kept = ops.ones_like(given)
    weights = given * kept
    if facts.reduction == "mean_with_sample_weight":
        return weights, None
    return weights, ops.sum(weights) / ops.maximum(ops.sum(kept), _TINY)


def _spread_over(weights: Tensor, shape: Any) -> Tensor:
    """``weights`` of leading axes of ``shape``, or of all of them and one of size 1, as that."""
    while len(weights.shape) > len(shape) and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, -1)
    while len(weights.shape) < len(shape):
        weights = ops.expand_dims(weights, -1)
    return ops.broadcast_to(weights, shape)


def _aligned(y: Tensor, y_pred: Tensor) -> Tensor:
    """Labels as float32 with the axes of the prediction, as Keras's losses see them."""
    y = ops.cast(y, "float32")
    if len(y.shape) == len(y_pred.shape) + 1 and y.shape[-1] == 1:
        return ops.squeeze(y, -1)
    return ops.expand_dims(y, -1) if len(y.shape) == len(y_pred.shape) - 1 else y


def spread_to(weights: Tensor, y: Tensor) -> Tensor:
    """Weights of positions for each element of ``y``."""
    while len(weights.shape) < len(y.shape):
        weights = ops.expand_dims(weights, -1)
    return ops.broadcast_to(weights, ops.shape(y))


def _mean(y: Tensor, weights: Tensor | None, axes: Any) -> Tensor:
    if weights is None:
        return ops.mean(y, axis=axes)
    each = spread_to(weights, y)
    return ops.sum(y * each, axis=axes) / ops.maximum(ops.sum(each, axis=axes), _TINY)


def _mean_of_all(wrong: Tensor, weights: Tensor | None) -> Tensor:
    values = ops.cast(wrong, "float32")
    if weights is None:
        return ops.mean(values)
    each = spread_to(weights, values)
    return ops.sum(values * each) / ops.maximum(ops.sum(each), _TINY)


def _counted(y: Tensor, weights: Tensor | None) -> Tensor:
    """How many of the labels count, as float32."""
    if weights is None:
        return ops.cast(ops.size(y), "float32")
    return ops.sum(ops.cast(spread_to(weights, y) > 0.0, "float32"))


def _spread(y: Tensor, centre: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums over examples of squared distances, and of the weights."""
    each = spread_to(weights, y)
    return ops.sum(each * ops.square(y - centre), axis=0), ops.sum(each, axis=0)


def _mean_distance(
    y: Tensor, share: Tensor, labels: Tensor, whole: bool, weights: Tensor | None
) -> Tensor:
    unknown = ops.convert_to_tensor(float("nan"), "float32")
    if weights is not None:
        return unknown
    binary = ops.all(ops.logical_or(ops.equal(y, 0.0), ops.equal(y, 1.0)))
    if len(y.shape) == 2 and y.shape[-1] == 1:
        distance = ops.mean(ops.abs(y - ops.median(y, axis=0)))
        known = ops.logical_or(binary, labels >= (1.0 if whole else FEW_LABELS))
        return ops.where(known, distance, unknown)
    return ops.where(binary, ops.mean(ops.minimum(share, 1.0 - share)), unknown)


def _class_shares(y: Tensor, classes: int, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """float32[classes], the share of each label, and how many labels that is of.

    Labels that are no class do not count.
    """
    flat = ops.reshape(ops.cast(y, "int32"), (-1,))
    is_class = ops.logical_and(flat >= 0, flat < classes)
    each = ops.cast(is_class, "float32")
    if weights is not None:
        each = each * ops.reshape(weights, (-1,))
    counts = ops.segment_sum(each, ops.clip(flat, 0, classes - 1), num_segments=classes)
    labels = ops.sum(ops.cast(each > 0.0, "float32"))
    return counts / ops.maximum(ops.sum(counts), _TINY), ops.maximum(labels, 1.0)


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


def _weighted_entropy(share: Tensor, y: Tensor, weights: Tensor, whole: bool) -> Tensor:
    """Mean entropy of yes and no, each output's by the weights of its labels."""
    each = spread_to(weights, y)
    parts = ops.sum(each, axis=0)
    no = 1.0 - share
    plain = -(share * ops.log(ops.maximum(share, _TINY)) + no * ops.log(ops.maximum(no, _TINY)))
    if not whole:
        labels = ops.maximum(ops.sum(ops.cast(each > 0.0, "float32"), axis=0), 1.0)
        mixed = ops.cast(ops.logical_and(share > 0.0, no > 0.0), "float32")
        plain = ops.minimum(plain + 0.5 * mixed / labels, math.log(2.0))
    return ops.sum(plain * parts) / ops.maximum(ops.sum(parts), _TINY)
