"""Programs whose training step is the user's own, or whose loss sits in a layer."""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

from .program import Run, accuracy, program, r2
from .row_data import split, table


def tensorflow():
    """Imported where it is used: the other backends have no need of it."""
    import tensorflow

    return tensorflow


def digits():
    """Digits from 0 to 1, and their class."""
    x, y = load_digits(return_X_y=True)
    return split((x / 16).astype("float32"), y.astype("int32"))


def classifier(*widths, columns=64, classes=10):
    h = inputs = keras.Input((columns,))
    for width in widths:
        h = layers.Dense(width, activation="relu")(h)
    return inputs, layers.Dense(classes)(h)


class OwnStep(keras.Model):
    """train_step by the book: compute_loss, the tape's gradient, apply, metrics."""

    def train_step(self, data):
        x, y = data
        with tensorflow().GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=p)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, p)
        return {m.name: m.result() for m in self.metrics}


@program(
    "own_step", area="loops", score=accuracy, chance=0.11, learned=0.8, backends=("tensorflow",)
)
def own_train_step():
    """The guide's own train_step with compute_loss."""
    (x, y), test = digits()
    return Run(
        model=OwnStep(*classifier(64, 32)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        compile={"metrics": ["accuracy"]},
        epochs=10,
        test=test,
    )


class OwnStepOwnLoss(keras.Model):
    """train_step with a loss written in it, and a metric of its own to report it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        x, y = data
        with tensorflow().GradientTape() as tape:
            loss = ops.mean(ops.square(y - self(x, training=True)))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@program(
    "loss_in_the_step", area="loops", score=r2, chance=0.0, learned=0.7, backends=("tensorflow",)
)
def loss_in_the_step():
    """compile(optimizer=...) only; mean square error written in train_step."""
    (x, y), test = split(*table(111, columns=8))
    model = OwnStepOwnLoss(*classifier(48, 48, columns=8, classes=1))
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    return Run(model=model, x=x, y=y, epochs=12, test=test)


class Smoothed(keras.Model):
    """compute_loss overridden: cross-entropy, and a penalty on outputs that move under noise."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seeds = keras.random.SeedGenerator(1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight)
        moved = self(x + 0.1 * keras.random.normal(ops.shape(x), seed=self.seeds), training=True)
        return loss + 0.1 * ops.mean(ops.square(moved - y_pred))


@program("own_compute_loss", area="loops", score=accuracy, chance=0.11, learned=0.8)
def own_compute_loss():
    """A compute_loss that calls the model once more, for consistency."""
    (x, y), test = digits()
    return Run(
        model=Smoothed(*classifier(64, 32)),
        x=x,
        y=y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=10,
        test=test,
    )


class EncoderAndHead(keras.Model):
    """Two networks, two optimizers, one loss; ``call`` is there to predict with."""

    def __init__(self, encoder, head):
        super().__init__()
        self.encoder, self.head = encoder, head
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def compile(self, encoder_optimizer, head_optimizer, loss):
        super().compile(loss=loss)
        self.encoder_optimizer, self.head_optimizer = encoder_optimizer, head_optimizer

    def call(self, x):
        return self.head(self.encoder(x))

    def train_step(self, data):
        x, y = data
        with tensorflow().GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        parts = self.encoder.trainable_variables, self.head.trainable_variables
        gradients = tape.gradient(loss, parts)
        self.encoder_optimizer.apply_gradients(zip(gradients[0], parts[0], strict=True))
        self.head_optimizer.apply_gradients(zip(gradients[1], parts[1], strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@program(
    "two_optimizers",
    area="loops",
    score=accuracy,
    chance=0.11,
    learned=0.8,
    backends=("tensorflow",),
)
def two_optimizers():
    """An encoder by Adam and its head by SGD, in one train_step."""
    (x, y), test = digits()
    encoder = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(32, activation="relu"),
        ]
    )
    head = keras.Sequential([keras.Input((32,)), layers.Dense(10)])
    model = EncoderAndHead(encoder, head)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return Run(model=model, x=x, y=y, epochs=10, test=test)


class Ensemble(keras.Model):
    """Networks in a list and their optimizers in another; no ``call``, never built as a whole."""

    def __init__(self, count):
        super().__init__()
        self.members = [
            keras.Sequential([layers.Dense(32, activation="relu"), layers.Dense(10)])
            for _ in range(count)
        ]
        self.tracker = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self):
        return [self.tracker]

    def compile(self, rate):
        super().compile(run_eagerly=False)
        self.optimizers = [keras.optimizers.Adam(rate) for _ in self.members]

    def train_step(self, data):
        x, y = data
        for member, optimizer in zip(self.members, self.optimizers, strict=True):
            with tensorflow().GradientTape() as tape:
                p = member(x, training=True)
                loss = ops.mean(
                    keras.losses.sparse_categorical_crossentropy(y, p, from_logits=True)
                )
            gradients = tape.gradient(loss, member.trainable_variables)
            optimizer.apply_gradients(zip(gradients, member.trainable_variables, strict=True))
            self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def ensemble_accuracy(run):
    x, y = run.test
    p = sum(np.asarray(member.predict(x, verbose=0)) for member in run.model.members)
    return float(np.mean(p.argmax(1) == y))


