"""Raw sums of a tensor, inside the step (``keras.ops`` only).

Each function gives the fields of ``measurement.layout.FIELDS`` in order, as scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

Tensor = Any
SlopeOfOutput = Callable[[Tensor], Tensor]

HISTOGRAM_BINS = 30  # as many as TensorBoard draws by default
HISTOGRAM_WIDTH = HISTOGRAM_BINS + 2  # lowest, highest, counts
_TINY = 1e-37  # below the smallest normal float32 (1.2e-38) a reciprocal overflows


def as_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 hold no sum of squares worth having."""
    return ops.cast(x, "float32")


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
    return scale, x * inverse


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


def weight_sums(x: Tensor, units: int) -> list[Tensor]:
    """Moments and the spread between units; -1 for a vector or a single unit."""
    x = as_float32(x)
    group = moments(x)
    if units < 2:
        return [*group, -ops.ones((), "float32")]
    columns = ops.reshape(x, (-1, units))
    spread = ops.max(ops.abs(columns - columns[:, :1]))
    # all-zero kernels have no scale and no spread
    return [*group, spread / ops.maximum(group[1], _TINY)]


def gradient_sums(x: Tensor) -> list[Tensor]:
    """Moments."""
    return moments(as_float32(x))


def update_sums(before: Tensor, after: Tensor) -> list[Tensor]:
    """size, scale, square of after - before."""
    difference = as_float32(after) - as_float32(before)
    scale, y = scaled(difference)
    return [size_of(difference), scale, ops.sum(ops.square(y))]


def activation_sums(x: Tensor, slope: SlopeOfOutput | None) -> list[Tensor]:
    """Moments and the sum of phi'(z)^2, -1 where phi' is not known from the output."""
    x = as_float32(x)
    group = moments(x)
    total = -ops.ones((), "float32") if slope is None else ops.sum(ops.square(slope(x)))
    return [*group, total]


def delta_sums(x: Tensor) -> list[Tensor]:
    """size, scale, square, non_finite."""
    x = as_float32(x)
    scale, y = scaled(x)
    size = size_of(x)
    return [size, scale, ops.sum(ops.square(y)), size - count(ops.isfinite(x))]


def active_units(x: Tensor, unit_axis: int) -> Tensor:
    """bool[units]: True where a unit is positive for some example (and position)."""
    axes = [axis for axis in range(len(x.shape)) if axis != unit_axis % len(x.shape)]
    return ops.any(x > 0, axis=axes)


def histogram(x: Tensor) -> Tensor:
    """float32[HISTOGRAM_WIDTH]: lowest, highest, and counts of equal bins between them.

    Values that are not finite are left out of the counts; ``non_finite`` tells how many.
    """
    x = ops.reshape(as_float32(x), (-1,))
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
