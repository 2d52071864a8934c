"""The loss of the best constant prediction, against the loss of that prediction itself."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch.capture import labels
from initwatch.capture.targets import Target, facts_of
from initwatch.records import Statistic


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


# ---------------------------------------------------------------------- labels that count


def constant_loss(loss, y, best, weights=None):
    """Keras's own loss of one prediction for all: ``best`` broadcast over the labels' rows."""
    made = [keras.ops.convert_to_tensor(np.asarray(each)) for each in (y, best)]
    return float(loss(*made, sample_weight=weights))


def baseline(loss, y, prediction, weights=None, mask=None, whole=True):
    """What row.py makes of a target: the trivial loss times the factor of its weights."""
    given = [None if x is None else keras.ops.convert_to_tensor(x) for x in (weights, mask)]
    prediction = keras.ops.convert_to_tensor(prediction)
    target = Target(keras.ops.convert_to_tensor(y), prediction, *given, loss)
    facts = facts_of(loss)
    counts, factor = labels.weights_of(target, facts)
    found = float(
        labels.trivial_loss(facts.name, target.y, prediction, whole, counts, facts.smoothing)
    )
    return found if factor is None else found * float(factor)


RNG = np.random.default_rng(0)
ROWS = 30
WEIGHTS = (RNG.uniform(0.2, 3.0, ROWS) * (RNG.random(ROWS) < 0.8)).astype("float32")
CLASSES = RNG.choice(3, ROWS, p=[0.5, 0.3, 0.2])
YES = (RNG.random((ROWS, 2)) < [0.3, 0.8]).astype("float32")
NUMBERS = RNG.normal([3.0, -1.0], [1.0, 4.0], (ROWS, 2)).astype("float32")


def weighted_mean(values, weights):
    """A second implementation, that loops."""
    total = held = 0.0
    for value, weight in zip(np.asarray(values, float), weights, strict=True):
        total, held = total + weight * value, held + weight
    return total / held


def best_constant(name, y, weights, smoothing=0.0):
    """The best prediction for all rows, by hand."""
    if name.startswith("sparse"):
        return weighted_mean(np.eye(3)[y], weights)
    share = weighted_mean(y, weights)
    if name.startswith("categorical"):
        return share * (1.0 - smoothing) + smoothing / y.shape[-1]
    return share * (1.0 - smoothing) + 0.5 * smoothing if name.startswith("binary") else share


ALL_LOSSES = {
    "sparse": (keras.losses.SparseCategoricalCrossentropy, CLASSES, {}),
    "categorical": (keras.losses.CategoricalCrossentropy, np.eye(3, dtype="f")[CLASSES], {}),
    "categorical, smoothed": (
        keras.losses.CategoricalCrossentropy,
        np.eye(3, dtype="float32")[CLASSES],
        {"label_smoothing": 0.3},
    ),
    "binary": (keras.losses.BinaryCrossentropy, YES, {}),
    "binary, smoothed": (keras.losses.BinaryCrossentropy, YES, {"label_smoothing": 0.3}),
    "squared": (keras.losses.MeanSquaredError, NUMBERS, {}),
}


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight"])
@pytest.mark.parametrize("weights", [None, WEIGHTS, np.full(ROWS, 2.5, "float32")])
@pytest.mark.parametrize("name", ALL_LOSSES)
def test_the_baseline_is_kerass_own_loss_of_the_best_constant(name, weights, reduction):
    kind, y, options = ALL_LOSSES[name]
    loss = kind(reduction=reduction, **options)
    each = np.ones(ROWS) if weights is None else weights
    best = best_constant(facts_of(loss).name, y, each, options.get("label_smoothing", 0.0))
    prediction = np.tile(best, (ROWS, 1)).astype("float32")
    expected = constant_loss(loss, y, prediction, weights)
    assert baseline(loss, y, prediction, weights) == pytest.approx(expected, rel=1e-4)
    # and there is none that is better
    for other in (0.9 * best + 0.1 / 3.0, 1.05 * best):
        tried = np.tile(other, (ROWS, 1)).astype("float32")
        assert constant_loss(loss, y, tried, weights) > 0.999 * expected


@pytest.mark.parametrize("weights", [None, WEIGHTS[:6]])
@pytest.mark.parametrize("masked", [True, False])
def test_masked_positions_count_nowhere(weights, masked):
    """Sequences of class numbers, the end of each of which is padding."""
    y = RNG.integers(3, size=(6, 5))
    mask = np.arange(5) < RNG.integers(1, 6, size=6)[:, None] if masked else np.ones((6, 5), bool)
    if weights is not None:
        weights = weights + 0.1
    each = mask * (1.0 if weights is None else weights[:, None])
    best = weighted_mean(np.eye(3)[y.reshape(-1)], each.reshape(-1))
    prediction = keras.ops.convert_to_tensor(np.tile(best, (6, 5, 1)).astype("float32"))
    loss = keras.losses.SparseCategoricalCrossentropy()
    if masked:
        prediction._keras_mask = keras.ops.convert_to_tensor(mask)
    expected = constant_loss_of_masked(loss, y, prediction, weights)
    found = baseline(loss, y, prediction, weights, mask if masked else None)
    assert found == pytest.approx(expected, rel=1e-4)


def constant_loss_of_masked(loss, y, prediction, weights):
    if weights is not None:
        # one for each position: on torch Keras cannot spread them under a mask
        weights = keras.ops.convert_to_tensor(np.repeat(weights[:, None], y.shape[1], axis=1))
    return float(loss(keras.ops.convert_to_tensor(y), prediction, sample_weight=weights))


@pytest.mark.parametrize("weights", [None, WEIGHTS[:4] + 0.1])
def test_the_class_to_ignore_counts_nowhere(weights):
    """Pixels of no class, as in semantic segmentation."""
    y = RNG.integers(3, size=(4, 3, 3))
    y[:, 0] = 255
    each = (y != 255) * (1.0 if weights is None else weights[:, None, None])
    rows = np.eye(3)[np.where(y == 255, 0, y).reshape(-1)]
    best = weighted_mean(rows, each.reshape(-1))
    prediction = np.tile(best, (4, 3, 3, 1)).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=255)
    spread = None if weights is None else np.broadcast_to(weights[:, None, None], (4, 3, 3))
    expected = constant_loss(loss, y, prediction, spread)
    assert baseline(loss, y, prediction, weights) == pytest.approx(expected, rel=1e-4)
    # another number beside them changes nothing
    assert baseline(loss, y, prediction, weights) < np.log(3)


def test_weights_of_zero_are_as_labels_that_are_not_there():
    """Also of the correction for how few labels there are."""
    for name, (kind, y, options) in ALL_LOSSES.items():
        kept = WEIGHTS > 0.0
        ones = kept.astype("float32")
        loss = kind(reduction="mean_with_sample_weight", **options)
        prediction = np.zeros((ROWS, 3 if "categorical" in name or name == "sparse" else 2), "f")
        all_rows = baseline(loss, y, prediction, ones, whole=False)
        there = baseline(loss, y[kept], prediction[kept], whole=False)
        # the correction ends at ln 2, of several outputs for each or for their mean
        assert all_rows == pytest.approx(there, rel=1e-3), name


def test_absolute_errors_have_no_baseline_under_weights():
    loss = keras.losses.MeanAbsoluteError()
    assert np.isnan(baseline(loss, NUMBERS[:, :1], NUMBERS[:, :1], WEIGHTS))
    assert np.isfinite(baseline(loss, NUMBERS[:, :1], NUMBERS[:, :1]))


def test_negative_and_zero_weights_make_no_nan():
    loss = keras.losses.MeanSquaredError()
    nothing = np.zeros(ROWS, "float32")
    assert baseline(loss, NUMBERS, NUMBERS, nothing) == 0.0
    sparse = keras.losses.SparseCategoricalCrossentropy()
    assert np.isfinite(baseline(sparse, CLASSES, np.zeros((ROWS, 3), "float32"), nothing))


@pytest.mark.parametrize("name", ["sparse", "categorical", "binary"])
def test_error_rates_are_of_what_counts(name):
    kind, y, _ = ALL_LOSSES[name]
    units = 2 if name == "binary" else 3
    scores = RNG.random((ROWS, units)).astype("float32")
    target = [keras.ops.convert_to_tensor(each) for each in (y, scores)]
    weights = keras.ops.convert_to_tensor(WEIGHTS)
    function = facts_of(kind()).name
    found = (
        float(labels.error_rate(function, *target, 0.5, weights)),
        float(labels.trivial_error_rate(function, *target, weights)),
    )
    if name == "binary":
        wrong = weighted_mean((scores > 0.5) != (y > 0.5), WEIGHTS).mean()
        share = weighted_mean(y, WEIGHTS)
        least = np.minimum(share, 1.0 - share).mean()
    else:
        wrong = weighted_mean(scores.argmax(axis=1) != CLASSES, WEIGHTS)
        least = 1.0 - weighted_mean(np.eye(3)[CLASSES], WEIGHTS).max()
    assert found == pytest.approx((wrong, least), rel=1e-4)


# ---------------------------------------------------------------------- in a training

BATCH = 16


def watched(model, *data, **fit):
    """The history of a short fit."""
    watch = initwatch.InitWatch(console=False)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "callbacks": [watch]}
    model.fit(*data, **{**options, **fit})
    assert watch.report.problems == []
    return watch._watch._recorder.history()


def inputs(n=32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 5)).astype("float32")


def test_sample_weights_are_in_the_baseline_of_a_training():
    x, y = inputs(), np.tile(CLASSES[:16], 2)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    weights = np.tile(WEIGHTS[:16], 2)
    history = watched(model, x, y, sample_weight=weights)
    share = weighted_mean(np.eye(3)[y[:16]], weights[:16])
    entropy = -np.sum(share * np.log(share)) + (3 - 1) / (2.0 * np.sum(weights[:16] > 0))
    expected = min(entropy, np.log(3)) * weights[:16].mean()
    assert history.trivial_losses[0] == pytest.approx(expected, rel=1e-4)
    assert history.output.weighted
    counted = history.series[Statistic.LABELS_COUNTED][0, 0]
    assert counted == np.sum(weights[:16] > 0)


def test_class_weights_are_sample_weights():
    x, y = inputs(), np.tile(CLASSES[:16], 2)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = watched(model, x, y, class_weight={0: 1.0, 1: 2.0, 2: 4.0})
    each = np.array([1.0, 2.0, 4.0])[y[:16]]
    share = weighted_mean(np.eye(3)[y[:16]], each)
    entropy = -np.sum(share * np.log(share)) + 2.0 / 32.0
    expected = min(entropy, np.log(3)) * each.mean()
    assert history.trivial_losses[0] == pytest.approx(expected, rel=1e-4)


def test_padding_is_in_no_baseline_of_a_training():
    """Words of which 0 is none: the mask goes with the prediction."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 10, size=(32, 6))
    x[:, 4:] = 0
    y = (x % 3).astype("int32")
    y[:, 4:] = 2  # of what is not there
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(10, 8, mask_zero=True),
            keras.layers.LSTM(8, return_sequences=True),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = watched(model, x, y)
    share = np.bincount(y[:16, :4].reshape(-1), minlength=3) / 64
    entropy = -np.sum(share * np.log(share)) + 2.0 / 128.0
    assert history.trivial_losses[0] == pytest.approx(min(entropy, np.log(3)), rel=1e-4)
    assert history.series[Statistic.LABELS_COUNTED][0, 0] == 64
    assert history.series[Statistic.LABEL_MEAN][0, 0] == pytest.approx(y[:16, :4].mean(), rel=1e-5)
