"""IW201 on real backward passes of random networks, with their healthy twins."""

import dataclasses

import keras
import numpy as np
import pytest

import initwatch
from initwatch.diagnosis.rules.vanishing_gradient import VanishingGradient
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    late,
    mlp_history,
    set_to,
    with_layers,
    with_series,
)

RULE = VanishingGradient()
FALLING = 2.3 * np.exp(-np.arange(200) / 100.0)


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_glorot_is_flagged(seed):
    """He et al. 2015, sec. 2.2: 2^(-1/2) a layer; 29 gaps leave 4.3e-5."""
    finding = finding_of(RULE, mlp_history(30, "relu", 1.0, seed=seed))
    assert (finding.code, finding.symptom, finding.step) == ("IW201", "vanishing_gradient", 2)
    assert finding.severity in ("warning", "error")
    assert finding.layers[0] == "dense_0"
    assert "dense_29" not in finding.layers
    evidence = finding.evidence
    # finite width scatters ln(RMS) by sqrt(5 x 30 / 128) / 2 = 0.5: Hanin & Rolnick 2018
    assert np.log(evidence["gradient_left"]) == pytest.approx(-14.5 * np.log(2), abs=2.5)
    assert evidence["gradient_left_limit"] == pytest.approx(np.exp(-3.0))
    assert evidence["factor_per_layer"] == pytest.approx(0.707, abs=0.06)
    assert evidence["layers_of_depth"] == 30


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed)) is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("depth", "activation"), [(4, "relu"), (6, "relu"), (8, "relu"), (10, "tanh")]
)
def test_what_glorot_carries_is_not_flagged(depth, activation, seed):
    """7 gaps of ReLU leave 0.09; tanh falls by a power of depth: both train."""
    assert finding_of(RULE, mlp_history(depth, activation, 1.0, seed=seed)) is None


@pytest.mark.parametrize(("depth", "severity"), [(2, None), (5, "warning"), (10, "error")])
def test_sigmoid_stacks_are_flagged_by_their_depth(depth, severity):
    """sqrt(chi) is 0.236 a layer at Glorot's fixed point: 3e-3 over 4 gaps, 2e-6 over 9."""
    finding = finding_of(RULE, mlp_history(depth, "sigmoid", 1.0))
    assert (finding.severity if finding else None) == severity
    if finding:
        assert finding.evidence["factor_per_layer"] == pytest.approx(0.236, abs=0.01)


def test_the_evidence_is_the_measured_signal():
    history = mlp_history(30, "relu", 1.0)
    evidence = finding_of(RULE, history).evidence
    delta = np.median(history.series[Statistic.DELTA_NORM], axis=0)
    assert evidence["delta_norm_first"] == pytest.approx(delta[0])
    assert evidence["delta_norm_last_hidden"] == pytest.approx(delta[29])  # 30 is the output


def test_kernel_gradients_would_not_have_shown_it():
    """The signal shrinks forward as fast as the gradient backward: their product is flat."""
    history = mlp_history(30, "relu", 1.0)
    kernels = [v.role == "kernel" and v.layer != "logits" for v in history.variables]
    gradients = history.series[Statistic.GRADIENT_RMS][0][kernels]
    assert 0.2 < gradients[0] / gradients[-1] < 5.0
    assert finding_of(RULE, history) is not None


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_factor_on_the_loss_changes_nothing(factor):
    plain = finding_of(RULE, mlp_history(30, "relu", 1.0))
    scaled = finding_of(RULE, mlp_history(30, "relu", 1.0, loss_factor=factor))
    assert scaled.severity == plain.severity
    assert scaled.layers == plain.layers
    left = plain.evidence["gradient_left"]
    assert scaled.evidence["gradient_left"] == pytest.approx(left, rel=1e-4)
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, loss_factor=factor)) is None


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, input_scale=factor)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 1.0, input_scale=factor)) is not None


@pytest.mark.parametrize("width", [32, 512])
def test_the_width_changes_nothing(width):
    assert finding_of(RULE, mlp_history(12, "relu", 2.0, width=width)) is None
    assert finding_of(RULE, mlp_history(20, "relu", 0.8, width=width)) is not None


def test_frozen_layers_neither_raise_nor_hide_it():
    backbone = tuple(range(25))
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, frozen=backbone)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 1.0, frozen=backbone)) is not None


def test_a_run_that_learns_is_not_judged_by_its_gradients():
    history = mlp_history(30, "relu", 1.0)
    assert finding_of(RULE, late(history, FALLING)) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None


def test_a_converged_run_with_tiny_gradients_is_healthy():
    history = with_series(
        mlp_history(30, "relu", 2.0), {Statistic.DELTA_NORM: lambda delta: 1e-12 * delta}
    )
    assert finding_of(RULE, history) is None


def test_branches_of_residual_blocks_do_not_count():
    faint = {Statistic.DELTA_NORM: lambda delta: delta * np.where(np.arange(17) < 8, 1e-9, 1.0)}
    history = with_series(mlp_history(16, "relu", 2.0), faint)
    assert finding_of(RULE, history) is not None
    in_branches = {f"dense_{i}" for i in range(8)}
    branched = with_layers(
        history, lambda layer: dataclasses.replace(layer, trunk=layer.path not in in_branches)
    )
    assert finding_of(RULE, branched) is None


