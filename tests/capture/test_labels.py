"""The loss of the best constant prediction, against the loss of that prediction itself."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch.capture import labels
from initwatch.capture.targets import facts_of


def trivial_loss(name, y, y_pred, whole=False):
    y, y_pred = (keras.ops.convert_to_tensor(value) for value in (y, y_pred))
    return labels.trivial_loss(name, y, y_pred, whole)


def of_keras(loss, y, y_pred):
    y, y_pred = (keras.ops.convert_to_tensor(value) for value in (y, y_pred))
    return float(keras.ops.mean(loss(y, y_pred)))


def test_sparse_labels_cost_their_entropy():
    rng = np.random.default_rng(0)
    y = rng.choice(4, 20_000, p=[0.5, 0.25, 0.2, 0.05])
    share = np.bincount(y) / len(y)
    constant = np.tile(share, (len(y), 1)).astype("float32")
    expected = of_keras(keras.losses.sparse_categorical_crossentropy, y, constant)
    found = trivial_loss("sparse_categorical_crossentropy", y, constant)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_one_hot_labels_cost_the_same():
    y = np.arange(12) % 3
    sparse = trivial_loss("sparse_categorical_crossentropy", y, np.zeros((12, 3), "float32"))
    one_hot = trivial_loss(
        "categorical_crossentropy", np.eye(3, dtype="float32")[y], np.zeros((12, 3), "float32")
    )
    assert float(sparse) == pytest.approx(float(one_hot))


def test_binary_labels():
    rng = np.random.default_rng(0)
    y = (rng.random((10_000, 2)) < [0.3, 0.8]).astype("float32")
    constant = np.tile(y.mean(axis=0), (len(y), 1))
    expected = of_keras(keras.losses.binary_crossentropy, y, constant)
    assert float(trivial_loss("binary_crossentropy", y, constant)) == pytest.approx(expected, 1e-3)


def test_squared_error_costs_the_variance():
    rng = np.random.default_rng(0)
    y = rng.normal([3.0, -100.0], [1.0, 20.0], (500, 2)).astype("float32")
    found = trivial_loss("mean_squared_error", y, y)
    assert float(found) == pytest.approx(np.mean(np.var(y, axis=0, ddof=1)), rel=1e-4)


def test_absolute_error_of_two_classes_costs_the_rarer_ones_share():
    rng = np.random.default_rng(0)
    y = (rng.random((1_000, 2)) < [0.3, 0.8]).astype("float32")
    constant = np.tile(np.median(y, axis=0), (len(y), 1)).astype("float32")
    expected = of_keras(keras.losses.mean_absolute_error, y, constant)
    assert float(trivial_loss("mean_absolute_error", y, constant)) == pytest.approx(expected, 1e-5)
    # of several outputs' other targets it is not known
    assert np.isnan(float(trivial_loss("mean_absolute_error", y + 0.5, constant)))


def test_absolute_error_of_one_output_costs_the_distance_from_the_median():
    y = np.random.default_rng(0).exponential(2.0, 501).astype("float32")
    prediction = y[:, None]
    expected = np.mean(np.abs(y - np.median(y)))
    assert float(trivial_loss("mean_absolute_error", y, prediction)) == pytest.approx(expected)
    # a few labels' own median is no fair measure, unless they are all there are
    few = trivial_loss("mean_absolute_error", y[:31], prediction[:31])
    assert np.isnan(float(few))
    whole = trivial_loss("mean_absolute_error", y[:31], prediction[:31], whole=True)
    assert float(whole) == pytest.approx(np.mean(np.abs(y[:31] - np.median(y[:31]))))


def test_small_batches_are_not_biased():
    """The plain entropy of 32 labels of 10 classes is 6 % low on average; corrected it is not."""
    rng = np.random.default_rng(0)
    prediction = np.zeros((32, 10), "float32")
    draws = [
        float(trivial_loss("sparse_categorical_crossentropy", rng.integers(0, 10, 32), prediction))
        for _ in range(200)
    ]
    assert np.mean(draws) == pytest.approx(np.log(10), rel=0.02)


def test_names_of_losses():
    assert facts_of("mse").name == "mean_squared_error"
    assert facts_of(keras.losses.BinaryCrossentropy(from_logits=True)).from_logits
    assert facts_of(keras.losses.sparse_categorical_crossentropy).name
    assert facts_of(keras.losses.CategoricalCrossentropy(label_smoothing=0.1)).smoothing == 0.1
    assert facts_of(keras.losses.MeanSquaredError(reduction="sum")).reduction == "sum"
    assert (
        facts_of(keras.losses.SparseCategoricalCrossentropy(ignore_class=255)).ignore_class == 255
    )
    assert not facts_of(lambda y, p: p).name


def rates(name, y, y_pred, bar=0.5):
    y, y_pred = (keras.ops.convert_to_tensor(value) for value in (y, y_pred))
    return (
        float(labels.error_rate(name, y, y_pred, bar)),
        float(labels.trivial_error_rate(name, y, y_pred)),
    )


def test_error_rates_of_classes():
    y = np.array([0, 2, 2, 2, 1])
    scores = np.eye(3, dtype="float32")[[0, 2, 1, 2, 0]]
    assert rates("sparse_categorical_crossentropy", y, scores) == pytest.approx((0.4, 0.4))
    assert rates("sparse_categorical_crossentropy", y[:, None], scores) == pytest.approx((0.4, 0.4))
    one_hot = np.eye(3, dtype="float32")[y]
    assert rates("categorical_crossentropy", one_hot, scores) == pytest.approx((0.4, 0.4))


def test_error_rates_of_yes_and_no():
    y = np.array([1.0, 0.0, 0.0, 0.0], "float32")
    logits = np.array([[-1.0], [0.4], [-3.0], [-0.2]], "float32")
    assert rates("binary_crossentropy", y, logits, bar=0.0) == pytest.approx((0.5, 0.25))
    assert rates("binary_crossentropy", y, 0.3 + logits) == pytest.approx((0.5, 0.25))
    several = np.array([[1, 0], [1, 1], [1, 0], [1, 1]], "float32")
    found = rates("binary_crossentropy", several, np.zeros((4, 2), "float32"))
    assert found == pytest.approx((0.75, 0.25))


def test_numbers_have_no_error_rate():
    assert np.isnan(rates("mean_squared_error", np.ones((3, 1)), np.ones((3, 1)))).all()


def test_of_all_there_is_nothing_is_corrected():
    y = np.array([[0.0], [1.0], [1.0], [0.0], [1.0]], "float32")
    constant = np.full_like(y, y.mean())
    for name in ("mean_squared_error", "binary_crossentropy"):
        expected = of_keras(getattr(keras.losses, name), y, constant)
        assert float(trivial_loss(name, y, constant, whole=True)) == pytest.approx(expected, 1e-5)
    classes = np.array([0, 1, 2, 2])
    share = np.tile(np.bincount(classes) / 4.0, (4, 1)).astype("float32")
    name = "sparse_categorical_crossentropy"
    expected = of_keras(keras.losses.sparse_categorical_crossentropy, classes, share)
    assert float(trivial_loss(name, classes, share, whole=True)) == pytest.approx(expected, 1e-5)
    assert float(trivial_loss(name, classes, share)) > expected


def test_an_epoch_of_one_batch_is_all_there_is():
    """Four rows of XOR, whose variance is 1/4; of batches of two it is estimated."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    y = np.array([[0], [1], [1], [0]], "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "tanh")])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    watch = initwatch.InitWatch(console=False)
    for batch, guess in ((4, 0.25), (2, 0.5), (4, 0.25)):
        model.fit(x, y, batch, 2, verbose=0, shuffle=False, callbacks=[watch])
        found = watch._watch._recorder.history().trivial_losses
        assert found == pytest.approx(guess), batch
    assert watch.report.problems == []
