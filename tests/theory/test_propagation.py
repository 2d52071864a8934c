"""The propagation maps against tables computed beforehand, and against random networks."""

import math

import numpy as np
import pytest

from initwatch.theory.propagation import (
    backward_factor,
    depth_scale,
    forward_map,
    gain,
    propagate,
)
from tests.diagnosis.histories import PHIS

# activation, sigma_w^2, q after 1, 10, 50 layers from q = 1, chi at layers 1, 10, 50, and the
# factor on the gradient's variance over 10 and 50 layers: mean-field maps iterated with
# Gauss-Hermite quadrature (which is off by 4e-4 at ReLU's kink).
TABLE = """
relu       1 0.5   0.000977 8.88e-16 0.5     0.5     0.5     0.000976 8.87e-16
relu       2 1     1        1        1       1       1       1        0.999
leaky_relu 1 0.52  0.00145  6.31e-15 0.52    0.52    0.52    0.00145  6.31e-15
leaky_relu 2 1.04  1.48     7.11     1.04    1.04    1.04    1.48     7.1
elu        1 0.645 0.0594   0.0027   0.6681  0.8424  0.9603  0.07     0.00337
elu        2 1.29  5.33     34.1     1.336   1.174   1.069   8.47     377
selu       1 1     1        1        1.072   1.072   1.072   2        31.7
selu       2 2     30.6     2.92e+03 2.143   1.346   1.128   95.3     8.52e+04
tanh       1 0.394 0.0522   0.0102   0.4644  0.9028  0.9799  0.0714   0.0143
tanh       2 0.789 0.619    0.618    0.9288  1.105   1.106   1.91     106
sigmoid    1 0.293 0.265    0.265    0.04484 0.05572 0.05572 2.3e-13  1.59e-63
sigmoid    2 0.587 0.555    0.555    0.08967 0.101   0.101   9.69e-11 1.43e-50
softplus   1 0.921 0.856    0.856    0.2934  0.2887  0.2887  4.15e-06 1.09e-27
softplus   2 1.84  7.66     24.7     0.5868  0.7494  0.8478  0.0243   6.8e-06
gelu       1 0.425 3.31e-06 2.74e-30 0.4559  0.25    0.25    4.16e-06 3.44e-30
gelu       2 0.85  0.0293   2.97e-14 0.9117  0.5615  0.5     0.0533   5.61e-14
silu       1 0.356 1.81e-06 1.5e-30  0.3795  0.25    0.25    2.09e-06 1.73e-30
silu       2 0.712 0.00357  3.26e-15 0.759   0.5035  0.5     0.00479  4.39e-15
linear     1 1     1        1        1       1       1       1        1
linear     2 2     1.02e+03 1.13e+15 2       2       2       1.02e+03 1.13e+15
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]

# sigma_w^2 -> q* and chi of tanh at sigma_b^2 = 0.05, fixed points of the same maps; 1/|ln chi|
TANH = [
    (1.0, 0.1936, 0.7590, 3.63),
    (1.3, 0.3153, 0.8802, 7.83),
    (1.5, 0.4180, 0.9386, 15.79),
    (1.7, 0.5331, 0.9867, 74.92),
    (2.0, 0.7218, 1.0477, 21.48),
    (2.5, 1.0640, 1.1335, 7.98),
    (3.0, 1.4280, 1.2089, 5.27),
    (4.0, 2.1955, 1.3424, 3.40),
]

GAINS = {  # sqrt(1 / E[phi(z)^2]); He et al. 2015 for ReLU, Klambauer et al. 2017 for SELU
    "relu": 1.4142,
    "leaky_relu": 1.3868,
    "elu": 1.2452,
    "selu": 1.0,
    "tanh": 1.5925,
    "sigmoid": 1.8462,
    "softplus": 1.0419,
    "gelu": 1.5335,
    "silu": 1.6765,
    "linear": 1.0,
}


def uniform(name, sigma_w2, layers, q=1.0):
    """A stack of equal layers with pre-activation variance ``q`` at the first."""
    phi = PHIS[name].function
    return propagate(q / sigma_w2, [sigma_w2] * layers, [0.0] * layers, [phi] * layers)


def fixed_point(sigma_w2, sigma_b2, phi):
    q = 1.0
    for _ in range(400):
        q = forward_map(q, sigma_w2, sigma_b2, phi)
    return q


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_propagation_reproduces_the_table(row):
    name, numbers = row[0], [float(number) for number in row[1:]]
    stack = uniform(name, numbers[0], 51)
    assert [stack.q[i] for i in (1, 10, 50)] == pytest.approx(numbers[1:4], rel=6e-3)
    assert [stack.chi[i] for i in (0, 9, 49)] == pytest.approx(numbers[4:7], rel=1e-3)
    ten = uniform(name, numbers[0], 11)
    assert math.exp(ten.log_backward) == pytest.approx(numbers[7], rel=1e-2)
    assert math.exp(stack.log_backward) == pytest.approx(numbers[8], rel=1e-2)


@pytest.mark.parametrize(("sigma_w2", "q", "chi", "xi"), TANH)
def test_tanh_with_biases_has_the_known_fixed_points(sigma_w2, q, chi, xi):
    reached = fixed_point(sigma_w2, 0.05, np.tanh)
    assert reached == pytest.approx(q, abs=1e-4)
    assert backward_factor(reached, sigma_w2, np.tanh) == pytest.approx(chi, abs=1e-4)
    assert depth_scale(backward_factor(reached, sigma_w2, np.tanh)) == pytest.approx(xi, rel=5e-3)


def test_tanh_is_critical_where_it_should_be():
    """Schoenholz et al. 2017: chi = 1 at sigma_w^2 = 1 without biases, 1.7610 at 0.05."""
    assert backward_factor(1e-12, 1.0, np.tanh) == pytest.approx(1.0, abs=1e-6)
    reached = fixed_point(1.7609546, 0.05, np.tanh)
    assert reached == pytest.approx(0.5700, abs=1e-3)
    assert backward_factor(reached, 1.7609546, np.tanh) == pytest.approx(1.0, abs=1e-4)
    assert depth_scale(1.0) == math.inf
    assert depth_scale(0.0) == 0.0


@pytest.mark.parametrize("name", GAINS)
def test_gains_are_those_of_the_literature(name):
    assert gain(PHIS[name].function) == pytest.approx(GAINS[name], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "sigma_w2"), [("relu", 1.0), ("tanh", 1.5), ("gelu", 2.0), ("selu", 1.0)]
)
def test_theory_describes_random_networks(name, sigma_w2):
    """Variances and squared gradients of random networks of width 600, mean of 6 draws."""
    phi, depth, width, batch = PHIS[name], 8, 600, 32
    q, squared = np.zeros(depth), np.zeros(depth)
    for seed in range(6):
        random = np.random.default_rng(seed)
        signal = random.normal(size=(batch, width))
        weights = [
            random.normal(size=(width, width)) * np.sqrt(sigma_w2 / width) for _ in range(depth)
        ]
        before = []
        for weight in weights:
            before.append(signal @ weight)
            signal = phi.function(before[-1])
        q += [np.mean(z**2) / 6 for z in before]
        delta = random.normal(size=(batch, width))  # dL/dz of the last layer
        for i in range(depth - 1, -1, -1):
            squared[i] += np.mean(delta**2) / 6
            delta = (delta @ weights[i].T) * phi.slope(before[i - 1])
    stack = uniform(name, sigma_w2, depth, q=sigma_w2)
    assert stack.q == pytest.approx(q, rel=0.1)
    assert stack.chi == pytest.approx(squared[:-1] / squared[1:], rel=0.1)
    assert stack.log_backward == pytest.approx(np.log(squared[0] / squared[-1]), abs=0.15)


def test_each_layer_has_its_own_variances_and_activation():
    phis = [PHIS[name].function for name in ("relu", "tanh", "linear")]
    stack = propagate(3.0, [1.0, 2.0, 4.0], [0.1, 0.2, 0.3], phis)
    q0 = 1.0 * 3.0 + 0.1
    q1 = 2.0 * q0 / 2.0 + 0.2  # ReLU halves
    q2 = forward_map(q1, 4.0, 0.3, np.tanh)
    assert stack.q == pytest.approx((q0, q1, q2))
    assert stack.chi == pytest.approx((2.0 * 0.5, backward_factor(q1, 4.0, np.tanh)))
    assert stack.log_forward == pytest.approx(math.log(q2 / q0))


def test_what_overflows_or_dies_is_distorted_without_bound():
    exploded = uniform("linear", 2.0, 1200)
    assert len(exploded.q) == 1200
    assert len(exploded.chi) == 1199
    assert exploded.distortion == math.inf
    dead = propagate(1.0, [0.0] * 4, [0.0] * 4, [PHIS["relu"].function] * 4)
    assert dead.distortion == math.inf
