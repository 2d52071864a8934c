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

from initwatch.capture import backends

Tensor = Any
SlopeOfOutput = Callable[[Tensor], Tensor]
Reduction = Callable[..., Tensor]

HISTOGRAM_BINS = 30  # as many as TensorBoard draws by default
HISTOGRAM_WIDTH = HISTOGRAM_BINS + 2  # lowest, highest, counts
EXAMPLES = 4  # of which cosines are taken: six pairs
_TINY = 1e-37  # below the smallest normal float32 (1.2e-38) a reciprocal overflows
# sums of squares in between lost nothing: what of 1e8 elements fell below 1.2e-38 is below 1e-29
_SAFE = (1e-25, 1e37)


def as_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 hold no sum of squares worth having."""
    return ops.cast(x, "float32")


def matrix(x: Tensor, columns: int | None = None) -> Tensor:
    """A tensor of any rank as float32[rows, columns]; columns are its last axis by default."""
    if columns is None:
        known = len(x.shape) > 0 and x.shape[-1]
        columns = int(x.shape[-1]) if known else 1
    return ops.reshape(as_float32(x), (-1, columns))


def alike(arguments: list[tuple[Tensor, ...]], most: int) -> list[list[int]]:
    """Indices of arguments whose shapes are known and the same, a list each; others stand alone.

    Args:
        arguments: matrices of one call each.
        most: elements of a matrix above which it stands alone: to be stacked it is copied.
    """
    groups: dict[Any, list[int]] = {}
    for i, matrices in enumerate(arguments):
        shapes = tuple(tuple(x.shape) for x in matrices)
        known = all(d is not None for shape in shapes for d in shape)
        small = known and max(math.prod(shape) for shape in shapes) <= most
        groups.setdefault(shapes if small else i, []).append(i)
    return list(groups.values())


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


def count(condition: Tensor) -> Tensor:
    """How many are true, as float32."""
    return ops.sum(ops.cast(condition, "float32"))


def largest(x: Tensor) -> Tensor:
    """max|x|; 0 if there is no element."""
    if 0 in x.shape:
        return ops.zeros((), "float32")
    # not of |x|: that would be a tensor of its own to write and read
    found = ops.maximum(ops.max(x), -ops.min(x))
    # where the shape is not known in advance, the largest of no element is -inf
    return ops.where(found < 0.0, 0.0, found)


def shrunk(x: Tensor, scale: Tensor) -> Tensor:
    """The quotient x / scale; 0 where scale is."""
    return x * ops.where(scale > _TINY, 1.0 / ops.maximum(scale, _TINY), 0.0)


def is_safe(square: Tensor) -> Tensor:
    """True if a sum of squares neither under- nor overflowed; never where one is not finite."""
    return ops.logical_and(square > _SAFE[0], square < _SAFE[1])


def sum_of_squares(x: Tensor) -> Tensor:
    """sum(x^2)."""
    return backends.current().sum_of_squares(x)


def count_not_finite(x: Tensor) -> Tensor:
    """How many are NaN or infinite."""
    return count(ops.logical_not(ops.isfinite(x)))


def moments(x: Tensor, zeros: Tensor, scale: Tensor) -> list[Tensor]:
    """size, scale, sum, square, zeros, non_finite; ``scale`` is the ``largest``."""
    total, square = ops.sum(x), sum_of_squares(x)

    def divided() -> Tensor:
        return ops.stack([total / scale, square / scale / scale, ops.zeros_like(scale)])

    def taken_again() -> Tensor:
        y = shrunk(x, scale)
        return ops.stack([ops.sum(y), sum_of_squares(y), count_not_finite(x)])

    # a safe sum of squares proves that all are finite; more passes over the tensor are for the
    # few whose squares leave float32
    found = ops.cond(is_safe(square), divided, taken_again)
    return [size_of(x), scale, found[0], found[1], zeros, found[2]]


def rare_zeros(x: Tensor) -> Tensor:
    """How many are exactly 0, for tensors in which mostly none is: a cheap look tells so."""
    if 0 in x.shape:
        return ops.zeros((), "float32")
    zero = ops.equal(x, 0.0)
    return ops.cond(ops.any(zero), lambda: count(zero), lambda: ops.zeros((), "float32"))


def kernel_sums(x: Tensor) -> Tensor:
    """Moments of a kernel, and the largest difference between two units, one a column."""
    if 0 in x.shape:
        return ops.stack([*moments(x, rare_zeros(x), largest(x)), ops.zeros((), "float32")])
    high, low = ops.max(x, axis=1), ops.min(x, axis=1)
    scale = ops.maximum(ops.max(high), -ops.min(low))
    # all-zero kernels have no scale and no spread
    spread = ops.max(high - low) / ops.maximum(scale, _TINY)
    return ops.stack([*moments(x, rare_zeros(x), scale), spread])


def vector_sums(x: Tensor) -> Tensor:
    """Moments of a variable without units; its spread is -1."""
    return ops.stack([*moments(x, rare_zeros(x), largest(x)), -ops.ones((), "float32")])


def gradient_sums(x: Tensor) -> Tensor:
    """Moments."""
    return ops.stack(moments(x, rare_zeros(x), largest(x)))


def update_sums(before: Tensor, after: Tensor) -> Tensor:
    """size, scale, square of after - before."""
    return square_sums(after - before)


def square_sums(x: Tensor) -> Tensor:
    """size, scale, square."""
    return ops.stack([size_of(x), *scaled_square(x)[:2]])


def step_function(a: Tensor) -> Tensor:
    """relu'(z) from a = relu(z): 1 where a > 0, else 0."""
    return ops.cast(a > 0, "float32")


