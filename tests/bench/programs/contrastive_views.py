"""A sound program that learns without labels, from views of the same image."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.bench.programs.contrastive import tower
from tests.bench.programs.imagery_data import digits
from tests.bench.programs.program import Run, program


def seen(images, rng):
    """A view: shifted by up to a pixel, of another contrast, noisy."""
    out = np.empty_like(images)
    for k, (a, b) in enumerate(rng.integers(-1, 2, (len(images), 2))):
        out[k] = np.roll(images[k], (a, b), (0, 1))
    contrast = rng.uniform(0.7, 1.1, (len(images), 1, 1, 1))
    noise = 0.05 * rng.standard_normal(images.shape)
    return (contrast * out + noise).astype("float32")


def views():
    """Two views of each image, twice over; the held-out images' likewise."""
    (x, _), (x_test, _) = digits(8)
    rng = np.random.default_rng(0)
    x = np.concatenate([x, x])
    return [seen(x, rng), seen(x, rng)], [seen(x_test[:200], rng), seen(x_test[:200], rng)]


def found_again(run):
    """For how many of 200 held-out images the nearest second view is that of the same image.

    An untrained network finds one in ten.
    """
    a, b = (np.asarray(run.model.embed(x)) for x in run.test)
    a, b = ((z - z.mean(0)) / (z.std(0) + 1e-6) for z in (a, b))
    a, b = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9) for z in (a, b))
    return float(np.mean((a @ b.T).argmax(1) == np.arange(len(a))))


class SimClr(keras.Model):
    """A tower and a projection; each view has to find the other one among those of the batch."""

    def __init__(self, temperature=0.1):
        super().__init__()
        self.temperature = temperature
        self.tower = tower()
        self.projection = keras.Sequential(
            [keras.Input((64,)), layers.Dense(32, activation="relu"), layers.Dense(32)]
        )
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def embed(self, x):
        return ops.convert_to_numpy(self.projection(self.tower(x, training=False)))

    def compare(self, first, second):
        a, b = (
            ops.normalize(self.projection(self.tower(x, training=True)), axis=1)
            for x in (first, second)
        )
        alike = ops.matmul(a, ops.transpose(b)) / self.temperature
        right = ops.arange(ops.shape(a)[0])
        return ops.mean(
            keras.losses.sparse_categorical_crossentropy(right, alike, from_logits=True)
            + keras.losses.sparse_categorical_crossentropy(
                right, ops.transpose(alike), from_logits=True
            )
        )

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.compare(*data[0])
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@program(
    "simclr",
    area="contrastive",
    score=found_again,
    chance=0.005,
    learned=0.25,
    backends=("tensorflow",),
)
def simclr():
    """SimCLR: two views, a projection, a crossentropy over the batch."""
    x, test = views()
    model = SimClr()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    return Run(model=model, x=x, batch=64, epochs=12, test=test)
