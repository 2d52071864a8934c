"""IW402 on updates of known size, with losses of known course."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.update_too_large import UpdateTooLarge
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    set_to,
    with_layers,
    with_losses,
    with_series,
)

RULE = UpdateTooLarge()
NOISE = 0.02 * np.random.default_rng(0).normal(size=200)
FLAT, FALLING, LOST = 2.3 + NOISE, np.linspace(2.3, 0.5, 200) + NOISE, np.linspace(2.3, 400.0, 200)


def updating(ratio, losses, rows=slice(None), columns=slice(None)):
    history = mlp_history(4, rows=30)
    change = {Statistic.UPDATE_RATIO: set_to(ratio, rows, columns)}
    return with_losses(with_series(history, change), losses, 2.3)


def test_large_updates_of_a_run_that_does_not_learn_are_flagged():
    finding = finding_of(RULE, updating(0.8, FLAT))
    assert (finding.symptom, finding.severity, finding.step) == ("update_too_large", "warning", 29)
    assert set(finding.layers) == {"dense_0", "dense_1", "dense_2", "dense_3", "logits"}
    assert finding.evidence["update_ratio"] == 0.8
    assert finding.evidence["update_ratio_limit"] == 0.3


def test_a_loss_that_is_thrown_far_up_is_an_error():
    assert finding_of(RULE, updating(0.8, LOST)).severity == "error"
    assert finding_of(RULE, updating(0.8, np.append(FLAT, np.nan))).severity == "error"


def test_what_learns_may_take_large_steps():
    assert finding_of(RULE, updating(0.8, FALLING)) is None


def test_small_updates_are_none():
    assert finding_of(RULE, updating(0.2, FLAT)) is None


def test_the_first_steps_count_where_weights_have_grown_since():
    assert finding_of(RULE, updating(20.0, LOST, rows=slice(0, 5))) is not None


def test_the_kernel_that_moves_most_comes_first_and_biases_do_not_count():
    names = [variable.path for variable in mlp_history(4, rows=30).variables]
    kernel, bias = names.index("dense_2/kernel"), names.index("dense_1/bias")
    assert finding_of(RULE, updating(0.8, FLAT, columns=[kernel])).layers == ["dense_2"]
    assert finding_of(RULE, updating(0.8, FLAT, columns=[bias])) is None


@pytest.mark.parametrize(("ratio", "flagged"), [(0.8, False), (1.0, True)])
def test_kernels_before_a_normalisation_are_given_three_times_as_much(ratio, flagged):
    history = with_layers(
        updating(ratio, FLAT), lambda layer: dataclasses.replace(layer, normalized=True)
    )
    assert (finding_of(RULE, history) is not None) == flagged


def test_twenty_losses_are_waited_for():
    assert finding_of(RULE, updating(0.8, FLAT[:19])) is None
    assert finding_of(RULE, updating(0.8, FLAT[:20])) is not None
