"""Losses and steps of the user's own, several outputs, and loops that freeze parts in turn."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops

from initwatch.records import Statistic
from tests.capture.models import BACKEND
from tests.capture.watching import Watching, leftovers
from tests.diagnosis.histories import against_labels

BATCH = 16
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2 * BATCH, 5)).astype("float32")
NUMBERS = RNG.normal(size=(2 * BATCH, 2)).astype("float32")
CLASSES = RNG.integers(3, size=2 * BATCH)


def squared(y, y_pred):
    return ops.mean(ops.square(ops.cast(y, "float32") - y_pred))


def entropy(y, y_pred):
    """Of class numbers, without a word of Keras's."""
    own = ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), y_pred.shape[-1])
    return -ops.mean(ops.sum(own * ops.log(y_pred + 1e-7), axis=-1))


class OwnStep(keras.Sequential):
    """Trains by a step of its own, in which nothing of Keras's makes the loss."""

    own_loss = staticmethod(squared)

    if BACKEND == "tensorflow":

        def train_step(self, data):
            tf = importlib.import_module("tensorflow")
            x, y, *_ = data
            with tf.GradientTape() as tape:
                loss = self.own_loss(y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    elif BACKEND == "torch":

        def train_step(self, data):
            torch = importlib.import_module("torch")
            x, y, *_ = data
            self.zero_grad()
            loss = self.own_loss(y, self(x, training=True))
            loss.backward()
            gradients = [variable.value.grad for variable in self.trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, self.trainable_weights)
            return {"loss": loss}

    else:

        def train_step(self, state, data):
            jax = importlib.import_module("jax")
            weights, others, slots, metrics = state
            x, y, *_ = data

            def loss_of(weights, others):
                y_pred, others = self.stateless_call(weights, others, x, training=True)
                return self.own_loss(y, y_pred), others

            (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, others)
            weights, slots = self.optimizer.stateless_apply(slots, gradients, weights)
            return {"loss": loss}, (weights, others, slots, metrics)


class OwnLoss(keras.Sequential):
    """Keras's own step, and a ``compute_loss`` of the user's."""

    own_loss = staticmethod(squared)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.own_loss(y, y_pred)


def watched(model, x, y, **fit):
    """The history of one fit, in the order of the rows."""
    watch = Watching()
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **fit}
    model.fit(x, y, callbacks=[watch], **options)
    assert watch.report.problems == []
    return watch._watch._recorder.history()


def same(history, row, expected, output=0):
    for statistic, value in expected.items():
        found = history.series[statistic][row, output]
        assert found == pytest.approx(value, rel=1e-3, abs=1e-5), statistic


def built(kind, units, activation=None, own_loss=squared):
    keras.utils.set_random_seed(0)
    model = kind([keras.Input((5,)), layers.Dense(8, "relu"), layers.Dense(units, activation)])
    model.own_loss = own_loss
    return model


@pytest.mark.parametrize("kind", [OwnStep, OwnLoss])
def test_the_loss_the_labels_and_the_predictions_of_ones_own_code_are_seen(kind):
    model = built(kind, 2)
    before = model.predict(X[:BATCH], verbose=0)
    model.compile("sgd")
    history = watched(model, X, NUMBERS)
    output = history.output
    assert (output.loss, output.loss_seen, output.labels_seen) == ("", True, True)
    assert output.own_step is (kind is OwnStep)
    assert (output.units, output.label_rank, output.rank, output.numbered) == (2, 2, 2, False)
    assert output.label_units == 2
    assert not output.aligned
    assert history.losses[0] == pytest.approx(np.mean((NUMBERS[:BATCH] - before) ** 2), rel=1e-4)
    assert np.isnan(history.trivial_losses).all()
    same(history, 0, against_labels(NUMBERS[:BATCH], before))
    same(history, 0, {Statistic.LABEL_MAX: NUMBERS[:BATCH].max()})


@pytest.mark.parametrize("kind", [OwnStep, OwnLoss])
def test_class_numbers_of_ones_own_loss_are_classes(kind):
    model = built(kind, 3, "softmax", entropy)
    model.compile("sgd")
    history = watched(model, X, CLASSES)
    assert history.output.numbered
    same(history, 0, {Statistic.LABELS_COUNTED: BATCH, Statistic.LABEL_MAX: 2.0})
    share = np.bincount(CLASSES[:BATCH], minlength=3) / BATCH
    told = {
        Statistic.BASELINE_ERROR: 1.0 - share.max(),
        Statistic.TARGET_VARIANCE: 1.0 - np.sum(share**2),
    }
    same(history, 0, told)


def test_a_loss_function_of_ones_own_is_compiled_and_its_predictions_are_compared():
    model = built(keras.Sequential, 2)
    before = model.predict(X[:BATCH], verbose=0)
    model.compile("sgd", squared)
    history = watched(model, X, NUMBERS)
    assert (history.output.loss, history.output.own_step) == ("", False)
    same(history, 0, against_labels(NUMBERS[:BATCH], before))


def test_a_cross_entropy_of_ones_own_on_a_sigmoid_is_compared_too():
    def own(y, p):
        p = ops.clip(p, 1e-6, 1.0 - 1e-6)
        return -ops.mean(y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p))

    y = (NUMBERS[:, :1] > 0).astype("float32")
    model = built(keras.Sequential, 1, "sigmoid")
    before = model.predict(X[:BATCH], verbose=0)
    model.compile("sgd", own)
    history = watched(model, X, y)
    wrong = np.mean((before > 0.5) != (y[:BATCH] > 0.5))
    same(history, 0, {Statistic.LABELS_COUNTED: BATCH, Statistic.PREDICTION_ERROR: wrong})


