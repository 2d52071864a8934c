"""Hanin & Rolnick 2018, How to start training: the effect of initialization and architecture."""

import itertools

import numpy as np
import pytest


def lengths(widths, sigma_w2=2.0, draws=2000, seed=0):
    """float64[draws]: mean square of the last layer over that of the input, random ReLU nets."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=(draws, 1, widths[0]))
    start = np.mean(signal**2, axis=(1, 2))
    for before, width in itertools.pairwise(widths):
        weight = random.normal(size=(draws, before, width)) * np.sqrt(sigma_w2 / before)
        signal = np.maximum(signal @ weight, 0.0)
    return np.mean(signal**2, axis=(1, 2)) / start


def theory(widths):
    """Relative variance of the length: prod(1 + 5 / n) - 1, from E[(2 relu(g)^2)^2] = 6.

    The last layer's own ReLU, and an input of given length, count as the others do.
    """
    return np.prod([1.0 + 5.0 / n for n in widths[1:]]) - 1.0


@pytest.mark.parametrize("widths", [(50,) * 7, (20, 40, 80, 40, 20), (10, 10, 10)])
def test_the_spread_of_lengths_is_that_of_the_sum_of_reciprocal_widths(widths):
    """FM2, exactly for Gaussian weights: relative variance prod(1 + 5 / n) - 1, within
    20 % over 2000 networks (lengths have heavy tails).
    """
    found = lengths(widths)
    assert np.mean(found) == pytest.approx(1.0, abs=4.0 * np.std(found) / np.sqrt(len(found)))
    assert np.var(found) == pytest.approx(theory(widths), rel=0.2)


def test_the_mean_length_is_kept_by_he_alone():
    """FM1: kept iff Var = 2 / fan_in; a factor sigma_w^2 / 2 a layer. To 5 %."""
    for sigma_w2 in (1.5, 2.0, 2.2):
        found = lengths((100,) * 6, sigma_w2)
        assert np.mean(found) == pytest.approx((sigma_w2 / 2.0) ** 5, rel=0.05)


def test_spread_of_two_hundred_wide_and_thirty_deep():
    """(1 + 5 / 200)^30 - 1 = 1.10, to 15 %, over 20,000 networks.

    Given its length, a layer's input may be turned at will under Gaussian weights: the next
    length needs 200 normals, not 40,000.
    """
    random = np.random.default_rng(0)
    length = np.ones(20_000)
    for _ in range(30):
        g = random.standard_normal((20_000, 200), dtype=np.float32)
        length *= 2.0 * np.mean(np.maximum(g, 0.0) ** 2, axis=1)
    assert np.var(length) / np.mean(length) ** 2 == pytest.approx(1.10, rel=0.15)
