"""Programs on rows with several targets, or with targets that are not known of every row."""

import keras
import numpy as np
from keras import layers, ops

from .own_losses import dense, digits
from .program import Run, accuracy, predicted, program
from .row_data import split, standardised, table, teacher


def both(run):
    """The mean of the class's accuracy and the value's r2."""
    x, y = run.test
    p = run.model.predict(x, verbose=0)
    value = 1 - np.mean((np.asarray(p["ink"]) - y["ink"]) ** 2) / y["ink"].var()
    return 0.5 * max(-1.0, value) + 0.5 * np.mean(np.asarray(p["digit"]).argmax(1) == y["digit"])


@program("two_tasks", area="structured", score=both, chance=0.05, learned=0.7)
def two_tasks():
    """Two named outputs, losses in a dict, loss_weights."""
    x, y = digits()
    targets = {"digit": y, "ink": standardised(x.sum(axis=1, keepdims=True))}
    (x, y), test = split(x, targets)
    inputs = keras.Input((64,))
    h = layers.Dense(48, activation="relu")(layers.Dense(64, activation="relu")(inputs))
    outputs = {
        "digit": layers.Dense(10, activation="softmax", name="digit")(h),
        "ink": layers.Dense(1, name="ink")(h),
    }
    return Run(
        model=keras.Model(inputs, outputs),
        x=x,
        y=y,
        loss={"digit": "sparse_categorical_crossentropy", "ink": "mse"},
        optimizer=keras.optimizers.Adam(1e-3),
        compile={"loss_weights": {"digit": 1.0, "ink": 0.5}},
        epochs=10,
        test=test,
    )


def known_accuracy(run):
    x, y = run.test
    return float(np.mean((predicted(run.model, x) > 0.5) == (y > 0.5)))


@program("missing_labels", area="structured", score=known_accuracy, chance=0.54, learned=0.8)
def missing_labels():
    """Three assays, a third of the labels missing: they are -1, and the loss skips them."""
    rng = np.random.default_rng(67)
    x = rng.standard_normal((2000, 10)).astype("float32")
    value = teacher(rng, x, 3)
    (x, y), test = split(x, (value > np.median(value, axis=0)).astype("float32"))
    y = np.where(rng.random(y.shape) < 1 / 3, -1, y).astype("float32")

    def loss(y, p):
        known = ops.cast(y >= 0, p.dtype)
        p = ops.clip(p, 1e-7, 1 - 1e-7)
        each = -(ops.log(p) * y + ops.log(1 - p) * (1 - y)) * known
        return ops.sum(each) / ops.maximum(ops.sum(known), 1.0)

    return Run(
        model=dense(10, 48, 48, outputs=3, activation="sigmoid"),
        x=x,
        y=y,
        loss=loss,
        optimizer=keras.optimizers.Adam(2e-3),
        epochs=12,
        test=test,
    )


@program(
    "unlabelled_rows",
    area="structured",
    score=accuracy,
    chance=0.52,
    learned=0.8,
    backends=("tensorflow", "jax"),  # torch refuses such labels, whatever they weigh
    stock=True,
)
def unlabelled_rows():
    """A third of the rows have the label -1 and a sample_weight of 0."""
    x, value = table(68, columns=8)
    (x, y), test = split(x, (value > np.median(value)).astype("float32"))
    known = np.random.default_rng(68).random(len(x)) > 1 / 3
    return Run(
        model=dense(8, 48, 48, activation="sigmoid"),
        x=x,
        y=np.where(known[:, None], y, -1).astype("float32"),
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(2e-3),
        sample_weight=known.astype("float32"),
        epochs=12,
        test=test,
    )
