"""What is known of the prediction, the loss, the labels and the inputs, on every backend."""

import keras
import numpy as np
import pytest
from keras import layers, losses

from initwatch.records import Output, Statistic
from tests.capture.watching import Watching

BATCH = 16


def seen(model, loss, x, y):
    """What is known of the output, and the newest row of each statistic."""
    model.compile("sgd", loss)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    row = [update.values for update in watch.updates if update.values][-1]
    return watch._watch._recorder.output, row


def rows(n=32, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype("float32")


def dense(units, activation=None):
    return keras.Sequential([keras.Input((5,)), layers.Dense(units, activation, name="last")])


def test_inputs_and_labels_are_those_of_the_batch():
    x, y = 3.0 * rows() + 1.0, rows(width=2, seed=1)
    output, row = seen(dense(2, "tanh"), "mse", x, y)
    newest, told = x[-BATCH:].astype(float), y[-BATCH:].astype(float)
    expected = {
        Statistic.INPUT_MEAN: newest.mean(),
        Statistic.INPUT_STD: newest.std(),
        Statistic.INPUT_RMS: np.sqrt(np.mean(newest**2)),
        Statistic.INPUT_MAX_ABS: np.abs(newest).max(),
        Statistic.LABEL_MEAN: told.mean(),
        Statistic.LABEL_STD: told.std(),
        Statistic.LABEL_MIN: told.min(),
        Statistic.LABEL_MAX: told.max(),
        Statistic.LABEL_OUT_OF_REACH: np.mean(np.square(told - np.clip(told, -1, 1))),
    }
    for name, value in expected.items():
        assert row[name][0] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert row[Statistic.LABEL_WHOLE_FRACTION][0] == 0.0
    assert (output.low, output.high, output.loss) == (-1.0, 1.0, "mean_squared_error")


@pytest.mark.parametrize(
    ("loss", "name", "logits"),
    [
        ("binary_crossentropy", "binary_crossentropy", False),
        (losses.BinaryCrossentropy(from_logits=True), "binary_crossentropy", True),
        (losses.MeanAbsoluteError(), "mean_absolute_error", False),
        (losses.mean_squared_error, "mean_squared_error", False),
        (lambda y, p: keras.ops.mean((y - p) ** 2), "", False),
    ],
)
def test_the_loss_is_known_by_its_name(loss, name, logits):
    output, _ = seen(dense(1, "sigmoid"), loss, rows(), np.ones((32, 1)))
    assert (output.loss, output.from_logits) == (name, logits)
    assert (output.activation, output.units) == ("sigmoid", 1)
    assert output.layer.endswith("last")


def ending(*more):
    return keras.Sequential([keras.Input((5,)), layers.Dense(4, name="last"), *more])


@pytest.mark.parametrize(
    ("model", "activation"),
    [
        (lambda: ending(), "linear"),
        (lambda: ending(layers.Activation("softmax")), "softmax"),
        (lambda: ending(layers.Softmax()), "softmax"),
        (lambda: ending(layers.ReLU()), "relu"),
        (lambda: ending(layers.Reshape((2, 2)), layers.Reshape((4,))), "linear"),
        (lambda: ending(layers.Dropout(0.5)), ""),
    ],
)
def test_the_last_activation_is_found_where_it_is(model, activation):
    output, _ = seen(model(), "mse", rows(), np.ones((32, 4)))
    assert output.activation == activation


def test_several_outputs_are_not_judged():
    start = keras.Input((5,))
    model = keras.Model(start, [layers.Dense(1)(start), layers.Dense(2)(start)])
    output, row = seen(model, ["mse", "mse"], rows(), [np.ones((32, 1)), np.ones((32, 2))])
    assert output == Output(loss_seen=True, labels_seen=True)
    assert Statistic.LABEL_MIN not in row
    # but each is held against its labels
    assert row[Statistic.LABELS_COUNTED].tolist() == [BATCH, BATCH]


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (lambda: dense(4), 0),
        (lambda: dense(4, "softmax"), 1),
        (lambda: ending(layers.Softmax()), 1),
        (lambda: ending(layers.Softmax(), layers.Softmax()), 2),
        (lambda: ending(layers.Dense(4, "softmax"), layers.Softmax()), 2),
        (lambda: ending(layers.Softmax(), layers.Reshape((4,)), layers.Softmax()), 2),
        (lambda: ending(layers.Softmax(), layers.ReLU(), layers.Softmax()), 1),
    ],
)
def test_softmaxes_one_behind_the_other_are_counted(model, count):
    output, _ = seen(model(), "mse", rows(), np.ones((32, 4)))
    assert output.softmaxes == count


