"""A sound program that makes images by taking noise away, step by step."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.bench.programs.imagery_data import digits, likeness
from tests.bench.programs.program import Run, program

TF = {"area": "generative", "chance": 0.0, "backends": ("tensorflow",)}


class Waves(layers.Layer):
    """Sines and cosines of a number, as an embedding of the noise's strength."""

    def call(self, strength):
        angles = 2 * np.pi * np.exp(np.linspace(0, np.log(100.0), 8)).astype("float32")
        angles = angles * strength
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def denoiser():
    """A small U-Net of residual blocks; its last kernel begins at zero."""

    def block(h, filters):
        by = h if h.shape[-1] == filters else layers.Conv2D(filters, 1)(h)
        h = layers.BatchNormalization(center=False, scale=False, momentum=0.9)(h)
        h = layers.Conv2D(filters, 3, padding="same", activation="swish")(h)
        return layers.Add()([layers.Conv2D(filters, 3, padding="same")(h), by])

    images, strength = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    e = layers.UpSampling2D(8)(Waves()(strength))
    h = layers.Concatenate()([layers.Conv2D(16, 1)(images), e])
    fine = block(h, 20)
    h = block(layers.AveragePooling2D(2)(fine), 24)
    h = layers.UpSampling2D(interpolation="bilinear")(h)
    h = block(layers.Concatenate()([h, fine]), 20)
    outputs = layers.Conv2D(1, 1, kernel_initializer="zeros")(h)
    return keras.Model([images, strength], outputs)


class Diffusion(keras.Model):
    """Denoising diffusion with implicit sampling: rates along a cosine, the noise predicted."""

    def __init__(self, network):
        super().__init__()
        self.normalizer = layers.Normalization(axis=None)
        self.network = network
        self.seeds = keras.random.SeedGenerator()
        self.tracker = keras.metrics.Mean(name="n_loss")

    @property
    def metrics(self):
        return [self.tracker]

    @staticmethod
    def rates(time):
        start, end = float(np.arccos(0.95)), float(np.arccos(0.02))
        angle = start + time * (end - start)
        return ops.sin(angle), ops.cos(angle)

    def train_step(self, images):
        rows = ops.shape(images)[0]
        images = self.normalizer(images)
        noise = keras.random.normal(ops.shape(images), seed=self.seeds)
        time = keras.random.uniform((rows, 1, 1, 1), seed=self.seeds)
        noise_rate, signal_rate = self.rates(time)
        noisy = signal_rate * images + noise_rate * noise
        with tf.GradientTape() as tape:
            found = self.network([noisy, noise_rate**2], training=True)
            loss = self.loss(noise, found)
        weights = self.network.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.tracker.update_state(loss)
        return {m.name: m.result() for m in self.metrics}

    def generate(self, rows, steps=20):
        noisy = np.random.default_rng(0).standard_normal((rows, 8, 8, 1)).astype("float32")
        for step in range(steps):
            time = np.full((rows, 1, 1, 1), 1 - step / steps, "float32")
            noise_rate, signal_rate = (ops.convert_to_numpy(r) for r in self.rates(time))
            noise = ops.convert_to_numpy(self.network([noisy, noise_rate**2], training=False))
            images = (noisy - noise_rate * noise) / signal_rate
            next_noise, next_signal = (
                ops.convert_to_numpy(r) for r in self.rates(time - 1 / steps)
            )
            noisy = next_signal * images + next_noise * noise
        spread = np.sqrt(ops.convert_to_numpy(self.normalizer.variance).item())
        return np.clip(images * spread + ops.convert_to_numpy(self.normalizer.mean).item(), 0, 1)


@program(
    "diffusion", score=lambda run: likeness(run.test, run.model.generate(500)), learned=0.3, **TF
)
def diffusion():
    """Denoising diffusion: sinusoidal embedding, U-Net, a last kernel of zeros, AdamW."""
    (x, _), (x_test, _) = digits(8)
    model = Diffusion(denoiser())
    model.normalizer.adapt(x)
    model.compile(
        optimizer=keras.optimizers.AdamW(2e-3, weight_decay=1e-4),
        loss=keras.losses.mean_absolute_error,
    )
    return Run(model=model, x=x, epochs=5, test=x_test)
