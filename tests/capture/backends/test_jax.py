"""What only JAX has: a state that is handed through, and steps that are pure functions."""

import jax
import keras
import numpy as np
import pytest

from initwatch.records import Statistic, Subject
from tests.capture import models
from tests.capture.test_bit_identity import same, trained
from tests.capture.watching import Watching

BATCH = 16


def often_shared():
    """One layer, called more often than there are layers."""
    x = inputs = keras.Input((32,))
    shared = keras.layers.Dense(32, activation="tanh", name="shared")
    for _ in range(20):
        x = shared(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def test_a_layer_called_many_times_has_the_delta_of_all_its_calls():
    model = models.compiled(often_shared)
    x, y = models.data_for(model, BATCH)
    kernel, bias, head, head_bias = models.values_of(model.trainable_variables)

    def loss(offsets):
        signal = x
        for offset in offsets:
            signal = jax.numpy.tanh(signal @ kernel + bias) + offset
        share = jax.nn.log_softmax(signal @ head + head_bias)
        return -share[np.arange(BATCH), y].mean()

    deltas = np.array(jax.grad(loss)(np.zeros((20, BATCH, 32), "float32")), float)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    measured = update.values[Statistic.DELTA_RMS][0]
    assert measured == pytest.approx(np.sqrt(np.mean(deltas**2)), rel=1e-3)


class OwnStep(keras.Model):
    """A train step of the user's, as the Keras guides write it."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(16, activation="relu")
        self.out = keras.layers.Dense(10, activation="softmax")

    def call(self, x, training=False):
        return self.out(self.hidden(x))

    def train_step(self, state, data):
        weights, others, slots, metrics = state
        x, y = data

        def loss(weights, others):
            y_pred, others = self.stateless_call(weights, others, x, training=True)
            found = keras.losses.sparse_categorical_crossentropy(y, y_pred)
            return keras.ops.mean(found), others

        (value, others), grads = jax.value_and_grad(loss, has_aux=True)(weights, others)
        weights, slots = self.optimizer.stateless_apply(slots, grads, weights)
        return {"loss": value}, (weights, others, slots, metrics)


def test_a_step_of_the_users_shows_its_layers_too():
    plain, _ = trained(OwnStep, [])
    watch = Watching()
    watched, _ = trained(OwnStep, [watch])
    assert same(plain, watched)
    assert len(watch.updates) > 20
    assert watch.report.problems == []

    model = models.compiled(OwnStep)
    stock = models.compiled(lambda: StockStep())
    for built in (model, stock):
        built(np.zeros((1, 32), "float32"))
    stock.set_weights(model.get_weights())
    x, y = models.data_for(model, BATCH)
    updates = []
    for trained_model in (model, stock):
        watch = Watching()
        # in order: how alike examples are is asked of the first ones
        trained_model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
        updates += watch.updates
    own, keras_own = (update.values for update in updates)
    for statistic, values in keras_own.items():
        if statistic.subject in (Subject.STEP, Subject.INPUT):
            continue  # the step above calls no compute_loss
        if statistic in (Statistic.PREDICTION_SUM_OFF, Statistic.PREDICTION_OUTSIDE):
            continue  # what are to be probabilities is told by a loss of Keras's
        assert own[statistic] == pytest.approx(values, 1e-4, 1e-7, nan_ok=True), statistic
    assert [layer.activation.name for layer in updates[0].layers[:1]] == ["relu"]


class StockStep(OwnStep):
    """The same network under Keras's own step."""

    train_step = keras.Model.train_step


def test_a_step_of_the_users_in_plain_python_runs_once_a_batch():
    ran = []

    class Counting(OwnStep):
        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            ran.append(float(logs["loss"]))  # a number, not a tracer
            return logs, state

    plain, _ = trained(Counting, [], run_eagerly=True)
    steps = len(ran)
    watch = Watching()
    watched, _ = trained(Counting, [watch], run_eagerly=True)
    assert len(ran) == 2 * steps
    assert same(plain, watched)
    values = watch.updates[0].values
    assert np.all(values[Statistic.GRADIENT_NORM] > 0.0)
    assert np.all(values[Statistic.UPDATE_RMS] > 0.0)
    assert Statistic.ACTIVATION_STD not in values
    assert "IW103" in watch.report.abstained
    assert watch.report.problems == []


def test_what_a_loop_in_the_step_shows_stays_in_there():
    class Looped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inside = keras.layers.Dense(32, activation="tanh", name="inside")
            self.out = keras.layers.Dense(10, activation="softmax", name="out")

        def call(self, x):
            looped = keras.ops.fori_loop(0, 1, lambda i, value: value, x)
            if not self.inside.built:
                self.inside(x)
            again, _ = jax.lax.scan(lambda c, _: (self.inside(c), None), looped, length=3)
            return self.out(again)

    def build():
        model = Looped()
        model(np.zeros((1, 32), "float32"))
        return model

    model = models.compiled(build)
    x, y = models.data_for(model, BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    assert watch.report.problems == []
    assert [layer.path.split("/")[-1] for layer in update.layers] == ["out"]
    assert len(update.variables) == 4
