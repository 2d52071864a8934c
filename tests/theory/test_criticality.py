"""Fixed points and critical weights: closed forms, tables computed beforehand, random networks."""

import math

import numpy as np
import pytest

from initwatch.errors import ArgumentError
from initwatch.theory.criticality import (
    critical_line,
    critical_point,
    fixed_point,
    least_critical_biases,
)
from initwatch.theory.propagation import DEPTH_SCALES, backward_factor, forward_map, gain
from tests.diagnosis.histories import PHIS
from tests.theory.test_propagation import TANH


def bent(z):
    """A custom activation: slope 1 above 0, sine below."""
    return np.where(z > 0, z, 0.5 * np.sin(z))


def bent_slope(z):
    return np.where(z > 0, 1.0, 0.5 * np.cos(z))


@pytest.mark.parametrize(("sigma_w2", "q", "chi", "xi"), TANH)
def test_tanh_rests_where_it_is_known_to(sigma_w2, q, chi, xi):
    """The table to its last digit: 1e-4 in q* and chi, 0.3 % in xi."""
    reached = fixed_point(sigma_w2, 0.05, np.tanh)
    assert reached.q == pytest.approx(q, abs=1e-4)
    assert reached.chi == pytest.approx(chi, abs=1e-4)
    assert reached.depth_scale == pytest.approx(xi, rel=3e-3)
    assert reached.trainable_depth == DEPTH_SCALES * reached.depth_scale


