"""One seed for all that is random, and everything as it was afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from keras.src.backend.common import global_state

from initwatch.advice.generators import KERAS_GENERATOR, KERAS_SEED, generators_put_back
from initwatch.capture import backends


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block as after ``keras.utils.set_random_seed(seed)``.

    Afterwards the global generators of Python, NumPy, Keras and its backend stand where they
    stood. Keras's own function would import TensorFlow, where it is installed, under any backend.

    Args:
        seed: 0 to 2^32 - 1.
    """
    with generators_put_back(), backends.current().seeded(seed):
        random.seed(seed)
        np.random.seed(seed)  # the one that users' code draws from
        global_state.set_global_attribute(KERAS_SEED, seed)
        # Keras makes a new one from Python's generator when it is first asked for
        global_state.set_global_attribute(KERAS_GENERATOR, None)
        yield
