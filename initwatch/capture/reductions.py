"""Raw sums of a tensor, inside the step (``keras.ops`` only).

Every function takes matrices, float32[rows, columns] as ``matrix`` makes them, and gives one
float32 vector: the fields of ``measurement.layout.FIELDS`` in order, or a histogram. They are
pure, so that a backend can trace each of them once for all tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from keras import ops

Tensor = Any
SlopeOfOutput = Callable[[Tensor], Tensor]
Reduction = Callable[..., Tensor]

HISTOGRAM_BINS = 30  # as many as TensorBoard draws by default
HISTOGRAM_WIDTH = HISTOGRAM_BINS + 2  # lowest, highest, counts
_TINY = 1e-37  # below the smallest normal float32 (1.2e-38) a reciprocal overflows


def as_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 hold no sum of squares worth having."""
    return ops.cast(x, "float32")


def matrix(x: Tensor, columns: int | None = None) -> Tensor:
    """A tensor of any rank as float32[rows, columns]; columns are its last axis by default."""
    if columns is None:
        known = len(x.shape) > 0 and x.shape[-1]
        columns = int(x.shape[-1]) if known else 1
    return ops.reshape(as_float32(x), (-1, columns))


def units_last(x: Tensor, unit_axis: int) -> Tensor:
    """``matrix`` with one column for each unit of a layer's output."""
    if unit_axis % len(x.shape) != len(x.shape) - 1:
        x = ops.moveaxis(x, unit_axis, -1)
    return matrix(x)


def size_of(x: Tensor) -> Tensor:
    """Number of elements, as float32; static where the shape is."""
    if all(d is not None for d in x.shape):
        return ops.convert_to_tensor(float(math.prod(x.shape)), "float32")
    return ops.cast(ops.size(x), "float32")


def scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """(max|x|, x / max|x|); the second is 0 where the first is."""
    if 0 in x.shape:
        return ops.zeros((), "float32"), x
    scale = ops.max(ops.abs(x))
    inverse = ops.where(scale > _TINY, 1.0 / ops.maximum(scale, _TINY), 0.0)
    # where the shape is not known in advance, the largest of no element is -inf
    return ops.where(scale < 0.0, 0.0, scale), x * inverse


def count(condition: Tensor) -> Tensor:
    """How many are true, as float32."""
    return ops.sum(ops.cast(condition, "float32"))


def moments(x: Tensor) -> list[Tensor]:
    """size, scale, sum, square, zeros, non_finite."""
    scale, y = scaled(x)
    size = size_of(x)
    return [
        size,
        scale,
        ops.sum(y),
        ops.sum(ops.square(y)),
        count(ops.equal(x, 0.0)),
        size - count(ops.isfinite(x)),
    ]


def kernel_sums(x: Tensor) -> Tensor:
    """Moments of a kernel, and the spread between its units, one a column."""
    group = moments(x)
    # all-zero kernels have no scale and no spread
    spread = ops.max(ops.abs(x - x[:, :1])) / ops.maximum(group[1], _TINY)
    return ops.stack([*group, spread])


def vector_sums(x: Tensor) -> Tensor:
    """Moments of a variable without units; its spread is -1."""
    return ops.stack([*moments(x), -ops.ones((), "float32")])


def gradient_sums(x: Tensor) -> Tensor:
    """Moments."""
    return ops.stack(moments(x))


def update_sums(before: Tensor, after: Tensor) -> Tensor:
    """size, scale, square of after - before."""
    difference = after - before
    scale, y = scaled(difference)
    return ops.stack([size_of(difference), scale, ops.sum(ops.square(y))])


@cache
def activation_sums(slope: SlopeOfOutput | None) -> Reduction:
    """The reduction to moments and the sum of phi'(z)^2, -1 where phi' is not known."""

    def sums(x: Tensor) -> Tensor:
        total = -ops.ones((), "float32") if slope is None else ops.sum(ops.square(slope(x)))
        return ops.stack([*moments(x), total])

    return sums


def delta_sums(x: Tensor) -> Tensor:
    """size, scale, square, non_finite."""
    scale, y = scaled(x)
    size = size_of(x)
    return ops.stack([size, scale, ops.sum(ops.square(y)), size - count(ops.isfinite(x))])


def active_units(x: Tensor) -> Tensor:
    """bool[columns]: True where a unit is positive for some example (and position)."""
    return ops.any(x > 0, axis=0)


def histogram(x: Tensor) -> Tensor:
    """float32[HISTOGRAM_WIDTH]: lowest, highest, and counts of equal bins between them.

    Values that are not finite are left out of the counts; ``non_finite`` tells how many.
    """
    x = ops.reshape(x, (-1,))
    finite = ops.isfinite(x)
    low = ops.min(ops.where(finite, x, math.inf))
    high = ops.max(ops.where(finite, x, -math.inf))
    none = low > high  # no finite value at all
    low, high = ops.where(none, 0.0, low), ops.where(none, 0.0, high)
    width = ops.maximum((high - low) / HISTOGRAM_BINS, _TINY)
    place = ops.clip(ops.floor((ops.where(finite, x, low) - low) / width), 0, HISTOGRAM_BINS - 1)
    counts = ops.segment_sum(
        ops.cast(finite, "float32"), ops.cast(place, "int32"), num_segments=HISTOGRAM_BINS
    )
    return ops.concatenate([ops.stack([low, high]), counts])
