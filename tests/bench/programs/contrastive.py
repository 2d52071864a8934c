"""Sound programs that learn by comparing: pairs, triplets, views of the same image, a teacher."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tests.bench.programs.imagery_data import between, digits, flat_digits
from tests.bench.programs.program import Run, accuracy, predicted, program

AREA = {"area": "contrastive"}
TF = {"area": "contrastive", "backends": ("tensorflow",)}


# ------------------------------------------------------------------ pairs and triplets


def pairs(x, y, rows, seed):
    """Pairs of images, a half of the same class (0), a half not (1)."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(x), rows)
    other = (rng.random(rows) < 0.5).astype("int32")
    wanted = (y[first] + other * rng.integers(1, 10, rows)) % 10
    second = np.array([rng.choice(np.flatnonzero(y == c)) for c in wanted])
    return [x[first], x[second]], other.astype("float32")[:, None]


class Distance(layers.Layer):
    """The Euclidean distance of two embeddings."""

    def call(self, a, b):
        square = ops.sum(ops.square(a - b), axis=1, keepdims=True)
        return ops.sqrt(ops.maximum(square, keras.config.epsilon()))


def embedding():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.BatchNormalization(momentum=0.9),
            layers.Conv2D(16, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(32, 2, activation="tanh"),
            layers.Flatten(),
            layers.Dense(16, activation="tanh"),
        ],
        name="embedding",
    )


def pair_data():
    (x, y), (x_test, y_test) = digits(8)
    return pairs(x, y, 2400, 0), pairs(x_test, y_test, 800, 1)


def contrastive(y_true, distance):
    """Near for a pair of a class, a margin of 1 apart for others."""
    near = ops.square(distance)
    apart = ops.square(ops.maximum(1.0 - distance, 0.0))
    return ops.mean((1 - y_true) * near + y_true * apart, axis=-1)


@program("siamese_distance", score=accuracy, chance=0.53, learned=0.8, **AREA)
def siamese_distance():
    """A siamese network after the examples: a contrastive loss on the distance of two towers."""
    (x, y), test = pair_data()
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    inner = embedding()
    return Run(
        model=keras.Model([a, b], Distance()(inner(a), inner(b))),
        x=x,
        y=y,
        loss=contrastive,
        optimizer=keras.optimizers.Adam(1e-3),
        epochs=5,
        test=test,
    )


@program("siamese_crossentropy", score=accuracy, chance=0.53, learned=0.8, stock=True, **AREA)
def siamese_crossentropy():
    """Are the two of a class? The absolute difference of two dense towers, binary crossentropy."""
    (x, y), test = pair_data()
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    tower = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(24, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(48, activation="relu"),
        ]
    )
    far = layers.Subtract()([tower(a), tower(b)])
    h = layers.Dense(32, activation="relu")(layers.Multiply()([far, far]))
    return Run(
        model=keras.Model([a, b], layers.Dense(1, activation="sigmoid")(h)),
        x=x,
        y=y,
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=6,
        test=test,
    )


class Normalized(layers.Layer):
    """Length 1."""

    def call(self, h):
        return ops.normalize(h, axis=-1)


def tower(width=24, dense=64):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, activation="relu"),
            layers.Conv2D(width, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(dense, activation="relu"),
        ],
        name="tower",
    )


def classes_apart(run):
    """The share of the embeddings' variance that lies between the classes."""
    x, y = run.test
    return between(predicted(run.model, x), y)


class Triplets(keras.Model):
    """Anchor, one of its class, one of another: a margin in a train_step of its own."""

    def __init__(self, inner, margin=0.5):
        super().__init__()
        self.inner, self.margin = inner, margin
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.inner(x)

    def train_step(self, data):
        anchor, same, other = data[0]
        with tf.GradientTape() as tape:
            a, b, c = (self.inner(x, training=True) for x in (anchor, same, other))
            near, far = (ops.sum(ops.square(a - d), axis=-1) for d in (b, c))
            loss = ops.mean(ops.maximum(near - far + self.margin, 0.0))
        gradients = tape.gradient(loss, self.inner.trainable_weights)
        pairs_ = zip(gradients, self.inner.trainable_weights, strict=True)
        self.optimizer.apply_gradients(pairs_)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@program("triplets", score=classes_apart, chance=0.0, learned=0.55, **TF)
