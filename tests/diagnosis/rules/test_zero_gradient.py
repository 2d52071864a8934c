"""IW204 on networks in which no gradient arrives, and on those where its absence is right."""

import dataclasses

import numpy as np

from initwatch.diagnosis.rules.zero_gradient import ZeroGradient
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    residual_history,
    set_to,
    with_layers,
    with_losses,
    with_series,
)

RULE = ZeroGradient()


def kill_second(kernels, biases):
    biases[1][:] = -100.0


def mute_second(kernels, biases):
    """Nothing passes back through this kernel, though its own gradient is not zero."""
    kernels[2][:] = 0.0


def test_what_lies_before_a_dead_layer_gets_nothing():
    finding = finding_of(RULE, mlp_history(4, "relu", edit=kill_second, rows=4))
    assert (finding.code, finding.symptom, finding.severity) == (
        "IW204",
        "zero_gradient",
        "warning",
    )
    # behind the dead layer there is no signal, and ReLU has slope 0 at 0
    assert finding.layers == ["dense_0", "dense_1", "dense_2", "dense_3"]
    assert finding.step == 3
    assert finding.evidence["gradient_max_abs"] == 0.0
    assert finding.evidence["gradient_max_abs_limit"] == 0.0
    assert finding.evidence["layers_with_gradient"] == 1  # the output's bias
    assert finding_of(RULE, mlp_history(4, "relu", rows=4)) is None


def test_four_steps_are_needed():
    assert finding_of(RULE, mlp_history(4, "relu", edit=kill_second, rows=3)) is None


def test_a_network_without_any_gradient_is_an_error():
    # such as softmax over a single unit: the output is constant
    nothing = {Statistic.GRADIENT_MAX_ABS: np.zeros_like, Statistic.UPDATE_RMS: np.zeros_like}
    finding = finding_of(RULE, with_series(mlp_history(4, rows=4), nothing))
    assert finding.severity == "error"
    assert finding.evidence["layers_with_gradient"] == 0
    assert finding.evidence["zero_at_output"] == 1
    assert "the output layer's too: the loss does not change with the outputs" in finding.message


def test_a_network_that_is_cut_off_below_its_output_has_no_gradient_but_there():
    """The output's bias, say, is not trained."""
    nothing = {
        Statistic.GRADIENT_MAX_ABS: set_to(0.0, columns=slice(0, 8)),
        Statistic.UPDATE_RMS: np.zeros_like,
    }
    frozen_head = with_series(mlp_history(4, rows=4, frozen=(4,)), nothing)
    finding = finding_of(RULE, frozen_head)
    assert (finding.severity, finding.evidence["zero_at_output"]) == ("error", 0)
    assert (
        finding.message == "Every gradient of the network is exactly 0: nothing is being learned."
    )


def test_a_kernel_of_zeros_holds_the_gradient_up_for_one_step_only():
    history = mlp_history(4, "tanh", edit=mute_second, rows=6)
    assert history.series[Statistic.GRADIENT_MAX_ABS][0, 0] == 0.0
    assert finding_of(RULE, history) is None


def test_a_zero_initialised_residual_branch_opens_by_itself():
    """Zhang et al. 2019 (Fixup): no gradient inside the branch at the first step only."""
    history = residual_history(zero=("branch_out",))
    inside = history.series[Statistic.GRADIENT_MAX_ABS][:, 1]
    assert inside[0] == 0.0
    assert np.all(inside[1:] > 0.0)
    for rows in range(1, 7):
        part = {s: v[:rows] for s, v in history.series.items()}
        early = dataclasses.replace(history, series=part, steps=np.arange(rows))
        assert finding_of(RULE, early) is None


def test_a_branch_that_is_zero_throughout_stays_shut():
    shut = {"zero": ("branch_in", "branch_out")}
    finding = finding_of(RULE, residual_history(**shut, rows=16))
    assert finding.layers == ["branch_in", "branch_out"]
    assert finding.severity == "warning"
    # a branch that is left out of steps at random looks the same for a while
    assert finding_of(RULE, residual_history(**shut, rows=15)) is None


def test_a_branch_that_is_left_out_at_random_is_trained():
    """Stochastic depth: four steps in a row without it are nothing special."""
    history = residual_history(zero=(), rows=16)
    out = {Statistic.GRADIENT_MAX_ABS: set_to(0.0, rows=slice(-15, None), columns=[1, 2])}
    assert finding_of(RULE, with_series(history, out)) is None
    out = {Statistic.GRADIENT_MAX_ABS: set_to(0.0, columns=[1, 2])}
    assert finding_of(RULE, with_series(history, out)).layers == ["branch_in", "branch_out"]


def test_the_way_to_the_prediction_itself_is_not_left_out():
    """Of the trunk four steps are enough, also beside branches that were left out as long."""
    history = residual_history(zero=(), rows=6)
    out = {Statistic.GRADIENT_MAX_ABS: set_to(0.0, columns=[0, 1, 2])}
    assert finding_of(RULE, with_series(history, out)).layers == ["stem"]


def test_frozen_layers_have_no_gradient_to_ask_for():
    history = mlp_history(4, "relu", frozen=(0, 1), rows=4)
    assert {variable.layer for variable in history.variables} == {"dense_2", "dense_3", "logits"}
    assert finding_of(RULE, history) is None