def test_one_odd_layer_is_no_trend():
    odd = {Statistic.DELTA_NORM: lambda delta: delta * np.where(np.arange(13) == 11, 1e6, 1.0)}
    assert finding_of(RULE, with_series(mlp_history(12, "relu", 2.0), odd)) is None


def test_one_odd_step_does_not_decide():
    other = mlp_history(30, "relu", 1.0).series[Statistic.DELTA_NORM][1]
    odd = {Statistic.DELTA_NORM: set_to(other, rows=1)}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), odd)) is None


def test_three_steps_are_needed():
    assert finding_of(RULE, mlp_history(30, "relu", 1.0, rows=2)) is None


def nothing_before(stop, start=0):
    """delta is exactly 0 at layers start to stop - 1."""
    return {Statistic.DELTA_NORM: set_to(0.0, columns=slice(start, stop))}


@pytest.mark.parametrize("depth", [2, 6])
def test_a_gradient_of_exactly_zero_has_vanished_at_any_depth(depth):
    history = with_series(mlp_history(depth, "relu", 2.0, rows=4), nothing_before(2))
    finding = finding_of(RULE, history)
    assert (finding.severity, finding.layers) == ("error", ["dense_0", "dense_1"])
    assert finding.evidence["gradient_left"] == 0.0
    assert finding.step == 3
    assert finding_of(RULE, mlp_history(depth, "relu", 2.0, rows=4)) is None


def test_a_network_without_any_gradient_has_none_to_vanish_on_the_way():
    nowhere = {**nothing_before(3), Statistic.UPDATE_RMS: np.zeros_like}
    finding = finding_of(RULE, with_series(mlp_history(2, rows=4), nowhere))
    assert finding.layers == ["dense_0", "dense_1"]


def test_zeros_need_four_steps_and_two_updates():
    zeros = nothing_before(2)
    assert finding_of(RULE, with_series(mlp_history(2, rows=3), zeros)) is None
    # a head of zeros stays so until the optimizer has moved it: gradients are accumulated
    waiting = {**zeros, Statistic.UPDATE_RMS: set_to(0.0, rows=slice(1, None))}
    assert finding_of(RULE, with_series(mlp_history(2, rows=4), waiting)) is None
    once = {Statistic.DELTA_NORM: set_to(0.0, rows=0)}
    assert finding_of(RULE, with_series(mlp_history(2, rows=4), once)) is None


def test_zeros_behind_the_first_layer_are_other_rules_business():
    beside = nothing_before(3, start=2)
    assert finding_of(RULE, with_series(mlp_history(3, rows=4), beside)) is None


def test_skipped_steps_show_no_gradient():
    skipped = {**nothing_before(2), Statistic.SKIPPED: set_to(1.0, rows=2)}
    assert finding_of(RULE, with_series(mlp_history(2, rows=4), skipped)) is None


def test_a_run_that_learns_without_its_first_layers_is_left_alone():
    history = with_series(mlp_history(2, rows=4), nothing_before(2))
    assert finding_of(RULE, late(history, FALLING)) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None


def kill_first(kernels, biases):
    biases[0][:] = -100.0
    biases[1][:] = 1.0  # the next one is on


def test_a_first_layer_that_is_dead_as_a_whole_is_cut_off():
    """Behind its ReLU there is a gradient, at its weights there is none."""
    history = mlp_history(2, "relu", edit=kill_first, rows=4)
    assert np.all(history.series[Statistic.DELTA_NORM][:, 0] > 0.0)
    finding = finding_of(RULE, history)
    assert (finding.severity, finding.layers) == ("error", ["dense_0"])
    assert finding.evidence["gradient_left"] == finding.evidence["gradient_max_abs"] == 0.0
    assert RULE.lets_go(finding)
    assert finding_of(RULE, mlp_history(2, "relu", edit=kill_first, rows=3)) is None
    assert finding_of(RULE, mlp_history(2, "relu", rows=4)) is None


def test_a_dead_activation_that_is_a_layer_of_its_own_is_let_go_too():
    """The gradient at the kernel's own output is 0 there, behind the activation it is not."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    layers = keras.layers
    dead = layers.Dense(8, bias_initializer=keras.initializers.Constant(-100.0), name="dead")
    rest = [layers.ReLU(), layers.Dense(8, "tanh"), layers.Dense(1)]
    model = keras.Sequential([keras.Input((8,)), dead, *rest], name="net")
    model.compile("sgd", "mean_squared_error")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, x.sum(axis=1), batch_size=32, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    (finding,) = [finding for finding in watch.report.findings if finding.code == "IW201"]
    assert finding.layers == ["net/dead"]
    assert RULE.lets_go(finding)


def test_an_output_that_is_off_leaves_nothing_of_the_gradient():
    """A ReLU at the output that is 0 for all: delta there is not 0, what goes back from it is."""
    quiet = {
        Statistic.UPDATE_RMS: np.zeros_like,
        Statistic.GRADIENT_MAX_ABS: np.zeros_like,
        Statistic.DELTA_NORM: set_to(0.0, columns=slice(0, -1)),
    }
    finding = finding_of(RULE, with_series(mlp_history(2, "relu", rows=4), quiet))
    assert finding.layers == ["dense_0", "dense_1"]
    assert not RULE.lets_go(finding)
