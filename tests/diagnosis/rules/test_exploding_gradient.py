"""IW202 on real backward passes of random networks, with their healthy twins."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.exploding_gradient import ExplodingGradient
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, late, mlp_history, set_to, with_series

RULE = ExplodingGradient()


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_at_twice_he_is_flagged(seed):
    """chi = 2: sqrt(2) a layer, 2.3e4 over 29 gaps; measured 1.3e4 to 2.1e4 at width 256."""
    finding = finding_of(RULE, mlp_history(30, "relu", 4.0, seed=seed))
    assert (finding.code, finding.symptom, finding.step) == ("IW202", "exploding_gradient", 2)
    assert finding.severity in ("warning", "error")
    assert finding.layers[0] == "dense_0"
    assert "dense_29" not in finding.layers
    growth = np.log(finding.evidence["gradient_growth"])
    assert growth == pytest.approx(14.5 * np.log(2), abs=2.5)  # finite width scatters
    assert finding.evidence["gradient_growth_limit"] == pytest.approx(np.exp(3.0))
    assert finding.evidence["factor_per_layer"] == pytest.approx(1.414, abs=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_net_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed)) is None


def test_chaotic_tanh_is_flagged_and_critical_tanh_is_not():
    """sigma_w^2 = 6: growth 5.6e2 at depth 30, width 256 (one seed)."""
    finding = finding_of(RULE, mlp_history(30, "tanh", 6.0))
    assert finding.severity == "warning"
    assert 1e2 < finding.evidence["gradient_growth"] < 1e4
    assert finding_of(RULE, mlp_history(30, "tanh", 1.0)) is None


def test_selu_with_he_is_flagged_and_with_lecun_is_not():
    """Gradient variance over 50 layers: 8.5e4 with He, 32 with LeCun (Klambauer et al. 2017)."""
    finding = finding_of(RULE, mlp_history(50, "selu", 2.0))
    growth = np.log(finding.evidence["gradient_growth"])
    assert growth == pytest.approx(0.5 * np.log(8.5e4), abs=2.5)
    assert finding_of(RULE, mlp_history(50, "selu", 1.0)) is None


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_factor_on_the_loss_changes_nothing(factor):
    plain = finding_of(RULE, mlp_history(20, "relu", 4.0))
    scaled = finding_of(RULE, mlp_history(20, "relu", 4.0, loss_factor=factor))
    assert (scaled.severity, scaled.layers) == (plain.severity, plain.layers)
    # large gradients as such are no explosion
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, loss_factor=factor)) is None


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, input_scale=factor)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 4.0, input_scale=factor)) is not None


def test_a_skipped_step_of_infinite_gradients_is_no_explosion():
    # float16: the scaled gradients overflow, the optimizer throws them away
    infinite = {Statistic.DELTA_NORM: set_to(np.inf, rows=2), Statistic.SKIPPED: set_to(1.0, 2)}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), infinite)) is None


def test_one_step_of_large_gradients_is_no_explosion():
    other = mlp_history(30, "relu", 4.0).series[Statistic.DELTA_NORM][1]
    odd = {Statistic.DELTA_NORM: set_to(other, rows=2)}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), odd)) is None


def test_a_run_that_learns_is_left_alone():
    history = mlp_history(30, "relu", 4.0)
    assert finding_of(RULE, late(history, 2.3 * np.exp(-np.arange(200) / 100.0))) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None