def without_gradient(columns, count=np.nan):
    absent = {Statistic.GRADIENT_MAX_ABS: set_to(np.nan, columns=columns)}
    absent[Statistic.GRADIENT_NON_FINITE] = set_to(count, columns=columns)
    return with_series(mlp_history(4, rows=4), absent)


def test_an_absent_gradient_on_the_way_to_the_prediction_is_a_cut():
    finding = finding_of(RULE, without_gradient([0, 1]))
    assert (finding.severity, finding.layers) == ("warning", ["dense_0"])


def test_an_absent_gradient_beside_the_way_is_not_zero():
    beside = with_layers(
        without_gradient([0, 1]), lambda layer: dataclasses.replace(layer, trunk=False)
    )
    assert finding_of(RULE, beside) is None


def test_a_gradient_that_is_no_number_is_another_rules():
    assert finding_of(RULE, without_gradient([0, 1], count=3.0)) is None


def test_embedding_rows_that_are_not_in_the_batch_do_not_count():
    # 32 of 10,000 rows are touched: nearly all of the gradient is exactly 0
    sparse = {Statistic.GRADIENT_ZERO_FRACTION: set_to(0.9968, columns=0)}
    assert finding_of(RULE, with_series(mlp_history(4, rows=4), sparse)) is None


def test_a_layer_of_which_one_variable_moves_is_trained():
    still = {Statistic.GRADIENT_MAX_ABS: set_to(0.0, columns=0)}  # kernel, not bias
    assert finding_of(RULE, with_series(mlp_history(4, rows=4), still)) is None


def test_tiny_is_not_zero():
    tiny = {Statistic.GRADIENT_MAX_ABS: set_to(1e-30, columns=[0, 1])}
    assert finding_of(RULE, with_series(mlp_history(4, rows=4), tiny)) is None


def test_skipped_steps_say_nothing():
    sick = mlp_history(4, "relu", edit=kill_second, rows=4)
    skipped = {Statistic.SKIPPED: set_to(1.0, rows=1)}
    assert finding_of(RULE, with_series(sick, skipped)) is None


def test_without_updates_a_branch_could_not_have_opened():
    sick = mlp_history(4, "relu", edit=kill_second, rows=4)
    still = {Statistic.UPDATE_RMS: set_to(0.0, rows=[0, 1, 2])}
    assert finding_of(RULE, with_series(sick, still)) is None


def test_a_loss_that_has_come_down_to_nothing_has_no_gradient_left_to_give():
    """A hinge's, with all margins met."""
    none = {Statistic.GRADIENT_MAX_ABS: np.zeros_like, Statistic.UPDATE_RMS: np.zeros_like}
    history = with_series(mlp_history(4, rows=6), none)
    assert finding_of(RULE, with_losses(history, [0.3, 0.1, 0.0, 0.0, 0.0, 0.0])) is None
    # what never was more is no success: weights of 0 for every example, for one
    assert finding_of(RULE, with_losses(history, np.zeros(6))) is not None
    assert finding_of(RULE, with_losses(history, [0.3, 0.1, 0.1, 0.1, 0.1, 0.1])) is not None


def faint(factor, losses=None):
    """A run whose gradients are ``factor`` times those of a healthy one; guess: ln 10."""
    history = mlp_history(4, rows=6)
    smaller = {
        statistic: lambda values: values * factor
        for statistic in (Statistic.GRADIENT_NORM, Statistic.GRADIENT_MAX_ABS)
    }
    losses = 2.3 + 0.02 * np.random.default_rng(0).normal(size=130) if losses is None else losses
    loss = {statistic: lambda v: v * 0.0 + 2.3 for statistic in (Statistic.LOSS,)}
    constant = {Statistic.TRIVIAL_LOSS: lambda v: v * 0.0 + 2.3}
    return with_losses(with_series(history, smaller | loss | constant), losses, 2.3)


def test_a_gradient_that_is_as_good_as_zero():
    finding = finding_of(RULE, faint(1e-15))
    assert (finding.severity, len(finding.layers)) == ("error", 5)
    assert 0.0 < finding.evidence["sensitivity"] < finding.evidence["sensitivity_limit"]
    assert finding.evidence["gradient_norm"] > 0.0
    # a loss that fell, and then stopped at a guess's
    fell = np.append(np.linspace(4.0, 2.4, 20), np.full(110, 2.4))
    assert finding_of(RULE, faint(1e-15, fell)) is not None
    # all that can be learned of so weak a signal
    weak = np.append(np.linspace(4.0, 2.23, 20), np.full(110, 2.23))
    assert finding_of(RULE, faint(1e-15, weak)) is None
    # small as it is, this one would get somewhere under Adam
    assert finding_of(RULE, faint(1e-6)) is None


def test_a_small_gradient_is_no_matter_in_a_run_that_learns_or_is_young():
    falling = np.linspace(2.3, 0.9, 130)
    assert finding_of(RULE, faint(1e-15, falling)) is None
    assert finding_of(RULE, faint(1e-15, np.full(60, 2.3))) is None
    # NaN is no small gradient
    assert finding_of(RULE, faint(np.nan)) is None
