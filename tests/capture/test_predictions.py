"""Predictions against labels inside the step, and a second implementation that loops."""

import keras
import numpy as np
import pytest

from initwatch.capture import predictions
from initwatch.measurement.layout import FIELDS, Source

NAMES = FIELDS[Source.OUTPUT]


def compared(y, p, weights=None, bar=None, shares=None, whole=True, sure=True, name=""):
    """The fields by name."""
    given = [None if a is None else keras.ops.convert_to_tensor(a) for a in (y, p, weights)]
    numbered = predictions.is_class_numbers(*given[:2], name)
    assert numbered is not None
    shares = None if shares is None else keras.ops.convert_to_tensor(shares)
    found = predictions.compared(*given, bar, numbered, shares, whole, sure)
    return dict(zip(NAMES, keras.ops.convert_to_numpy(found).astype(float), strict=True))


def dumb(y, p, weights=None, one_hot=False):
    """Means over the labels that count, one at a time."""
    p = np.asarray(p, float)
    p = p[:, None] if p.ndim == 1 else p
    rows = int(np.prod(p.shape[:-1]))
    w = np.ones(p.shape[:-1]) if weights is None else np.broadcast_to(weights, p.shape[:-1])
    w = w.reshape(rows).astype(float)
    p = p.reshape(rows, -1)
    y = np.asarray(y, float).reshape(rows, -1)
    total = sum(w)
    mean_y = sum(w[i] * y[i] for i in range(rows)) / total
    mean_p = sum(w[i] * p[i] for i in range(rows)) / total
    fields = dict.fromkeys(("error", "covariance", "variance", "target_variance", "square"), 0.0)
    wrong = 0.0
    for i in range(rows):
        share = w[i] / total
        fields["error"] += share * np.mean((y[i] - p[i]) ** 2)
        fields["covariance"] += share * np.mean((y[i] - mean_y) * (p[i] - mean_p))
        fields["variance"] += share * np.mean((p[i] - mean_p) ** 2)
        fields["target_variance"] += share * np.mean((y[i] - mean_y) ** 2)
        fields["square"] += share * np.mean(p[i] ** 2)
        wrong += share * (np.argmax(y[i]) != np.argmax(p[i]))
    fields["baseline"] = fields["target_variance"] * rows / (rows - 1)
    fields["count"] = sum(w > 0)
    if one_hot:
        fields["error"], fields["baseline"] = wrong, 1.0 - max(mean_y)
    return fields


def same(found, expected, *names):
    for name in names or expected:
        close = pytest.approx(expected[name], rel=1e-4, abs=1e-6, nan_ok=True)
        assert found[name] == close, name


RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(40, 3)).astype("float32")
NOISE = RNG.normal(size=(40, 3)).astype("float32")
CLASSES = RNG.choice(3, 40, p=[0.5, 0.3, 0.2])
WEIGHTS = RNG.uniform(0.5, 2.0, 40).astype("float32") * (RNG.random(40) < 0.7)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_numbers(weights):
    found = compared(NUMBERS, NUMBERS + NOISE, weights)
    expected = dumb(NUMBERS, NUMBERS + NOISE, weights)
    same(found, expected)
    assert np.isnan(found["aligned"])
    assert np.isnan(found["across"])
    assert found["off"] == -1.0


def test_labels_of_weight_zero_may_be_anything():
    y = np.where(WEIGHTS[:, None] > 0, NUMBERS, np.nan)
    same(compared(y, NOISE, WEIGHTS), compared(NUMBERS, NOISE, WEIGHTS))


def test_numbers_of_several_axes():
    """Sequences: weights of positions, or of whole examples."""
    y, p = RNG.normal(size=(2, 12, 5, 2)).astype("float32")
    found = compared(y, p)
    assert found["count"] == 12
    assert found["error"] == pytest.approx(np.mean((y - p) ** 2), rel=1e-5)
    variance = np.mean((p - p.mean(axis=0)) ** 2)
    assert found["variance"] == pytest.approx(variance, rel=1e-5)
    kept = (np.arange(12) % 2).astype("float32")
    spread = np.broadcast_to(kept[:, None], (12, 5)).astype("float32")
    half = compared(y[1::2], p[1::2])
    same(compared(y, p, spread), half, "error", "covariance", "variance", "square")


