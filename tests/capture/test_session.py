"""What is measured on the real step, against an independent computation of the same step."""

import warnings

import keras
import numpy as np
import pytest

import initwatch
from initwatch import Schedule
from initwatch.capture.session import Session
from initwatch.records import Statistic
from tests.capture import models
from tests.capture.watching import Watching, leftovers

BATCH = 16


def test_slopes_and_dead_units_equal_numpy():
    model = models.compiled(models.plain_dense)
    dead = np.zeros(20, "float32")
    dead[:7] = -1e3
    model.get_layer("hidden_0").bias.assign(dead)
    x, y = models.data_for(model, BATCH)
    probe = keras.Model(model.inputs, [layer.output for layer in model.layers[1:5]])
    relu, tanh, sigmoid, elu = (a.astype(float) for a in models.values_of(probe(x)))
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    slope = update.values[Statistic.ACTIVATION_SLOPE]
    expected = [
        np.mean(relu > 0),
        np.mean(np.square(1 - tanh**2)),
        np.mean(np.square(sigmoid * (1 - sigmoid))),
        np.mean(np.square(np.where(elu > 0, 1.0, elu + 1.0))),
    ]
    assert slope[:4] == pytest.approx(expected, rel=1e-4)
    never_active = np.mean(~np.any(relu > 0, axis=0))
    assert update.values[Statistic.DEAD_FRACTION][0] == pytest.approx(never_active)
    assert never_active >= 7 / 20


def test_histograms_equal_numpy():
    model = models.compiled(models.plain_dense)
    x, y = models.data_for(model, BATCH)
    weights = models.values_of([model.get_layer("hidden_0").kernel])[0]
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    path = model.get_layer("hidden_0").kernel.path
    histogram = next(
        h
        for h in update.histograms
        if h.quantity == "weight" and update.variables[h.index].path == path
    )
    counts, _ = np.histogram(weights, bins=len(histogram.counts))
    assert (histogram.low, histogram.high) == (weights.min(), weights.max())
    assert histogram.counts.sum() == weights.size
    # a value on the border of two bins may fall to either side by rounding
    assert np.abs(histogram.counts - counts).sum() <= 4


no_executions = pytest.mark.skipif(
    models.BACKEND == "torch", reason="Keras has no steps_per_execution on torch"
)


@pytest.mark.parametrize("per_execution", [1, pytest.param(7, marks=no_executions)])
def test_every_step_is_seen_and_counted_by_the_optimizer(per_execution):
    model = models.compiled(models.plain_dense, steps_per_execution=per_execution)
    x, y = models.data_for(model, 24 * BATCH)
    watch = Watching(schedule=Schedule(first=100))
    for fit in range(2):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
        steps = [update.step for update in watch.updates]
        assert steps == list(range(24 * (fit + 1)))


@no_executions
def test_steps_per_execution_changes_no_number():
    values = []
    for per_execution in (1, 7):
        model = models.compiled(models.plain_dense, steps_per_execution=per_execution)
        x, y = models.data_for(model, 10 * BATCH)
        watch = Watching(schedule=Schedule(first=100))
        model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[watch])
        values.append(np.array([update.values[Statistic.DELTA_RMS] for update in watch.updates]))
    assert np.array_equal(*values, equal_nan=True)


