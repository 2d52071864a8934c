"""IW301 on networks with units that no example switches on, and on those that look alike."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.dead_relu import DeadRelu
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_losses, with_series

RULE = DeadRelu()


def kill_second(kernels, biases):
    biases[1][:] = -100.0


def kill_most(kernels, biases):
    biases[1][:100] = -100.0  # of 128


def rarely_on(kernels, biases):
    """Pre-activations of variance 2: positive in about 1 % of the examples."""
    biases[0][:] = -2.33 * np.sqrt(2.0)


def test_a_dead_layer_is_flagged_after_three_steps():
    finding = finding_of(RULE, mlp_history(4, "relu", edit=kill_second, rows=3))
    assert (finding.code, finding.symptom, finding.severity) == ("IW301", "dead_relu", "error")
    # it begins with the layer that died; those behind it have nothing to be on for
    assert finding.layers == ["dense_1", "dense_2", "dense_3"]
    assert finding.step == 2
    assert finding.evidence["dead_fraction"] == 1.0
    # 1/2 and 3 binomial deviations of 128 units: 0.5 + 3 x 0.0442
    assert finding.evidence["dead_fraction_limit"] == pytest.approx(0.6326, abs=1e-4)
    assert finding.evidence["examples"] == 3 * 64
    assert finding_of(RULE, mlp_history(4, "relu", rows=3)) is None


def test_most_units_dead_is_a_warning_after_ten_steps():
    finding = finding_of(RULE, mlp_history(4, "relu", edit=kill_most, rows=10))
    assert finding.severity == "warning"
    assert finding.layers == ["dense_1"]
    assert finding.evidence["dead_fraction"] == pytest.approx(100 / 128)
    assert finding_of(RULE, mlp_history(4, "relu", edit=kill_most, rows=9)) is None


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_with_collinear_inputs_is_not_flagged(seed):
    """Deep down all examples look alike: nearly half of the units are off for all of them."""
    history = mlp_history(50, "relu", 2.0, width=64, rows=10, batch=32, seed=seed)
    deepest = history.series[Statistic.DEAD_FRACTION][-1, 40:50]
    assert np.mean(deepest) > 0.25
    assert finding_of(RULE, history) is None


def test_chance_alone_stays_below_the_limit():
    """Units off with probability 1/2 each: 10,000 layers of 32 units, at most 0.3 % beyond."""
    shares = np.random.default_rng(0).binomial(32, 0.5, size=10_000) / 32
    assert np.mean(shares > RULE.limit(32)) < 0.003


def test_sparse_units_are_alive():
    history = mlp_history(4, "relu", edit=rarely_on, rows=20)
    assert history.series[Statistic.DEAD_FRACTION][0, 0] > 0.4  # one batch would mislead
    assert finding_of(RULE, history) is None


def test_padding_and_masks_are_no_death():
    # most of the outputs are 0, every unit is on somewhere
    zeros = {Statistic.ACTIVATION_ZERO_FRACTION: np.full((12, 5), 0.95)}
    assert finding_of(RULE, with_series(mlp_history(4, rows=12), zeros)) is None


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh", "elu"])
def test_what_does_not_rectify_cannot_die(activation):
    assert finding_of(RULE, mlp_history(4, activation, edit=kill_second, rows=12)) is None


def test_the_output_layer_is_not_judged():
    output = {Statistic.DEAD_FRACTION: set_to(1.0, columns=4)}
    hidden = {Statistic.DEAD_FRACTION: set_to(1.0, columns=3)}
    history = mlp_history(4, rows=12)
    assert finding_of(RULE, with_series(history, output)) is None
    assert finding_of(RULE, with_series(history, hidden)).layers == ["dense_3"]


def test_few_examples_are_no_proof():
    # 3 steps of 16 examples are 48, of 32 they are 96; 64 are asked for
    assert finding_of(RULE, mlp_history(4, edit=kill_second, rows=3, batch=16)) is None
    assert finding_of(RULE, mlp_history(4, edit=kill_second, rows=3, batch=32)) is not None


def kill_half(kernels, biases):
    biases[1][:64] = -100.0  # of 128


@pytest.mark.parametrize(("losses", "found"), [(130, True), (60, False)])
def test_half_of_a_layer_is_told_where_the_run_stands_still(losses, found):
    history = mlp_history(4, "relu", edit=kill_half, rows=10)
    assert finding_of(RULE, history) is None
    noise = 0.02 * np.random.default_rng(0).normal(size=losses)
    finding = finding_of(RULE, with_losses(history, 2.3 + noise, 2.3))
    assert (finding is not None) == found
    if found:
        assert finding.layers == ["dense_1"]
        assert finding.evidence["dead_fraction"] == finding.evidence["dead_fraction_limit"] == 0.5
    # players against each other: their losses stand, and no guess is known
    assert finding_of(RULE, with_losses(history, 2.3 + noise)) is None
    falling = np.linspace(2.3, 0.5, losses) + noise
    assert finding_of(RULE, with_losses(history, falling, 2.3)) is None
