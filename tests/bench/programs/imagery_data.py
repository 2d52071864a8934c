"""Images that the imagery programs train on: small, offline, the same rows every time.

Each function gives ``(x, y), (x_test, y_test)``; the test rows are held out. Values lie between 0
and 1, channels are last.
"""

from functools import cache

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits


def split(x, y, held_out=0.25):
    held = int(len(x) * held_out)
    return (x[:-held], y[:-held]), (x[-held:], y[-held:])


def one_hot(y, classes=10):
    return np.eye(classes, dtype="float32")[y]


@cache
def all_digits(side):
    images, y = load_digits().images / 16, load_digits().target
    order = np.random.default_rng(0).permutation(len(y))
    images = images[order]
    if side != 8:
        images = np.stack([np.clip(zoom(i, side / 8, order=1), 0, 1) for i in images])
    return images[..., None].astype("float32"), y[order].astype("int32")


def digits(side=8, channels=1, rows=None):
    """Handwritten digits of ten classes."""
    x, y = all_digits(side)
    return split(np.repeat(x[:rows], channels, -1), y[:rows])


def flat_digits(side=8):
    """The same as rows of pixels."""
    (x, y), (x_test, y_test) = digits(side)
    return (x.reshape(len(x), -1), y), (x_test.reshape(len(x_test), -1), y_test)


def digits_of(classes, side=16):
    """Only the digits of these classes, numbered from 0."""
    (x, y), (x_test, y_test) = digits(side)
    number = np.full(10, -1, "int32")
    number[list(classes)] = np.arange(len(classes))
    kept, kept_test = number[y] >= 0, number[y_test] >= 0
    return (x[kept], number[y[kept]]), (x_test[kept_test], number[y_test[kept_test]])


@cache
def textures(rows=960, side=16, noise=0.12):
    """Coloured noisy images of five classes: three ways of stripes, a chessboard, a disc."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 5, rows).astype("int32")
    down, right = np.mgrid[:side, :side][:, None]
    step = rng.uniform(1.1, 1.7, (rows, 1, 1))
    shift = rng.uniform(0, 2 * np.pi, (2, rows, 1, 1))
    centre = rng.uniform(side / 3, side * 2 / 3, (2, rows, 1, 1))
    radius = rng.uniform(side / 5, side / 3, (rows, 1, 1))
    waves = np.sin(step * down + shift[0]), np.sin(step * right + shift[1])
    kinds = (
        waves[0],
        waves[1],
        np.sin(step * (down + right) / 1.4 + shift[0]),
        waves[0] * waves[1] * 1.5,
        np.where(np.hypot(down - centre[0], right - centre[1]) < radius, 1.0, -1.0),
    )
    shape = np.choose(y[:, None, None], kinds)[..., None]
    colour = rng.choice((-1, 1), (rows, 1, 1, 3)) * rng.uniform(0.15, 0.4, (rows, 1, 1, 3))
    x = 0.5 + shape * colour + noise * rng.standard_normal((rows, side, side, 3))
    return split(np.clip(x, 0, 1).astype("float32"), y)


@cache
def spots(rows=960, side=16):
    """Noisy images with a bright spot; y is where its middle is, down and right, from 0 to 1."""
    rng = np.random.default_rng(2)
    y = rng.uniform(0.15, 0.85, (rows, 2))
    down, right = np.mgrid[:side, :side][:, None] / (side - 1)
    far = (down - y[:, :1, None]) ** 2 + (right - y[:, 1:, None]) ** 2
    x = 0.25 * rng.random((rows, side, side)) + 0.75 * np.exp(-far / 0.015)
    return split(x[..., None].astype("float32"), y.astype("float32"))


def heat(y, side=16, width=0.02):
    """The spots' positions as maps that are 1 in the middle of the spot."""
    down, right = np.mgrid[:side, :side][:, None] / (side - 1)
    far = (down - y[:, :1, None]) ** 2 + (right - y[:, 1:, None]) ** 2
    return np.exp(-far / width)[..., None].astype("float32")


@cache
def discs(rows=320, side=32):
    """Coloured noise with a brighter disc; y is for each pixel 0 outside, 1 the rim, 2 inside."""
    rng = np.random.default_rng(3)
    x = 0.5 * rng.random((rows, side, side, 3))
    down, right = np.mgrid[:side, :side][:, None]
    centre = rng.uniform(side / 4, side * 3 / 4, (2, rows, 1, 1))
    radius = rng.uniform(side / 8, side / 3.5, (rows, 1, 1))
    far = np.hypot(down - centre[0], right - centre[1])
    rim = max(2, side // 12)
    y = (far < radius).astype("int32") + (far < radius - rim)
    x += 0.4 * (y > 0)[..., None]
    return split(x.astype("float32"), y.astype("int32"))


@cache
def clips(rows=720, frames=6, side=10):
    """Noisy clips of a spot that moves up, down, left or right."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 4, rows).astype("int32")
    way = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])[y]
    time = np.arange(frames) - (frames - 1) / 2
    middle = rng.uniform(side * 0.35, side * 0.65, (rows, 2))
    at = middle[:, None] + 0.8 * time[:, None] * way[:, None]
    down, right = np.mgrid[:side, :side][:, None, None]
    far = (down - at[..., 0, None, None]) ** 2 + (right - at[..., 1, None, None]) ** 2
    x = 0.2 * rng.random((rows, frames, side, side)) + 0.8 * np.exp(-far / 2.0)
    return split(x[..., None].astype("float32"), y)


# ------------------------------------------------------------------ how good made images are


def likeness(real, made):
    """1 less the Frechet distance of two sets of images, as a share of a constant image's.

    The best constant image gets 0, a second set of real ones nearly 1.
    """
    a, b = (np.asarray(i, "float64").reshape(len(i), -1) for i in (real, made))
    if not np.isfinite(b).all():
        return -1.0
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    both = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * both
    return max(-1.0, float(1 - distance / np.trace(cov_a)))


def between(z, y):
    """The share of the variance of the embeddings z that lies between the classes y."""
    z = np.asarray(z, "float64")
    whole = z.var(axis=0).sum()
    if not np.isfinite(whole) or whole < 1e-12:
        return 0.0
    inside = sum(z[y == c].var(axis=0).sum() * np.mean(y == c) for c in np.unique(y))
    return float(1 - inside / whole)
