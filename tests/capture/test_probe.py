"""A step measured again on the newest batch: it sees the weights of now and leaves no trace."""

import keras
import numpy as np
import pytest
from keras import layers

import initwatch
from initwatch.records import Statistic

FEATURES, BATCH = 6, 16


def build(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(8, "relu", name="first"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3, "softmax", name="last"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def data(batches=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batches * BATCH, FEATURES)).astype("float32")
    return x, rng.integers(0, 3, len(x))


class Probes(keras.callbacks.Callback):
    """Measures the step again behind some batches."""

    def __init__(self, watch, look):
        super().__init__()
        self.watch, self.look, self.seen = watch, look, []

    def on_train_batch_end(self, batch, logs=None):
        if batch in (0, 2):
            self.look(self.watch._watch._session, self.seen)


def fit(model, *callbacks):
    x, y = data()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=list(callbacks))
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assert_equal(one, other):
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_goes_on_as_if_nothing_had_been_measured():
    plain = fit(build())
    watch = initwatch.InitWatch(console=False)
    probes = Probes(watch, lambda session, seen: seen.extend(session.probe(3)))
    assert_equal(plain, fit(build(), watch, probes))
    assert len(probes.seen) == 6
    assert watch.report.problems == []


def test_the_same_step_gives_the_same_row_and_three_steps_train():
    watch = initwatch.InitWatch(console=False)

    def look(session, seen):
        seen.append([sample.rows for sample in session.probe(3)])

    probes = Probes(watch, lambda session, seen: (look(session, seen), look(session, seen)))
    fit(build(), watch, probes)
    first, again = probes.seen[:2]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [rows[0, 2] for rows in first]
    assert len(set(losses)) == 3
    assert [int(rows[0, 1]) for rows in first] == [1, 2, 3]  # steps that would have come


def test_it_sees_the_weights_of_now():
    watch = initwatch.InitWatch(console=False)

    def look(session, seen):
        session.settle()
        kernel = session.model.get_layer("first").kernel
        value = keras.ops.convert_to_numpy(kernel).copy()
        kernel.assign(10.0 * value)
        seen.append(10.0 * np.sqrt(np.mean(value.astype("float64") ** 2)))
        seen.append(watch._watch._measured_again())
        kernel.assign(value)

    plain, probes = fit(build()), Probes(watch, look)
    assert_equal(plain, fit(build(), watch, probes))
    expected, history = probes.seen[:2]
    column = next(i for i, v in enumerate(history.variables) if v.path.endswith("first/kernel"))
    assert history.series[Statistic.WEIGHT_RMS][0, column] == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_undone_is_not_measured_again():
    """TensorFlow's eager steps are not rehearsed; elsewhere they are."""
    watch = initwatch.InitWatch(console=False)
    probes = Probes(watch, lambda session, seen: seen.append(len(session.probe())))
    model = build(run_eagerly=True)
    fit(model, watch, probes)
    expected = 0 if keras.backend.backend() == "tensorflow" else 1
    assert probes.seen == [expected, expected]
