"""Sums to statistics, against NumPy's own mean, std and norm of the same tensors."""

import numpy as np
import pytest

from initwatch.measurement.layout import FIELDS, HEADER, Group, Layout, Source
from initwatch.measurement.moments import measure
from initwatch.records import Statistic

HEAD = {"step_low": 3.0, "loss": 1.5, "loss_scale": 1.0, "examples": 32.0}


def sums_of(source, x, slope=None, spread=None):
    """The raw sums of a tensor, by their definition, in float64."""
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        scale = np.max(np.abs(x)) if x.size else 0.0
        y = x / scale if scale else np.zeros_like(x)
    known = {
        "size": x.size,
        "scale": scale,
        "sum": np.sum(y),
        "square": np.sum(y * y),
        "zeros": np.sum(x == 0),
        "non_finite": np.sum(~np.isfinite(x)),
        "slope": -1.0 if slope is None else np.sum(np.square(slope)),
        "spread": -1.0 if spread is None else spread * scale,
        "low": np.min(x, initial=np.inf),
        "high": np.max(x, initial=-np.inf),
        "whole": np.sum(x == np.floor(x)),
        "cosines": np.sqrt(len(x)),
        "pairs": len(x),
        "excess": np.sum(np.square(np.maximum(y - 0.5, 0.0))),
    }
    return [known[name] for name in FIELDS[source]]


def measured(*tensors, outputs=(1,), layers=1, variables=1, **head):
    """Measures a row of (source, subject, sums)."""
    layout = Layout(tuple(Group(s, i) for s, i, _ in tensors), (), layers, variables, inputs=1)
    header = [{**HEAD, **head}.get(name, 0.0) for name in HEADER]
    row = np.array([*header, *(x for _, _, sums in tensors for x in sums)], dtype=np.float32)
    return measure(row, layout, list(outputs))


def one(source, x, **options):
    """The statistics of a single tensor."""
    head = {name: options.pop(name) for name in ("loss_scale",) if name in options}
    outputs = options.pop("outputs", (1,))
    found = measured((source, 0, sums_of(source, x, **options)), outputs=outputs, **head)
    return {statistic: values[0] for statistic, values in found.values.items()}


def tensor(seed=0, size=(32, 20), mean=0.3, std=2.0):
    x = np.random.default_rng(seed).normal(mean, std, size=size)
    x[x < -2.5] = 0.0  # some exact zeros
    return x


def test_weight_statistics_are_those_of_numpy():
    w = tensor()
    found = one(Source.WEIGHT, w, spread=0.7)
    assert found == pytest.approx(
        {
            Statistic.WEIGHT_MEAN: np.mean(w),
            Statistic.WEIGHT_STD: np.std(w),
            Statistic.WEIGHT_RMS: np.sqrt(np.mean(w**2)),
            Statistic.WEIGHT_MAX_ABS: np.max(np.abs(w)),
            Statistic.WEIGHT_ZERO_FRACTION: np.mean(w == 0),
            Statistic.WEIGHT_NON_FINITE: 0,
            Statistic.WEIGHT_UNIT_SPREAD: 0.7,
        },
        rel=1e-5,
    )
    assert found[Statistic.WEIGHT_ZERO_FRACTION] > 0.0


def test_gradient_statistics_are_those_of_numpy():
    g = tensor(seed=1)
    assert one(Source.GRADIENT, g) == pytest.approx(
        {
            Statistic.GRADIENT_MEAN: np.mean(g),
            Statistic.GRADIENT_STD: np.std(g),
            Statistic.GRADIENT_RMS: np.sqrt(np.mean(g**2)),
            Statistic.GRADIENT_NORM: np.linalg.norm(g),
            Statistic.GRADIENT_MAX_ABS: np.max(np.abs(g)),
            Statistic.GRADIENT_ZERO_FRACTION: np.mean(g == 0),
            Statistic.GRADIENT_NON_FINITE: 0,
        },
        rel=1e-5,
    )


