"""Sound programs that make images: autoencoders, variational and quantized, and inpainting."""

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


def hidden_found(run):
    """The share of the variance of the hidden pixels that is found."""
    x, y = run.test
    hidden = x[..., 1:] > 0
    error = (predicted(run.model, x) - y)[hidden] ** 2
    by = (y - y.mean(0))[hidden] ** 2
    return max(-1.0, 1 - float(error.mean() / by.mean()))


@program("inpainting", area="generative", score=hidden_found, chance=0.0, learned=0.25, stock=True)
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