def test_gradients_are_unscaled_under_loss_scaling():
    """A scaled loss has scaled gradients; the statistics do not show it."""
    norms = []
    for policy, scale in (("float32", None), ("mixed_float16", 256.0)):
        keras.mixed_precision.set_global_policy(policy)
        optimizer = keras.optimizers.Adam()
        if scale:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        try:
            model = models.compiled(models.plain_dense, optimizer=optimizer)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        x, y = models.data_for(model, BATCH)
        watch = Watching()
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
        assert watch.updates[0].values[Statistic.SKIPPED][0] == 0.0
        norms.append(watch.updates[0].values[Statistic.GRADIENT_NORM])
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_a_step_that_loss_scaling_skips_is_said_to_be_skipped():
    keras.mixed_precision.set_global_policy("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=2.0**30)
    try:
        model = models.compiled(models.plain_dense, optimizer=optimizer)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    x, y = models.data_for(model, 2 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    first = watch.updates[0].values
    assert first[Statistic.SKIPPED][0] == 1.0
    assert first[Statistic.UPDATE_RMS].max() == 0.0
    assert first[Statistic.GRADIENT_NON_FINITE].sum() > 0
    assert watch.report.findings == []


def test_a_shared_layer_counts_both_calls():
    inputs = keras.Input((12,))
    shared = keras.layers.Dense(12, activation="relu", name="shared")
    once = shared(inputs)
    twice = shared(once)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(twice))
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = models.data_for(model, BATCH)
    outputs = keras.Model(inputs, [once, twice])(x)
    expected = np.concatenate(models.values_of(outputs))
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    index = next(i for i, layer in enumerate(update.layers) if layer.path.endswith("shared"))
    assert update.values[Statistic.ACTIVATION_MEAN][index] == pytest.approx(expected.mean(), 1e-4)
    assert update.values[Statistic.ACTIVATION_STD][index] == pytest.approx(expected.std(), 1e-4)


def test_sparse_gradients_of_an_embedding():
    model = models.compiled(models.transformer)
    x, y = models.data_for(model, BATCH)
    x[:] = x % 10  # 90 of 100 rows are never touched
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    index = next(i for i, v in enumerate(update.variables) if v.role == "embeddings")
    zeros = update.values[Statistic.GRADIENT_ZERO_FRACTION][index]
    assert 0.9 <= zeros < 0.91


# -------------------------------------------------------------------- nothing is left behind


class Raiser(keras.callbacks.Callback):
    """Raises in one of the places a callback can."""

    def __init__(self, place, error):
        super().__init__()
        self.place, self.error = place, error

    def on_train_batch_begin(self, batch, logs=None):
        if self.place == "batch_begin" and batch == 2:
            raise self.error("planted")

    def on_train_batch_end(self, batch, logs=None):
        if self.place == "batch_end" and batch == 2:
            raise self.error("planted")

    def on_epoch_end(self, epoch, logs=None):
        if self.place == "epoch_end":
            raise self.error("planted")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["batch_begin", "batch_end", "epoch_end"])
@pytest.mark.parametrize("first", [True, False])
def test_an_exception_of_another_callback_leaves_nothing(place, error, first):
    model = models.compiled(models.plain_dense)
    x, y = models.data_for(model, 5 * BATCH)
    watch = Watching()
    callbacks = [watch, Raiser(place, error)]
    with pytest.raises(error, match="planted"):
        model.fit(
            x, y, batch_size=BATCH, verbose=0, callbacks=callbacks if first else callbacks[::-1]
        )
    assert leftovers(model) == []
    seen = len(watch.updates)
    assert seen >= 2
    assert watch.report.steps_seen == seen
    own = model.train_function
    model.fit(x, y, batch_size=BATCH, verbose=0)
    assert model.train_function is own
    assert len(watch.updates) == seen  # a plain fit afterwards is not observed


