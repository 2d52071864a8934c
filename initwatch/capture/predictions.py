"""What a step's predictions have to do with its labels, whatever the loss is."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from initwatch.capture.labels import spread_to
from initwatch.capture.reductions import as_float32, matrix
from initwatch.measurement.layout import FIELDS, Source

Tensor = Any
_TINY = 1e-30
_SUMS_TO_1 = 1e-3
_ROUNDING = 1e-3  # of float16 near 1


def is_class_numbers(y: Tensor, prediction: Tensor, name: str) -> bool | None:
    """Whether labels are class numbers, one unit of the prediction a class.

    Args:
        y: labels as the loss takes them.
        prediction: the model's output.
        name: canonical name of the loss, empty if it is the user's own.

    Returns:
        None where labels and prediction cannot be compared.
    """
    shape, asked = list(prediction.shape), list(y.shape)
    if not shape or not asked:
        return None
    classes = shape[-1] if len(shape) > 1 else 1
    sure = bool(name)  # what Keras's own loss takes, it takes row by row
    if asked[-1:] == [1] and len(asked) == len(shape) > 1:
        asked = asked[:-1]
    positions = shape[:-1] if len(shape) > 1 else shape
    numbered = classes is not None and classes > 1 and _agree(asked, positions, sure)
    if name.startswith("sparse_categorical"):
        return True if numbered else None
    if numbered:
        # of the user's own loss: one label for several units can only be the class
        return True if not name else None
    same = _agree(list(y.shape), shape, sure)
    column = classes == 1 and _agree(asked, positions, sure)
    turned = len(shape) == 1 and asked[1:] == [1] and _agree(asked[:1], shape, sure)
    return False if same or column or turned else None


def _agree(a: list[int | None], b: list[int | None], sure: bool) -> bool:
    """True if two shapes are the same, as far as they are known; ``sure``: what is not, is.

    How many rows there are is often not known before the step runs.
    """
    if len(a) != len(b):
        return False
    pairs = list(zip(a, b, strict=True))
    known = all(x == y for x, y in pairs if x is not None and y is not None)
    return known and (sure or all(None not in pair for pair in pairs[1:]))


def fits(weight: Tensor, prediction: Tensor) -> bool:
    """True if weights of these axes can be what the labels of the prediction count."""
    positions = list(prediction.shape[:-1] if len(prediction.shape) > 1 else prediction.shape)
    given = list(weight.shape)
    while len(given) > len(positions) and given[-1] == 1:
        given = given[:-1]
    return len(given) <= len(positions) and all(
        x is None or y is None or x in (y, 1) for x, y in zip(given, positions, strict=False)
    )


def compared(
    y: Tensor,
    prediction: Tensor,
    weights: Tensor | None,
    bar: float | None,
    numbered: bool,
    shares: Tensor | None,
    whole: bool,
    sure: bool,
) -> Tensor:
    """The fields of ``layout.FIELDS[Source.OUTPUT]`` of one output: float32[fields].

    Args:
        y: labels as the loss takes them.
        prediction: the model's output, or its logits.
        weights: as ``labels.weights_of`` gives them; None: all labels count alike.
        bar: labels of 0 and 1: what lies above it is a yes; None if that is not known.
        numbered: see ``is_class_numbers``.
        shares: the prediction that should be probabilities, None where it need not.
        whole: those of an example should add up to 1.
        sure: labels and prediction have as many rows; else that is asked of the step.
    """
    p = as_float32(prediction)
    p = ops.expand_dims(p, -1) if len(p.shape) == 1 else p

    def fields() -> Tensor:
        # a loss of the user's own may take axes away itself
        crossed = not sure or len(y.shape) != len(prediction.shape)
        found = _of_classes(y, p, weights) if numbered else _of_numbers(y, p, weights, bar, crossed)
        off = outside = -ops.ones((), "float32")
        if shares is not None:
            values = as_float32(shares)
            if whole:
                off = ops.mean(ops.abs(ops.sum(values, axis=-1) - 1.0))
            beyond = ops.abs(values - 0.5) > 0.5 + _ROUNDING
            outside = ops.mean(ops.cast(beyond, "float32"))
        return ops.stack([*found, off, outside])

    if sure:
        return fields()
    if y.shape[0] is not None and p.shape[0] is not None:
        return fields() if int(y.shape[0]) == int(p.shape[0]) else nothing()
    return ops.cond(ops.equal(ops.shape(y)[0], ops.shape(p)[0]), fields, nothing)


def nothing() -> Tensor:
    """The fields of an output that cannot be compared."""
    return ops.full((len(FIELDS[Source.OUTPUT]),), math.nan, "float32")


def _of_classes(y: Tensor, p: Tensor, weights: Tensor | None) -> list[Tensor]:
    """By moments of the labels' one-hot rows, which are not made."""
    classes = p.shape[-1]
    p = matrix(p)
    flat = ops.reshape(ops.cast(y, "int32"), (-1,))
    each = ops.cast(ops.logical_and(flat >= 0, flat < classes), "float32")
    if weights is not None:
        each = each * ops.reshape(weights, (-1,))
    right = ops.clip(flat, 0, classes - 1)
    total = ops.maximum(ops.sum(each), _TINY)
    share = ops.segment_sum(each, right, num_segments=classes) / total
    mean = ops.sum(p * each[:, None], axis=0) / total
    square = ops.sum(ops.sum(ops.square(p), axis=-1) * each) / total
    own = ops.sum(ops.take_along_axis(p, right[:, None], axis=-1)[:, 0] * each) / total
    chosen = ops.cast(ops.argmax(p, axis=-1), "int32")
    wrong = ops.sum(ops.cast(ops.not_equal(chosen, right), "float32") * each) / total
    counted = ops.sum(ops.cast(each > 0.0, "float32"))
    unknown = ops.convert_to_tensor(math.nan, "float32")
    return [
        counted,
        wrong,
        1.0 - ops.max(share),
        own - ops.sum(mean * share),
        square - ops.sum(ops.square(mean)),
        1.0 - ops.sum(ops.square(share)),
        square,
        unknown,
        unknown,
    ]


