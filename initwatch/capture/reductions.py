"""Raw sums of a tensor, inside the step (``keras.ops`` only).

Everything here takes matrices, float32[rows, columns] as ``matrix`` makes them, and gives one
vector: the fields of ``measurement.layout.FIELDS`` in order, the activity of units or a
histogram. All are pure, so that a backend can trace each of them once for all tensors.

Sums are ``Sums``: the quick way reads a tensor as few times as can be, and tells whether float32
held its squares; where it did not, the careful way reads it again, scaled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from keras import ops

from initwatch.capture import backends

Tensor = Any
SlopeOfOutput = Callable[[Tensor], Tensor]
Reduction = Callable[..., Tensor]  # a function, or Sums

HISTOGRAM_BINS = 30  # as many as TensorBoard draws by default
HISTOGRAM_WIDTH = HISTOGRAM_BINS + 2  # lowest, highest, counts
SOME = 4096  # weights whose updates are held against their gradients
EXAMPLES = 4  # of which cosines are taken: six pairs
_TINY = 1e-37  # just above the smallest normal float32, 1.2e-38
# sums of squares in between lost nothing: what of 1e8 elements fell below 1.2e-38 is below 1e-29
_SAFE = (1e-25, 1e37)


# a sum of squares, and how many elements are not 0 (None: that was not counted)
Proof = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Sums:
    """Sums of a tensor, or of some that are asked together.

    Attributes:
        quick: from matrices to the fields, and what proves that they can be trusted.
        careful: from the same matrices to the fields, whatever is in them.
        taken: how many matrices that are.
    """

    quick: Callable[..., tuple[list[Tensor], list[Proof]]]
    careful: Callable[..., list[Tensor]]
    taken: int = 1

    def __call__(self, *matrices: Tensor) -> Tensor:
        found, good = self.tried(*matrices)
        # ``found`` is no branch of its own: TensorFlow would take its sums inside of that, last of
        # all, when the tensor has left the caches
        nothing = ops.zeros(found.shape, "float32")
        other = ops.cond(good, lambda: nothing, lambda: self.retaken(*matrices))
        return ops.where(good, found, other)

    def tried(self, *matrices: Tensor) -> tuple[Tensor, Tensor]:
        """The quick way: one vector, and whether it can be trusted."""
        fields, proofs = self.quick(*matrices)
        return ops.stack(fields), trusted(proofs)

    def retaken(self, *matrices: Tensor) -> Tensor:
        """The careful way: the same vector."""
        return ops.stack(self.careful(*matrices))


@cache
def together(*parts: Sums) -> Sums:
    """The sums of each part one behind the other; it takes the matrices of all parts in turn.

    For TensorFlow every call is a cost of its own, at the start and in every step.
    """

    def shared(matrices: tuple[Tensor, ...]) -> list[tuple[Sums, tuple[Tensor, ...]]]:
        ends = [sum(part.taken for part in parts[: i + 1]) for i in range(len(parts))]
        return [
            (part, matrices[end - part.taken : end]) for part, end in zip(parts, ends, strict=True)
        ]

    def quick(*matrices: Tensor) -> tuple[list[Tensor], list[Proof]]:
        fields: list[Tensor] = []
        proofs: list[Proof] = []
        for part, its in shared(matrices):
            found = part.quick(*its)
            fields += found[0]
            proofs += found[1]
        return fields, proofs

    def careful(*matrices: Tensor) -> list[Tensor]:
        return [field for part, its in shared(matrices) for field in part.careful(*its)]

    return Sums(quick, careful, sum(part.taken for part in parts))


def as_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 hold no sum of squares worth having."""
    return ops.cast(x, "float32")


def matrix(x: Tensor, columns: int | None = None) -> Tensor:
    """A tensor of any rank as float32[rows, columns]; columns are its last axis by default."""
    if columns is None:
        known = len(x.shape) > 0 and x.shape[-1]
        columns = int(x.shape[-1]) if known else 1
    return ops.reshape(as_float32(x), (-1, columns))