@cache
def label_sums(low: float, high: float) -> Reduction:
    """The reduction of labels to moments, range, whole numbers, and what is out of reach.

    Args:
        low: smallest value that the model's output can take.
        high: largest such value.
    """

    def sums(y: Tensor) -> Tensor:
        scale = largest(y)
        excess = sum_of_squares(shrunk(y - ops.clip(y, low, high), scale))
        whole = count(ops.equal(ops.floor(y), y))
        extremes = [ops.min(y), ops.max(y)]
        return ops.stack([*moments(y, count(ops.equal(y, 0.0)), scale), *extremes, whole, excess])

    return sums


@cache
def activation_sums(slope: SlopeOfOutput | None) -> Reduction:
    """The reduction to moments, the sum of phi'(z)^2 (-1: phi' is not known), and cosines.

    It takes the output and its first ``examples``.
    """

    def sums(x: Tensor, some: Tensor) -> Tensor:
        alike = cosines(some)
        if slope is step_function:
            # what is not 0 has the slope 1: counted once for both
            positive = ops.sum(step_function(x))
            return ops.stack([*moments(x, size_of(x) - positive, largest(x)), positive, *alike])
        total = -ops.ones((), "float32") if slope is None else sum_of_squares(slope(x))
        return ops.stack([*moments(x, rare_zeros(x), largest(x)), total, *alike])

    return sums


def examples(x: Tensor) -> Tensor:
    """The first ``EXAMPLES`` of a batch, float32[examples, elements of one]."""
    if len(x.shape) == 0:
        return ops.zeros((0, 0), "float32")
    some = as_float32(x[:EXAMPLES])
    if any(d is None for d in x.shape[1:]):
        return ops.reshape(some, (ops.shape(some)[0], -1))
    return ops.reshape(some, (-1, math.prod(x.shape[1:])))


def cosines(x: Tensor) -> list[Tensor]:
    """Sum of the cosines between rows, and of how many pairs of rows; zero rows have none."""
    products = ops.matmul(x, ops.transpose(x))
    squares = ops.diagonal(products)
    one_over = ops.where(squares > 0.0, ops.rsqrt(ops.maximum(squares, _TINY)), 0.0)
    there = ops.sum(ops.cast(squares > 0.0, "float32"))
    # each row with itself is 1, and each pair stands there twice
    total = ops.sum(products * one_over * ops.expand_dims(one_over, -1)) - there
    return [total / 2.0, there * (there - 1.0) / 2.0]


def delta_sums(x: Tensor) -> Tensor:
    """size, scale, square, non_finite."""
    return ops.stack([size_of(x), *scaled_square(x)])


def scaled_square(x: Tensor) -> list[Tensor]:
    """scale, sum((x / scale)^2), non_finite; scale is 1 where float32 holds the squares."""
    square = sum_of_squares(x)

    def as_it_is() -> Tensor:
        return ops.stack([ops.ones_like(square), square, ops.zeros_like(square)])

    def taken_again() -> Tensor:
        scale = largest(x)
        return ops.stack([scale, sum_of_squares(shrunk(x, scale)), count_not_finite(x)])

    found = ops.cond(is_safe(square), as_it_is, taken_again)
    return [found[0], found[1], found[2]]


def active_units(x: Tensor) -> Tensor:
    """bool[columns]: True where a unit is positive for some example (and position)."""
    if 0 in x.shape:
        return ops.zeros((x.shape[1],), "bool")
    return ops.max(x, axis=0) > 0.0


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
