"""The global generators of Keras, NumPy and Python stand afterwards where they stood."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras.src.backend.common import global_state

# Keras 3.12 has no constants for the names of its seed and its generator
KERAS_SEED = "global_random_seed"
KERAS_GENERATOR = "global_seed_generator"
KERAS_NAMES = "object_name_uids"  # how often each automatic name has been given


@contextmanager
def generators_put_back() -> Iterator[None]:
    """What is drawn or seeded inside is undone: Keras's, NumPy's and Python's generators."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    # where there is no generator yet, Keras makes one at the first draw, seeded from Python's
    names = (KERAS_SEED, KERAS_GENERATOR)
    keras_state = {name: global_state.get_global_attribute(name) for name in names}
    try:
        yield
    finally:
        for name, value in keras_state.items():
            global_state.set_global_attribute(name, value)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextmanager
def names_put_back() -> Iterator[None]:
    """Objects that are made inside do not count in the names that Keras gives to later ones."""
    names = global_state.get_global_attribute(KERAS_NAMES)
    before = None if names is None else names.copy()
    try:
        yield
    finally:
        global_state.set_global_attribute(KERAS_NAMES, before)


@contextmanager
def generators_held() -> Iterator[None]:
    """The same, and all Keras variables stand still: what is assigned to one is gone with it."""
    with generators_put_back(), keras.StatelessScope():
        yield