def some_rows(x: Tensor, columns: int) -> Tensor:
    """The first rows of a matrix, ``SOME`` elements or one row."""
    return x[: max(1, SOME // columns)]


def as_they_are(row: Tensor) -> Tensor:
    """The fields of float32[1, fields] that were worked out before."""
    return ops.reshape(row, (-1,))


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


def ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """max(x) and min(x); -inf and inf if there is no element."""
    if 0 in x.shape:
        return ops.full((), -math.inf, "float32"), ops.full((), math.inf, "float32")
    return ops.max(x), ops.min(x)


def largest(x: Tensor) -> Tensor:
    """max|x|; 0 if there is no element."""
    # not of |x|: that would be a tensor of its own to write and read
    high, low = ends(x)
    found = ops.maximum(high, -low)
    return ops.where(found < 0.0, 0.0, found)


def shrunk(x: Tensor, scale: Tensor) -> Tensor:
    """The quotient x / scale; 0 where all of x is."""
    return x / ops.maximum(scale, _TINY)


def trusted(proofs: list[Proof]) -> Tensor:
    """True if no sum of squares under- or overflowed; never where an element is not finite.

    That a tensor is 0 throughout is proven by what it counts: a NaN would be in the count. All are
    judged at once, for what an operation takes by itself is more than it takes for one number.
    """
    squares = ops.stack([square for square, _ in proofs])
    good = ops.logical_and(squares > _SAFE[0], squares < _SAFE[1])
    if any(others is not None for _, others in proofs):
        counts = [ops.ones((), "float32") if others is None else others for _, others in proofs]
        good = ops.logical_or(good, ops.equal(ops.stack(counts), 0.0))
    return ops.all(good)


def sum_of_squares(x: Tensor) -> Tensor:
    """sum(x^2)."""
    return backends.current().sum_of_squares(x)


def count_nonzero(x: Tensor) -> Tensor:
    """How many are not 0, as float32; to be trusted where all are finite, else not 0."""
    if 0 in x.shape:
        return ops.zeros((), "float32")
    return backends.current().count_nonzero(x)


def count_not_finite(x: Tensor) -> Tensor:
    """How many are NaN or infinite."""
    return count(ops.logical_not(ops.isfinite(x)))


def _moments(x: Tensor, others: Tensor, *more: Tensor) -> tuple[list[Tensor], list[Proof]]:
    """The fields of ``layout.MOMENTS``, as they are, and more; ``others`` are not 0."""
    square, size = sum_of_squares(x), size_of(x)
    fields = [size, ops.ones((), "float32"), ops.sum(x), square, size - others]
    return [*fields, ops.zeros((), "float32"), *more], [(square, others)]


def _scaled_moments(x: Tensor) -> list[Tensor]:
    """The fields of ``layout.MOMENTS``; sum and square are of x / max|x|."""
    scale = largest(x)
    y = shrunk(x, scale)
    zeros = count(ops.equal(x, 0.0))
    return [size_of(x), scale, ops.sum(y), sum_of_squares(y), zeros, count_not_finite(x)]


def _spread(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ends, and the largest difference between two units, one a column (-1: there is but one)."""
    if 0 in x.shape or x.shape[1] == 1:
        return *ends(x), -ops.ones((), "float32")
    high, low = ops.max(x, axis=1), ops.min(x, axis=1)
    spread = ops.max(high - low)
    if x.shape[1] is None:
        spread = ops.where(ops.shape(x)[1] > 1, spread, -1.0)
    return ops.max(high), ops.min(low), spread


def _quick_weight(x: Tensor) -> tuple[list[Tensor], list[Proof]]:
    return _moments(x, count_nonzero(x), *_spread(x))


def _quick_gradient(x: Tensor) -> tuple[list[Tensor], list[Proof]]:
    return _moments(x, count_nonzero(x), *ends(x))


# moments of a variable, its ends and its spread
weight_sums = Sums(_quick_weight, lambda x: [*_scaled_moments(x), *_spread(x)])

# moments and ends
gradient_sums = Sums(_quick_gradient, lambda x: [*_scaled_moments(x), *ends(x)])


def _quick_square(x: Tensor) -> tuple[list[Tensor], list[Proof]]:
    square = sum_of_squares(x)
    return [size_of(x), ops.ones((), "float32"), square], [(square, None)]


def _scaled_square(x: Tensor) -> list[Tensor]:
    scale = largest(x)
    return [size_of(x), scale, sum_of_squares(shrunk(x, scale))]


def _quick_delta(x: Tensor) -> tuple[list[Tensor], list[Proof]]:
    fields, proofs = _quick_square(x)
    return [*fields, ops.zeros((), "float32")], proofs


# size, scale, square
square_sums = Sums(_quick_square, _scaled_square)

# size, scale, square of after - before
update_sums = Sums(
    lambda before, after: _quick_square(after - before),
    lambda before, after: _scaled_square(after - before),
    taken=2,
)


def _signs(before: Tensor, after: Tensor, gradient: Tensor) -> list[Tensor]:
    both = ops.sign(before - after) * ops.sign(gradient)
    return [ops.sum(both), count_nonzero(both)]


# against, signs
descent_sums = Sums(lambda *its: (_signs(*its), []), lambda *its: _signs(*its), taken=3)

# size, scale, square, non_finite
delta_sums = Sums(_quick_delta, lambda x: [*_scaled_square(x), count_not_finite(x)])


@cache
def label_sums(low: float, high: float, some: bool = False) -> Sums:
    """The sums of labels: moments, ends, whole numbers, and what is out of reach.

    Args:
        low: smallest value that the model's output can take.
        high: largest such value.
        some: they are of some of the labels: those for which a second matrix, of 1 and 0, has a 1.
    """

    def others(y: Tensor, scale: Tensor) -> list[Tensor]:
        excess = sum_of_squares(shrunk(y - ops.clip(y, low, high), scale))
        return [count(ops.equal(ops.floor(y), y)), excess]

    def quick(y: Tensor) -> tuple[list[Tensor], list[Proof]]:
        fields, proofs = _quick_gradient(y)
        return [*fields, *others(y, ops.ones((), "float32"))], proofs

    def careful(y: Tensor) -> list[Tensor]:
        return [*_scaled_moments(y), *ends(y), *others(y, largest(y))]

    def of_some(careful: bool) -> Callable[[Tensor, Tensor], list[Tensor]]:
        def sums(y: Tensor, counts: Tensor) -> list[Tensor]:
            """What does not count is 0 in every sum."""
            y = ops.where(counts > 0.0, y, 0.0)
            left_out = ops.sum(1.0 - counts)
            scale = largest(y) if careful else ops.ones((), "float32")
            if careful:
                size, _, total, square, zeros, bad = _scaled_moments(y)
            else:
                (size, _, total, square, zeros, bad), _ = _moments(y, count_nonzero(y))
            high_end = ops.max(ops.where(counts > 0.0, y, -math.inf))
            low_end = ops.min(ops.where(counts > 0.0, y, math.inf))
            whole = count(ops.logical_and(ops.equal(ops.floor(y), y), counts > 0.0))
            excess = ops.where(counts > 0.0, y - ops.clip(y, low, high), 0.0)
            moments = [size - left_out, scale, total, square, zeros - left_out, bad]
            return [*moments, high_end, low_end, whole, sum_of_squares(shrunk(excess, scale))]

        return sums

    if some:
        return Sums(
            lambda y, counts: (of_some(False)(y, counts), [(sum_of_squares(y * counts), None)]),
            of_some(True),
            taken=2,
        )
    return Sums(quick, careful)


def step_function(a: Tensor) -> Tensor:
    """relu'(z) from a = relu(z): 1 where a > 0, else 0."""
    return ops.cast(a > 0, "float32")


@cache
def activation_sums(slope: SlopeOfOutput | None, rectifies: bool = False) -> Sums:
    """The sums of an output: moments, phi'(z)^2 (-1: phi' is not known), and cosines.

    They take the output and its first ``examples``.

    Args:
        slope: phi'(z) from the output.
        rectifies: True if no output is negative.
    """

    def slopes(x: Tensor) -> Tensor:
        return -ops.ones((), "float32") if slope is None else sum_of_squares(slope(x))

    def quick(x: Tensor, some: Tensor) -> tuple[list[Tensor], list[Proof]]:
        others = count_nonzero(x)
        # of what is rectified, that which is not 0 has the slope 1
        known = slope is step_function and rectifies
        return _moments(x, others, others if known else slopes(x), *cosines(some))

    def careful(x: Tensor, some: Tensor) -> list[Tensor]:
        return [*_scaled_moments(x), slopes(x), *cosines(some)]

    return Sums(quick, careful, taken=2)


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
