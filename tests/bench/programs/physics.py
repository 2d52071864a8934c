"""Programs that know an equation, or learn one."""

import keras
import numpy as np
from keras import layers, ops

from .loops import tensorflow
from .program import Run, program, r2
from .row_data import split, standardised


def curve(width=32, inputs=1, use_bias=True):
    """A small network with tanh, smooth as the solution of an equation is."""
    x = keras.Input((inputs,))
    h = layers.Dense(width, activation="tanh")(x)
    h = layers.Dense(width, activation="tanh")(h)
    return x, layers.Dense(1, use_bias=use_bias)(h)


def damped(t):
    """Solves u'' + 0.4 u' + 4 u = 0 with u(0) = 1, u'(0) = 0."""
    w = np.sqrt(4 - 0.04)
    return np.exp(-0.2 * t) * (np.cos(w * t) + 0.2 / w * np.sin(w * t))


TIMES = np.linspace(0, 3, 256, dtype="float32")[:, None]


class Pinn(keras.Model):
    """The equation's residual by two nested tapes, and the start by a penalty."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def slopes(self, t):
        tf = tensorflow()
        with tf.GradientTape() as second:
            second.watch(t)
            with tf.GradientTape() as first:
                first.watch(t)
                u = self(t, training=True)
            slope = first.gradient(u, t)
        return u, slope, second.gradient(slope, t)

    def train_step(self, data):
        t = data[0] if isinstance(data, (tuple, list)) else data
        with tensorflow().GradientTape() as tape:
            u, slope, bend = self.slopes(t)
            equation = ops.mean(ops.square(bend + 0.4 * slope + 4 * u))
            start, slope, _ = self.slopes(ops.zeros((1, 1)))
            loss = equation + 10 * ops.mean(ops.square(start - 1) + ops.square(slope))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@program("pinn", area="physics", score=r2, chance=0.0, learned=0.7, backends=("tensorflow",))
def pinn():
    """A damped oscillation from its differential equation, without any data."""
    model = Pinn(*curve())
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    return Run(model=model, x=TIMES, epochs=100, test=(TIMES, damped(TIMES)))


class Decay(keras.Model):
    """compute_loss with u' = -2 u + t by central differences: no tape, any backend."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        step = 0.02
        slope = (self(x + step) - self(x - step)) / (2 * step)
        start = self(ops.zeros((1, 1)))
        equation = ops.mean(ops.square(slope + 2 * y_pred - x))
        return equation + ops.mean(ops.square(start - 1))


@program("pinn_differences", area="physics", score=r2, chance=0.0, learned=0.7)
def pinn_differences():
    """An equation of first order, its slope by differences, in an overridden compute_loss."""
    model = Decay(*curve())
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    solution = TIMES / 2 - 0.25 + 1.25 * np.exp(-2 * TIMES)
    return Run(model=model, x=TIMES, epochs=60, test=(TIMES, solution))


class Hamiltonian(keras.Model):
    """The energy is learnt by what its slopes say of the motion: q' = dH/dp, p' = -dH/dq."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        with tensorflow().GradientTape() as tape:
            tape.watch(x)
            energy = self(x, training=training)
        slope = tape.gradient(energy, x)
        motion = ops.stack([slope[:, 1], -slope[:, 0]], axis=1)
        return ops.mean(ops.square(motion - y))


def r2_of_energy(run):
    """r2 of the energy, which is known but for a constant."""
    x, y = run.test
    p = np.asarray(run.model.predict(x, verbose=0), "float64")
    if not np.isfinite(p).all():
        return -1.0
    return max(-1.0, 1 - float(np.var(p - y) / np.var(y)))


@program(
    "hamiltonian",
    area="physics",
    score=r2_of_energy,
    chance=0.0,
    learned=0.7,
    backends=("tensorflow",),
)
def hamiltonian():
    """A pendulum's energy from its motion, compute_loss with a tape in it; no bias at the end."""
    rng = np.random.default_rng(131)
    x = rng.uniform(-2, 2, (1600, 2)).astype("float32")
    motion = np.stack([x[:, 1], -np.sin(x[:, 0])], axis=1)
    energy = (x[:, 1:] ** 2) / 2 - np.cos(x[:, :1])
    (x, (motion, _)), (x_test, (_, energy)) = split(x, (motion, energy))
    model = Hamiltonian(*curve(48, inputs=2, use_bias=False))
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    return Run(model=model, x=x, y=motion, epochs=15, test=(x_test, energy))