def test_activation_statistics_are_those_of_numpy():
    a = np.tanh(tensor(seed=2))
    slope = 1.0 - a**2
    assert one(Source.ACTIVATION, a, slope=slope) == pytest.approx(
        {
            Statistic.ACTIVATION_MEAN: np.mean(a),
            Statistic.ACTIVATION_STD: np.std(a),
            Statistic.ACTIVATION_RMS: np.sqrt(np.mean(a**2)),
            Statistic.ACTIVATION_ZERO_FRACTION: np.mean(a == 0),
            Statistic.ACTIVATION_NON_FINITE: 0,
            Statistic.ACTIVATION_SLOPE: np.mean(slope**2),
            Statistic.ACTIVATION_SIMILARITY: np.sqrt(len(a)) / len(a),
        },
        rel=1e-5,
    )


def test_delta_and_update_statistics_are_those_of_numpy():
    d = tensor(seed=3)
    rms = np.sqrt(np.mean(d**2))
    assert one(Source.UPDATE, d) == pytest.approx({Statistic.UPDATE_RMS: rms}, rel=1e-5)
    # RMS x sqrt(units) is the root of the mean squared norm of one example's delta
    norm = np.sqrt(np.mean(np.sum(d**2, axis=1)))
    found = one(Source.DELTA, d, outputs=(d.shape[1],))
    expected = {
        Statistic.DELTA_RMS: rms,
        Statistic.DELTA_NORM: norm,
        Statistic.DELTA_NON_FINITE: 0,
    }
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1e-24, 1e-12, 1e12, 1e30])
def test_float32_rows_hold_tiny_and_huge_tensors(size):
    # the squares, 1e-48 and 1e60, have no place in float32: sums are taken over x / max|x|
    x = size * tensor(seed=4)
    found = one(Source.GRADIENT, x)
    assert found[Statistic.GRADIENT_RMS] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-5)
    assert found[Statistic.GRADIENT_STD] == pytest.approx(np.std(x), rel=1e-5)
    assert found[Statistic.GRADIENT_NORM] == pytest.approx(np.linalg.norm(x), rel=1e-5)
    delta = one(Source.DELTA, x)[Statistic.DELTA_RMS]
    assert delta == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-5)


def test_a_constant_has_no_negative_variance():
    # 0.1 in float32: mean of squares and square of the mean differ by rounding only
    found = one(Source.ACTIVATION, np.full(1000, 0.1))
    assert found[Statistic.ACTIVATION_STD] == pytest.approx(0.0, abs=1e-4)
    assert found[Statistic.ACTIVATION_MEAN] == pytest.approx(0.1)


def test_all_zeros_are_zeros():
    found = one(Source.WEIGHT, np.zeros(10), spread=0.0)
    assert found[Statistic.WEIGHT_RMS] == 0.0
    assert found[Statistic.WEIGHT_ZERO_FRACTION] == 1.0
    assert found[Statistic.WEIGHT_UNIT_SPREAD] == 0.0


def test_non_finite_values_are_counted_and_not_hidden():
    x = tensor(seed=5)
    x[0, 0], x[3, 4], x[5, 6] = np.nan, np.inf, -np.inf
    found = one(Source.GRADIENT, x)
    assert found[Statistic.GRADIENT_NON_FINITE] == 3
    assert not np.isfinite(found[Statistic.GRADIENT_RMS])
    assert one(Source.DELTA, x)[Statistic.DELTA_NON_FINITE] == 3
    assert one(Source.WEIGHT, x)[Statistic.WEIGHT_NON_FINITE] == 3
    assert one(Source.ACTIVATION, x)[Statistic.ACTIVATION_NON_FINITE] == 3


def test_what_does_not_apply_is_nan():
    assert np.isnan(one(Source.ACTIVATION, tensor())[Statistic.ACTIVATION_SLOPE])
    assert np.isnan(one(Source.WEIGHT, tensor())[Statistic.WEIGHT_UNIT_SPREAD])


