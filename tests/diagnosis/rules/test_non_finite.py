"""IW203 on networks in which a number went wrong."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.non_finite import NonFinite
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_series

RULE = NonFinite()


def test_twenty_skipped_steps_in_a_row_are_no_longer_the_scales_doing():
    for rows, flagged in ((19, False), (20, True)):
        history = with_series(
            mlp_history(2, rows=rows),
            {Statistic.SKIPPED: set_to(1.0), Statistic.GRADIENT_NON_FINITE: set_to(1.0)},
        )
        assert bool(list(RULE.check(history))) == flagged


def spoil(kernels, biases):
    kernels[2][5, 7] = np.nan


def test_a_nan_is_found_where_it_starts():
    finding = finding_of(RULE, mlp_history(5, "tanh", edit=spoil, rows=1))
    assert (finding.code, finding.symptom, finding.severity) == ("IW203", "non_finite", "error")
    assert finding.layers[0] == "dense_2"
    assert finding.step == 0
    evidence = finding.evidence
    assert next(iter(evidence)) == "non_finite"
    assert evidence["non_finite_limit"] == 0
    # unit 7 of 64 examples, and everything behind it: layers of 128, 128 and 10 units
    assert evidence["activation_non_finite"] == 64 * (1 + 128 + 128 + 10)
    assert evidence["weight_non_finite"] == 1
    counts = [value for name, value in evidence.items() if name.endswith("_non_finite")]
    assert evidence["non_finite"] == sum(counts) + 1  # and the loss


def test_the_same_network_without_it_is_healthy():
    assert finding_of(RULE, mlp_history(5, "tanh", rows=1)) is None


@pytest.mark.parametrize(
    ("statistic", "column", "layer"),
    [
        (Statistic.ACTIVATION_NON_FINITE, 3, "dense_3"),
        (Statistic.DELTA_NON_FINITE, 1, "dense_1"),
        (Statistic.GRADIENT_NON_FINITE, 4, "dense_2"),
        (Statistic.WEIGHT_NON_FINITE, 5, "dense_2"),
    ],
)
def test_one_value_anywhere_is_enough(statistic, column, layer):
    history = with_series(mlp_history(5), {statistic: set_to(1.0, rows=-1, columns=column)})
    finding = finding_of(RULE, history)
    assert finding.layers == [layer]
    assert finding.evidence["non_finite"] == finding.evidence[str(statistic)] == 1


def test_layers_stand_in_signal_order():
    changed = {
        Statistic.ACTIVATION_NON_FINITE: set_to(2.0, rows=-1, columns=[4, 1]),
        Statistic.GRADIENT_NON_FINITE: set_to(2.0, rows=-1, columns=6),
    }
    finding = finding_of(RULE, with_series(mlp_history(5), changed))
    # outputs first: gradients are spoiled by what comes behind them
    assert finding.layers == ["dense_1", "dense_4", "dense_3"]


def test_a_step_that_loss_scaling_skips_is_by_design():
    """Micikevicius et al. 2018: overflown gradients are thrown away and the scale is halved."""
    infinite = {Statistic.GRADIENT_NON_FINITE: set_to(16384.0, rows=-1)}
    skipped = {Statistic.SKIPPED: set_to(1.0, rows=-1)}
    history = with_series(mlp_history(5), infinite)
    assert finding_of(RULE, history) is not None
    assert finding_of(RULE, with_series(history, skipped)) is None


def test_an_infinite_loss_alone_is_enough():
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.inf, rows=-1)})
    finding = finding_of(RULE, history)
    assert finding.layers == []
    assert finding.evidence["non_finite"] == 1


def test_a_loss_that_was_not_captured_is_no_sign():
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.nan)})
    assert finding_of(RULE, history) is None


def test_only_the_newest_step_is_asked():
    # the engine asks at every step: an older one has been reported
    history = with_series(mlp_history(5), {Statistic.GRADIENT_NON_FINITE: set_to(1.0, rows=0)})
    assert finding_of(RULE, history) is None


def test_a_captured_loss_that_is_nan_alone_is_one():
    """log of a negative number: its gradient is finite, and so is every weight."""
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.nan, rows=-1)})
    seen = dataclasses.replace(history, output=dataclasses.replace(history.output, loss_seen=True))
    finding = finding_of(RULE, seen)
    assert finding.severity == "error"
    assert finding.layers == []
    assert "the loss itself" in finding.message
