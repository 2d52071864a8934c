"""What the zoo trains on: small, offline, learnt in a few hundred steps.

Each function gives the same rows every time; what a seed varies is the network and the order of
the batches. The last quarter of the rows is held out and judges the trained network.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from sklearn.datasets import load_digits

HELD_OUT = 0.25
Kind = Literal["classes", "labels", "values", "points"]


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows held out; ``y`` may be a tuple, an array for each output.

    Attributes:
        kind: ``classes``: y is the index of one class of several; ``labels``: y is 0 or 1, for
            each output unit; ``values``: y is a number, for each output unit; ``points``: y is
            drawn from what is to be drawn from, and belongs to no x.
        units: units of the output that fits.
        size: number of different tokens, where x is tokens.
    """

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    kind: tuple[Kind, ...]
    units: tuple[int, ...]
    size: int = 0

    @property
    def shape(self):
        return self.x.shape[1:]


def split(x, *targets, size=0):
    """``targets``: (kind, units, y) of each output."""
    held_out = int(len(x) * HELD_OUT)
    kinds, units, ys = zip(*targets, strict=True)
    return Data(
        x[:-held_out],
        tuple(y[:-held_out] for y in ys),
        x[-held_out:],
        tuple(y[-held_out:] for y in ys),
        kinds,
        units,
        size,
    )


def standardised(values):
    return ((values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)).astype("float32")


@cache
def digits():
    """64 standardised pixels, ten classes."""
    x, y = load_digits(return_X_y=True)
    return split(standardised(x), ("classes", 10, y.astype("int32")))


@cache
def images():
    """The digits as images with values from 0 to 1, as they come from ``image / 255``."""
    x, y = load_digits(return_X_y=True)
    return split(
        (x / 16).astype("float32").reshape(-1, 8, 8, 1), ("classes", 10, y.astype("int32"))
    )


@cache
def own_pixels():
    """The digits' standardised pixels as target of themselves."""
    x = digits_inputs()
    return split(x, ("values", x.shape[1], x))


@cache
def own_images():
    """The digits' pixels from 0 to 1 as target of themselves."""
    x = (load_digits(return_X_y=True)[0] / 16).astype("float32")
    return split(x, ("values", x.shape[1], x))


def digits_inputs():
    return standardised(load_digits(return_X_y=True)[0])


def teacher(rng, x, outputs):
    """What a random network with one hidden layer makes of x: smooth, not linear."""
    hidden = np.tanh(x @ rng.standard_normal((x.shape[1], 16)) / np.sqrt(x.shape[1] / 2))
    return standardised(hidden @ rng.standard_normal((16, outputs)))


@cache
def table(rows=1600, columns=12):
    """A table of standardised columns, one standardised value to predict."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns)).astype("float32")
    return split(x, ("values", 1, teacher(rng, x, 1)))


@cache
def prices():
    """A value far from zero, as prices are: mean 20, standard deviation 5."""
    whole = table()
    x = np.concatenate([whole.x, whole.x_test])
    y = np.concatenate([whole.y[0], whole.y_test[0]])
    return split(x, ("values", 1, 5 * y + 20))


@cache
def two_classes(share=0.5):
    """A table with yes or no to predict; ``share`` of the rows say yes."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1600, 12)).astype("float32")
    value = teacher(rng, x, 1)
    y = (value > np.quantile(value, 1 - share)).astype("float32")
    return split(x, ("labels", 1, y))


def rare_class():
    """One row of ten is of the class that is looked for."""
    return two_classes(0.1)


@cache
def yes_or_no():
    """``two_classes`` as the index of one of two classes."""
    whole = two_classes()
    x = np.concatenate([whole.x, whole.x_test])
    y = np.concatenate([whole.y[0], whole.y_test[0]])
    return split(x, ("classes", 2, y[:, 0].astype("int32")))


@cache
def tags():
    """A table with five independent yes or no to predict."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1600, 12)).astype("float32")
    return split(x, ("labels", 5, (teacher(rng, x, 5) > 0.3).astype("float32")))


@cache
def class_and_value():
    """The digits' class, and how much ink they hold."""
    x, y = load_digits(return_X_y=True)
    ink = standardised(x.sum(axis=1, keepdims=True))
    return split(standardised(x), ("classes", 10, y.astype("int32")), ("values", 1, ink))


@cache
def waves(rows=1000, length=20):
    """Noisy waves of three channels; the class is which of four frequencies they have."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 4, rows).astype("int32")
    time = np.arange(length)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (rows, 1, 3))
    x = np.sin(time * (0.2 + 0.35 * y[:, None, None]) + phase)
    return split(standardised(x + 0.2 * rng.standard_normal(x.shape)), ("classes", 4, y))


def long_waves():
    """So long that what a recurrent kernel does to a gradient adds up."""
    return waves(length=80)


@cache
def texts(size=200, longest=16):
    """Token sequences padded with 0 behind; a third of the tokens tell the class, of four.

    Tokens are as rare as words are: the frequency falls as one over the rank.
    """
    rng = np.random.default_rng(4)
    rows = 1200
    y = rng.integers(0, 4, rows).astype("int32")
    rank = np.arange(1, size // 5 + 1)
    frequency = (1 / rank) / (1 / rank).sum()
    words = rng.choice(len(rank), (rows, longest), p=frequency)
    topic = np.where(rng.random((rows, longest)) < 1 / 3, y[:, None] + 1, 0)
    x = 1 + topic * len(rank) + words  # topic 0 is words that say nothing
    x[np.arange(longest) >= rng.integers(longest // 2, longest + 1, rows)[:, None]] = 0
    return split(x.astype("int32"), ("classes", 4, y), size=size + 1)


def rare_words():
    """Most of the 3000 tokens are in no batch."""
    return texts(3000)


@cache
def cloud():
    """Noise, and a cloud of points in the plane away from zero."""
    rng = np.random.default_rng(6)
    points = rng.standard_normal((1200, 2)) * (1.2, 1.6) + (1.0, -0.8)
    noise = rng.standard_normal((1200, 8)).astype("float32")
    return split(noise, ("points", 2, points.astype("float32")))


@cache
def squares(rows=600, side=16):
    """Noisy images with a bright square; the target is its mask."""
    rng = np.random.default_rng(5)
    corner = rng.integers(0, side // 2, (rows, 2, 1, 1))
    edge = rng.integers(4, side // 2 + 1, (rows, 1, 1))
    at = np.arange(side)
    down, right = at[None, :, None] - corner[:, 0], at[None, None, :] - corner[:, 1]
    mask = ((down >= 0) & (down < edge) & (right >= 0) & (right < edge)).astype("float32")
    x = 1.5 * mask + 0.7 * rng.standard_normal(mask.shape)
    return split(standardised(x)[..., None], ("labels", 1, mask[..., None]))
