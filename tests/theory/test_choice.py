"""The choice of an initializer family, against what the literature prescribes."""

import math

import numpy as np
import pytest

from initwatch.theory.choice import candidates, sigma_w2
from initwatch.theory.propagation import DEPTH_SCALES
from initwatch.theory.quadrature import expectation, mean_square
from tests.diagnosis.histories import PHIS


def ranked(name, layers, *, width=256, textbook=True, keep=()):
    phis = [PHIS[name].function] * layers
    return candidates([(width, width)] * layers, phis, name=name if textbook else "", keep=keep)


def distortions(found):
    """Family -> distortion; the better of the two computed ones."""
    return {c.name: c.stack.distortion for c in reversed(found)}


def test_families_have_their_published_variances():
    """Glorot & Bengio 2010, eq. 12; He et al. 2015, eq. 10; LeCun et al. 1998, sec. 4.6."""
    random = np.random.default_rng(0)
    fan_in, fan_out = 300, 100
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    glorot_uniform = random.uniform(-limit, limit, size=(fan_in, fan_out))
    assert sigma_w2("glorot", 0.0, fan_in, fan_out) == pytest.approx(1.5)
    assert fan_in * np.var(glorot_uniform) == pytest.approx(1.5, rel=0.02)
    assert sigma_w2("he", 0.0, fan_in, fan_out) == 2.0
    assert sigma_w2("lecun", 0.0, fan_in, fan_out) == 1.0
    assert sigma_w2("computed", 1.23, fan_in, fan_out) == 1.23


@pytest.mark.parametrize(
    ("name", "layers", "family"),
    [
        ("relu", 10, "he"),
        ("relu", 30, "he"),
        ("leaky_relu", 10, "he"),
        ("selu", 10, "lecun"),
        ("selu", 50, "lecun"),
        ("tanh", 10, "glorot"),
        ("linear", 30, "glorot"),
        ("gelu", 3, "he"),
    ],
)
def test_the_textbook_match_comes_first(name, layers, family):
    best = ranked(name, layers)[0]
    assert best.name == family
    assert best.stack.distortion < DEPTH_SCALES


def test_relu_with_glorot_loses_half_its_variance_a_layer():
    """He et al. 2015, sec. 2.2: a factor 1/2 a layer; 8 factors are borne, 9 are not."""
    found = distortions(ranked("relu", 10))
    assert found["he"] == pytest.approx(0.0, abs=1e-4)
    assert found["glorot"] == pytest.approx(9 * math.log(2.0), abs=1e-4)
    assert distortions(ranked("relu", 9))["glorot"] < DEPTH_SCALES < found["glorot"]


@pytest.mark.parametrize("layers", [10, 12, 30])
def test_no_family_carries_a_signal_through_deep_sigmoids(layers):
    """The best chi is 0.10 (He): nine factors of it are beyond e^6."""
    found = ranked("sigmoid", layers)
    assert min(c.stack.distortion for c in found) > DEPTH_SCALES
    # its mean carries most of its power: no scale computed from the variance is offered
    assert "computed" not in {c.name for c in found}


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_a_computed_scale_beats_he_where_he_is_only_near(name):
    found = ranked(name, 30)
    assert found[0].name == "computed"
    assert found[0].stack.distortion < DEPTH_SCALES < distortions(found)["he"]
    # GELU 2.3517, SiLU 2.8108: 1 / E[phi^2]
    assert found[0].scale == pytest.approx({"gelu": 2.3517, "silu": 2.8108}[name], abs=1e-3)


def test_without_a_name_the_least_distorting_family_wins():
    found = ranked("tanh", 10, textbook=False)
    assert [c.stack.distortion for c in found] == sorted(c.stack.distortion for c in found)
    assert found[0].name == "he"


def test_dropout_adds_to_the_variance():
    """Kept units are scaled by 1/(1-p): power 1/(1-p). With p = 1/2, Glorot suits ReLU."""
    random = np.random.default_rng(0)
    signal = random.normal(size=200_000)
    kept = signal * (random.random(200_000) >= 0.5) / 0.5
    assert np.mean(kept**2) / np.mean(signal**2) == pytest.approx(2.0, rel=0.02)
    found = ranked("relu", 20, keep=[1.0] + [2.0] * 19)
    assert found[0].name == "glorot"
    assert found[0].stack.distortion == pytest.approx(0.0, abs=1e-4)
    assert distortions(found)["he"] == pytest.approx(19 * math.log(2.0), abs=1e-3)


def test_glorot_follows_the_shapes():
    # a funnel 512 -> 32: fan_in x Var(w) is 2 x 512/544, nearly He
    found = candidates([(512, 32)] * 10, [PHIS["relu"].function] * 10, name="relu")
    assert distortions(found)["glorot"] == pytest.approx(9 * math.log(544 / 512), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "share"), [("sigmoid", 0.85), ("softplus", 0.71), ("relu", 0.32), ("gelu", 0.19)]
)
def test_share_of_the_mean_in_the_power(name, share):
    """ReLU: (1/2pi) / (1/2) = 1/pi; the others by simulation here."""
    z = np.random.default_rng(0).normal(size=400_000)
    values = PHIS[name].function(z)
    assert np.mean(values) ** 2 / np.mean(values**2) == pytest.approx(share, abs=0.01)
    phi = PHIS[name].function
    assert expectation(phi) ** 2 / mean_square(phi, 1.0) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("layers", "computed"), [(3, True), (8, False)])
def test_a_scale_whose_fixed_point_repels_is_none(layers, computed):
    """The exponential's map is q -> sigma_w^2 exp(2 q): at q = 1 it doubles what it is off by."""
    found = candidates([(64, 64)] * layers, [np.exp] * layers, name="exponential")
    assert ("computed" in {candidate.name for candidate in found}) is computed
    if not computed:
        assert found[0].stack.distortion == np.inf


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "elu"])
def test_a_scale_that_bears_other_inputs_stands_at_any_depth(name):
    assert "computed" in {candidate.name for candidate in ranked(name, 60)}