@pytest.mark.parametrize("source", sorted(set(Source) - {Source.OUTPUT, Source.DESCENT}))
def test_an_empty_tensor_has_no_mean(source):
    found = one(source, np.zeros((0, 4)))
    sizes = [
        value for name, value in found.items() if name.endswith(("rms", "mean", "fraction", "norm"))
    ]
    assert sizes
    assert np.isnan(sizes).all()


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1e-20, 1.0), (1e15, 1e-10), (0.0, 1.0)])
def test_a_layer_called_twice_is_measured_as_one(scales):
    x, y = (scale * tensor(seed=i, size=(8 + i, 20)) for i, scale in enumerate(scales, start=6))
    both = np.concatenate([x, y])
    found = measured(
        (Source.ACTIVATION, 0, sums_of(Source.ACTIVATION, x, slope=0.5 * np.ones_like(x))),
        (Source.ACTIVATION, 0, sums_of(Source.ACTIVATION, y, slope=np.ones_like(y))),
        (Source.DELTA, 0, sums_of(Source.DELTA, x)),
        (Source.DELTA, 0, sums_of(Source.DELTA, y)),
        outputs=(20,),
    ).values
    expected = {
        Statistic.ACTIVATION_MEAN: np.mean(both),
        Statistic.ACTIVATION_STD: np.std(both),
        Statistic.ACTIVATION_RMS: np.sqrt(np.mean(both**2)),
        Statistic.ACTIVATION_ZERO_FRACTION: np.mean(both == 0),
        Statistic.ACTIVATION_NON_FINITE: 0,
        Statistic.ACTIVATION_SLOPE: (0.25 * x.size + y.size) / both.size,
        Statistic.ACTIVATION_SIMILARITY: (np.sqrt(len(x)) + np.sqrt(len(y))) / len(both),
        Statistic.DELTA_RMS: np.sqrt(np.mean(both**2)),
        Statistic.DELTA_NORM: np.sqrt(np.mean(np.sum(both**2, axis=1))),
        Statistic.DELTA_NON_FINITE: 0,
    }
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, rel=1e-5)


def test_a_slope_that_one_call_does_not_tell_is_not_known():
    x = tensor()
    found = measured(
        (Source.ACTIVATION, 0, sums_of(Source.ACTIVATION, x, slope=np.ones_like(x))),
        (Source.ACTIVATION, 0, sums_of(Source.ACTIVATION, x)),
    ).values
    assert np.isnan(found[Statistic.ACTIVATION_SLOPE][0])
    assert found[Statistic.ACTIVATION_RMS][0] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-5)


def test_the_loss_scale_is_divided_out_of_gradients_only():
    x = tensor(seed=8)
    rms = np.sqrt(np.mean(x**2))
    scaled = 1024.0 * x
    gradient = one(Source.GRADIENT, scaled, loss_scale=1024.0)
    assert gradient[Statistic.GRADIENT_RMS] == pytest.approx(rms, rel=1e-5)
    assert gradient[Statistic.GRADIENT_MEAN] == pytest.approx(np.mean(x), rel=1e-5)
    assert gradient[Statistic.GRADIENT_STD] == pytest.approx(np.std(x), rel=1e-5)
    assert gradient[Statistic.GRADIENT_MAX_ABS] == pytest.approx(np.max(np.abs(x)), rel=1e-5)
    assert gradient[Statistic.GRADIENT_NORM] == pytest.approx(np.linalg.norm(x), rel=1e-5)
    delta = one(Source.DELTA, scaled, loss_scale=1024.0)
    assert delta[Statistic.DELTA_RMS] == pytest.approx(rms, rel=1e-5)
    for source, statistic in (
        (Source.WEIGHT, Statistic.WEIGHT_RMS),
        (Source.UPDATE, Statistic.UPDATE_RMS),
        (Source.ACTIVATION, Statistic.ACTIVATION_RMS),
    ):
        found = one(source, x, loss_scale=1024.0)
        assert found[statistic] == pytest.approx(rms, rel=1e-5)


def test_each_subject_has_its_column_and_the_others_are_nan():
    x, y = tensor(seed=9), tensor(seed=10)
    found = measured(
        (Source.WEIGHT, 2, sums_of(Source.WEIGHT, x)),
        (Source.WEIGHT, 0, sums_of(Source.WEIGHT, y)),
        (Source.DELTA, 1, sums_of(Source.DELTA, x)),
        outputs=(3, 4),
        layers=2,
        variables=3,
    ).values
    rms_x, rms_y = np.sqrt(np.mean(x**2)), np.sqrt(np.mean(y**2))
    weights = found[Statistic.WEIGHT_RMS]
    assert weights == pytest.approx([rms_y, np.nan, rms_x], rel=1e-5, nan_ok=True)
    # two times the RMS: the second layer has 4 outputs
    norms = found[Statistic.DELTA_NORM]
    assert norms == pytest.approx([np.nan, 2.0 * rms_x], rel=1e-5, nan_ok=True)


