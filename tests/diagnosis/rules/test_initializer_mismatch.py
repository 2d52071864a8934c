"""IW101: theory's forecast from the measured weights, confirmed by the measured signal."""

import dataclasses

import keras
import numpy as np
import pytest

from initwatch.diagnosis.rules.initializer_mismatch import InitializerMismatch, power_text
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    late,
    mlp_history,
    with_layers,
    with_series,
)

RULE = InitializerMismatch()


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_glorot_is_flagged_at_the_first_step(seed):
    """29 gaps at chi = 1/2: ln of the variance changes by 29 ln 2 = 20.1."""
    finding = finding_of(RULE, mlp_history(30, "relu", 1.0, seed=seed, rows=1))
    assert (finding.code, finding.symptom, finding.step) == ("IW101", "initializer_mismatch", 0)
    assert finding.severity == "error"
    assert finding.layers == [f"dense_{i}" for i in range(30)]
    evidence = finding.evidence
    assert evidence["log_variance_change_predicted"] == pytest.approx(29 * np.log(2), rel=0.03)
    # finite width scatters ln(variance) by sqrt(5 x 30 / 128) = 1.1: Hanin & Rolnick 2018
    assert evidence["log_variance_change"] == pytest.approx(29 * np.log(2), abs=4.0)
    assert evidence["log_variance_change_predicted_limit"] == 6.0
    assert evidence["log_variance_change_limit"] == 3.0
    assert evidence["sigma_w2"] == pytest.approx(1.0, rel=0.05)
    assert evidence["sigma_w2_suitable"] == 2.0


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed, rows=1)) is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("depth", "activation"), [(4, "relu"), (6, "relu"), (8, "relu"), (10, "tanh")]
)
def test_a_mismatch_that_does_not_matter_is_not_flagged(depth, activation, seed):
    """Within 6 depth scales (Schoenholz et al. 2017): 7 ln 2 = 4.9; tanh 2.9."""
    assert finding_of(RULE, mlp_history(depth, activation, 1.0, seed=seed, rows=1)) is None


def test_selu_needs_lecun():
    """Klambauer et al. 2017; with He theory has 8.5e4 over 50 layers, e^11.4."""
    finding = finding_of(RULE, mlp_history(50, "selu", 2.0, rows=1))
    assert finding.evidence["sigma_w2"] == pytest.approx(2.0, rel=0.05)
    assert finding.evidence["sigma_w2_suitable"] == 1.0
    assert finding_of(RULE, mlp_history(50, "selu", 1.0, rows=1)) is None


def shrink_one(kernels, biases):
    kernels[7] *= 1e-3


def test_the_one_wrong_layer_is_named():
    finding = finding_of(RULE, mlp_history(16, "relu", 2.0, edit=shrink_one, rows=1))
    assert finding.layers == ["dense_7"]
    assert finding.evidence["sigma_w2"] == pytest.approx(2e-6, rel=0.1)
    assert finding_of(RULE, mlp_history(16, "relu", 2.0, rows=1)) is None


@pytest.mark.parametrize(
    ("initializer", "told"),
    [
        (keras.initializers.HeNormal(), True),
        (keras.initializers.RandomNormal(), False),  # goes by no fan-in
        (None, False),
    ],
)
def test_a_fan_in_that_keras_counts_otherwise_is_named(initializer, told):
    """He under Keras's count of a depthwise kernel: 2 / channels instead of 2."""

    def depthwise(layer):
        if layer.kernel is None:
            return layer
        fans = (64 * layer.kernel.fan_in, layer.kernel.fan_out)
        kernel = dataclasses.replace(layer.kernel, keras_fans=fans, initializer=initializer)
        return dataclasses.replace(layer, kernel=kernel, class_name="DepthwiseConv2D")

    finding = finding_of(RULE, with_layers(mlp_history(12, "relu", 2 / 64, rows=1), depthwise))
    words = "dense_0 (DepthwiseConv2D) sums over 128 inputs; Keras's initializers count 8192."
    assert (words in finding.message) is told
    assert finding.evidence.get("fan_in_of_keras") == (8192 if told else None)


def test_what_no_initializer_mends_is_another_rules_business():
    # deep sigmoid: chi is 0.10 at best
    assert finding_of(RULE, mlp_history(12, "sigmoid", 1.0, rows=1)) is None


def test_a_forecast_the_measurement_does_not_confirm_is_dropped():
    history = mlp_history(30, "relu", 1.0, rows=1)
    level = dict.fromkeys((Statistic.ACTIVATION_STD, Statistic.DELTA_NORM), np.ones_like)
    assert finding_of(RULE, history) is not None
    assert finding_of(RULE, with_series(history, level)) is None


