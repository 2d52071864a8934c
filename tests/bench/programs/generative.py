"""Sound programs that make images: autoencoders, and models of likelihood and of noise."""

import keras
import numpy as np
from keras import layers, ops

from tests.bench.programs.imagery_data import digits, flat_digits
from tests.bench.programs.program import Run, predicted, program, r2

SAME = {"padding": "same", "activation": "relu"}
MADE = {"area": "generative", "chance": 0.0}


def rebuilt(run):
    """The share of the variance of held-out images that the model gives back."""
    x = run.test
    made = run.model.predict(x, batch_size=256, verbose=0)
    return max(-1.0, 1 - float(np.mean((made - x) ** 2) / np.mean(x.var(axis=0))))


@program("convolutional_autoencoder", score=r2, learned=0.6, stock=True, **MADE)
def convolutional_autoencoder():
    """Images through a narrow middle and back."""
    (x, _), (x_test, _) = digits(8)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, strides=2, **SAME),
            layers.Conv2D(32, 3, strides=2, **SAME),
            layers.Flatten(),
            layers.Dense(16),
            layers.Dense(128, activation="relu"),
            layers.Reshape((2, 2, 32)),
            layers.Conv2DTranspose(32, 3, strides=2, **SAME),
            layers.Conv2DTranspose(16, 3, strides=2, **SAME),
            layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
        ]
    )
    return Run(
        model=model,
        x=x,
        y=x,
        loss="mse",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=8,
        test=(x_test, x_test),
    )


class Sampling(layers.Layer):
    """Draws from a normal distribution by its mean and the logarithm of its variance."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator()

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(0.5 * log_variance) * noise


def divergence(mean, log_variance):
    whole = 1 + log_variance - ops.square(mean) - ops.exp(log_variance)
    return -0.5 * ops.mean(ops.sum(whole, axis=1))


def vae_encoder(latent):
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(16, 3, strides=2, **SAME)(inputs)
    h = layers.Conv2D(32, 3, strides=2, **SAME)(h)
    h = layers.Dense(32, activation="relu")(layers.Flatten()(h))
    mean = layers.Dense(latent, name="mean")(h)
    log_variance = layers.Dense(latent, name="log_variance")(h)
    return keras.Model(inputs, [mean, log_variance, Sampling()([mean, log_variance])])


def vae_decoder(latent):
    inputs = keras.Input((latent,))
    h = layers.Reshape((4, 4, 32))(layers.Dense(512, activation="relu")(inputs))
    h = layers.Conv2DTranspose(32, 3, strides=2, **SAME)(h)
    h = layers.Conv2DTranspose(16, 3, strides=2, **SAME)(h)
    return keras.Model(inputs, layers.Conv2D(1, 3, activation="sigmoid", padding="same")(h))


class AddedVae(keras.Model):
    """A VAE by subclassing: call adds the divergence to the loss."""

    def __init__(self, latent=8):
        super().__init__()
        self.first = layers.Dense(128, activation="relu")
        self.mean, self.log_variance = layers.Dense(latent), layers.Dense(latent)
        self.sampling = Sampling()
        self.second = layers.Dense(128, activation="relu")
        self.last = layers.Dense(64, activation="sigmoid")

    def call(self, x):
        h = self.first(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        self.add_loss(divergence(mean, log_variance) / 64)
        return self.last(self.second(self.sampling([mean, log_variance])))


@program("vae_by_add_loss", score=rebuilt, learned=0.3, **MADE)
def vae_by_add_loss():
    """A subclassed VAE of dense layers: fit(x, x), binary crossentropy, the divergence added."""
    (x, _), (x_test, _) = flat_digits()
    return Run(
        model=AddedVae(),
        x=x,
        y=x,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=15,
        test=x_test,
    )


class Quantized(layers.Layer):
    """The nearest of the learned codes, the gradient straight through; adds its losses."""

    def __init__(self, codes=32, **options):
        super().__init__(**options)
        self.codes = codes

    def build(self, shape):
        self.table = self.add_weight(
            shape=(shape[-1], self.codes), initializer="random_uniform", name="table"
        )

    def call(self, h):
        flat = ops.reshape(h, (-1, h.shape[-1]))
        far = (
            ops.sum(ops.square(flat), axis=1, keepdims=True)
            - 2 * ops.matmul(flat, self.table)
            + ops.sum(ops.square(self.table), axis=0)
        )
        chosen = ops.one_hot(ops.argmin(far, axis=1), self.codes)
        code = ops.reshape(ops.matmul(chosen, ops.transpose(self.table)), ops.shape(h))
        kept = ops.mean(ops.square(ops.stop_gradient(code) - h))
        self.add_loss(0.25 * kept + ops.mean(ops.square(code - ops.stop_gradient(h))))
        return h + ops.stop_gradient(code - h)


@program("vq_vae", score=rebuilt, learned=0.4, **MADE)
def vq_vae():
    """A vector-quantized autoencoder: straight-through gradients, losses added in the layer."""
    (x, _), (x_test, _) = digits(8)
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(32, 3, strides=2, **SAME)(inputs)
    h = layers.Conv2D(8, 1, padding="same")(h)
    h = Quantized()(h)
    h = layers.Conv2DTranspose(32, 3, strides=2, **SAME)(h)
    model = keras.Model(inputs, layers.Conv2DTranspose(1, 3, padding="same")(h))
    variance = float(x.var())

    def loss(true, made):
        return ops.mean(ops.square(true - made), axis=(1, 2, 3)) / variance

    return Run(
        model=model,
        x=x,
        y=x,
        loss=loss,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=8,
        test=x_test,
    )


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


@program("real_nvp", area="generative", score=gained, chance=0.0, learned=0.3)
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


def hidden_found(run):
    """The share of the variance of the hidden pixels that is found."""
    x, y = run.test
    hidden = x[..., 1:] > 0
    error = (predicted(run.model, x) - y)[hidden] ** 2
    by = (y - y.mean(0))[hidden] ** 2
    return max(-1.0, 1 - float(error.mean() / by.mean()))


@program("inpainting", area="generative", score=hidden_found, chance=0.0, learned=0.3, stock=True)
def inpainting():
    """A square is cut out of each image and filled again; where it was is a channel."""
    (x, _), (x_test, _) = digits(8)
    rng = np.random.default_rng(0)

    def cut(images):
        hidden = np.zeros_like(images)
        for mask, (a, b) in zip(hidden, rng.integers(0, 6, (len(images), 2)), strict=True):
            mask[a : a + 3, b : b + 3] = 1
        return np.concatenate([images * (1 - hidden), hidden], axis=-1)

    x = np.concatenate([x, x])
    inputs = keras.Input((8, 8, 2))
    h = fine = layers.Conv2D(24, 3, **SAME)(inputs)
    h = layers.Conv2D(48, 3, strides=2, **SAME)(h)
    h = layers.Conv2D(48, 3, **SAME)(h)
    h = layers.UpSampling2D(2)(h)
    h = layers.Conv2D(24, 3, **SAME)(layers.Concatenate()([h, fine]))
    return Run(
        model=keras.Model(inputs, layers.Conv2D(1, 3, padding="same")(h)),
        x=cut(x),
        y=x,
        loss="mse",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=5,
        test=(cut(x_test), x_test),
    )