def _of_numbers(
    y: Tensor, p: Tensor, weights: Tensor | None, bar: float | None, crossed: bool
) -> list[Tensor]:
    """Each element of an example by itself; rows that add up to 1 are classes too."""
    y = as_float32(y)
    while len(y.shape) < len(p.shape):
        y = ops.expand_dims(y, -1)
    y = ops.reshape(y, ops.shape(p))
    each = ops.ones_like(p)
    if weights is not None:
        each = spread_to(weights, p)
        y = ops.where(each > 0.0, y, 0.0)
    held = ops.maximum(ops.sum(each, axis=0), _TINY)
    total = ops.maximum(ops.sum(each), _TINY)
    mean_y, mean_p = (ops.sum(x * each, axis=0) / held for x in (y, p))

    def over(x: Tensor) -> Tensor:
        return ops.sum(x * each) / total

    error = over(ops.square(y - p))
    target = over(ops.square(y - mean_y))
    rows = ops.maximum(ops.cast(ops.shape(p)[0], "float32"), 1.0)
    baseline = target * rows / ops.maximum(rows - 1.0, 1.0)
    variance, covariance = over(ops.square(p - mean_p)), over((y - mean_y) * (p - mean_p))
    if p.shape[-1] is not None and p.shape[-1] > 1:
        error, baseline = _as_classes(y, p, each, error, baseline)
    if bar is not None:
        two = ops.all(ops.logical_or(ops.equal(y, 0.0), ops.equal(y, 1.0)))
        wrong = over(ops.cast(ops.not_equal(y > 0.5, p > bar), "float32"))
        rarer = ops.sum(ops.minimum(mean_y, 1.0 - mean_y) * ops.sum(each, axis=0)) / total
        error, baseline = ops.where(two, wrong, error), ops.where(two, rarer, baseline)
    unknown = ops.convert_to_tensor(math.nan, "float32")
    aligned = across = unknown
    if crossed and p.shape[-1] == 1:
        aligned = ops.mean(ops.square(y - p))
        spread = ops.mean(ops.square(y - ops.mean(y))) + ops.mean(ops.square(p - ops.mean(p)))
        across = spread + ops.square(ops.mean(y) - ops.mean(p))
    return [
        ops.sum(ops.cast(each > 0.0, "float32")) / ops.cast(ops.size(mean_p), "float32"),
        error,
        baseline,
        covariance,
        variance,
        target,
        over(ops.square(p)),
        aligned,
        across,
    ]


def _as_classes(
    y: Tensor, p: Tensor, each: Tensor, error: Tensor, baseline: Tensor
) -> tuple[Tensor, Tensor]:
    """Wrong classes in place of squared errors, where the rows of the labels add up to 1."""
    sums = ops.abs(ops.sum(y, axis=-1) - 1.0)
    weight = each[..., 0]
    # of rows that count
    one_hot = ops.logical_and(
        ops.all(ops.logical_or(sums < _SUMS_TO_1, ops.equal(weight, 0.0))), ops.min(y) >= 0.0
    )
    total = ops.maximum(ops.sum(weight), _TINY)
    missed = ops.cast(ops.not_equal(ops.argmax(y, axis=-1), ops.argmax(p, axis=-1)), "float32")
    axes = tuple(range(len(y.shape) - 1))
    share = ops.sum(y * weight[..., None], axis=axes) / total
    return (
        ops.where(one_hot, ops.sum(missed * weight) / total, error),
        ops.where(one_hot, 1.0 - ops.max(share), baseline),
    )
