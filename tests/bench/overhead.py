"""What watching costs: each step, and at the start.

    python -m tests.bench.overhead [--models mlp resnet transformer lstm] [--rounds 5] [--jit]
    python -m tests.bench.overhead --startup
    python -m tests.bench.overhead --scale

Steps: every variant has a model of its own, compiled once; rounds alternate between the
variants, and each round gives the ratio of a variant's time to that of the plain model in the
same round. Printed are the median ratio and the range of the middle half. ``again`` is a second
plain model: what it differs from 1 by is noise.

Start-up: every run is a process of its own, plain and watched in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import initwatch
from tests.capture import models

DENSE = 20  # batches at the start of a fit that the default schedule samples one by one
EVERY_STEP = initwatch.Schedule(first=10**9, histograms=False)


# -------------------------------------------------------------------------- networks
# each gives (model, inputs, batch size)


def mlp(depth=10, width=256):
    hidden = [layers.Dense(width, "relu", kernel_initializer="he_normal") for _ in range(depth)]
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, "softmax")])
    return model, inputs((64,)), 128


def resnet():
    return models.resnet_20(32), inputs((32, 32, 3)), 32


def transformer():
    """Four pre-norm blocks of width 256 on sequences of 128."""
    start = keras.Input((128,), dtype="int32")
    x = layers.Embedding(1000, 256)(start)
    for _ in range(4):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 64)(y, y)])
        y = layers.Dense(1024, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(256)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    model = keras.Model(start, layers.Dense(10, "softmax")(x))
    return model, np.random.default_rng(0).integers(0, 1000, (512, 128)), 8


def lstm():
    start = keras.Input((64, 32))
    x = layers.LSTM(128)(layers.LSTM(128, return_sequences=True)(start))
    return keras.Model(start, layers.Dense(10, "softmax")(x)), inputs((64, 32)), 32


def inputs(shape):
    return np.random.default_rng(0).standard_normal((512, *shape)).astype("float32")


NETWORKS = {"mlp": mlp, "resnet": resnet, "transformer": transformer, "lstm": lstm}


def built(build, jit_compile):
    """(model, endless data of it)"""
    keras.utils.set_random_seed(0)
    model, x, batch = build()
    model.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", jit_compile=jit_compile
    )
    y = np.random.default_rng(1).integers(0, 10, len(x))
    data = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(batch).prefetch(2)
    return model, data


# -------------------------------------------------------------------------- variants


class Tape(keras.callbacks.Callback):
    """A second forward and backward pass a step, as callbacks of this kind do it elsewhere."""

    def __init__(self, data):
        super().__init__()
        self.batches = iter(data)

    def on_train_begin(self, logs=None):
        if hasattr(self, "norms"):
            return
        model = self.model

        @tf.function
        def norms(x, y):
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x, y, model(x, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            return tf.stack([tf.norm(tf.convert_to_tensor(g)) for g in gradients])

        self.norms = norms

    def on_train_batch_end(self, batch, logs=None):
        self.norms(*next(self.batches)).numpy()


class Clock(keras.callbacks.Callback):
    """Seconds from the first batch after the dense phase to the end of the epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == DENSE:
            self.begin = time.perf_counter()


def seconds(model, data, callbacks, steps):
    clock = Clock()
    model.fit(data, steps_per_epoch=DENSE + steps, verbose=0, callbacks=[clock, *callbacks])
    return time.perf_counter() - clock.begin


def callbacks_of(variant, data):
    folder = tempfile.mkdtemp()
    if variant == "initwatch":
        return [initwatch.InitWatch(folder, console=False)]
    if variant == "every step":
        return [initwatch.InitWatch(folder, console=False, schedule=EVERY_STEP)]
    if variant == "TensorBoard":
        return [keras.callbacks.TensorBoard(folder, histogram_freq=1, update_freq=1)]
    return [Tape(data)] if variant == "tape" else []


VARIANTS = ("plain", "again", "initwatch", "every step", "TensorBoard", "tape")


def steps_table(networks, rounds, steps, jit_compile, variants=VARIANTS):
    """Prints one line a network of {name: builder}."""
    for name, build in networks.items():
        runs = {}
        for variant in variants:
            model, data = built(build, jit_compile)
            runs[variant] = (model, data, callbacks_of(variant, data))
            seconds(*runs[variant], steps=2)  # traces, compiles
        ratios = {variant: [] for variant in variants}
        for _ in range(rounds):
            taken = {variant: seconds(*runs[variant], steps=steps) for variant in variants}
            for variant in variants:
                ratios[variant].append(taken[variant] / taken["plain"])
        show(name, ratios, taken["plain"] / steps)


def show(name, ratios, step):
    cells = []
    for variant, values in ratios.items():
        if variant != "plain":
            low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
            cells.append(f"{variant} {statistics.median(values):.3f} ({low:.2f} to {high:.2f})")
    print(f"{name:<12} plain step {1e3 * step:.1f} ms | " + " | ".join(cells), flush=True)


# -------------------------------------------------------------------------- start-up


class Ends(keras.callbacks.Callback):
    """When each step had ended."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


def one_start(name, watched, jit_compile):
    """In a process of its own: seconds to the end of the first step, and of the whole dense
    phase and one step more, by which everything is traced."""
    warm, data = built(lambda: mlp(1, 4), jit_compile)  # TensorFlow's own first steps
    warm.fit(data, steps_per_epoch=1, verbose=0)
    model, data = built(NETWORKS[name], jit_compile)
    ends = Ends()
    watch = [initwatch.InitWatch(tempfile.mkdtemp(), console=False)] if watched else []
    begin = time.perf_counter()
    model.fit(data, steps_per_epoch=DENSE + 2, verbose=0, callbacks=[*watch, ends])
    return ends.times[0] - begin, ends.times[-1] - begin


def startup_table(names, rounds, jit_compile):
    for name in names:
        ratios = {"first step": [], "all traced": []}
        plain = []
        for _ in range(rounds):
            pair = {}
            for watched in (False, True):
                command = [sys.executable, "-m", "tests.bench.overhead", "--one-start", name]
                command += ["--watched"] * watched + ["--jit"] * jit_compile
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                pair[watched] = json.loads(done.stdout.splitlines()[-1])
            for i, key in enumerate(ratios):
                ratios[key].append(pair[True][i] / pair[False][i])
            plain.append(pair[False])
        first, whole = (statistics.median(p[i] for p in plain) for i in (0, 1))
        cells = [f"{key} {statistics.median(values):.2f}" for key, values in ratios.items()]
        print(f"{name:<12} plain {first:.1f} s, {whole:.1f} s | " + " | ".join(cells), flush=True)


def scale_table(rounds, steps, jit_compile):
    """Deep networks of narrow layers, and shallow ones of wide layers."""
    shapes = ((10, 32), (100, 32), (1000, 32), (4, 32), (4, 512), (4, 5000))
    networks = {f"{depth} x {width}": partial(mlp, depth, width) for depth, width in shapes}
    variants = ("plain", "again", "initwatch", "every step")
    steps_table(networks, rounds, steps, jit_compile, variants)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--startup", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--one-start", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_start:
        print(json.dumps(one_start(given.one_start, given.watched, given.jit)))
    elif given.startup:
        startup_table(given.models, given.rounds, given.jit)
    elif given.scale:
        scale_table(given.rounds, given.steps, given.jit)
    else:
        networks = {name: NETWORKS[name] for name in given.models}
        steps_table(networks, given.rounds, given.steps, given.jit)


if __name__ == "__main__":
    main()
