"""Sums inside the step, against NumPy in float64."""

import numpy as np
import pytest
from keras import ops

from initwatch.capture import backends, reductions
from initwatch.measurement.layout import FIELDS, Source
from initwatch.measurement.moments import largest


def sums_of(source, reduction, *arrays, columns=None):
    """The fields of a reduction, taken through the backend's traced version of it."""
    matrices = [reductions.matrix(ops.convert_to_tensor(array), columns) for array in arrays]
    found = ops.convert_to_numpy(backends.current().each(reduction, [matrices])[1])
    plain = ops.convert_to_numpy(reduction(*matrices))
    assert np.allclose(found, plain, rtol=1e-5, equal_nan=True)
    sums = dict(zip(FIELDS[source], found.astype(np.float64).tolist(), strict=True))
    if "high" in sums:
        sums["largest"] = float(largest(sums))
    return sums


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 3, 4)])
def test_moments_at_any_scale(size, shape):
    x = (np.random.default_rng(0).standard_normal(shape) * size).astype("float32")
    x.flat[0] = 0.0
    found = sums_of(Source.GRADIENT, reductions.gradient_sums, x)
    exact = x.astype(np.float64)
    assert found["size"] == x.size
    assert found["zeros"] == 1
    assert found["non_finite"] == 0
    assert found["largest"] == pytest.approx(np.abs(exact).max(), rel=1e-6)
    assert found["scale"] == (1.0 if size == 1.0 else found["largest"])
    assert found["scale"] * found["sum"] == pytest.approx(exact.sum(), rel=1e-4)
    rms = found["scale"] * np.sqrt(found["square"] / found["size"])
    assert rms == pytest.approx(np.sqrt(np.mean(exact**2)), rel=1e-5)


def test_all_zero_and_not_finite():
    zero = sums_of(Source.GRADIENT, reductions.gradient_sums, np.zeros((3, 4)))
    assert (zero["largest"], zero["square"], zero["zeros"]) == (0.0, 0.0, 12.0)
    odd = ops.convert_to_tensor([1.0, float("nan"), float("inf"), -float("inf"), 0.0])
    found = sums_of(Source.GRADIENT, reductions.gradient_sums, odd)
    assert (found["non_finite"], found["zeros"], found["size"]) == (3.0, 1.0, 5.0)
    assert not np.isfinite(found["square"])  # what is not finite is not hidden in a mean


def test_half_precision_is_summed_in_single():
    x = np.full(100_000, 0.1, "float16")
    found = sums_of(Source.GRADIENT, reductions.gradient_sums, x)
    assert found["scale"] * found["sum"] == pytest.approx(float(x[0]) * len(x), rel=1e-4)


def test_spread_between_units():
    equal = np.tile(np.arange(1.0, 4.0)[:, None], (1, 5)).astype("float32")
    other = equal.copy()
    other[2, 4] += 0.5
    spreads = [
        sums_of(Source.WEIGHT, reductions.weight_sums, w)["spread"]
        for w in (equal, other, np.zeros((3, 5), "float32"))
    ]
    assert spreads == pytest.approx([0.0, 0.5, 0.0], abs=1e-6)
    vector = sums_of(Source.WEIGHT, reductions.weight_sums, np.ones(5), columns=1)
    assert vector["spread"] == -1.0


def test_update_is_the_difference():
    before = np.random.default_rng(0).standard_normal((6, 6)).astype("float32")
    after = before + np.float32(1e-3)
    found = sums_of(Source.UPDATE, reductions.update_sums, before, after)
    expected = np.sqrt(np.mean((after.astype(np.float64) - before) ** 2))
    assert found["scale"] * np.sqrt(found["square"] / 36) == pytest.approx(expected, rel=1e-5)


def test_active_units_over_batch_and_positions():
    x = -np.ones((4, 3, 3, 5), "float32")
    x[2, 1, 0, 3] = 1e-9
    x[..., 1] = 0.0
    expected = [False, False, False, True, False]
    for tensor, axis in ((x, -1), (np.moveaxis(x, -1, 1), 1)):
        columns = reductions.units_last(ops.convert_to_tensor(tensor), axis)
        assert list(ops.convert_to_numpy(reductions.active_units(columns))) == expected


def histogram_of(values):
    tensor = ops.convert_to_tensor(np.asarray(values, "float32"))
    return ops.convert_to_numpy(reductions.histogram(reductions.matrix(tensor)))


@pytest.mark.parametrize(
    "values", [np.random.default_rng(0).standard_normal(500), np.zeros(9), np.full(4, 2.5)]
)
def test_histogram_counts_every_value(values):
    found = histogram_of(values)
    assert found[0] == np.float32(values.min())
    assert found[1] == np.float32(values.max())
    assert found[2:].sum() == len(values)


def test_histogram_leaves_out_what_is_not_finite():
    found = histogram_of([0.0, 1.0, np.nan, np.inf])
    assert list(found[:2]) == [0.0, 1.0]
    assert found[2:].sum() == 2
    nothing = histogram_of([np.nan])
    assert list(nothing) == [0.0] * reductions.HISTOGRAM_WIDTH