@program(
    "ensemble",
    area="loops",
    score=ensemble_accuracy,
    chance=0.11,
    learned=0.8,
    backends=("tensorflow",),
)
def ensemble():
    """Three models in a list inside a Model without call, each with an optimizer of its own."""
    (x, y), test = digits()
    model = Ensemble(3)
    model.compile(2e-3)
    return Run(model=model, x=x, y=y, epochs=8, test=test)


class ReconstructionLoss(layers.Layer):
    """Adds the mean square of what is left of its first input after the second."""

    def call(self, x, reconstruction):
        self.add_loss(ops.mean(ops.square(x - reconstruction)))
        return reconstruction


@program("add_loss_only", area="loops", score=r2, chance=0.0, learned=0.65)
def add_loss_only():
    """An autoencoder whose only loss is add_loss in a layer: compile and fit know of none."""
    (x, _), (x_test, _) = digits()
    inputs = keras.Input((64,))
    h = layers.Dense(64, activation="relu")(inputs)
    h = layers.Dense(16, activation="relu")(h)
    h = layers.Dense(64, activation="relu")(h)
    outputs = ReconstructionLoss()(inputs, layers.Dense(64, activation="sigmoid")(h))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    return Run(model=model, x=x, epochs=20, test=(x_test, x_test))


class Endpoint(layers.Layer):
    """Takes logits and targets, adds the loss, gives probabilities."""

    def call(self, logits, targets):
        losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        self.add_loss(ops.mean(losses))
        return ops.softmax(logits)


def endpoint_accuracy(run):
    x, y = run.test
    p = np.asarray(run.model.predict({**x, "targets": 0 * y}, verbose=0))
    return float(np.mean(p.argmax(1) == y[:, 0]))


@program("endpoint", area="loops", score=endpoint_accuracy, chance=0.11, learned=0.8)
def endpoint():
    """The guide's endpoint layer: targets are an input, the loss is added where logits end."""
    (x, y), (x_test, y_test) = digits()
    inputs = keras.Input((64,), name="inputs")
    h = layers.Dense(64, activation="relu")(inputs)
    logits = layers.Dense(10)(layers.Dense(32, activation="relu")(h))
    targets = keras.Input((1,), name="targets", dtype="int32")
    probabilities = Endpoint()(logits, targets)
    model = keras.Model({"inputs": inputs, "targets": targets}, probabilities)
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    return Run(
        model=model,
        x={"inputs": x, "targets": y[:, None]},
        epochs=10,
        test=({"inputs": x_test}, y_test[:, None]),
    )
