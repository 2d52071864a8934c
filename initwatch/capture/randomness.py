"""One seed for all that is random, and everything as it was afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

from initwatch.capture import backends


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block as after ``keras.utils.set_random_seed(seed)``.

    Afterwards the global generators of Python, NumPy, Keras and its backend stand where they
    stood. Keras's own function would import TensorFlow, where it is installed, under any backend.

    Args:
        seed: 0 to 2^32 - 1.
    """
    keras_state = {
        name: global_state.get_global_attribute(name)
        for name in (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)
    }
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with backends.current().seeded(seed):
            random.seed(seed)
            np.random.seed(seed)  # the one that users' code draws from
            global_state.set_global_attribute(GLOBAL_RANDOM_SEED, seed)
            # Keras makes a new one from Python's generator when it is first asked for
            global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for name, value in keras_state.items():
            global_state.set_global_attribute(name, value)
