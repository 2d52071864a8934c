"""What only TensorFlow has: a tape to compare with, XLA or not, strategies, side effects."""

import contextlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import initwatch
from initwatch.capture import reductions
from initwatch.capture.backends.tensorflow import BACKEND
from initwatch.records import Statistic
from tests.capture import models
from tests.capture.test_bit_identity import DENSE_SCHEDULE, same, trained
from tests.capture.watching import Watching

BATCH = 16


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


@pytest.mark.parametrize("build", [models.plain_dense, models.plain_conv])
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


@pytest.mark.slow
@pytest.mark.parametrize("build", [models.conv_net, models.resnet_20, models.not_built])
def test_xla(build):
    """A step with readers is another program to XLA: rehearsed, and the user's own one run."""
    plain, _ = trained(build, [], jit_compile=True)
    watch = initwatch.InitWatch(schedule=DENSE_SCHEDULE, console=False)
    watched, _ = trained(build, [watch], jit_compile=True)
    assert watch.report.steps_seen >= 25
    assert watch.report.problems == []
    assert same(plain, watched)


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


def test_a_model_that_only_its_own_step_can_build_is_watched_from_the_second():
    model = Parts()
    model.compile("sgd")
    x = np.ones((4 * BATCH, 12), "float32")
    watch = Watching()
    model.fit(x, np.zeros(len(x)), batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [update.step for update in watch.updates] == [1, 2, 3]
    assert watch.report.problems == []


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


class Drops(keras.layers.Layer):
    """Draws from the counters that TensorFlow keeps in each function."""

    def call(self, x, training=False):
        return tf.nn.dropout(x, 0.3) if training else x


def drops():
    hidden = keras.layers.Dense(16, activation="relu")
    return keras.Sequential([keras.Input((32,)), hidden, Drops(), keras.layers.Dense(10)])


def test_draws_of_tf_random_are_those_of_a_plain_run():
    plain, drawn = trained(drops, [], optimizer="sgd")
    watch = Watching()
    watched, drawn_watched = trained(drops, [watch], optimizer="sgd")
    assert len(watch.updates) > 20
    assert same(plain, watched)
    assert drawn == drawn_watched


class OwnIterator(keras.Model):
    """Reads a second data set in its step, as semi-supervised training does."""

    def __init__(self, draws=False):
        super().__init__()
        self.net = keras.layers.Dense(10)
        self.draws = draws
        numbers = tf.data.Dataset.range(1000)
        self.unlabelled = iter(numbers.map(lambda i: tf.fill((8, 32), tf.cast(i, tf.float32) / 99)))
        self(np.zeros((1, 32), "float32"))

    def call(self, x):
        return self.net(x)

    def train_step(self, data):
        x, y = data
        noise = tf.random.normal(tf.shape(x)) if self.draws else 0.0
        return super().train_step((x + next(self.unlabelled) + noise, y))


def test_an_iterator_read_in_the_step_is_read_once_a_step():
    ends = []
    for callbacks in ([], [Watching()]):
        model = models.compiled(OwnIterator)
        x, y = models.data_for(model, 24 * 8)
        model.fit(x, y, batch_size=8, verbose=0, callbacks=callbacks)
        ends.append([*models.values_of(model.variables), np.array(next(model.unlabelled))])
    assert same(*ends)


def test_what_can_neither_be_undone_nor_repeated_is_not_observed():
    ends = []
    watch = initwatch.InitWatch(console=False)
    for callbacks in ([], [watch]):
        model = models.compiled(lambda: OwnIterator(draws=True))
        x, y = models.data_for(model, 24 * 8)
        model.fit(x, y, batch_size=8, verbose=0, callbacks=callbacks)
        ends.append(models.values_of(model.variables))
    assert same(*ends)
    assert watch.report.steps_seen == 0
    assert "draws from tf.random" in watch.report.problems[0]


@pytest.mark.parametrize("bad", [3, 25])
def test_steps_before_an_error_of_the_data_are_run(bad):
    ends = []
    for callbacks in ([], [initwatch.InitWatch(console=False)]):
        model = models.compiled(models.plain_dense, optimizer="sgd", steps_per_execution=4)
        x, y = models.data_for(model, BATCH)

        def batches(x=x, y=y):
            for i in range(30):
                if i == bad:
                    raise ValueError("my data")
                yield x, y

        with pytest.raises(tf.errors.InvalidArgumentError, match="my data"):
            model.fit(batches(), verbose=0, callbacks=callbacks)
        assert int(model.optimizer.iterations) == bad
        ends.append(models.values_of(model.variables))
    assert same(*ends)


def test_an_optimizer_that_is_not_used_is_not_built():
    class OwnOptimizer(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = keras.layers.Dense(1)
            self.other = keras.optimizers.SGD()

        def call(self, x):
            return self.net(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(x) - y))
            weights = self.trainable_variables
            self.other.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = OwnOptimizer()
    model.compile("adam")
    watch = Watching()
    x = np.ones((4 * BATCH, 3), "float32")
    model.fit(x, x[:, :1], batch_size=BATCH, verbose=0, callbacks=[watch])
    assert len(watch.updates) == 4
    assert not model.optimizer.built
    assert "build" not in model.optimizer.__dict__


def test_an_error_of_the_step_itself_is_not_said_to_be_ours(capsys):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = keras.layers.Dense(1)

        def call(self, x):
            return self.net(x)

        def train_step(self, data):
            raise RuntimeError("mine")

    model = Mine()
    model.compile("adam", "mse")
    watch = initwatch.InitWatch()
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    assert "initwatch" not in "".join(capsys.readouterr())


class OneOfTwo(tf.distribute.OneDeviceStrategy):
    """Stands for a strategy that is not known to us."""

    num_replicas_in_sync = 2


def test_a_strategy_that_is_not_known_is_refused_in_words():
    model = models.compiled(models.plain_dense)
    model._distribute_strategy = OneOfTwo("CPU:0")
    refusal = BACKEND.refusal(model)
    assert refusal.startswith("training under OneOfTwo with 2 replicas is not observed")
    assert "MirroredStrategy is" in refusal


class Traced(keras.Model):
    """Notes the threads in which Python traces its step."""

    def train_step(self, data):
        self.threads.append(threading.current_thread())
        return super().train_step(data)


@pytest.mark.parametrize("device", [None, "CPU:0"])
def test_the_users_step_is_traced_once_and_in_the_thread_of_fit(device):
    """It is traced while ours runs beside it; under a scope of the thread's one after the other."""
    threads, weights = [], []
    for callbacks in ([], [initwatch.InitWatch(console=False)]):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = Traced(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, "relu")(inputs)))
        model.__dict__["threads"] = []
        model.compile("adam", "mse")
        x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
        with tf.device(device) if device else contextlib.nullcontext():
            model.fit(x, x[:, :2], batch_size=8, verbose=0, callbacks=callbacks)
        threads.append(model.threads)
        weights.append([np.array(w) for w in model.weights])
    plain, watched = threads
    assert len(watched) == len(plain) + 1  # ours
    assert set(watched) == {threading.main_thread()}
    assert callbacks[0].report.problems == []
    for one, other in zip(*weights, strict=True):
        assert np.array_equal(one, other)


def test_a_sum_is_taken_again_only_for_readers_that_regroup_it():
    backend = BACKEND

    @tf.function(autograph=False)
    def step(a, b):
        alone = a + b
        tf.matmul(alone, a)
        chained = a + b
        tf.identity(chained) + a
        again = backend.apart(chained)
        assert backend.apart(alone) is alone
        assert again is not chained
        assert again.op.type == "PartitionedCall"
        # our own reading of it is no reader that regroups
        product = a * b
        backend.each(reductions.delta_sums, [(product,)])
        assert backend.apart(product) is product
        return again, chained

    found, expected = step(tf.ones((3, 3)), tf.fill((3, 3), 2.0))
    assert np.array_equal(found, expected)