def test_normalised_layers_are_not_followed():
    history = mlp_history(30, "relu", 1.0, rows=1)
    normalised = with_layers(history, lambda layer: dataclasses.replace(layer, normalized=True))
    assert finding_of(RULE, normalised) is None


def test_branches_of_residual_blocks_are_not_followed():
    history = mlp_history(30, "relu", 1.0, rows=1)
    branched = with_layers(history, lambda layer: dataclasses.replace(layer, trunk=False))
    assert finding_of(RULE, branched) is None


def test_unknown_activations_are_not_followed():
    history = mlp_history(30, "relu", 1.0, rows=1)
    unknown = with_layers(history, lambda layer: dataclasses.replace(layer, activation=None))
    assert finding_of(RULE, unknown) is None


def test_a_frozen_backbone_is_not_judged():
    # its weights are not among the trained variables: theory has nothing to start from
    assert finding_of(RULE, mlp_history(30, "relu", 1.0, frozen=tuple(range(25)), rows=1)) is None


def test_dropout_belongs_to_the_scale():
    """Dropout of 1/2 doubles the power: Glorot suits ReLU then, and He explodes by 2^19."""
    assert finding_of(RULE, mlp_history(20, "relu", 1.0, dropout=0.5, rows=1)) is None
    finding = finding_of(RULE, mlp_history(20, "relu", 2.0, dropout=0.5, rows=1))
    predicted = finding.evidence["log_variance_change_predicted"]
    assert predicted == pytest.approx(19 * np.log(2), rel=0.05)
    assert finding.evidence["sigma_w2_suitable"] == 1.0


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_factor_on_the_loss_changes_nothing(factor):
    plain = finding_of(RULE, mlp_history(30, "relu", 1.0, rows=1))
    scaled = finding_of(RULE, mlp_history(30, "relu", 1.0, rows=1, loss_factor=factor))
    assert scaled.severity == plain.severity
    assert scaled.layers == plain.layers
    assert scaled.evidence == pytest.approx(plain.evidence)


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, rows=1, input_scale=factor)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 1.0, rows=1, input_scale=factor)) is not None


def test_a_run_that_learns_is_left_alone():
    history = mlp_history(30, "relu", 1.0)
    assert finding_of(RULE, late(history, 2.3 * np.exp(-np.arange(200) / 100.0))) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None


@pytest.mark.parametrize(
    ("sigma_w2", "words"), [(1.0, "shrinks to"), (5.0, "grows to")], ids=["small", "large"]
)
def test_the_message_says_what_happens_and_what_theory_expects(sigma_w2, words):
    finding = finding_of(RULE, mlp_history(30, "relu", sigma_w2, rows=1))
    assert words in finding.message
    theory = np.sqrt(sigma_w2 / 2.0) ** 29
    said = float(finding.message.rsplit("theory ", 1)[1].rstrip(")."))
    assert said == pytest.approx(theory, rel=0.3)


def test_powers_are_read_by_people():
    assert power_text(np.log(0.5)) == "0.5"
    assert power_text(np.log(1e-11)) == "1e-11"
    assert power_text(1e4) == "10^4343"
    assert power_text(-1e4) == "10^-4343"


STUCK = np.full(110, 2.3)


@pytest.mark.parametrize("depth", [2, 3])
def test_shallow_networks_are_judged_when_they_are_stuck(depth):
    """One gap at sigma_w^2 = 1e-4: ln of the variance changes by ln 5e-5 = -9.9."""
    history = mlp_history(depth, "relu", 1e-4)
    finding = finding_of(RULE, late(history, STUCK, 2.3))
    assert finding.layers == [f"dense_{i}" for i in range(depth)]
    predicted = finding.evidence["log_variance_change_predicted"]
    assert predicted == pytest.approx((depth - 1) * np.log(2e4), rel=0.05)
    assert RULE.abstains(late(history, STUCK, 2.3)) is None


@pytest.mark.parametrize(
    ("losses", "guess"),
    [
        (STUCK[:60], 2.3),  # it may still grow out of them
        (2.3 * np.exp(-np.arange(110) / 100.0), 2.3),  # it learns
        (STUCK, 7.0),  # it has learned before
        (STUCK, np.nan),  # no guess is known
    ],
)
def test_shallow_networks_that_may_learn_are_not(losses, guess):
    history = late(mlp_history(2, "relu", 1e-4), losses, guess)
    assert finding_of(RULE, history) is None
    assert "4, while the run learns or is young" in RULE.abstains(history)


def test_a_stuck_shallow_network_of_sound_weights_is_not_blamed_on_them():
    assert finding_of(RULE, late(mlp_history(2, "relu", 2.0), STUCK, 2.3)) is None
