"""Whether something that draws leaves the global generators alone."""

import keras
import numpy as np


def leaves_generators_alone(draw):
    """True if Keras's and NumPy's generators give the same numbers with ``draw`` before them."""
    return _next_numbers(lambda: None) == _next_numbers(draw)


def _next_numbers(draw):
    keras.utils.clear_session()  # with it the global generator
    keras.utils.set_random_seed(0)
    draw()
    drawn = keras.ops.convert_to_numpy(keras.random.uniform((3,)))
    return [*drawn.tolist(), np.random.uniform()]
