"""Every statistic of a real step, against the same step done by hand in NumPy."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch.records import Statistic
from tests.capture import models
from tests.capture.test_session import leftovers
from tests.capture.watching import Watching

BATCH, RATE, MOMENTUM = 16, 0.1, 0.9

FORWARD = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "elu": lambda z: np.where(z > 0.0, z, np.expm1(z)),
}
# phi' as a function of phi
SLOPE = {
    "relu": lambda a: (a > 0.0).astype(float),
    "tanh": lambda a: 1.0 - a**2,
    "sigmoid": lambda a: a * (1.0 - a),
    "elu": lambda a: np.where(a > 0.0, 1.0, a + 1.0),
}


class ByHand:
    """``models.plain_dense`` under cross-entropy, forward and backward in float64."""

    def __init__(self, model, x, y):
        weights = [v.astype(float) for v in models.values_of(model.trainable_variables)]
        self.weights = weights
        kernels, biases = weights[::2], weights[1::2]
        self.outputs = []
        signal = x.astype(float)
        signals = [signal]
        for kernel, bias, name in zip(kernels, biases, FORWARD, strict=False):
            signal = FORWARD[name](signal @ kernel + bias)
            signals.append(signal)
        logits = signal @ kernels[-1] + biases[-1]
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        self.loss = -np.mean(np.log(share[np.arange(len(y)), y]))
        error = share.copy()
        error[np.arange(len(y)), y] -= 1.0
        error /= len(y)
        self.deltas = []
        gradients = [error.sum(axis=0), signals[-1].T @ error]
        for i in range(len(FORWARD) - 1, -1, -1):
            delta = error @ kernels[i + 1].T
            self.deltas.insert(0, delta)
            error = delta * SLOPE[list(FORWARD)[i]](signals[i + 1])
            gradients += [error.sum(axis=0), signals[i].T @ error]
        self.gradients = gradients[::-1]
        self.outputs = signals[1:]
        self.slopes = [SLOPE[n](a) for n, a in zip(FORWARD, self.outputs, strict=True)]


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def of_variable(weight, gradient):
    return {
        Statistic.WEIGHT_MEAN: weight.mean(),
        Statistic.WEIGHT_STD: weight.std(),
        Statistic.WEIGHT_RMS: rms(weight),
        Statistic.WEIGHT_MAX_ABS: np.abs(weight).max(),
        Statistic.WEIGHT_ZERO_FRACTION: np.mean(weight == 0.0),
        Statistic.WEIGHT_NON_FINITE: 0.0,
        Statistic.GRADIENT_MEAN: gradient.mean(),
        Statistic.GRADIENT_STD: gradient.std(),
        Statistic.GRADIENT_RMS: rms(gradient),
        Statistic.GRADIENT_NORM: np.linalg.norm(gradient),
        Statistic.GRADIENT_MAX_ABS: np.abs(gradient).max(),
        Statistic.GRADIENT_ZERO_FRACTION: np.mean(gradient == 0.0),
        Statistic.GRADIENT_NON_FINITE: 0.0,
        Statistic.UPDATE_RMS: RATE * rms(gradient),
    }


def of_layer(output, delta, slope):
    return {
        Statistic.ACTIVATION_MEAN: output.mean(),
        Statistic.ACTIVATION_STD: output.std(),
        Statistic.ACTIVATION_RMS: rms(output),
        Statistic.ACTIVATION_ZERO_FRACTION: np.mean(output == 0.0),
        Statistic.ACTIVATION_NON_FINITE: 0.0,
        Statistic.ACTIVATION_SLOPE: np.mean(slope**2),
        Statistic.DELTA_RMS: rms(delta),
        Statistic.DELTA_NORM: rms(delta) * np.sqrt(delta.shape[1]),
        Statistic.DELTA_NON_FINITE: 0.0,
    }


def compare(update, step, clip=1.0):
    """Asserts that an update's numbers are those of the step done by hand."""
    assert update.values[Statistic.LOSS][0] == pytest.approx(step.loss, rel=1e-5)
    expected = [of_variable(w, g) for w, g in zip(step.weights, step.gradients, strict=True)]
    expected += [
        of_layer(*layer) for layer in zip(step.outputs, step.deltas, step.slopes, strict=True)
    ]
    places = [*range(len(update.variables)), *range(len(FORWARD))]
    for i, figures in zip(places, expected, strict=True):
        for statistic, value in figures.items():
            value = value * clip if statistic is Statistic.UPDATE_RMS else value
            measured = update.values[statistic][i]
            assert measured == pytest.approx(value, rel=2e-3, abs=2e-7), (statistic, i)


