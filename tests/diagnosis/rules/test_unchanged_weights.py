"""IW403 on weights that do not move."""

import dataclasses

import numpy as np

from initwatch.diagnosis.rules.unchanged_weights import UnchangedWeights
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_series

RULE = UnchangedWeights()


def still(rows=30, columns=slice(None), gradient=None):
    history = mlp_history(4, rows=rows)
    changed = {Statistic.UPDATE_RMS: set_to(0.0, columns=columns)}
    if gradient is not None:
        changed[Statistic.GRADIENT_RMS] = set_to(gradient, columns=columns)
    return with_series(history, changed)


def test_weights_that_never_move_are_an_error():
    finding = finding_of(RULE, still())
    assert (finding.symptom, finding.severity) == ("unchanged_weights", "error")
    assert finding.layers[0] == "dense_0"
    assert (finding.evidence["update_rms"], finding.evidence["update_rms_limit"]) == (0.0, 0.0)
    assert finding.evidence["variables"] == 10


def test_a_single_variable_is_a_warning_with_its_layer():
    names = [variable.path for variable in mlp_history(4, rows=30).variables]
    finding = finding_of(RULE, still(columns=[names.index("dense_2/kernel")]))
    assert (finding.severity, finding.layers) == ("warning", ["dense_2"])


def test_what_moves_is_not_flagged():
    assert finding_of(RULE, mlp_history(4, rows=30)) is None


def test_a_single_move_is_enough():
    history = still()
    once = with_series(history, {Statistic.UPDATE_RMS: set_to(1e-9, rows=3)})
    assert finding_of(RULE, once) is None


def test_without_a_gradient_it_is_another_rules():
    assert finding_of(RULE, still(gradient=0.0)) is None


def test_twenty_steps_are_waited_for():
    assert finding_of(RULE, still(rows=20)) is None
    assert finding_of(RULE, still(rows=21)) is not None


def test_gradients_that_are_not_numbers_are_another_rules():
    assert finding_of(RULE, still(gradient=np.nan)) is None


def never_updated(rows=30, step=0, over=True, gradient=None):
    """A fit in all of whose batches gradients are added up only: the count of steps stays."""
    history = still(rows=rows, gradient=gradient)
    return dataclasses.replace(history, steps=np.full(rows, step), over=over)


def test_a_fit_that_ends_before_the_first_update():
    finding = finding_of(RULE, never_updated())
    assert (finding.severity, finding.layers) == ("error", [])
    assert finding.evidence["batches_seen"] == 30
    assert "has not made its first update" in finding.message


def test_before_the_end_or_after_an_update_that_is_no_fault():
    assert finding_of(RULE, never_updated(over=False)) is None
    assert finding_of(RULE, never_updated(step=3)) is None
    assert finding_of(RULE, never_updated(rows=10)) is None
    assert finding_of(RULE, never_updated(gradient=0.0)) is None
