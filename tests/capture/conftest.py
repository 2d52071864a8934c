"""Tests of one backend are collected where it is the one that Keras runs on."""

import keras

collect_ignore = [
    f"backends/test_{name}.py"
    for name in ("tensorflow", "jax", "torch")
    if name != keras.backend.backend()
]
