"""Programs on rows whose loss is no everyday one: counts, quantiles, ranks, hinges, survival."""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

from .program import Run, accuracy, predicted, program, r2
from .row_data import split, table


def dense(columns, *widths, outputs=1, activation=None):
    """Layers with relu and an output layer."""
    model = keras.Sequential([keras.Input((columns,))])
    for width in widths:
        model.add(layers.Dense(width, activation="relu"))
    model.add(layers.Dense(outputs, activation=activation))
    return model


@program("counts", area="structured", score=r2, chance=0.0, learned=0.65, stock=True)
def counts():
    """Counts by Poisson regression: the exponential of a small network, Keras's Poisson loss."""
    x, value = table(61, columns=6)
    rate = np.exp(1 + 0.7 * value)
    y = np.random.default_rng(61).poisson(rate).astype("float32")
    (x, (y, _)), (x_test, (_, rate)) = split(x, (y, rate))
    return Run(
        model=dense(6, 32, 32, activation="exponential"),
        x=x,
        y=y,
        loss="poisson",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=12,
        test=(x_test, rate),
    )


def pinball(y, p):
    """The loss of the 10th, 50th and 90th centile."""
    error = y - p
    share = ops.convert_to_tensor([0.1, 0.5, 0.9], p.dtype)
    return ops.mean(ops.maximum(share * error, (share - 1) * error), axis=-1)


def pinball_saved(run):
    """How much less the pinball loss is than that of the centiles of all."""
    x, y = run.test

    def loss(p):
        error, share = y - p, np.array([0.1, 0.5, 0.9])
        return np.maximum(share * error, (share - 1) * error).mean()

    return 1 - loss(predicted(run.model, x)) / loss(np.quantile(y, [0.1, 0.5, 0.9])[None])


@program("quantiles", area="structured", score=pinball_saved, chance=0.0, learned=0.5)
def quantiles():
    """Three centiles at once by a pinball loss of one's own."""
    x, y = table(62, columns=6)
    noise = np.random.default_rng(62).standard_normal(y.shape)
    y = y + (0.1 + 0.2 * (x[:, :1] > 0)) * noise
    (x, y), test = split(x, y.astype("float32"))
    return Run(
        model=dense(6, 48, 48, outputs=3),
        x=x,
        y=y,
        loss=pinball,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=15,
        test=test,
    )


def gaussian(y, p):
    """Minus the log-likelihood of a mean and the logarithm of a deviation."""
    mean, log_deviation = p[:, :1], p[:, 1:]
    return log_deviation + 0.5 * ops.square((y - mean) * ops.exp(-log_deviation))


def r2_of_mean(run):
    x, y = run.test
    p = np.nan_to_num(predicted(run.model, x)[:, :1], nan=1e3)
    return max(-1.0, 1 - float(np.mean((p - y) ** 2) / y.var()))


@program("mean_and_deviation", area="structured", score=r2_of_mean, chance=0.0, learned=0.65)
def mean_and_deviation():
    """Two outputs, a mean and a deviation, and the likelihood as loss: it goes below zero."""
    x, y = table(63, columns=6)
    (x, y), test = split(x, y + 0.1 * np.random.default_rng(63).standard_normal(y.shape))
    return Run(
        model=dense(6, 48, 48, outputs=2),
        x=x,
        y=y.astype("float32"),
        loss=gaussian,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=15,
        test=test,
    )


class RandomFourierFeatures(layers.Layer):
    """cos(x W + b) with W and b that are drawn once and not trained."""

    def __init__(self, units, scale):
        super().__init__()
        self.units, self.scale = units, scale

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=1 / self.scale),
            trainable=False,
        )
        self.bias = self.add_weight(
            shape=(self.units,),
            initializer=keras.initializers.RandomUniform(0, 2 * np.pi),
            trainable=False,
        )

    def call(self, x):
        return ops.cos(x @ self.kernel + self.bias)


def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32"), y.astype("int32")


@program("quasi_svm", area="structured", score=accuracy, chance=0.11, learned=0.8, stock=True)
def quasi_svm():
    """Random Fourier features that are not trained, a linear output, categorical hinge."""
    x, y = digits()
    (x, y), test = split(x, keras.utils.to_categorical(y, 10))
    model = keras.Sequential(
        [keras.Input((64,)), RandomFourierFeatures(512, 3.0), layers.Dense(10)]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.CategoricalHinge(),
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=15,
        test=test,
    )


def sign_accuracy(run):
    x, y = run.test
    return float(np.mean((predicted(run.model, x) > 0) == (y > 0)))


@program("hinge", area="structured", score=sign_accuracy, chance=0.51, learned=0.8, stock=True)
def hinge():
    """Labels are -1 and 1, the output is linear, the loss squared hinge with an L2 penalty."""
    x, value = table(64, columns=8)
    (x, y), test = split(x, np.where(value > np.median(value), 1.0, -1.0).astype("float32"))
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(32, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, kernel_regularizer=keras.regularizers.L2(1e-3)),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="squared_hinge",
        optimizer=keras.optimizers.SGD(0.02, momentum=0.9),
        epochs=10,
        test=test,
    )


class Coral(layers.Layer):
    """One value, and a threshold of its own for each step from rank to rank."""

    def __init__(self, ranks):
        super().__init__()
        self.value = layers.Dense(1, use_bias=False)
        self.steps = ranks - 1

    def build(self, shape):
        self.value.build(shape)
        self.thresholds = self.add_weight(shape=(self.steps,), initializer="zeros")

    def call(self, x):
        return self.value(x) + self.thresholds


def right_rank(run):
    x, y = run.test
    return float(np.mean((predicted(run.model, x) > 0).sum(1) == y.sum(1)))


@program("ranks_coral", area="structured", score=right_rank, chance=0.23, learned=0.65, stock=True)
def ranks_coral():
    """Five ranks as four yes or no, with weights they share: CORAL."""
    x, value = table(65, columns=6)
    rank = np.searchsorted(np.quantile(value, [0.2, 0.4, 0.6, 0.8]), value[:, 0])
    y = (rank[:, None] > np.arange(4)).astype("float32")
    (x, y), test = split(x, y)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(48, activation="relu"),
            layers.Dense(48, activation="relu"),
            Coral(5),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=20,
        test=test,
    )


def survival(y, p):
    """Minus the log-likelihood of an exponential lifetime; y is the time, and whether it ended."""
    time, ended = y[:, :1], y[:, 1:]
    return time * ops.exp(p) - ended * p


def concordance(run):
    """How often who is predicted to die earlier does, among pairs whose order is known."""
    x, y = run.test
    risk = np.nan_to_num(predicted(run.model, x)[:, 0])
    known = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
    return float(np.mean((risk[:, None] > risk[None])[known]))


@program("survival", area="structured", score=concordance, chance=0.5, learned=0.75)
def survival_times():
    """Lifetimes, some of them cut off, by a likelihood of one's own."""
    x, value = table(66, columns=6)
    rng = np.random.default_rng(66)
    time, cut = rng.exponential(np.exp(-2 * value)), rng.exponential(3.0, value.shape)
    y = np.concatenate([np.minimum(time, cut), time < cut], axis=1).astype("float32")
    (x, y), test = split(x, y)
    return Run(
        model=dense(6, 32, 32),
        x=x,
        y=y,
        loss=survival,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=12,
        test=test,
    )
