"""What ``audit`` costs beside training steps of the same model, tracing and compiling included.

    python -m tests.bench.audit [--depth 100] [--width 64] [--steps 20] [--runs 3]

A stack of Dense layers, sound and with weights ten times too small, so that advice is tried. For
each run, new models are built and take turns: seconds for ``--steps`` steps of ``train_on_batch``,
and for ``audit`` of each, by the clock and of all cores. Medians are printed. The backend is that
of ``KERAS_BACKEND``.
"""

import argparse
import time

import keras
import numpy as np
from keras import layers

import initwatch

BATCH = 32


def build(depth, width, initializer):
    keras.utils.set_random_seed(0)
    hidden = [
        layers.Dense(width, "relu", kernel_initializer=keras.initializers.get(initializer))
        for _ in range(depth)
    ]
    model = keras.Sequential([keras.Input((width,)), *hidden, layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def seconds(action):
    began = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("depth", 100), ("width", 64), ("steps", 20), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, options.width)).astype("float32")
    y = rng.integers(0, 10, BATCH)
    small = keras.initializers.VarianceScaling(0.02)
    times = {"training": [], "audit, sound": [], "audit, sick": []}
    for _ in range(options.runs):
        plain = build(options.depth, options.width, "he_normal")
        sound = build(options.depth, options.width, "he_normal")
        sick = build(options.depth, options.width, small)

        def train(model=plain):
            for _ in range(options.steps):
                model.train_on_batch(x, y)

        times["training"].append(seconds(train))
        for name, model in (("audit, sound", sound), ("audit, sick", sick)):
            times[name].append(seconds(lambda model=model: initwatch.audit(model, x, y)))
    for name, taken in times.items():
        clock, cores = np.median(taken, axis=0)
        print(f"{keras.backend.backend()} {name}: {clock:.1f} s, {cores:.1f} s of all cores")


if __name__ == "__main__":
    main()
