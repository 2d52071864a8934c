"""The networks that overhead is measured on, each with data: (model, inputs, batch size)."""

import keras
import numpy as np
from keras import layers

from tests.capture import models

EXAMPLES = 256


def inputs(shape):
    return np.random.default_rng(0).standard_normal((EXAMPLES, *shape)).astype("float32")


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
    return model, np.random.default_rng(0).integers(0, 1000, (EXAMPLES, 128)), 8


def lstm():
    start = keras.Input((64, 32))
    x = layers.LSTM(128)(layers.LSTM(128, return_sequences=True)(start))
    return keras.Model(start, layers.Dense(10, "softmax")(x)), inputs((64, 32)), 32


NETWORKS = {"mlp": mlp, "resnet": resnet, "transformer": transformer, "lstm": lstm}


def built(build, jit):
    """(compiled model, function that gives endless batches of its data)"""
    keras.utils.set_random_seed(0)
    model, x, batch = build()
    # keras's own choice by default: XLA on JAX, none on TensorFlow without an accelerator
    model.compile(
        keras.optimizers.Adam(1e-4),
        "sparse_categorical_crossentropy",
        jit_compile=True if jit else "auto",
    )
    y = np.random.default_rng(1).integers(0, 10, len(x))
    batches = [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]

    def endless():
        while True:
            yield from batches

    return model, endless