def triplets():
    """A siamese network with a triplet loss, embeddings of length 1."""
    (x, y), test = digits(8)
    rng = np.random.default_rng(0)
    anchor = rng.integers(0, len(x), 2400)
    same = np.array([rng.choice(np.flatnonzero(y == c)) for c in y[anchor]])
    other = np.array([rng.choice(np.flatnonzero(y != c)) for c in y[anchor]])
    inner = keras.Sequential([*tower().layers, layers.Dense(16), Normalized()])
    model = Triplets(inner)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    return Run(model=model, x=[x[anchor], x[same], x[other]], epochs=5, test=test)


def supervised_contrastive(y_true, z, temperature=0.1):
    """Each image against all others of the batch; those of its class are right."""
    y = ops.reshape(y_true, (-1,))
    rows = ops.shape(z)[0]
    alike = ops.matmul(z, ops.transpose(z)) / temperature - 1e9 * ops.eye(rows)
    same = ops.cast(ops.equal(y[:, None], y[None, :]), "float32") - ops.eye(rows)
    log_p = alike - ops.logsumexp(alike, axis=1, keepdims=True)
    share = same / ops.maximum(ops.sum(same, axis=1, keepdims=True), 1.0)
    return -ops.sum(share * log_p, axis=1)


@program("supervised_contrastive", score=classes_apart, chance=0.0, learned=0.6, **AREA)
def supervised_contrastive_program():
    """Supervised contrastive learning: a loss of the user's own on projections of length 1."""
    (x, y), test = digits(8)
    inner = tower()
    h = layers.Dense(32, activation="relu")(inner.outputs[0])
    return Run(
        model=keras.Model(inner.inputs, Normalized()(layers.Dense(16)(h))),
        x=x,
        y=y,
        loss=supervised_contrastive,
        optimizer=keras.optimizers.Adam(1e-3),
        batch=64,
        epochs=8,
        test=test,
    )


# ------------------------------------------------------------------ a teacher


class Distiller(keras.Model):
    """The loss of the labels and that of the teacher's softened classes, by compute_loss."""

    def __init__(self, student, teacher, alpha=0.3, temperature=3.0):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.alpha, self.temperature = alpha, temperature

    def call(self, x):
        return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        taught = ops.softmax(self.teacher(x, training=False) / self.temperature, axis=1)
        said = ops.softmax(y_pred / self.temperature, axis=1)
        soft = ops.mean(keras.losses.kl_divergence(taught, said)) * self.temperature**2
        hard = super().compute_loss(x, y, y_pred, sample_weight, training)
        return self.alpha * hard + (1 - self.alpha) * soft


@program("distillation", score=accuracy, chance=0.12, learned=0.75, **AREA)
def distillation():
    """A small student learns from a large, trained, frozen teacher."""
    (x, y), test = flat_digits()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wide = [layers.Dense(256, activation="relu") for _ in range(2)]
    teacher = keras.Sequential([keras.Input((64,)), *wide, layers.Dense(10)])
    teacher.compile("adam", loss, metrics=["accuracy"])
    teacher.fit(x, y, batch_size=32, epochs=3, verbose=0)
    teacher.trainable = False
    student = [layers.Dense(24, activation="relu"), layers.Dense(10)]
    return Run(
        model=Distiller(keras.Sequential([keras.Input((64,)), *student]), teacher),
        x=x,
        y=y,
        loss=loss,
        optimizer=keras.optimizers.Adam(3e-3),
        epochs=7,
        test=test,
    )