def test_indices_are_no_inputs():
    start = keras.Input((5,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(10, 3)(start))
    model = keras.Model(start, layers.Dense(1)(x))
    _, row = seen(model, "mse", np.ones((32, 5), int), np.ones((32, 1)))
    assert Statistic.INPUT_RMS not in row


@pytest.mark.parametrize(
    ("activation", "loss", "units"),
    [
        ("softmax", "sparse_categorical_crossentropy", 3),
        (None, losses.SparseCategoricalCrossentropy(from_logits=True), 3),
        ("sigmoid", "binary_crossentropy", 1),
        (None, losses.BinaryCrossentropy(from_logits=True), 1),
    ],
)
def test_wrong_predictions_are_counted(activation, loss, units):
    x, model = rows(), dense(units, activation)
    y = np.random.default_rng(3).integers(0, max(units, 2), 32)
    y[:20] = 1
    before = model.predict(x[:BATCH], verbose=0)
    _, row = seen(model, loss, x[:BATCH], y[:BATCH])
    bar = 0.5 if activation else 0.0
    chosen = before.argmax(axis=1) if units > 1 else (before[:, 0] > bar).astype(int)
    assert row[Statistic.ERROR_RATE][0] == pytest.approx(np.mean(chosen != y[:BATCH]))
    expected = 1.0 - np.bincount(y[:BATCH]).max() / BATCH
    assert row[Statistic.TRIVIAL_ERROR_RATE][0] == pytest.approx(expected, abs=1e-6)


def test_one_unit_of_softmax_says_always_yes():
    """Its logits would part the classes; what it predicts does not."""
    x = rows()
    y = (x[:, 0] > 0).astype("float32")
    _, row = seen(dense(1, "softmax"), "binary_crossentropy", x, y)
    assert row[Statistic.ERROR_RATE][0] == pytest.approx(np.mean(y[-BATCH:] == 0))


class Adds(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x**2))
        return x


def test_penalties_are_told_apart_from_the_loss_of_the_data():
    x, y = rows(), rows(width=2, seed=1)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, kernel_regularizer="l2", bias_regularizer="l2"),
            Adds(),
            layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5)),
        ]
    )
    data = float(np.mean((model.predict(x[:BATCH], verbose=0) - y[:BATCH]) ** 2))
    inner = model.layers[0]
    added = 0.01 * float(np.sum(keras.ops.convert_to_numpy(inner.kernel) ** 2))
    added += 0.5 * float(np.sum(keras.ops.convert_to_numpy(model.layers[2].kernel) ** 2))
    added += float(np.mean(keras.ops.convert_to_numpy(inner(x[:BATCH])) ** 2))
    model.compile("sgd", "mse")
    watch = Watching()
    model.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0, callbacks=[watch])
    row = next(update.values for update in watch.updates if update.values)
    history = watch._watch._recorder.history()
    assert row[Statistic.PENALTY][0] == pytest.approx(added, rel=1e-5)
    assert row[Statistic.LOSS][0] == pytest.approx(data + added, rel=1e-5)
    assert history.losses[0] == pytest.approx(data, rel=1e-4)


def test_outputs_of_examples_are_compared():
    """Cosines of the first four examples, of every layer, convolutions as a whole."""
    x = np.random.default_rng(0).normal(size=(BATCH, 6, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6, 2)),
            layers.Conv1D(3, 3, activation="relu", name="field"),
            layers.Flatten(),
            layers.Dense(7, "tanh", bias_initializer="ones", name="seven"),
            layers.Dense(2),
        ]
    )
    field = keras.Model(model.inputs, model.layers[0].output).predict(x, verbose=0)
    seven = keras.Model(model.inputs, model.layers[2].output).predict(x, verbose=0)
    model.compile("sgd", "mse")
    watch = Watching()
    y = np.ones((BATCH, 2), "float32")
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    row = next(update.values for update in watch.updates if update.values)
    paths = [layer.path for layer in watch._watch._recorder.layers]
    for name, output in (("field", field), ("seven", seven)):
        flat = output[:4].reshape(4, -1)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        expected = np.mean((unit @ unit.T)[np.triu_indices(4, 1)])
        column = next(i for i, path in enumerate(paths) if path.endswith(name))
        assert row[Statistic.ACTIVATION_SIMILARITY][column] == pytest.approx(expected, rel=1e-4)
