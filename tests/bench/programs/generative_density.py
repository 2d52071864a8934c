"""Sound programs that learn a density: a flow of points, images pixel after pixel."""

import keras
import numpy as np
from keras import layers, ops

from tests.bench.programs.imagery_data import digits
from tests.bench.programs.program import Run, predicted, program


class Coupling(layers.Layer):
    """A half stays and says how the other is scaled and shifted; RealNVP."""

    def __init__(self, flipped, **options):
        super().__init__(**options)
        self.flipped = flipped
        self.scale = keras.Sequential(
            [layers.Dense(48, activation="relu"), layers.Dense(48, activation="relu"),
             layers.Dense(1, activation="tanh")]
        )  # fmt: skip
        self.shift = keras.Sequential(
            [layers.Dense(48, activation="relu"), layers.Dense(48, activation="relu"),
             layers.Dense(1)]
        )  # fmt: skip

    def build(self, shape):
        self.scale.build((None, 1))
        self.shift.build((None, 1))

    def call(self, h):
        kept, other = (h[:, 1:], h[:, :1]) if self.flipped else (h[:, :1], h[:, 1:])
        scale = self.scale(kept)
        other = other * ops.exp(scale) + self.shift(kept)
        parts = [other, kept] if self.flipped else [kept, other]
        return ops.concatenate(parts, axis=1), scale


class Flow(keras.Model):
    """Maps points to normal noise; gives the logarithm of their density."""

    def __init__(self, layers_=4, **options):
        super().__init__(**options)
        self.parts = [Coupling(bool(k % 2)) for k in range(layers_)]

    def call(self, h):
        change = 0.0
        for part in self.parts:
            h, scale = part(h)
            change = change + scale
        square = ops.sum(ops.square(h), axis=1, keepdims=True)
        return change - 0.5 * square - float(np.log(2 * np.pi))


def moons(rows, rng):
    """Two interlocking half moons, standardised."""
    angle = rng.uniform(0, np.pi, rows)
    upper = rng.integers(0, 2, rows)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    points = np.stack([x, y], 1) + 0.05 * rng.standard_normal((rows, 2))
    return ((points - (0.5, 0.25)) / (0.87, 0.5)).astype("float32")


def gained(run):
    """Nats a point above a normal distribution's, as a share of 1.5 nats."""
    x = run.test
    normal = -0.5 * np.log(np.linalg.det(np.cov(x, rowvar=False))) - np.log(2 * np.pi) - 1
    return float((predicted(run.model, x).mean() - normal) / 1.5)


@program("real_nvp", area="generative", score=gained, chance=0.0, learned=0.25)
def real_nvp():
    """A normalizing flow of coupling layers, trained on the likelihood of points."""
    rng = np.random.default_rng(0)
    x = moons(2000, rng)
    return Run(
        model=Flow(),
        x=x,
        y=np.zeros((2000, 1), "float32"),
        loss=lambda _, density: -density,
        optimizer=keras.optimizers.Adam(1e-3),
        batch=64,
        epochs=12,
        test=moons(1000, rng),
    )


class MaskedConv2D(layers.Layer):
    """A convolution that sees only the pixels above and to the left; PixelCNN."""

    def __init__(self, filters, size, own, **options):
        super().__init__(**options)
        self.own = own
        self.inner = layers.Conv2D(filters, size, padding="same", activation="relu")

    def build(self, shape):
        self.inner.build(shape)
        size = self.inner.kernel_size[0]
        mask = np.zeros(self.inner.kernel.shape, "float32")
        mask[: size // 2] = 1
        mask[size // 2, : size // 2 + self.own] = 1
        self.inner.kernel.assign(self.inner.kernel * mask)
        self.mask = mask

    def call(self, h):
        kernel = self.inner.kernel * self.mask
        h = ops.conv(h, kernel, padding="same") + self.inner.bias
        return ops.relu(h)


def likelihood(run):
    """How much of the crossentropy of each pixel's frequency is saved."""
    x, _ = run.test
    p = np.clip(predicted(run.model, x), 1e-6, 1 - 1e-6)
    share = np.clip(x.mean(0), 1e-3, 1 - 1e-3)
    apart = -np.mean(x * np.log(share) + (1 - x) * np.log(1 - share))
    return float(1 + np.mean(x * np.log(p) + (1 - x) * np.log(1 - p)) / apart)


@program("pixelcnn", area="generative", score=likelihood, chance=0.0, learned=0.12)
def pixelcnn():
    """Each pixel from those before it: masked convolutions, residual blocks, binary images."""
    (x, _), (x_test, _) = digits(8)
    x, x_test = ((i > 0.5).astype("float32") for i in (x, x_test))
    inputs = keras.Input((8, 8, 1))
    h = MaskedConv2D(32, 5, own=0)(inputs)
    for _ in range(2):
        a = layers.Conv2D(16, 1, activation="relu")(h)
        a = MaskedConv2D(16, 3, own=1)(a)
        h = layers.Add()([h, layers.Conv2D(32, 1, activation="relu")(a)])
    return Run(
        model=keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(h)),
        x=x,
        y=x,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=10,
        test=(x_test, x_test),
    )