def sgd(**options):
    return keras.optimizers.SGD(RATE, **options)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_every_statistic(run_eagerly):
    model = models.compiled(models.plain_dense, optimizer=sgd(), run_eagerly=run_eagerly)
    x, y = models.data_for(model, BATCH)
    step = ByHand(model, x, y)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    assert update.step == 0
    compare(update, step)
    active = np.any(step.outputs[0] > 0.0, axis=0)
    assert update.values[Statistic.DEAD_FRACTION][0] == pytest.approx(np.mean(~active))


def test_later_steps_are_measured_at_their_own_weights():
    model = models.compiled(models.plain_dense, optimizer=sgd())
    x, y = models.data_for(model, 3 * BATCH)
    steps = []

    class ByHandToo(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if models.BACKEND == "jax":
                self.model.jax_state_sync()
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            steps.append(ByHand(self.model, x[rows], y[rows]))

    watch = Watching()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[ByHandToo(), watch])
    assert [update.step for update in watch.updates] == [0, 1, 2]
    for update, step in zip(watch.updates, steps, strict=True):
        compare(update, step)


@pytest.mark.parametrize("name", ["global_clipnorm", "clipnorm", "clipvalue"])
def test_gradients_are_known_on_both_sides_of_the_clip(name):
    limit = 1e-3
    model = models.compiled(models.plain_dense, optimizer=sgd(**{name: limit}))
    x, y = models.data_for(model, BATCH)
    step = ByHand(model, x, y)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    norms = np.array([np.linalg.norm(g) for g in step.gradients])
    assert update.values[Statistic.GRADIENT_NORM] == pytest.approx(norms, rel=1e-3)
    clipped = {
        "global_clipnorm": [g * min(1.0, limit / np.linalg.norm(norms)) for g in step.gradients],
        "clipnorm": [g * min(1.0, limit / n) for g, n in zip(step.gradients, norms, strict=True)],
        "clipvalue": [np.clip(g, -limit, limit) for g in step.gradients],
    }
    kept = [np.linalg.norm(gradient) for gradient in clipped[name]]
    assert update.values[Statistic.CLIPPED_NORM] == pytest.approx(kept, rel=1e-3)
    expected = [RATE * rms(gradient) for gradient in clipped[name]]
    # the difference of float32 weights of size 0.1 is known to 1e-8
    assert update.values[Statistic.UPDATE_RMS] == pytest.approx(expected, rel=1e-2, abs=1e-8)


def test_accumulated_gradients_are_seen_a_batch_at_a_time():
    model = models.compiled(models.plain_dense, optimizer=sgd(gradient_accumulation_steps=3))
    x, y = models.data_for(model, 6 * BATCH)
    steps = [
        ByHand(model, x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH])
        for i in range(3)
    ]
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    for update, step in zip(watch.updates, steps, strict=False):
        norms = [np.linalg.norm(g) for g in step.gradients]
        assert update.values[Statistic.GRADIENT_NORM] == pytest.approx(norms, rel=1e-3)
    moved = [bool(update.values[Statistic.UPDATE_RMS].max() > 0.0) for update in watch.updates]
    assert moved == [False, False, True, False, False, True]