def test_the_header_is_read():
    found = measured(step_high=256.0, step_low=1.0, trivial_loss=2.3, skipped=1.0)
    assert found.step == 2**24 + 1  # float32 alone would give 2^24
    assert found.loss == 1.5
    assert found.trivial_loss == pytest.approx(2.3)
    assert found.skipped is True
    assert found.examples == 32
    assert found.values == {}


@pytest.mark.parametrize("length", [0, 9, 11])
def test_a_row_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match=f"a row of 10 sums was expected, {length} came"):
        measure(np.zeros(length, np.float32), Layout((), (), 0, 0), [])


def test_labels_have_a_range_and_a_part_out_of_reach():
    y = np.array([[0.0, 1.0], [2.0, 4.0], [2.5, -1.0]])
    found = one(Source.LABEL, y)
    assert (found[Statistic.LABEL_MIN], found[Statistic.LABEL_MAX]) == (-1.0, 4.0)
    assert found[Statistic.LABEL_WHOLE_FRACTION] == pytest.approx(5 / 6)
    assert found[Statistic.LABEL_STD] == pytest.approx(np.std(y), rel=1e-6)
    # beyond half of the largest, 2
    assert found[Statistic.LABEL_OUT_OF_REACH] == pytest.approx((4.0 + 0.25) / 6, rel=1e-6)


def test_labels_of_two_processes_are_those_of_one():
    x, y = np.array([[1.0], [2.0]]), np.array([[-7.0], [0.25], [3.0]])
    both = one(Source.LABEL, np.concatenate([x, y]))
    parts = measured(*((Source.LABEL, 0, sums_of(Source.LABEL, part)) for part in (x, y))).values
    for statistic, value in both.items():
        if statistic is Statistic.LABEL_OUT_OF_REACH:
            continue  # the stand-in of the sums measures from half of each part's own scale
        assert parts[statistic][0] == pytest.approx(value, rel=1e-6), statistic


def test_an_outputs_fields_are_its_statistics_whatever_the_loss_scale():
    fields = FIELDS[Source.OUTPUT]
    layout = Layout((Group(Source.OUTPUT, 0), Group(Source.OUTPUT, 1)), (), 0, 0, outputs=2)
    header = [{**HEAD, "loss_scale": 1024.0}.get(name, 0.0) for name in HEADER]
    told = np.arange(2.0 * len(fields))
    row = np.array([*header, *told], dtype=np.float32)
    values = measure(row, layout, []).values
    names = {
        "count": Statistic.LABELS_COUNTED,
        "error": Statistic.PREDICTION_ERROR,
        "baseline": Statistic.BASELINE_ERROR,
        "covariance": Statistic.PREDICTION_COVARIANCE,
        "variance": Statistic.PREDICTION_VARIANCE,
        "square": Statistic.PREDICTION_SQUARE,
        "target_variance": Statistic.TARGET_VARIANCE,
        "aligned": Statistic.ALIGNED_ERROR,
        "across": Statistic.CROSSED_ERROR,
        "off": Statistic.PREDICTION_SUM_OFF,
        "outside": Statistic.PREDICTION_OUTSIDE,
    }
    assert set(names) == set(fields)
    for i, field in enumerate(fields):
        assert values[names[field]].tolist() == [i, i + len(fields)], field


def test_the_descent_of_weights_that_do_not_move_is_not_known():
    """And that of variables without one, such as biases."""
    found = measured(
        (Source.DESCENT, 0, [30.0, 60.0]), (Source.DESCENT, 1, [0.0, 0.0]), variables=3
    ).values[Statistic.UPDATE_DESCENT]
    assert found[0] == 0.5
    assert np.isnan(found[1:]).all()