def test_an_error_of_the_model_itself_is_raised_unchanged():
    class Broken(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise ValueError("planted in the model")
            return x

    inputs = keras.Input((12,))
    model = keras.Model(inputs, keras.layers.Dense(10)(Broken()(inputs)))
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = models.data_for(model, BATCH)
    with pytest.raises(ValueError, match="planted in the model"):
        model.fit(x, y, verbose=0, callbacks=[initwatch.InitWatch(console=False)])
    assert leftovers(model) == []


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_an_error_of_the_model_in_a_loop_is_raised_unchanged(run_eagerly):
    class Broken(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise ValueError("planted in the model")
            return x

    inputs = keras.Input((12,))
    model = keras.Model(inputs, keras.layers.Dense(10)(Broken()(inputs)))
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=run_eagerly)
    x, y = models.data_for(model, BATCH)
    watch = initwatch.InitWatch(console=False)
    with pytest.raises(ValueError, match="planted in the model"), watch.watching(model):
        model.train_on_batch(x, y)
    assert leftovers(model) == []
    assert watch.report.problems == []


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_step_of_ours_that_fails_in_a_loop_is_said(run_eagerly, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("planted")

    ends = []
    for watched in (False, True):
        model = models.compiled(models.plain_dense, run_eagerly=run_eagerly)
        x, y = models.data_for(model, BATCH)
        watch = initwatch.InitWatch(console=False)
        if watched:
            monkeypatch.setattr("initwatch.capture.session.Observer", broken)
            with watch.watching(model):
                model.train_on_batch(x, y)
            assert len(watch.report.problems) == 1
            assert "planted" in watch.report.problems[0]
        else:
            model.train_on_batch(x, y)
        ends.append(models.values_of(model.variables))
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


def test_nothing_is_left_in_saved_files(tmp_path):
    files = []
    for callbacks in ([], [initwatch.InitWatch(console=False)]):
        model = models.compiled(models.plain_dense)
        model.name = "saved"
        x, y = models.data_for(model, 3 * BATCH)
        checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / f"{len(files)}.keras")
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[*callbacks, checkpoint])
        assert leftovers(model) == []
        files.append(keras.models.load_model(tmp_path / f"{len(files)}.keras"))
    plain, watched = files
    assert len(plain.variables) == len(watched.variables)
    assert len(plain.optimizer.variables) == len(watched.optimizer.variables)
    # the first layer is the input, whose name counts the models built in this process
    first, second = (
        [(layer["class_name"], layer["name"]) for layer in model.get_config()["layers"][1:]]
        for model in files
    )
    assert first == second


# -------------------------------------------------------------------- models built by their data


def test_a_model_without_weights_before_fit_is_watched_from_its_first_step():
    model = models.compiled(models.not_built)
    x, y = models.data_for(model, 3 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == [0, 1, 2]
    assert len(watch.updates[0].variables) == len(model.trainable_variables)
    assert watch.report.problems == []


def test_a_model_that_never_gets_weights_is_said():
    class Empty(keras.Model):
        def call(self, x):
            return x

    model = Empty()
    model.compile("sgd", "mse")
    watch = initwatch.InitWatch(console=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says so too, on some backends
        model.fit(np.ones((8, 2)), np.ones((8, 2)), verbose=0, callbacks=[watch])
    assert "no trainable weights" in watch.report.problems[0]
    assert not watch.report.healthy


# -------------------------------------------------------------------- rehearsed steps


@pytest.mark.skipif(models.BACKEND == "torch", reason="its steps need no rehearsal")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_of_the_rehearsal_undoes_it(error, monkeypatch):
    model = models.compiled(models.plain_dense)
    x, y = models.data_for(model, 2 * BATCH)
    model.fit(x[:BATCH], y[:BATCH], verbose=0)
    before = models.values_of(model.variables)

    original = Session._prepared

    def prepared(session, *args):
        rehearsal = original(session, *args)
        function = session._instrumented

        def fails_after_its_step(*args):
            function(*args)
            raise error("planted")

        session._instrumented = fails_after_its_step
        return rehearsal

    monkeypatch.setattr(Session, "_prepared", prepared)
    watch = initwatch.InitWatch(console=False)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            model.fit(x[:BATCH], y[:BATCH], verbose=0, callbacks=[watch])
        if models.BACKEND == "jax":
            return  # Keras itself loses a model's values when its first step is interrupted
        after = models.values_of(model.variables)
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return
    model.fit(x[:BATCH], y[:BATCH], verbose=0, callbacks=[watch])
    assert int(model.optimizer.iterations) == 2  # one step a fit: ours was undone
    assert "could not be observed (RuntimeError: planted)" in watch.report.problems[0]


def test_a_fit_on_other_data_is_rehearsed_anew():
    model = models.compiled(models.plain_dense)
    x, y = models.data_for(model, 3 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    weighted = np.ones(len(x), "float32")
    model.fit(x, y, sample_weight=weighted, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == list(range(6))
    assert watch.report.problems == []
