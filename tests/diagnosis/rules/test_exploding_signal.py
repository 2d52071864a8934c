"""IW104 on real forward passes of random networks, with their healthy twins."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.exploding_signal import ExplodingSignal
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, with_series

RULE = ExplodingSignal()


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_at_twice_he_is_flagged_at_the_first_step(seed):
    """He et al. 2015, eq. 9: the variance doubles a layer; 29 gaps make 2.3e4 in std."""
    finding = finding_of(RULE, mlp_history(30, "relu", 4.0, seed=seed, rows=1))
    assert (finding.code, finding.symptom, finding.step) == ("IW104", "exploding_signal", 0)
    assert finding.severity in ("warning", "error")
    # it starts where it has grown by e^3: 2^(l/2) = e^3 at l = 8.7
    assert finding.layers[0] in [f"dense_{i}" for i in range(6, 13)]
    assert finding.layers[-1] == "dense_29"
    growth = np.log(finding.evidence["signal_growth"])
    assert growth == pytest.approx(14.5 * np.log(2), abs=2.5)  # finite width scatters
    assert finding.evidence["signal_growth_limit"] == pytest.approx(np.exp(3.0))
    assert finding.evidence["factor_per_layer"] == pytest.approx(1.414, abs=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_net_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed, rows=1)) is None


def test_linear_layers_at_he_double():
    finding = finding_of(RULE, mlp_history(30, "linear", 2.0, rows=1))
    assert finding.severity == "error"
    assert finding.evidence["factor_per_layer"] == pytest.approx(1.414, abs=0.03)
    assert finding_of(RULE, mlp_history(30, "linear", 1.0, rows=1)) is None


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, input_scale=factor)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 4.0, input_scale=factor)) is not None


def test_the_slow_growth_of_a_residual_sum_is_healthy():
    # equal branches add their variances: std as the root of depth, 5.5 times after 30
    grown = {Statistic.ACTIVATION_STD: lambda std: np.sqrt(1.0 + np.arange(31.0))[None] + 0 * std}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), grown)) is None


def test_a_single_large_layer_is_no_trend():
    large = {Statistic.ACTIVATION_STD: lambda std: std * np.where(np.arange(13) == 11, 1e6, 1.0)}
    assert finding_of(RULE, with_series(mlp_history(12, "relu", 2.0), large)) is None