@program("deep_operator", area="physics", score=r2, chance=0.0, learned=0.7, stock=True)
def deep_operator():
    """DeepONet: a branch reads a function, a trunk a place; their dot product is the integral."""
    rng = np.random.default_rng(132)
    at = np.linspace(0, 1, 24)
    a, b, c = rng.standard_normal((3, 2400, 1))
    functions = a + b * np.sin(2 * np.pi * at) + c * np.cos(3 * at)
    t = rng.uniform(0, 1, (2400, 1))
    integral = a * t + b * (1 - np.cos(2 * np.pi * t)) / (2 * np.pi) + c * np.sin(3 * t) / 3
    (x, y), test = split([functions.astype("float32"), t.astype("float32")], standardised(integral))
    function, place = keras.Input((24,)), keras.Input((1,))
    branch = layers.Dense(24)(layers.Dense(48, activation="tanh")(function))
    trunk = layers.Dense(48, activation="tanh")(place)
    trunk = layers.Dense(24, activation="tanh")(trunk)
    return Run(
        model=keras.Model([function, place], layers.Dot(axes=1)([branch, trunk])),
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=12,
        test=test,
    )


@program("sine_network", area="physics", score=r2, chance=0.0, learned=0.7, stock=True)
def sine_network():
    """A picture as a function of the place: SIREN, with sines and their own initializers."""
    rng = np.random.default_rng(133)
    x = rng.uniform(-1, 1, (2400, 2)).astype("float32")
    y = np.sin(6 * x[:, :1]) * np.cos(5 * x[:, 1:]) + 0.5 * np.sign(x[:, :1] + x[:, 1:])
    (x, y), test = split(x, standardised(y))

    def sines(width, scale, limit):
        return layers.Dense(
            width,
            activation=lambda h: ops.sin(scale * h),
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        )

    limit = np.sqrt(6 / 48) / 10
    model = keras.Sequential(
        [keras.Input((2,)), sines(48, 10, 1 / 2), sines(48, 10, limit), layers.Dense(1)]
    )
    return Run(
        model=model,
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=15,
        test=test,
    )


class Flow(layers.Layer):
    """Eight Euler steps along a field that a network gives: a neural differential equation."""

    def __init__(self, width, steps=8):
        super().__init__()
        self.inner, self.outer = layers.Dense(width, activation="tanh"), layers.Dense(2)
        self.steps = steps

    def build(self, shape):
        self.inner.build(shape)
        self.outer.build((*shape[:-1], self.inner.units))

    def call(self, x):
        for _ in range(self.steps):
            x = x + self.outer(self.inner(x)) / self.steps
        return x


@program("neural_ode", area="physics", score=r2, chance=0.0, learned=0.7, stock=True)
def neural_ode():
    """Where a pendulum is a while later, by Euler steps of one shared network."""
    rng = np.random.default_rng(134)
    x = rng.uniform(-2, 2, (1600, 2))
    y = x.copy()
    for _ in range(100):
        y[:, 1] -= 0.015 * np.sin(y[:, 0])
        y[:, 0] += 0.015 * y[:, 1]
    (x, y), test = split(x.astype("float32"), y.astype("float32"))
    inputs = keras.Input((2,))
    return Run(
        model=keras.Model(inputs, Flow(32)(inputs)),
        x=x,
        y=y,
        loss="mse",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=10,
        test=test,
    )
