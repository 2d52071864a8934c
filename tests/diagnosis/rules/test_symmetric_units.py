"""IW102 on networks whose units begin as copies of each other."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.symmetric_units import SymmetricUnits
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    residual_history,
    set_to,
    with_series,
)

RULE = SymmetricUnits()


def all_constant(kernels, biases):
    for kernel in kernels:
        kernel[:] = 0.1


def one_constant(kernels, biases):
    kernels[1][:] = 0.1


def all_zero(kernels, biases):
    for kernel in kernels:
        kernel[:] = 0.0


def zero_output(kernels, biases):
    kernels[-1][:] = 0.0


def test_constant_kernels_are_flagged_after_two_updates():
    """Goodfellow et al. 2016, sec. 8.4: equal units get equal gradients and stay equal."""
    finding = finding_of(RULE, mlp_history(4, "tanh", edit=all_constant))
    assert (finding.code, finding.symptom, finding.severity) == (
        "IW102",
        "symmetric_units",
        "error",
    )
    assert finding.layers == ["dense_0", "dense_1", "dense_2", "dense_3"]
    assert finding.step == 2
    assert finding.evidence["weight_unit_spread"] < finding.evidence["weight_unit_spread_limit"]
    assert finding.evidence["updates"] == 2
    assert finding.evidence["layers_zero"] == 0
    assert finding_of(RULE, mlp_history(4, "tanh", edit=all_constant, rows=2)) is None


@pytest.mark.parametrize("rows", [3, 50])
def test_random_kernels_are_not(rows):
    assert finding_of(RULE, mlp_history(4, "tanh", rows=rows)) is None


def test_a_constant_kernel_between_random_ones_parts_with_the_first_update():
    # the layer behind it weighs its units differently: so are their gradients
    history = mlp_history(4, "tanh", edit=one_constant)
    assert history.series[Statistic.WEIGHT_UNIT_SPREAD][0, 2] == 0.0
    assert finding_of(RULE, history) is None


def test_zero_kernels_are_named_as_such():
    finding = finding_of(RULE, mlp_history(4, "relu", edit=all_zero))
    assert finding.evidence["layers_zero"] == 4
    assert "zero" in finding.message


def test_a_zero_output_layer_is_healthy():
    history = mlp_history(4, "relu", edit=zero_output)
    assert history.series[Statistic.WEIGHT_UNIT_SPREAD][0, 8] == 0.0
    assert finding_of(RULE, history) is None


def test_the_zero_end_of_a_residual_branch_is_healthy():
    """Zhang et al. 2019 (Fixup): it parts with the first update."""
    history = residual_history(zero=("branch_out",))
    assert history.series[Statistic.WEIGHT_UNIT_SPREAD][0, 2] == 0.0
    assert finding_of(RULE, history) is None


def test_a_branch_that_is_zero_throughout_never_opens():
    finding = finding_of(RULE, residual_history(zero=("branch_in", "branch_out")))
    assert finding.layers == ["branch_in", "branch_out"]


def test_skipped_steps_are_no_updates():
    still = {Statistic.UPDATE_RMS: set_to(0.0, rows=[0, 1])}
    history = mlp_history(4, "tanh", edit=all_constant)
    assert finding_of(RULE, with_series(history, still)) is None


def test_a_network_of_zeros_that_nothing_moves_is_flagged():
    still = {Statistic.UPDATE_RMS: np.zeros_like}
    history = with_series(mlp_history(4, "relu", edit=all_zero), still)
    assert finding_of(RULE, history).evidence["updates"] == 0


def test_a_single_unit_has_no_symmetry():
    # the spread of vectors and of single columns is not defined
    history = with_series(
        mlp_history(4, "tanh", edit=all_constant), {Statistic.WEIGHT_UNIT_SPREAD: set_to(np.nan)}
    )
    assert finding_of(RULE, history) is None


def test_frozen_layers_are_not_asked():
    history = mlp_history(4, "tanh", edit=all_constant, frozen=(0, 1, 2))
    assert finding_of(RULE, history).layers == ["dense_3"]


def test_the_finding_goes_away_once_the_units_part():
    history = mlp_history(4, "tanh", edit=all_constant)
    parted = {Statistic.WEIGHT_UNIT_SPREAD: set_to(0.01, rows=-1)}
    assert RULE.retracted
    assert finding_of(RULE, with_series(history, parted)) is None
