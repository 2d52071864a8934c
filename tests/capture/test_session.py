"""What is measured on the real step, against an independent computation of the same step."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import initwatch
from initwatch import Schedule
from initwatch.capture.session import Session
from initwatch.records import Statistic
from tests.capture import models

BATCH = 16


class Collector:
    """An outlet that keeps every update."""

    name = "collector"

    def __init__(self):
        self.updates = []

    def open(self, step):
        pass

    def emit(self, update):
        self.updates.append(update)

    def note(self, text):
        raise AssertionError(text)

    def close(self, report):
        pass


class Watching(initwatch.InitWatch):
    """InitWatch with a collector among its outlets."""

    def __init__(self, **kwargs):
        super().__init__(console=False, **kwargs)
        self.collector = Collector()

    def _join(self, watch):
        super()._join(watch)
        watch.open_outlet(self.collector, 0)

    @property
    def updates(self):
        return self.collector.updates


def plain_dense():
    x = inputs = keras.Input((12,))
    for i, activation in enumerate(["relu", "tanh", "sigmoid", "elu"]):
        x = keras.layers.Dense(20, activation=activation, name=f"hidden_{i}")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="output")(x))


def plain_conv():
    x = inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(6, 3, name="conv")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="output")(x))


def reference(model, x, y):
    """One step by hand: loss, gradients, outputs, deltas, and the weights around the update."""
    outputs = [layer.output for layer in model.layers[1:]]
    with tf.GradientTape(persistent=True) as tape:
        signal = tf.convert_to_tensor(x)
        signals = {}
        for layer in model.layers[1:]:
            signal = layer(signal)
            tape.watch(signal)
            signals[layer.name] = signal
        logits = signals[model.layers[-1].name]
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, logits))
    assert len(outputs) == len(signals)
    gradients = tape.gradient(loss, model.trainable_variables)
    deltas = {path: tape.gradient(loss, signal) for path, signal in signals.items()}
    before = [np.array(v) for v in model.trainable_variables]
    model.optimizer.apply(gradients, model.trainable_variables)
    after = [np.array(v) for v in model.trainable_variables]
    return (
        float(loss),
        [np.array(g, np.float64) for g in gradients],
        {name: np.array(s, np.float64) for name, s in signals.items()},
        {path: None if d is None else np.array(d, np.float64) for path, d in deltas.items()},
        before,
        after,
    )


def rms(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, np.float64)))))


@pytest.mark.parametrize("build", [plain_dense, plain_conv])
@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}])
def test_statistics_equal_an_independent_step(build, options):
    model = models.compiled(build, **options)
    twin = models.compiled(build)
    x, y = models.data_for(model, BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[watch])
    (update,) = watch.updates
    loss, gradients, signals, deltas, before, after = reference(twin, x, y)

    def measured(statistic, path):
        members = update.layers if statistic.subject == "layer" else update.variables
        index = next(i for i, member in enumerate(members) if member.path.endswith(path))
        return update.values[statistic][index]

    assert update.step == 0
    assert update.values[Statistic.LOSS][0] == pytest.approx(loss, rel=1e-5)
    for i, variable in enumerate(model.trainable_variables):
        path = variable.path
        expected = {
            Statistic.WEIGHT_MEAN: before[i].mean(dtype=np.float64),
            Statistic.WEIGHT_STD: before[i].std(dtype=np.float64),
            Statistic.WEIGHT_RMS: rms(before[i]),
            Statistic.WEIGHT_MAX_ABS: np.abs(before[i]).max(),
            Statistic.WEIGHT_ZERO_FRACTION: np.mean(before[i] == 0),
            Statistic.GRADIENT_MEAN: gradients[i].mean(),
            Statistic.GRADIENT_STD: gradients[i].std(),
            Statistic.GRADIENT_RMS: rms(gradients[i]),
            Statistic.GRADIENT_NORM: np.linalg.norm(gradients[i].ravel()),
            Statistic.GRADIENT_MAX_ABS: np.abs(gradients[i]).max(),
            Statistic.GRADIENT_ZERO_FRACTION: np.mean(gradients[i] == 0),
            Statistic.GRADIENT_NON_FINITE: 0,
            Statistic.UPDATE_RMS: rms(after[i].astype(np.float64) - before[i]),
        }
        for statistic, value in expected.items():
            assert measured(statistic, path) == pytest.approx(value, rel=2e-3, abs=2e-7), (
                statistic,
                path,
            )
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Flatten):
            continue
        output = signals[layer.name]
        if np.isnan(measured(Statistic.ACTIVATION_STD, layer.name)):
            # not read: the graph optimizer may merge the convolution with the ReLU behind it
            assert layer.name == "conv"
            assert "run_eagerly" not in options
        else:
            assert measured(Statistic.ACTIVATION_MEAN, layer.name) == pytest.approx(
                output.mean(), rel=1e-3, abs=1e-6
            )
            assert measured(Statistic.ACTIVATION_STD, layer.name) == pytest.approx(
                output.std(), rel=1e-3
            )
            assert measured(Statistic.ACTIVATION_ZERO_FRACTION, layer.name) == np.mean(output == 0)
        delta = deltas[layer.name]
        if layer.name != "output":  # Keras takes the loss from the logits behind the softmax
            assert measured(Statistic.DELTA_RMS, layer.name) == pytest.approx(rms(delta), rel=1e-3)
            per_example = np.sqrt(delta[0].size)
            assert measured(Statistic.DELTA_NORM, layer.name) == pytest.approx(
                rms(delta) * per_example, rel=1e-3
            )


def test_slopes_and_dead_units_equal_numpy():
    model = models.compiled(plain_dense)
    dead = np.zeros(20, "float32")
    dead[:7] = -1e3
    model.get_layer("hidden_0").bias.assign(dead)
    x, y = models.data_for(model, BATCH)
    probe = keras.Model(model.inputs, [layer.output for layer in model.layers[1:5]])
    relu, tanh, sigmoid, elu = (np.array(a, np.float64) for a in probe(x))
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
    model = models.compiled(plain_dense)
    x, y = models.data_for(model, BATCH)
    weights = np.array(model.get_layer("hidden_0").kernel)
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


@pytest.mark.parametrize("per_execution", [1, 7])
def test_every_step_is_seen_and_counted_by_the_optimizer(per_execution):
    model = models.compiled(plain_dense, steps_per_execution=per_execution)
    x, y = models.data_for(model, 24 * BATCH)
    watch = Watching(schedule=Schedule(first=100))
    for fit in range(2):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
        steps = [update.step for update in watch.updates]
        assert steps == list(range(24 * (fit + 1)))


def test_steps_per_execution_changes_no_number():
    values = []
    for per_execution in (1, 7):
        model = models.compiled(plain_dense, steps_per_execution=per_execution)
        x, y = models.data_for(model, 10 * BATCH)
        watch = Watching(schedule=Schedule(first=100))
        model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[watch])
        values.append(np.array([update.values[Statistic.DELTA_RMS] for update in watch.updates]))
    assert np.array_equal(*values, equal_nan=True)


def test_gradients_are_unscaled_under_loss_scaling():
    """mixed_float16 multiplies the loss by 2^15 at first; the statistics do not show it."""
    norms = []
    for policy in ("float32", "mixed_float16"):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = models.compiled(plain_dense)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        x, y = models.data_for(model, BATCH)
        watch = Watching()
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
        norms.append(watch.updates[0].values[Statistic.GRADIENT_NORM])
    assert norms[1] == pytest.approx(norms[0], rel=0.02)


def test_a_shared_layer_counts_both_calls():
    inputs = keras.Input((12,))
    shared = keras.layers.Dense(12, activation="relu", name="shared")
    once = shared(inputs)
    twice = shared(once)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(twice))
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = models.data_for(model, BATCH)
    outputs = keras.Model(inputs, [once, twice])(x)
    expected = np.concatenate([np.array(o) for o in outputs])
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


def leftovers(model):
    """Names of instance attributes that shadow a method, on the model and all it holds."""
    owners = [model, model.optimizer, *model._flatten_layers(include_self=False)]
    methods = ("train_step", "compute_loss", "call", "apply", "_armed")
    return [(owner.name, m) for owner in owners for m in methods if m in owner.__dict__]


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
    model = models.compiled(plain_dense)
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


def test_nothing_is_left_in_saved_files(tmp_path):
    files = []
    for callbacks in ([], [initwatch.InitWatch(console=False)]):
        model = models.compiled(plain_dense)
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


class Parts(keras.Model):
    """A model without a call of its own, whose train_step calls its part."""

    def __init__(self):
        super().__init__()
        self.net = keras.Sequential([keras.layers.Dense(10, activation="softmax")])
        self.outside = [tf.Variable(0.0, trainable=False)]

    def train_step(self, data):
        x, y = data
        self.outside[0].assign_add(1.0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, self.net(x)))
        weights = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


def test_a_model_without_weights_before_fit_is_watched_from_its_first_step():
    model = models.compiled(models.not_built)
    x, y = models.data_for(model, 3 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == [0, 1, 2]
    assert len(watch.updates[0].variables) == len(model.trainable_variables)
    assert watch.report.problems == []


def test_a_model_that_only_its_own_step_can_build_is_watched_from_the_second():
    model = Parts()
    model.compile("sgd")
    x = np.ones((4 * BATCH, 12), "float32")
    watch = Watching()
    model.fit(x, np.zeros(len(x)), batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == [1, 2, 3]
    assert watch.report.problems == []


def test_a_model_that_never_gets_weights_is_said():
    class Empty(keras.Model):
        def call(self, x):
            return x

    model = Empty()
    model.compile("sgd", "mse")
    watch = initwatch.InitWatch(console=False)
    with pytest.warns(UserWarning, match="trainable"):
        model.fit(np.ones((8, 2)), np.ones((8, 2)), verbose=0, callbacks=[watch])
    assert "no trainable weights" in watch.report.problems[0]
    assert not watch.report.healthy


# -------------------------------------------------------------------- rehearsed steps


def test_a_rehearsed_step_is_undone_also_outside_the_model():
    """Variables that Keras does not know count one a step, whatever was rehearsed."""
    model = Parts()
    model.compile("sgd")
    x = np.ones((6 * BATCH, 12), "float32")
    model.fit(x, np.zeros(len(x)), batch_size=BATCH, verbose=0, callbacks=[Watching()])
    assert float(model.outside[0]) == 6.0


def test_what_cannot_be_undone_is_not_rehearsed():
    seen = []

    class Calls(keras.Model):
        def train_step(self, data):
            tf.py_function(lambda: seen.append(1), [], [])
            return super().train_step(data)

    inputs = keras.Input((12,))
    model = Calls(inputs, keras.layers.Dense(10, activation="softmax")(inputs))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = models.data_for(model, 5 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert len(seen) == 5
    assert watch.report.steps_seen == 5


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_of_the_rehearsal_undoes_it(error, monkeypatch):
    model = models.compiled(plain_dense)
    x, y = models.data_for(model, 2 * BATCH)
    model.fit(x[:BATCH], y[:BATCH], verbose=0)
    before = [np.array(v) for v in model.variables]

    original = Session._prepared

    def prepared(session, iterator):
        rehearsal = original(session, iterator)
        function = session._instrumented

        def fails_after_its_step(batches):
            function(batches)
            raise error("planted")

        session._instrumented = fails_after_its_step
        return rehearsal

    monkeypatch.setattr(Session, "_prepared", prepared)
    watch = initwatch.InitWatch(console=False)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            model.fit(x[:BATCH], y[:BATCH], verbose=0, callbacks=[watch])
        assert all(np.array_equal(a, b) for a, b in zip(before, model.variables, strict=True))
        return
    model.fit(x[:BATCH], y[:BATCH], verbose=0, callbacks=[watch])
    assert int(model.optimizer.iterations) == 2  # one step a fit: ours was undone
    assert "could not be observed (RuntimeError: planted)" in watch.report.problems[0]


def test_a_fit_on_other_data_is_rehearsed_anew():
    model = models.compiled(plain_dense)
    x, y = models.data_for(model, 3 * BATCH)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    weighted = np.ones(len(x), "float32")
    model.fit(x, y, sample_weight=weighted, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == list(range(6))
    assert watch.report.problems == []


# -------------------------------------------------------------------- what cannot be observed


TWO_REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, ".")
import initwatch
from tests.capture import models
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = models.compiled(models.dense_net)
watch = initwatch.InitWatch()
history = model.fit(*models.data_for(model, 32), batch_size=8, verbose=0, callbacks=[watch])
print(len(history.history["loss"]), watch.report.steps_seen, len(watch.report.problems))
"""


@pytest.mark.slow
def test_a_strategy_with_replicas_is_refused_in_words():
    # in a process of its own: logical devices must be set before TensorFlow's first use
    done = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *said, figures = done.stdout.splitlines()
    assert figures == "1 0 1"  # trained its epoch, saw no step, said so once
    flat = " ".join(" ".join(said).split())
    assert "MirroredStrategy with 2 replicas is not observed" in flat