@pytest.mark.parametrize("own", [True, False])
def test_labels_of_a_row_against_outputs_of_a_column_are_told(own):
    """Every prediction against every label, where the user's own loss broadcasts them."""
    y = NUMBERS[:, 0]
    model = built(OwnStep, 1) if own else built(keras.Sequential, 1)
    before = model.predict(X[:BATCH], verbose=0)
    model.compile("sgd", None if own else "mse")
    history = watched(model, X, y)
    same(history, 0, against_labels(y[:BATCH, None], before))
    if not own:
        assert history.output.aligned
        return
    assert (history.output.label_rank, history.output.rank) == (1, 2)
    crossed = np.mean((y[:BATCH] - before) ** 2)  # [n, n]
    assert history.losses[0] == pytest.approx(crossed, rel=1e-4)
    told = {
        Statistic.ALIGNED_ERROR: np.mean((y[:BATCH, None] - before) ** 2),
        Statistic.CROSSED_ERROR: crossed,
    }
    same(history, 0, told)


def test_a_step_whose_labels_do_not_go_with_what_the_model_returns_is_not_judged():
    """Targets of another number of rows than the prediction."""

    def against_mean(y, y_pred):
        return ops.mean(ops.square(ops.mean(y) - y_pred))

    model = built(OwnStep, 2, own_loss=against_mean)
    model.compile("sgd")
    history = watched(model, X, NUMBERS[:, :1].repeat(3, axis=1))
    assert history.output.loss_seen
    assert np.isnan(history.series[Statistic.PREDICTION_ERROR]).all()


# ---------------------------------------------------------------------- several outputs


def two_outputs(container, seed=0):
    keras.utils.set_random_seed(seed)
    start = keras.Input((5,))
    given = {
        "kind": layers.Dense(3, "softmax", name="kind")(start),
        "size": layers.Dense(2, name="size")(start),
    }
    return keras.Model(start, given if container == "dict" else list(given.values()))


@pytest.mark.parametrize("container", ["list", "dict"])
def test_the_baseline_of_several_outputs_is_the_sum_of_theirs(container):
    model = two_outputs(container)
    loss = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
    y = {"kind": CLASSES, "size": NUMBERS}
    weights = {"kind": 1.0, "size": 0.25}
    before = model.predict(X[:BATCH], verbose=0)
    if container == "list":
        loss, y, weights = (list(each.values()) for each in (loss, y, weights))
    else:
        before = [before["kind"], before["size"]]
    model.compile("sgd", loss, loss_weights=weights)
    history = watched(model, X, y)
    share = np.bincount(CLASSES[:BATCH], minlength=3) / BATCH
    corrected = -np.sum(share * np.log(share)) + 2.0 / (2 * BATCH)
    variance = np.mean(np.var(NUMBERS[:BATCH], axis=0, ddof=1))
    expected = min(corrected, np.log(3)) + 0.25 * variance
    assert history.trivial_losses[0] == pytest.approx(expected, rel=1e-4)
    assert history.output.labels_seen
    assert history.output.rank == 0  # of no single output
    same(history, 0, against_labels(NUMBERS[:BATCH], before[1]), output=1)
    wrong = np.mean(before[0].argmax(axis=1) != CLASSES[:BATCH])
    same(history, 0, {Statistic.PREDICTION_ERROR: wrong}, output=0)
    assert np.isnan(history.error_shares).all()


def test_one_output_whose_loss_is_ones_own_leaves_the_sum_unknown():
    model = two_outputs("dict")
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "size": squared})
    history = watched(model, X, {"kind": CLASSES, "size": NUMBERS})
    assert np.isnan(history.trivial_losses).all()
    assert np.isfinite(history.series[Statistic.PREDICTION_ERROR]).all()


# ---------------------------------------------------------------------- frozen in turn


@pytest.mark.skipif(BACKEND == "jax", reason="Keras on JAX trains no model frozen since compile")
@pytest.mark.parametrize("frozen", ["all", "half"])
def test_a_loop_that_freezes_parts_in_turn_is_watched(frozen):
    """As a GAN's: what is frozen whole has no step to be seen."""
    keras.utils.set_random_seed(0)
    half = keras.Sequential([keras.Input((5,)), layers.Dense(8, "relu")])
    model = keras.Sequential([half, layers.Dense(2)])
    model.compile("sgd", "mse")
    watch = Watching()
    seen = 0
    with watch.watching(model):
        for step in range(12):
            trains = step % 2 == 0
            part = model if frozen == "all" else half
            part.trainable = trains
            model.train_on_batch(X[:BATCH], NUMBERS[:BATCH])
            seen += trains or frozen == "half"
    model.trainable = True
    assert watch.report.problems == []
    assert watch.report.healthy, watch.report
    if not (frozen == "half" and BACKEND == "torch"):
        assert watch.report.steps_seen == seen
    # on torch each change of what is trained begins a history of its own
    steps = [update.step for update in watch.updates]
    assert steps == sorted(set(steps))
    assert len(steps) == seen
    assert leftovers(model) == []
