"""How far training with the callback is from training without it, by network and compiler.

    python -m tests.bench.bit_identity
    python -m tests.bench.bit_identity --random 120

Each network of ``tests/capture/models.py`` is trained three times for 50 steps from equal weights
and data: twice plainly, and under ``InitWatch`` with 33 of the steps sampled. Printed is the
largest absolute difference between all variables of model and optimizer; "equal" means bit for
bit. "regrouped" tells at which rehearsal the instrumented step was seen to differ from the user's
own, which then trains at every sampled step.

``--random N`` does the same for N random networks and optimizers, in graph mode, and prints those
that were regrouped or differ.
"""

import argparse
import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, optimizers

import initwatch
from initwatch.capture.session import Session
from tests.capture import models
from tests.capture.test_bit_identity import DENSE_SCHEDULE, trained


def differences(build, optimizer=lambda: "adam", **options):
    """(plain against plain, plain against watched, steps sampled, first rehearsal that differed)"""
    rehearsed = []
    original = Session._rehearsed

    def noted(session, *args):
        result = original(session, *args)
        rehearsed.append(session._regrouped)
        return result

    Session._rehearsed = noted
    try:
        watch = initwatch.InitWatch(schedule=DENSE_SCHEDULE, console=False)
        plain, again, watched = (
            trained(build, callbacks, optimizer=optimizer(), **options)[0]
            for callbacks in ([], [], [watch])
        )
    finally:
        Session._rehearsed = original
    assert watch.report.problems == []
    at = rehearsed.index(True) if True in rehearsed else None
    seen = watch.report.steps_seen
    return difference(plain, again), difference(plain, watched), seen, at


def difference(first, second):
    """0.0 only if all values are the same bit for bit."""
    if all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return 0.0
    return max(
        float(np.max(np.abs(a.astype("float64") - b.astype("float64")), initial=0.0))
        for a, b in zip(first, second, strict=True)
    )


def random_network(rng):
    """Layers that multiply and add, in any order, with shortcuts."""
    images = rng.random() < 0.5
    names = "relu tanh gelu silu elu selu sigmoid leaky_relu softplus mish linear".split()

    def core(x):
        name = rng.choice(names)
        penalty = rng.choice([None, None, keras.regularizers.L2(1e-3)])
        bias = rng.random() < 0.6
        kind = rng.choice(["conv", "conv", "separable", "depthwise"]) if images else "dense"
        if kind == "conv":
            return layers.Conv2D(
                8, 3, padding="same", activation=name, use_bias=bias, kernel_regularizer=penalty
            )(x)
        if kind == "separable":
            return layers.SeparableConv2D(8, 3, padding="same", activation=name)(x)
        if kind == "depthwise":
            return layers.DepthwiseConv2D(3, padding="same", activation=name)(x)
        return layers.Dense(8, activation=name, use_bias=bias, kernel_regularizer=penalty)(x)

    around = [
        lambda: layers.BatchNormalization(),
        lambda: layers.BatchNormalization(gamma_initializer="zeros"),
        lambda: layers.LayerNormalization(),
        lambda: layers.GroupNormalization(2),
        lambda: layers.UnitNormalization(),
        lambda: layers.Dropout(0.2),
        lambda: layers.GaussianDropout(0.2),
        lambda: layers.GaussianNoise(0.1),
        lambda: layers.Activation(rng.choice(names)),
        lambda: layers.Rescaling(0.7, 0.1),
        lambda: layers.PReLU(),
        lambda: lambda x: layers.Multiply()([x, layers.Activation("sigmoid")(x)]),
        lambda: lambda x: (x * 0.5) * keras.ops.sigmoid(x) + 1.0,
    ]

    def wrapped(x):
        for _ in range(rng.randint(1, 4)):
            x = rng.choice(around)()(x)
        return x

    x = inputs = keras.Input((6, 6, 3) if images else (10,))
    x = layers.Conv2D(8, 3, padding="same")(x) if images else layers.Dense(8)(x)
    for _ in range(rng.randint(1, 4)):
        y = wrapped(core(x))
        if rng.random() < 0.6:
            y = wrapped(core(y))
        merge = rng.choice(
            [layers.Add, layers.Add, layers.Multiply, layers.Average, layers.Subtract, None]
        )
        x = y if merge is None else merge()([x, y])
    if images:
        x = rng.choice([layers.GlobalAveragePooling2D, layers.Flatten])()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


OPTIMIZERS = (
    lambda: optimizers.SGD(0.05),
    lambda: optimizers.SGD(0.05, momentum=0.9),
    lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    lambda: optimizers.SGD(0.05, clipnorm=0.1),
    lambda: optimizers.SGD(0.05, global_clipnorm=0.5),
    lambda: optimizers.SGD(0.05, clipvalue=0.01),
    lambda: optimizers.SGD(0.05, weight_decay=0.01),
    lambda: optimizers.SGD(0.05, gradient_accumulation_steps=2),
    lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.05, 10, 0.9)),
    lambda: optimizers.Adam(1e-3),
    lambda: optimizers.Adam(1e-3, amsgrad=True),
    lambda: optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.9),
    lambda: optimizers.AdamW(1e-3),
    lambda: optimizers.Nadam(1e-3),
    lambda: optimizers.RMSprop(1e-3),
    lambda: optimizers.Adagrad(0.05),
    lambda: optimizers.Lion(1e-3),
)


def random_networks(count):
    unequal, regrouped = [], []
    for seed in range(count):
        keras.utils.clear_session()
        again, watched, sampled, at = differences(
            lambda seed=seed: random_network(random.Random(seed)),
            optimizer=OPTIMIZERS[seed % len(OPTIMIZERS)],
        )
        if at is not None:
            regrouped.append(at)
        if again or watched:
            unequal.append(seed)
        if again or watched or at is not None:
            print(
                f"network {seed}: plain again {again:.1e}, watched {watched:.1e}, "
                f"regrouped at rehearsal {at}, {sampled} steps sampled",
                flush=True,
            )
    print(
        f"{count} networks: {count - len(unequal)} equal bit for bit; {len(regrouped)} regrouped, "
        f"seen at rehearsal {sorted(set(regrouped))}"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, metavar="N", help="N random networks instead")
    count = parser.parse_args().random
    if count:
        random_networks(count)
        return
    print(f"{'network':<16}{'jit_compile':<13}{'plain again':<14}{'watched':<14}regrouped")
    for build in models.NETWORKS:
        for jit_compile in (False, True):
            again, watched, sampled, at = differences(build, jit_compile=jit_compile)
            assert sampled >= 25
            cells = [f"{value:.1e}" if value else "equal" for value in (again, watched)]
            print(
                f"{build.__name__:<16}{jit_compile!s:<13}{cells[0]:<14}{cells[1]:<14}"
                f"{'no' if at is None else f'at rehearsal {at}'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
