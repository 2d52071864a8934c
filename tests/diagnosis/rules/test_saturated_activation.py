"""IW302 on networks driven into the flat ends of their activation."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.saturated_activation import SaturatedActivation
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_layers, with_series

RULE = SaturatedActivation()


def bias_third(kernels, biases):
    biases[1][:42] = 20.0  # of 128 units


def test_tanh_at_a_wide_scale_is_flagged():
    """Pre-activation std 10: E[sech^4(10 z)] = 4/3 / (10 sqrt(2 pi)) = 0.053."""
    finding = finding_of(RULE, mlp_history(5, "tanh", 100.0))
    assert finding.code == "IW302"
    assert finding.symptom == "saturated_activation"
    assert finding.severity == "warning"
    assert set(finding.layers) == {f"dense_{i}" for i in range(5)}
    assert finding.step == 2
    assert finding.evidence["slope_share"] == pytest.approx(0.053, abs=0.005)
    assert finding.evidence["slope_share_limit"] == 0.1
    # the worst first
    shares = finding.evidence["slope_share_of_each"]
    assert shares == sorted(shares)


@pytest.mark.parametrize("sigma_w2", [1.0, 2.0, 4.0])
def test_tanh_at_usual_scales_is_not(sigma_w2):
    assert finding_of(RULE, mlp_history(5, "tanh", sigma_w2)) is None


def test_the_limit_lies_at_a_pre_activation_std_of_five():
    """E[sech^4(s z)] over the largest slope, 1: 0.1 at s = 5.3; one layer, so q = sigma_w^2."""
    assert finding_of(RULE, mlp_history(1, "tanh", 4.5**2)) is None
    assert finding_of(RULE, mlp_history(1, "tanh", 6.5**2)) is not None


def test_sigmoid_is_held_against_its_own_largest_slope():
    # phi'^2 is at most 1/16: near 0 a sigmoid is not saturated though its slope is small
    assert finding_of(RULE, mlp_history(5, "sigmoid", 1.0)) is None
    assert finding_of(RULE, mlp_history(5, "sigmoid", 1000.0)) is not None


def test_every_unit_at_three_is_saturated():
    """tanh'(3) = 0.0099: a test of |z| >= 5 would miss it."""
    at_three = {Statistic.ACTIVATION_SLOPE: set_to((1.0 - np.tanh(3.0) ** 2) ** 2, columns=2)}
    finding = finding_of(RULE, with_series(mlp_history(5, "tanh", 1.0), at_three))
    assert finding.layers == ["dense_2"]
    assert finding.evidence["slope_share"] == pytest.approx(0.0099**2, rel=0.01)


def test_a_part_of_the_units_may_be_saturated():
    assert finding_of(RULE, mlp_history(5, "tanh", 1.0, edit=bias_third)) is None


def test_the_output_layer_may_be_sure():
    flat = {Statistic.ACTIVATION_SLOPE: set_to(1e-6, columns=4)}
    history = with_series(mlp_history(5, "tanh", 1.0), flat)
    assert finding_of(RULE, history).layers == ["dense_4"]
    as_output = with_layers(
        history, lambda layer: dataclasses.replace(layer, is_output=layer.path == "dense_4")
    )
    assert finding_of(RULE, as_output) is None


def test_relu_does_not_saturate():
    none_on = {Statistic.ACTIVATION_SLOPE: set_to(0.0)}
    assert finding_of(RULE, with_series(mlp_history(5, "relu", 2.0), none_on)) is None


def test_three_steps_in_a_row_are_needed():
    sick = mlp_history(5, "tanh", 100.0)
    once_open = {Statistic.ACTIVATION_SLOPE: set_to(0.5, rows=1)}
    assert finding_of(RULE, with_series(sick, once_open)) is None
    assert finding_of(RULE, mlp_history(5, "tanh", 100.0, rows=2)) is None


def test_an_unknown_slope_is_no_verdict():
    unknown = {Statistic.ACTIVATION_SLOPE: set_to(np.nan)}
    assert finding_of(RULE, with_series(mlp_history(5, "tanh", 100.0), unknown)) is None


def test_a_layer_whose_activation_is_another_layer_is_judged_there():
    history = with_layers(
        mlp_history(5, "tanh", 100.0),
        lambda layer: (
            dataclasses.replace(
                layer, activation=dataclasses.replace(layer.activation, layer="elsewhere")
            )
            if layer.path == "dense_0"
            else layer
        ),
    )
    assert "dense_0" not in finding_of(RULE, history).layers