@pytest.mark.parametrize("shapes", [("n", "n"), ("n1", "n1"), ("n", "n1")])
def test_a_column_and_a_row_are_the_same_numbers(shapes):
    y, p = NUMBERS[:, 0], NUMBERS[:, 0] + NOISE[:, 0]
    given = [a if shape == "n" else a[:, None] for a, shape in zip((y, p), shapes, strict=True)]
    found = compared(*given)
    same(found, dumb(y, p))
    if shapes == ("n", "n1"):
        # what is asked of the shapes themselves
        assert found["aligned"] == pytest.approx(np.mean((y - p) ** 2), rel=1e-4)
        assert found["across"] == pytest.approx(np.mean((y - p[:, None]) ** 2), rel=1e-4)
    else:
        assert np.isnan(found["across"])


def test_labels_of_a_column_against_outputs_of_a_row_are_every_pair():
    y, p = NUMBERS[:, :1], NUMBERS[:, 0] + NOISE[:, 0]
    found = compared(y, p)
    assert found["across"] == pytest.approx(np.mean((y - p) ** 2), rel=1e-4)  # [n, n]


# ---------------------------------------------------------------------- yes and no


@pytest.mark.parametrize("bar", [0.0, 0.5])
@pytest.mark.parametrize("units", [1, 3])
def test_labels_of_zero_and_one_are_counted(bar, units):
    y = (NUMBERS[:, :units] > 0.3).astype("float32")
    p = NUMBERS[:, :units] + NOISE[:, :units]
    found = compared(y, p, bar=bar)
    assert found["error"] == pytest.approx(np.mean((p > bar) != (y > 0.5)), abs=1e-6)
    mean = y.mean(axis=0)
    assert found["baseline"] == pytest.approx(np.mean(np.minimum(mean, 1.0 - mean)), abs=1e-6)
    same(found, dumb(y, p), "covariance", "variance", "target_variance", "square")
    weighted = compared(y, p, WEIGHTS, bar=bar)
    kept = [np.average((p[:, i] > bar) != (y[:, i] > 0.5), weights=WEIGHTS) for i in range(units)]
    assert weighted["error"] == pytest.approx(np.mean(kept), rel=1e-4)


def test_other_labels_have_a_squared_error_whatever_the_bar_is():
    same(compared(NUMBERS, NOISE, bar=0.5), dumb(NUMBERS, NOISE))


# ---------------------------------------------------------------------- classes


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_class_numbers_are_one_hot_rows_that_are_not_made(weights):
    found = compared(CLASSES, NUMBERS, weights)
    rows = dumb(np.eye(3)[CLASSES], NUMBERS, weights, one_hot=True)
    same(found, rows, "count", "error", "baseline")
    # sums over units where numbers have means
    sums = {name: 3.0 * rows[name] for name in ("covariance", "variance", "target_variance")}
    same(found, {**sums, "square": 3.0 * rows["square"]})


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_one_hot_rows_are_counted_too(weights):
    rows = np.eye(3, dtype="float32")[CLASSES]
    same(compared(rows, NUMBERS, weights), dumb(rows, NUMBERS, weights, one_hot=True))
    smooth = 0.9 * rows + 0.1 / 3.0
    found = compared(smooth.astype("float32"), NUMBERS, weights)
    same(found, dumb(smooth, NUMBERS, weights, one_hot=True), "error", "baseline")


def test_rows_of_weight_zero_need_not_add_up():
    rows = np.eye(3, dtype="float32")[CLASSES]
    padded = np.where(WEIGHTS[:, None] > 0, rows, 0.0)
    expected = compared(rows, NUMBERS, WEIGHTS)
    same(compared(padded, NUMBERS, WEIGHTS), expected, "error", "baseline", "count")
    # without the weights these are numbers
    assert compared(padded, NUMBERS)["error"] == pytest.approx(np.mean((padded - NUMBERS) ** 2))


def test_class_numbers_as_a_column_of_images_and_out_of_range():
    same(compared(CLASSES[:, None], NUMBERS), compared(CLASSES, NUMBERS))
    image = compared(CLASSES.reshape(2, 4, 5), NUMBERS.reshape(2, 4, 5, 3))
    same(image, compared(CLASSES, NUMBERS), "count", "error", "baseline", "variance")
    # such as -1 for padding: what is no class is no label
    padded = np.append(CLASSES, [-1, 7])
    same(compared(padded, np.append(NUMBERS, NOISE[:2], axis=0)), compared(CLASSES, NUMBERS))


