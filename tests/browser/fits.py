"""Trainings in processes of their own."""

import sys

DEPTH = 12
FIT = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, initwatch

class Wait(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            print("first epoch", flush=True)
            sys.stdin.readline()

def fit(folder, initializer, callbacks=(), epochs=3):
    keras.utils.set_random_seed(0)
    hidden = [
        keras.layers.Dense(64, "relu", kernel_initializer=initializer, name=f"hidden_{i}")
        for i in range(DEPTH)
    ]
    head = keras.layers.Dense(10, activation="softmax", name="output")
    model = keras.Sequential([keras.Input((16,)), *hidden, head], name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((192, 16)), rng.integers(0, 10, 192)
    watch = initwatch.InitWatch(folder, console=False)
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[watch, *callbacks])
    assert watch.report.problems == []
"""


def python(code):
    """A process of its own: a fit must not share one with the browser's event loop."""
    return [sys.executable, "-c", FIT.replace("DEPTH", str(DEPTH)) + code]