@pytest.mark.parametrize("start", [1e-3, 1.0, 50.0])
def test_one_fixed_point_is_reached_from_both_sides(start):
    assert fixed_point(1.3, 0.05, np.tanh, q=start).q == pytest.approx(0.3153, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "sigma_w2", "sigma_b2", "q", "chi"),
    [
        ("relu", 1.0, 0.0, 0.0, 0.5),  # dies
        ("relu", 2.0, 0.0, 1.0, 1.0),  # keeps what it gets
        ("relu", 2.0, 0.1, math.inf, 1.0),  # grows without bound, by 0.1 a layer
        ("relu", 3.0, 0.0, math.inf, 1.5),
        ("relu", 1.0, 0.1, 0.2, 0.5),  # q = q / 2 + 0.1
        ("relu", 1.9999, 1.0, 20000.0, 0.99995),  # far beyond all bends
        ("linear", 0.5, 0.5, 1.0, 0.5),
        ("tanh", 0.5, 0.0, 0.0, 0.5),
        ("tanh", 1.0, 0.0, 0.0, 1.0),  # dies, as slowly as 1 / (2 layers)
        # Klambauer et al. 2017; chi by hand: scale^2 (1 + alpha^2 2 e^2 N(-2)) / 2
        ("selu", 1.0, 0.0, 1.0, 1.07157),
        ("sigmoid", 0.0, 0.3, 0.3, 0.0),
        ("sigmoid", 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_fixed_points_with_a_closed_form(name, sigma_w2, sigma_b2, q, chi):
    reached = fixed_point(sigma_w2, sigma_b2, PHIS[name].function)
    assert reached.q == pytest.approx(q, rel=1e-3)
    assert reached.chi == pytest.approx(chi, abs=1e-4)


CRITICAL = [  # phi, sigma_b^2, critical sigma_w^2, q*
    (np.tanh, 0.0, 1.0, 0.0),
    (np.tanh, 0.05, 1.76095, 0.5700),
    (np.arctan, 0.0, 1.0, 0.0),
    (PHIS["relu"].function, 0.0, 2.0, 1.0),
    (PHIS["leaky_relu"].function, 0.0, 2.0 / 1.04, 1.0),
    (lambda z: np.where(z > 0, z, 0.3 * z), 0.0, 2.0 / 1.09, 1.0),
    (PHIS["linear"].function, 0.0, 1.0, 1.0),
    (PHIS["elu"].function, 0.0, 1.0, 0.0),
    # slopes 1.0507 above 0 and 1.7581 below
    (PHIS["selu"].function, 0.0, 2.0 / (1.0507010**2 + 1.7580993**2), 0.0),
    (bent, 0.0, 2.0 / 1.25, 0.0),
]


@pytest.mark.parametrize(("phi", "sigma_b2", "sigma_w2", "q"), CRITICAL)
def test_critical_weights_with_a_closed_form(phi, sigma_b2, sigma_w2, q):
    """To 1e-5: slopes at 0 of what dies, half the squared slopes of what has two of them.

    1.76095 is what Schoenholz et al. 2017 read off the line of tanh at sigma_b^2 = 0.05.
    """
    found = critical_point(phi, sigma_b2)
    assert found.sigma_w2 == pytest.approx(sigma_w2, abs=1e-5)
    assert found.q == pytest.approx(q, abs=1e-4)
    assert found.sigma_b2 == sigma_b2


@pytest.mark.parametrize("sigma_b2", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("phi", [np.tanh, PHIS["elu"].function, PHIS["selu"].function, np.arctan])
def test_iterating_the_map_ends_with_chi_of_one(phi, sigma_b2):
    """The definition, by another algorithm: iterate the forward map, read chi."""
    found = critical_point(phi, sigma_b2)
    q = 1.0
    for _ in range(600):
        q = forward_map(q, found.sigma_w2, sigma_b2, phi)
    assert q == pytest.approx(found.q, rel=1e-5)
    assert backward_factor(q, found.sigma_w2, phi) == pytest.approx(1.0, abs=1e-5)


def test_sigmoids_are_critical_with_huge_weights_only():
    """E[phi'^2] is at most 1/16: sigma_w^2 is above 16 wherever chi is 1."""
    found = critical_point(PHIS["sigmoid"].function)
    assert found.sigma_w2 == pytest.approx(103.0, abs=0.5)
    assert backward_factor(found.q, found.sigma_w2, PHIS["sigmoid"].function) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "sigma_b2"),
    [("relu", 0.05), ("linear", 0.3), ("softplus", 0.0), ("softplus", 1.0), ("gelu", 0.0)],
)
def test_where_nothing_is_critical_nothing_is_said(name, sigma_b2):
    assert critical_point(PHIS[name].function, sigma_b2) is None


def test_the_forward_signal_leaves_an_unstable_point_of_the_line():
    """GELU at q = 1: chi is 1, yet a variance 1 % above grows and grows."""
    phi = PHIS["gelu"].function
    point = critical_line(1.0, phi)
    assert point.sigma_w2 == pytest.approx(2.1937, abs=1e-3)
    q = 1.01
    for _ in range(200):
        q = forward_map(q, point.sigma_w2, point.sigma_b2, phi)
    assert q > 5.0
    assert critical_point(phi, point.sigma_b2) is None


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_the_least_biases_are_enough_and_not_much_more(name):
    phi = PHIS[name].function
    least = least_critical_biases(phi)
    assert critical_point(phi, least) is not None
    assert critical_point(phi, 0.6 * least) is None


def test_least_biases_of_those_that_need_none_or_have_none():
    assert least_critical_biases(np.tanh) == least_critical_biases(PHIS["relu"].function) == 0.0
    assert least_critical_biases(PHIS["softplus"].function) is None


def test_an_activation_that_is_flat_around_zero_is_critical_beyond():
    """Slope 1 from |z| = 0.5 to 1.5 and 0 elsewhere: chi is sigma_w^2 times the share there."""

    def stepped(z):
        return np.sign(z) * np.clip(np.abs(z) - 0.5, 0.0, 1.0)

    found = critical_point(stepped, 0.5)
    beyond = [math.erfc(bend / math.sqrt(2.0 * found.q)) for bend in (0.5, 1.5)]
    assert found.sigma_w2 * (beyond[0] - beyond[1]) == pytest.approx(1.0, abs=1e-3)


def test_flat_activations_and_wrong_variances_are_told():
    assert critical_point(np.ones_like) is None
    assert critical_point(np.exp) is None  # chi is 1 at q = 1, which the signal leaves
    with pytest.raises(ArgumentError, match="no slope"):
        critical_line(1.0, np.ones_like)
    with pytest.raises(ArgumentError, match=r"sigma_w2 must be a finite variance.*-1"):
        fixed_point(-1.0, 0.0, np.tanh)
    with pytest.raises(ArgumentError, match="sigma_b2 must be"):
        critical_point(np.tanh, math.inf)
    with pytest.raises(ArgumentError, match="q must be"):
        fixed_point(1.0, 0.0, np.tanh, q=0.0)


NETWORKS = {name: (phi.function, phi.slope) for name, phi in PHIS.items()} | {
    "bent": (bent, bent_slope)
}


def simulated(name, sigma_w2, sigma_b2, q=1.0, depth=12, width=1000, draws=4):
    """(q, chi) at the last layer of random networks, means over ``draws`` and 16 inputs each."""
    phi, slope = NETWORKS[name]
    reached, factor = [], []
    for seed in range(draws):
        random = np.random.default_rng(seed)
        z = random.normal(size=(16, width), scale=math.sqrt(q)).astype("float32")
        for _ in range(depth):
            weight = random.normal(size=(width, width), scale=math.sqrt(sigma_w2 / width))
            bias = random.normal(size=width, scale=math.sqrt(sigma_b2))
            z = phi(z) @ weight.astype("float32") + bias
        reached.append(np.mean(z**2))
        delta = random.normal(size=(16, width))
        passed = (delta @ weight.T) * slope(z)
        factor.append(np.mean(passed**2) / np.mean(delta**2))
    return np.mean(reached), np.mean(factor)


@pytest.mark.parametrize("name", NETWORKS)
def test_random_networks_rest_where_theory_says(name):
    """Networks of width 1000 in the ordered phase: q* and chi to 8 %."""
    sigma_w2 = 0.5 if name == "linear" else 1.0
    reached = fixed_point(sigma_w2, 0.2, NETWORKS[name][0])
    q, chi = simulated(name, sigma_w2, 0.2)
    assert reached.q == pytest.approx(q, rel=0.08)
    assert reached.chi == pytest.approx(chi, rel=0.08)


# activations with a critical point, and a sigma_b^2 for it
BIASES = dict.fromkeys(["linear", "relu", "leaky_relu", "sigmoid"], 0.0)
BIASES |= dict.fromkeys(["tanh", "elu", "selu", "bent"], 0.05) | {"gelu": 0.25, "silu": 0.7}


@pytest.mark.parametrize("name", BIASES)
def test_random_networks_with_critical_weights_are_critical(name):
    """Networks of width 1000, 12 layers from q*: chi is 1 to 8 %, q* kept to 15 %, and to 25 %
    where there are no biases and nothing pulls q back (its spread over networks is then
    sqrt(12 x 5 / 1000), Hanin & Rolnick 2018).
    """
    point = critical_point(NETWORKS[name][0], BIASES[name])
    q, chi = simulated(name, point.sigma_w2, point.sigma_b2, q=point.q)
    assert q == pytest.approx(point.q, rel=0.25 if BIASES[name] == 0.0 else 0.15)
    assert chi == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("name", NETWORKS)
def test_gains_keep_the_variance_of_drawn_inputs(name):
    """sqrt(q / E[phi^2]) over 400,000 draws, to 1 %."""
    phi = NETWORKS[name][0]
    z = np.random.default_rng(0).normal(size=400_000)
    assert gain(phi) ** 2 * np.mean(phi(z) ** 2) == pytest.approx(1.0, rel=0.01)
