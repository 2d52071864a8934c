"""A 20-layer network that does not learn, what initwatch says of it, and the same network cured.

The data are the 1,797 handwritten digits that ship with scikit-learn. Weights drawn with
``RandomNormal(stddev=0.05)`` look harmless and stop 20 ReLU layers from learning anything.

    python examples/quickstart.py [LOG_DIR]
    tensorboard --logdir LOG_DIR          # logs/quickstart by default

The last line is one JSON object with the figures.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import initwatch

DEPTH, WIDTH, EPOCHS = 20, 64, 20


def digits():
    """Images as 64 numbers from 0 to 1; three quarters to learn from, a quarter held out."""
    images, labels = load_digits(return_X_y=True)
    x = (images / 16.0).astype("float32")
    return train_test_split(x, labels, test_size=0.25, random_state=0, stratify=labels)


def build():
    """The network, with the initializer somebody once pasted from somewhere."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,))]
    for i in range(DEPTH):
        layers.append(
            keras.layers.Dense(
                WIDTH,
                activation="relu",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.05),
                name=f"hidden_{i + 1}",
            )
        )
    layers.append(keras.layers.Dense(10, activation="softmax", name="output"))
    model = keras.Sequential(layers, name="digits")
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def train(model, data, log_dir):
    """Fits the model under initwatch; gives the report and the figures of the run."""
    x, x_held_out, y, y_held_out = data
    watch = initwatch.InitWatch(log_dir)
    beside = keras.callbacks.TensorBoard(log_dir)
    model.fit(x, y, batch_size=32, epochs=EPOCHS, verbose=0, callbacks=[watch, beside])
    _, accuracy = model.evaluate(x_held_out, y_held_out, verbose=0)
    found = [f for f in watch.report.findings if f.severity != "info"]
    print(f"Accuracy on {len(y_held_out)} held-out digits: {accuracy:.3f}\n")
    figures = {
        "accuracy": round(float(accuracy), 4),
        "healthy": watch.report.healthy,
        "first_finding_step": min((f.step for f in found), default=None),
        "symptoms": [f.symptom for f in found],
    }
    return watch.report, figures


def main(log_dir="logs/quickstart"):
    data = digits()
    chance = np.bincount(data[3]).max() / len(data[3])

    print(f"1. {DEPTH} ReLU layers with RandomNormal(stddev=0.05); chance is {chance:.3f}\n")
    report, before = train(build(), data, os.path.join(log_dir, "before"))

    print("2. The same network with the suggested initializer\n")
    model = build()
    changed = initwatch.reinitialize(model, report)
    names = sorted({type(change.initializer).__name__ for change in changed})
    print(f"Drawn anew with {', '.join(names) or 'nothing'}: {len(changed)} layers")
    _, after = train(model, data, os.path.join(log_dir, "after"))

    print(f"Both runs: tensorboard --logdir {log_dir}\n")
    print(json.dumps({"before": before, "after": after}))


if __name__ == "__main__":
    main(*sys.argv[1:2])