def test_a_frozen_layer_has_no_gradient_and_no_update():
    model = models.plain_dense()
    for layer in model.layers[:3]:
        layer.trainable = False
    model.compile(sgd(), "sparse_categorical_crossentropy")
    x, y = models.data_for(model, BATCH)
    step = ByHand(_thawed(model), x, y)
    watch = Watching()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    (update,) = watch.updates
    assert [layer.frozen for layer in update.layers] == [True, True, False, False, False]
    assert len(update.variables) == 6
    norms = [np.linalg.norm(g) for g in step.gradients[4:]]
    assert update.values[Statistic.GRADIENT_NORM] == pytest.approx(norms, rel=1e-3)
    delta = update.values[Statistic.DELTA_RMS]
    assert np.isnan(delta[:2]).all()
    assert delta[2:4] == pytest.approx([rms(d) for d in step.deltas[2:]], rel=1e-3)


def _thawed(model):
    """A copy of the model with all its weights trainable."""
    copy = models.plain_dense()
    copy.set_weights(model.get_weights())
    return copy


def test_a_weighted_loss_is_that_of_the_step():
    model = models.compiled(models.plain_dense, optimizer=sgd())
    x, y = models.data_for(model, BATCH)
    loss = float(
        np.mean(
            2.0
            * np.array(
                keras.ops.convert_to_numpy(
                    keras.losses.sparse_categorical_crossentropy(y, model(x))
                )
            )
        )
    )
    watch = Watching()
    weights = np.full(BATCH, 2.0, "float32")
    model.fit(x, y, sample_weight=weights, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert watch.updates[0].values[Statistic.LOSS][0] == pytest.approx(loss, rel=1e-5)


def test_two_callbacks_share_one_capture():
    model = models.compiled(models.plain_dense, optimizer=sgd())
    x, y = models.data_for(model, 4 * BATCH)
    both = [Watching(), Watching()]
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=both)
    assert [update.step for update in both[0].updates] == [0, 1, 2, 3]
    assert [update.step for update in both[1].updates] == [0, 1, 2, 3]


def test_a_loop_of_train_on_batch():
    plain = models.compiled(models.plain_dense, optimizer=sgd())
    model = models.compiled(models.plain_dense, optimizer=sgd())
    x, y = models.data_for(model, 6 * BATCH)
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    watch = Watching()
    stop = initwatch.StopOnFinding()
    steps, results = [], []
    with watch.watching(model), stop.watching(model):
        for batch in batches:
            steps.append(ByHand(model, *batch))
            results.append(model.train_on_batch(*batch))
    assert results == [plain.train_on_batch(*batch) for batch in batches]
    assert [update.step for update in watch.updates] == list(range(6))
    for update, step in zip(watch.updates, steps, strict=True):
        compare(update, step)
    assert watch.report.problems == []
    assert stop.report.steps_seen == 6
    weights = [models.values_of(m.variables) for m in (plain, model)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    assert leftovers(model) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_a_loop_leaves_nothing(error):
    model = models.compiled(models.plain_dense, optimizer=sgd())
    x, y = models.data_for(model, BATCH)
    watch = Watching()

    def loop():
        with watch.watching(model):
            model.train_on_batch(x, y)
            raise error

    with pytest.raises(error):
        loop()
    assert leftovers(model) == []
    assert watch.report.steps_seen == 1
    model.train_on_batch(x, y)
    assert watch.report.steps_seen == 1
    model.fit(x, y, verbose=0, callbacks=[watch])
    assert watch.report.steps_seen == 1
    assert watch.updates[-1].step == 2


def test_a_loop_needs_a_compiled_model():
    for wrong in (None, models.plain_dense()):
        with (
            pytest.raises(initwatch.ArgumentError, match=r"needs a compiled keras\.Model"),
            Watching().watching(wrong),
        ):
            pass
