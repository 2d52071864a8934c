"""IW103 on real forward passes of random networks, with their healthy twins."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.vanishing_signal import VanishingSignal
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, late, mlp_history, with_series

RULE = VanishingSignal()


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_glorot_is_flagged_at_the_first_step(seed):
    """He et al. 2015, eq. 9 and 10: half the variance a layer; 29 gaps leave 4.3e-5."""
    finding = finding_of(RULE, mlp_history(30, "relu", 1.0, seed=seed, rows=1))
    assert (finding.code, finding.symptom, finding.step) == ("IW103", "vanishing_signal", 0)
    assert finding.severity in ("warning", "error")
    # it starts where less than e^-3 is left: 2^(-l/2) = e^-3 at l = 8.7
    assert finding.layers[0] in [f"dense_{i}" for i in range(6, 13)]
    assert finding.layers[-1] == "dense_29"
    # finite width scatters ln(std) by sqrt(5 x 30 / 128) / 2 = 0.5: Hanin & Rolnick 2018
    assert np.log(finding.evidence["signal_left"]) == pytest.approx(-14.5 * np.log(2), abs=2.5)
    assert finding.evidence["signal_left_limit"] == pytest.approx(np.exp(-3.0))
    assert finding.evidence["factor_per_layer"] == pytest.approx(0.707, abs=0.06)


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed, rows=1)) is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("depth", "activation"), [(4, "relu"), (6, "relu"), (8, "relu"), (10, "tanh")]
)
def test_what_glorot_carries_is_not_flagged(depth, activation, seed):
    assert finding_of(RULE, mlp_history(depth, activation, 1.0, seed=seed, rows=1)) is None


def test_the_last_layers_can_be_lost_altogether():
    # std 0.01 at fan-in 128: sigma_w^2 = 0.0128, a factor 0.08 a layer under ReLU
    finding = finding_of(RULE, mlp_history(10, "relu", 0.0128, rows=1))
    assert finding.severity == "error"
    assert finding.evidence["factor_per_layer"] == pytest.approx(0.08, abs=0.01)


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, rows=1, input_scale=factor)) is None
    finding = finding_of(RULE, mlp_history(30, "relu", 1.0, rows=1, input_scale=factor))
    left = finding_of(RULE, mlp_history(30, "relu", 1.0, rows=1)).evidence["signal_left"]
    assert finding.evidence["signal_left"] == pytest.approx(left, rel=1e-4)


def test_a_single_small_layer_is_no_trend():
    small = {Statistic.ACTIVATION_STD: lambda std: std * np.where(np.arange(13) == 11, 1e-6, 1.0)}
    assert finding_of(RULE, with_series(mlp_history(12, "relu", 2.0), small)) is None


def test_dead_layers_are_another_rules_business():
    # exactly 0 has no logarithm; the rest of the net is sound
    dead = {Statistic.ACTIVATION_STD: lambda std: std * np.where(np.arange(13) < 9, 1.0, 0.0)}
    assert finding_of(RULE, with_series(mlp_history(12, "relu", 2.0), dead)) is None


def test_a_run_that_learns_is_left_alone():
    history = mlp_history(30, "relu", 1.0)
    assert finding_of(RULE, late(history, 2.3 * np.exp(-np.arange(200) / 100.0))) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None


def shift(kernels, biases):
    """Biases outweigh the weights: the size of the signal stays, what is of the example fades."""
    random = np.random.default_rng(1)
    for kernel, bias in zip(kernels[1:-1], biases[1:-1], strict=True):
        kernel *= 0.2
        bias += random.normal(size=len(bias))


@pytest.mark.parametrize("seed", range(5))
def test_outputs_that_tell_no_examples_apart_are_flagged(seed):
    """Rank collapse: 1 - cosine falls by chi_c a layer (Poole et al. 2016, eq. 7)."""
    finding = finding_of(RULE, mlp_history(8, "tanh", 1.0, seed=seed, rows=1, edit=shift))
    assert finding.evidence["apart"] < finding.evidence["apart_limit"] == 1e-4
    assert finding.layers[-1] == "dense_7"
    assert finding.evidence["activation_similarity_first"] < 0.99
    assert finding.evidence["activation_similarity_last_hidden"] > 0.9999
    assert "Examples look the same from dense_" in finding.message


def test_what_rounding_leaves_is_an_error():
    graver = mlp_history(12, "tanh", 1.0, rows=1, edit=shift)
    assert finding_of(RULE, graver).severity == "error"


def test_examples_that_are_alike_from_the_start_are_not_the_networks_fault():
    history = mlp_history(8, "tanh", 1.0, rows=1, edit=shift)

    def alike(similarity):
        return 1.0 - 1e-3 * (1.0 - similarity)

    given = {Statistic.ACTIVATION_SIMILARITY: alike}
    assert finding_of(RULE, with_series(history, given)) is None


def test_a_similarity_that_is_not_known_is_not_judged():
    history = mlp_history(8, "tanh", 1.0, rows=1, edit=shift)
    unknown = {Statistic.ACTIVATION_SIMILARITY: lambda similarity: np.nan * similarity}
    assert finding_of(RULE, with_series(history, unknown)) is None
