"""IW504 on penalties that outweigh the loss, in runs that learn and in those that do not."""

import dataclasses

import numpy as np
import pytest

from initwatch.advice.run import hold_less_back
from initwatch.diagnosis.rules.regularization import Regularization
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_losses, with_series

RULE = Regularization()
GUESS = 2.3
FLAT = GUESS + 0.001 * np.cos(np.arange(200.0))


def penalized(penalty, losses=FLAT, guess=GUESS, left=1.0):
    """A penalty of these sizes, a number or one for each of four rows.

    Args:
        left: the last step's kernels over those of the first.
    """
    history = mlp_history(4, rows=4)
    rows = np.broadcast_to(np.asarray(penalty, float), (4,))[:, None]
    sizes = np.linspace(1.0, left, 4)[:, None] * history.series[Statistic.WEIGHT_RMS][:1]
    changed = {Statistic.PENALTY: rows, Statistic.WEIGHT_RMS: sizes}
    return with_losses(with_series(history, changed), losses, guess)


def test_a_penalty_that_outweighs_a_loss_that_stands_still():
    finding = finding_of(RULE, penalized(23.0))
    assert (finding.code, finding.symptom, finding.severity) == ("IW504", "regularization", "error")
    assert finding.layers == []
    assert finding.evidence["penalty_over_loss"] == pytest.approx(10.0, rel=0.01)
    assert finding.evidence["penalty_over_loss_limit"] == 1.0
    assert finding.evidence["penalty_now"] == finding.evidence["penalty_first"] == 23.0
    assert finding.evidence["loss_of_a_constant"] == GUESS
    assert RULE.retracted


@pytest.mark.parametrize("penalty", [np.nan, 0.0, 0.01, 2.2])
def test_a_smaller_penalty_or_none_is_not_to_blame(penalty):
    assert finding_of(RULE, penalized(penalty)) is None


def test_a_run_that_learns_may_have_any_penalty():
    assert finding_of(RULE, penalized(230.0, np.linspace(2.3, 0.5, 200))) is None
    # and one that is better than the baseline, though it stands still
    assert finding_of(RULE, penalized(230.0, FLAT - 0.4)) is None


@pytest.mark.parametrize(("steps", "found"), [(15, False), (40, False), (60, True)])
def test_fifty_steps_are_needed(steps, found):
    assert (finding_of(RULE, penalized(23.0, FLAT[:steps])) is not None) is found


def test_a_loss_that_comes_down_to_the_baseline_is_a_warning_while_it_falls():
    falling = np.linspace(4.0, 2.5, 200)
    assert finding_of(RULE, penalized(23.0, falling)).severity == "warning"


def test_a_penalty_that_has_shrunk_the_weights_is_named_when_it_is_small_itself():
    """It was 30 at first, and has done what it does: the weights are a tenth of what they were."""
    finding = finding_of(RULE, penalized([30.0, 3.0, 0.5, 0.3], left=0.1))
    assert finding.severity == "error"
    assert finding.evidence["weights_left"] == pytest.approx(0.1)
    assert finding.evidence["penalty_over_loss"] == pytest.approx(30.0 / GUESS, rel=0.01)
    # weights that a penalty of outputs has not shrunk: a hundredth of it is left
    assert finding_of(RULE, penalized([30.0, 3.0, 0.5, 0.3], left=0.8)).severity == "error"
    # weights that are still there were not taken by a penalty that is still there
    assert finding_of(RULE, penalized([20.0, 2.4, 2.1, 2.1], left=0.8)) is None
    # nor by one that was never more than the loss
    assert finding_of(RULE, penalized([0.5, 0.1, 0.1, 0.1], left=0.1)) is None


def test_without_weights_only_the_penalty_can_be_judged():
    history = penalized([20.0, 2.4, 2.1, 2.1], left=0.1)
    assert finding_of(RULE, history) is not None
    series = {k: v for k, v in history.series.items() if k is not Statistic.WEIGHT_RMS}
    assert finding_of(RULE, dataclasses.replace(history, series=series)) is None
    series = with_series(history, {Statistic.PENALTY: set_to(23.0)}).series
    assert finding_of(RULE, dataclasses.replace(history, series=series)) is not None


def test_a_loss_that_is_lost_or_solved_is_another_rules():
    assert finding_of(RULE, penalized(23.0, np.append(FLAT, np.nan))) is None
    assert finding_of(RULE, penalized(23.0, np.append(FLAT, np.zeros(20)))) is None


def test_a_loss_whose_baseline_is_not_known_is_not_judged():
    assert finding_of(RULE, penalized(23.0, guess=np.nan)) is None


def constrained(left, at_once=True, name="MaxNorm", **options):
    """The kernels of a constrained network, cut to these shares of their first size."""
    history = penalized(0.0, **options)
    variables = tuple(dataclasses.replace(v, constraint=name) for v in history.variables)
    first = history.series[Statistic.WEIGHT_RMS][:1]
    shares = np.array([1.0, left if at_once else 1.0, left, left])[:, None]
    changed = with_series(history, {Statistic.WEIGHT_RMS: shares * first})
    return dataclasses.replace(changed, variables=variables)


def test_a_constraint_that_cuts_kernels_down_is_told_with_its_layers():
    history = constrained(0.02)
    finding = finding_of(RULE, history)
    assert (finding.severity, finding.symptom) == ("error", "regularization")
    assert finding.layers == [layer.path for layer in history.layers if layer.kernel]
    assert finding.evidence["kernel_left_by_constraint"] == pytest.approx(0.02)
    assert finding.evidence["constraint"] == "MaxNorm"
    advice = hold_less_back(finding, history)
    assert [item.layer for item in advice] == finding.layers
    assert {item.code for item in advice} == {"kernel_constraint=None"}


def test_of_a_run_that_has_learned_a_little_it_does_not_say_that_it_has_learned_nothing():
    """The loss ends at 70 % of the baseline's."""
    little = np.append(np.linspace(GUESS, 0.7 * GUESS, 100), np.full(100, 0.7 * GUESS))
    for history in (penalized(23.0, little), constrained(0.02, losses=little)):
        assert finding_of(RULE, history) is None
        finding = finding_of(RULE, dataclasses.replace(history, over=True))
        assert finding.severity == "warning"
        assert "the model has not learned well" in finding.message


@pytest.mark.parametrize(
    "history",
    [
        constrained(0.6),
        constrained(0.02, at_once=False),  # the steps' doing
        constrained(0.02, name=""),
        constrained(0.02, losses=np.linspace(2.3, 0.5, 200)),
    ],
    ids=["loose", "later", "none", "learns"],
)
def test_a_constraint_that_is_loose_or_of_a_run_that_learns_is_not_told(history):
    assert finding_of(RULE, history) is None