def test_what_a_softmax_puts_out_adds_up():
    share = np.exp(NUMBERS) / np.exp(NUMBERS).sum(axis=1, keepdims=True)
    assert compared(CLASSES, NUMBERS, shares=share)["off"] == pytest.approx(0.0, abs=1e-6)
    over_rows = np.exp(NUMBERS) / np.exp(NUMBERS).sum(axis=0)
    off = compared(CLASSES, NUMBERS, shares=over_rows.astype("float32"))["off"]
    assert off == pytest.approx(np.mean(np.abs(over_rows.sum(axis=1) - 1.0)), rel=1e-4)
    assert off > 0.5
    assert compared(CLASSES, NUMBERS, shares=share, whole=False)["off"] == -1.0
    assert compared(CLASSES, NUMBERS)["off"] == -1.0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_predictions_beyond_0_to_1_are_counted_where_they_are_to_be_probabilities(dtype):
    share = 0.5 + 0.5 * np.tanh(50.0 * NUMBERS)  # exactly 0 and 1 among them
    assert compared(CLASSES, NUMBERS, shares=share.astype(dtype))["outside"] == 0.0
    beyond = np.mean((NUMBERS < 0.0) | (NUMBERS > 1.0))
    found = compared(CLASSES, NUMBERS, shares=NUMBERS.astype(dtype))["outside"]
    assert found == pytest.approx(beyond, abs=0.02)
    assert beyond > 0.3
    assert compared(CLASSES, NUMBERS)["outside"] == -1.0


# ---------------------------------------------------------------------- what can be compared


class Shaped:
    def __init__(self, *shape):
        self.shape = shape


@pytest.mark.parametrize(
    ("y", "p", "name", "numbered"),
    [
        ((8,), (8, 3), "", True),
        ((8, 1), (8, 3), "", True),
        ((8, 3), (8, 3), "", False),
        ((8,), (8,), "", False),
        ((8, 1), (8, 1), "", False),
        ((8,), (8, 1), "", False),
        ((8, 2), (8, 3), "", None),
        ((), (8, 1), "", None),
        ((8,), (), "", None),
        ((8, 5), (8, 5, 3), "", True),
        ((8, 5, 1), (8, 5, 3), "", True),
        ((8, 4), (8, 5, 3), "", None),
        # one unit has no classes
        ((8,), (8, 1), "sparse_categorical_crossentropy", None),
        ((8,), (8, 3), "sparse_categorical_crossentropy", True),
        ((8, 3), (8, 3), "sparse_categorical_crossentropy", None),
        # a label for several units is no number of Keras's losses
        ((8,), (8, 3), "mean_squared_error", None),
        ((8, 1), (8, 1), "mean_squared_error", False),
        # how many rows there are is not known before the step runs
        ((None,), (None, 3), "", True),
        ((None, 3), (None, 3), "", False),
        # other axes that are not known are believed of Keras's losses only
        ((None, None), (None, None, 3), "", None),
        ((None, None), (None, None, 3), "sparse_categorical_crossentropy", True),
        ((None, None), (None, 3), "mean_squared_error", False),
        ((None, None), (None, 3), "", None),
    ],
)
def test_which_labels_are_class_numbers(y, p, name, numbered):
    assert predictions.is_class_numbers(Shaped(*y), Shaped(*p), name) is numbered


@pytest.mark.parametrize(
    ("weight", "p", "fit"),
    [
        ((8,), (8, 3), True),
        ((8, 1), (8, 3), True),
        ((8,), (8,), True),
        ((8,), (8, 5, 3), True),
        ((8, 5), (8, 5, 3), True),
        ((8, 5, 1), (8, 5, 3), True),
        ((8, 1), (8, 5, 3), True),
        ((8, 4), (8, 5, 3), False),
        ((8, 3), (8, 3), False),
        ((None,), (8, 3), True),
        ((), (8, 3), True),
    ],
)
def test_which_weights_labels_can_have(weight, p, fit):
    assert predictions.fits(Shaped(*weight), Shaped(*p)) is fit


def test_rows_that_are_not_the_labels_are_not_compared():
    """Two views of each example: what the model returns is of another number of rows."""
    y = keras.ops.convert_to_tensor(CLASSES[:20])
    p = keras.ops.convert_to_tensor(NUMBERS)
    found = predictions.compared(y, p, None, None, True, None, False, sure=False)
    assert np.isnan(keras.ops.convert_to_numpy(found)).all()
    assert np.isnan(keras.ops.convert_to_numpy(predictions.nothing())).all()
    assert compared(CLASSES, NUMBERS, sure=False) == pytest.approx(
        compared(CLASSES, NUMBERS), nan_ok=True
    )


def test_of_a_loss_of_the_users_own_the_pairs_are_kept_whatever_the_shapes():
    y, p = NUMBERS[:, :1].copy(), NOISE[:, :1].copy()
    found = compared(y, p, sure=False)
    assert found["across"] == pytest.approx(np.mean((y.T - p) ** 2), rel=1e-5)
    assert found["aligned"] == pytest.approx(np.mean((y - p) ** 2), rel=1e-5)
    # Keras's own compare row by row
    assert np.isnan(compared(y, p)["across"])
