"""Gaussian expectations against closed forms and Gauss-Hermite quadrature."""

import math

import numpy as np
import pytest

from initwatch.theory.quadrature import expectation, mean_square, mean_square_slope
from tests.diagnosis.histories import PHIS, selu, sigmoid

SMOOTH = ("linear", "tanh", "sigmoid", "softplus", "gelu", "silu")


def gauss_hermite(function):
    """E[f(z)] by 150 Gauss-Hermite nodes: another rule, accurate for smooth functions only."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    return float(weights @ function(nodes) / math.sqrt(2.0 * math.pi))


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (np.ones_like, 1.0),
        (lambda z: z, 0.0),
        (lambda z: z**2, 1.0),
        (lambda z: z**4, 3.0),
        (lambda z: z**6, 15.0),
        (np.cos, math.exp(-0.5)),
        (np.exp, math.exp(0.5)),
        (np.abs, math.sqrt(2.0 / math.pi)),
        (lambda z: (z > 0) * 1.0, 0.5),
    ],
)
def test_expectation_has_the_known_moments(function, exact):
    assert expectation(function) == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("name", SMOOTH)
def test_both_mean_squares_agree_with_gauss_hermite(name, q):
    phi = PHIS[name]
    root = math.sqrt(q)
    square = gauss_hermite(lambda z: phi.function(root * z) ** 2)
    slope = gauss_hermite(lambda z: phi.slope(root * z) ** 2)
    assert mean_square(phi.function, q) == pytest.approx(square, rel=1e-5)
    assert mean_square_slope(phi.function, q) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("q", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_kinks_are_exact_at_every_scale(q):
    # ReLU halves the power; a slope a below zero adds a^2 of the other half
    relu, leaky = PHIS["relu"].function, PHIS["leaky_relu"].function
    assert mean_square(relu, q) == pytest.approx(0.5 * q, rel=1e-6)
    assert mean_square_slope(relu, q) == pytest.approx(0.5, rel=1e-6)
    assert mean_square(leaky, q) == pytest.approx(0.52 * q, rel=1e-6)
    assert mean_square_slope(leaky, q) == pytest.approx(0.52, rel=1e-6)


def test_selu_has_its_fixed_point():
    """Klambauer et al. 2017: mean 0 and variance 1 reproduce themselves; chi is 1.0720."""
    assert expectation(selu) == pytest.approx(0.0, abs=1e-6)
    assert mean_square(selu, 1.0) == pytest.approx(1.0, abs=1e-6)
    assert mean_square_slope(selu, 1.0) == pytest.approx(1.0720, abs=1e-3)


@pytest.mark.parametrize("q", [0.0, 1e-28, 1e-20, 1e-8])
@pytest.mark.parametrize(
    ("phi", "slope_at_zero"),
    [
        (np.tanh, 1.0),
        (PHIS["gelu"].function, 0.5),
        (sigmoid, 0.25),
        (PHIS["softplus"].function, 0.5),
    ],
)
def test_without_a_signal_the_slope_is_that_at_zero(phi, slope_at_zero, q):
    # sigmoid and softplus are not 0 at 0: differences over too small a cell are all rounding
    assert mean_square_slope(phi, q) == pytest.approx(slope_at_zero**2, rel=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", [mean_square, mean_square_slope])
def test_what_leaves_the_range_of_floats_does_so_in_silence(function):
    assert not np.isfinite(function(np.exp, 1e6))