def test_an_empty_batch_has_no_scale():
    found = sums_of(Source.GRADIENT, reductions.gradient_sums, np.zeros((0, 4)))
    assert (found["size"], found["largest"], found["square"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite_among_zeros_is_not_lost(value):
    for place in (0, 7, 63):
        x = np.zeros((8, 8), "float32")
        x.flat[place] = value
        found = sums_of(Source.GRADIENT, reductions.gradient_sums, x)
        assert (found["non_finite"], found["zeros"]) == (1.0, 63.0)
        assert not np.isfinite(found["square"])


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_rectified_outputs_are_summed_as_any_others(size):
    rng = np.random.default_rng(1)
    x = (np.maximum(rng.standard_normal((16, 9)), 0.0) * size).astype("float32")
    x[:, 4] = 0.0
    some = reductions.examples(ops.convert_to_tensor(x))
    matrix = reductions.matrix(ops.convert_to_tensor(x))
    names = FIELDS[Source.ACTIVATION]
    for rectifies in (True, False):
        sums = reductions.activation_sums(reductions.step_function, rectifies)
        found = dict(
            zip(names, ops.convert_to_numpy(sums(matrix, some)).astype(np.float64), strict=True)
        )
        assert found["zeros"] == np.sum(x == 0.0)
        assert found["slope"] == np.sum(x > 0.0)
        rms = found["scale"] * np.sqrt(found["square"] / x.size)
        assert rms == pytest.approx(np.sqrt(np.mean(x.astype(np.float64) ** 2)), rel=1e-5)


def test_sums_asked_together_are_those_asked_alone():
    rng = np.random.default_rng(2)
    before, after = (rng.standard_normal((6, 4)).astype("float32") for _ in range(2))
    parts = [
        (Source.WEIGHT, reductions.weight_sums, [0]),
        (Source.GRADIENT, reductions.gradient_sums, [1]),
        (Source.UPDATE, reductions.update_sums, [0, 2]),
    ]
    for gradient in (rng.standard_normal((6, 4)), np.full((6, 4), 1e-25), np.full((6, 4), np.nan)):
        given = [before, gradient.astype("float32"), after]
        matrices = [reductions.matrix(ops.convert_to_tensor(x)) for x in given]
        sums = reductions.together(*(part for _, part, _ in parts))
        asked = tuple(matrices[i] for _, _, its in parts for i in its)
        found = ops.convert_to_numpy(backends.current().each(sums, [asked] * 2)[1])
        first, second = (half.astype(np.float64).tolist() for half in np.split(found, 2))
        assert first == pytest.approx(second, nan_ok=True)
        for source, part, its in parts:
            names = FIELDS[source]
            values, first = dict(zip(names, first, strict=False)), first[len(names) :]
            alone = ops.convert_to_numpy(part(*(matrices[i] for i in its))).astype(np.float64)
            alone = dict(zip(names, alone.tolist(), strict=True))
            # together, all are scaled as soon as one must be
            for power, name in ((1, "sum"), (2, "square")):
                if name in names:
                    values[name] *= values["scale"] ** power
                    alone[name] *= alone["scale"] ** power
            del values["scale"], alone["scale"]
            assert values == pytest.approx(alone, rel=1e-5, nan_ok=True)
        assert first == []


@pytest.mark.parametrize("fault", [None, "overflow", "nan", "zero"])
@pytest.mark.parametrize("source", [Source.WEIGHT, Source.GRADIENT, Source.DELTA, Source.UPDATE])
def test_many_that_are_alike_are_summed_as_each_by_itself(source, fault):
    """Small matrices of one shape go through one call, on every backend."""
    sums = getattr(reductions, f"{source}_sums")
    rng = np.random.default_rng(0)
    shapes = [(4, 3)] * 9 + [(1, 7)] * 20 + [(4, 3)] * 9 + [(200, 100), (2, 2)]
    draws = [
        [rng.standard_normal(shape).astype("float32") for _ in range(sums.taken)]
        for shape in shapes
    ]
    for i in (2, 12):
        for matrix in draws[i]:
            if fault == "overflow":
                matrix *= 1e30
            elif fault == "nan":
                matrix[0, 0] = np.nan
            elif fault == "zero":
                matrix *= 0.0
    asked = [tuple(ops.convert_to_tensor(matrix) for matrix in its) for its in draws]
    backend = backends.current()
    order, found = backend.each(sums, asked)
    assert sorted(order) == list(range(len(shapes)))
    assert order == backend.order(asked)
    expected = np.concatenate([ops.convert_to_numpy(sums(*asked[i])) for i in order])
    # a group is summed the careful way if one of it is: scale and sums are then another pair
    found = ops.convert_to_numpy(found).reshape(len(shapes), -1)
    expected = expected.reshape(len(shapes), -1)
    fields = FIELDS[source]
    for row, other in zip(found, expected, strict=True):
        one, two = dict(zip(fields, row, strict=True)), dict(zip(fields, other, strict=True))
        for field in fields:
            power = {"sum": 1, "square": 2}.get(field, 0)
            if field == "scale":
                continue
            a, b = (x[field] * np.float64(x["scale"]) ** power for x in (one, two))
            np.testing.assert_allclose(a, b, rtol=1e-4, equal_nan=True, err_msg=field)
