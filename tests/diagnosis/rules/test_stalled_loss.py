"""IW501 on loss curves, with the curves that only look like a stall."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.stalled_loss import StalledLoss
from initwatch.records import Output, Statistic
from tests.diagnosis.histories import (
    against_labels,
    finding_of,
    history_of,
    predicting,
    with_losses,
)

RULE = StalledLoss()
LN_10 = float(np.log(10.0))  # the loss of a constant guess among ten equal classes


def judged(losses, trivial=LN_10):
    rows = history_of(series={Statistic.LOSS: [[1.0]]}, steps=[len(losses) - 1])
    return finding_of(RULE, with_losses(rows, losses, trivial))


def flat(n=200, level=LN_10, noise=0.01, seed=0):
    return level * (1.0 + noise * np.random.default_rng(seed).normal(size=n))


def test_a_loss_at_that_of_a_guess_is_flagged():
    finding = judged(flat())
    assert (finding.code, finding.symptom, finding.severity) == ("IW501", "stalled_loss", "error")
    assert finding.layers == []
    assert finding.step == 199
    evidence = finding.evidence
    assert next(iter(evidence)) == "loss_fall"
    assert abs(evidence["loss_fall"]) < evidence["loss_fall_limit"] == 0.02
    assert evidence["loss_of_a_constant"] == pytest.approx(LN_10)
    assert evidence["batch_noise"] == pytest.approx(0.01, rel=0.2)
    assert evidence["steps"] == 199


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_hide_a_stall(seed):
    # a test of equality, or of any change by 0.01, never fires on these
    assert judged(flat(noise=0.02, n=400, seed=seed)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_fall_under_noise_is_no_stall(seed):
    # by 1.8 % in 400 steps, less than the noise of one batch
    slow = flat(n=400, noise=0.02, seed=seed) * np.linspace(1.0, 0.982, 400)
    assert judged(slow) is None


def test_a_significant_fall_of_nothing_is_a_stall():
    # one batch of all rows: no noise, so any trend is significant
    finding = judged(LN_10 * np.linspace(1.0, 1.0 - 1e-4, 200))
    assert finding.evidence["trend_z"] < -3.0
    assert finding.evidence["steady_fall"] == pytest.approx(1e-4, rel=0.01)
    assert judged(LN_10 * np.linspace(1.0, 0.99, 200)) is None
    # eight batches that come round in the same order
    rounds = np.tile(flat(8, noise=0.05), 40) * np.linspace(1.0, 1.0 - 1e-5, 320)
    assert judged(rounds) is not None


def test_a_batch_whose_targets_are_wide_is_compared_with_its_own_guess():
    # the last batches' targets vary less than most: so does the loss of guessing them
    wide = np.concatenate([np.ones(180), np.full(20, 1.1), np.full(20, 0.98)])
    losses = flat(220)
    assert judged(losses * wide, LN_10 * wide) is not None
    assert judged(losses, LN_10 * np.where(np.arange(220) < 190, 1.0, 1.1)) is None


def test_batches_of_one_row_have_no_guess_to_compare_with():
    assert judged(flat(), trivial=0.0).severity == "info"


def test_a_falling_loss_is_healthy():
    assert judged(LN_10 * np.exp(-np.arange(200) / 100.0)) is None


def test_a_run_that_has_fallen_and_is_flat_now_has_not_stalled_at_the_start():
    fallen = np.concatenate([np.linspace(LN_10, 0.1, 50), flat(350, level=0.1)])
    assert judged(fallen) is None


@pytest.mark.parametrize("level", [0.02, 0.5, 2.0])
def test_a_converged_or_fine_tuned_model_is_no_stall(level):
    """Its loss has been below that of a constant guess from the first step on."""
    assert judged(flat(level=level)) is None


def test_above_a_guess_it_is_a_stall_all_the_more():
    assert judged(flat(level=9.0)).severity == "error"


def test_a_rising_loss_is_no_progress():
    assert judged(LN_10 * np.linspace(1.0, 1.5, 200)) is not None


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_loss_changes_nothing(factor):
    plain, scaled = judged(flat()), judged(factor * flat(), factor * LN_10)
    assert scaled.severity == plain.severity
    assert scaled.evidence["loss_fall"] == pytest.approx(plain.evidence["loss_fall"])
    assert judged(factor * flat(level=0.5), factor * LN_10) is None


def test_without_a_guess_to_compare_with_it_is_only_worth_knowing():
    finding = judged(flat(), trivial=np.nan)
    assert finding.severity == "info"
    assert "loss_of_a_constant" not in finding.evidence


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_a_hundred_steps_are_needed(steps):
    assert judged(flat(steps)) is None
    assert judged(flat(102)) is not None


def test_thirty_losses_are_needed():
    sampled = np.full(400, np.nan)
    sampled[::20] = flat(20)  # 20 losses over 380 steps
    assert judged(sampled) is None
    sampled[::10] = flat(40)
    assert judged(sampled) is not None


def test_losses_that_are_not_finite_are_passed_over():
    losses = flat()
    losses[[3, 50]] = [np.nan, np.inf]
    assert judged(losses) is not None


def test_the_finding_is_taken_back_when_the_loss_begins_to_fall():
    later = np.concatenate([flat(200), LN_10 * np.linspace(1.0, 0.5, 200)])
    assert RULE.retracted
    assert judged(later) is None


def test_a_loss_of_nothing_is_solved():
    solved = np.concatenate([np.linspace(0.5, 0.0, 20), np.zeros(180)])
    assert judged(solved, np.nan) is None
    assert judged(np.full(200, 0.5), np.nan) is not None


def ended(losses, trivial=LN_10, errors=np.nan):
    """What is said behind the last step."""
    rows = history_of(series={Statistic.LOSS: [[1.0]]}, steps=[len(losses) - 1])
    history = with_losses(rows, losses, trivial)
    shares = np.full(len(losses), errors)
    return finding_of(RULE, dataclasses.replace(history, over=True, error_shares=shares))


def test_a_fall_that_ends_no_better_than_a_guess_is_told_at_the_end():
    creeping = np.linspace(2.0, 1.0, 400) * LN_10  # such as of targets far smaller than the output
    assert judged(creeping) is None  # on its way
    finding = ended(creeping)
    assert (finding.severity, finding.step) == ("warning", 399)
    assert next(iter(finding.evidence)) == "loss_share_of_a_constant"
    assert finding.evidence["loss_share_of_a_constant"] == pytest.approx(1.05, abs=0.02)
    assert "though it still fell" in finding.message
    level = np.append(np.linspace(2.0, 0.97, 100), np.full(300, 0.97)) * LN_10
    assert "though it fell at first" in ended(level).message
    assert ended(creeping * 0.8) is None  # it has come below
    near = np.linspace(2.0, 1.1, 250) * LN_10
    assert ended(near) is None  # too short to say
    assert ended(creeping[:250]).severity == "warning"  # 1.4 times a guess's
    assert ended(creeping[:95]) is None
    assert ended(creeping, np.nan) is None  # not known of this loss


def test_a_short_fit_that_has_come_to_rest_at_a_guess_is_told_at_the_end():
    rest = np.append(np.linspace(2.0, 1.0, 60), np.full(80, 1.0)) * LN_10
    assert judged(rest) is None
    assert "though it fell at first" in ended(rest).message
    below = np.append(np.linspace(2.0, 0.97, 60), np.full(80, 0.97)) * LN_10
    assert ended(below) is None


def test_a_classifier_whose_sure_errors_make_its_loss_has_not_failed():
    creeping = np.linspace(2.0, 1.0, 400) * LN_10
    assert ended(creeping, errors=0.4) is None
    assert ended(creeping, errors=0.98).evidence["error_share_of_a_constant"] == 0.98


def test_what_stands_still_is_an_error_at_the_end_as_before():
    assert ended(flat(n=400)).severity == "error"


# ---------------------------------------------------------------------- above a guess


def fallen(level, n=200, **changes):
    """A loss that came down in the first 50 steps and has stood at ``level`` guesses since."""
    standing = level * flat(n - 50, level=1.0, noise=0.001)
    losses = np.append(np.linspace(6.0, level, 50), standing) * LN_10
    rows = history_of(series={Statistic.LOSS: [[1.0]]}, steps=[n - 1])
    return dataclasses.replace(with_losses(rows, losses, LN_10), **changes)


def test_what_has_come_down_to_a_guess_and_stands_there_is_an_error_at_once():
    finding = finding_of(RULE, fallen(1.0, 280))
    assert (finding.severity, finding.evidence["steps"]) == ("error", 139)


@pytest.mark.parametrize("level", [1.1, 2.0])
def test_what_stands_above_a_guess_has_300_steps_and_is_a_warning_then(level):
    """A new head on a frozen base stands at 1.06 after 150 steps, and goes on falling."""
    assert finding_of(RULE, fallen(level, 280)) is None
    finding = finding_of(RULE, fallen(level, 400))
    assert finding.severity == "warning"
    assert finding.evidence["loss_share_of_a_constant"] == pytest.approx(level, rel=0.01)


def test_epoch_means_that_go_on_falling_excuse_it():
    creeping = {"epoch_steps": np.arange(1, 5) * 100, "epoch_losses": [2.80, 2.75, 2.70, 2.66]}
    creeping = {name: np.asarray(values) for name, values in creeping.items()}
    assert finding_of(RULE, fallen(1.1, 400, **creeping)) is None
    level = {**creeping, "epoch_losses": np.array([2.66, 2.66, 2.66, 2.66])}
    assert finding_of(RULE, fallen(1.1, 400, **level)) is not None


def test_a_cross_entropy_far_above_a_guess_may_be_of_a_few_sure_and_wrong_predictions():
    entropy = Output("out", "softmax", 10, loss="sparse_categorical_crossentropy")
    assert finding_of(RULE, fallen(2.0, 400, output=entropy)) is None
    assert finding_of(RULE, fallen(1.2, 400, output=entropy)) is not None
    squared = Output("out", "linear", 1, loss="mean_squared_error")
    assert finding_of(RULE, fallen(2.0, 400, output=squared)) is not None


# ---------------------------------------------------------------------- losses of one's own

OWN = Output("out", "linear", 1, label_rank=2, rank=2)


def own(losses, *fits, over=False):
    """A loss without a baseline, and for each output how well its targets are predicted."""
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = [
        against_labels(y, share * y + (1.0 - share) * random.normal(size=y.shape))
        if share is not None
        else against_labels(y, np.full_like(y, 0.5))
        for share in fits
    ]
    rows = history_of(series={Statistic.LOSS: [[1.0]] * 4}, steps=[0, 1, 2, len(losses) - 1])
    history = dataclasses.replace(with_losses(rows, losses), output=OWN, over=over)
    return predicting(history, told)


def test_a_loss_of_ones_own_that_stands_still_is_held_against_its_predictions():
    finding = finding_of(RULE, own(flat(level=-7.0), 0.0))
    assert finding.severity == "error"
    assert finding.evidence["error_over_baseline"] > 0.95
    assert finding.evidence["agreement"] < 0.1
    assert finding.message.endswith("the predictions are no better than always the same one.")
    # one that has converged, or is of something else than a distance
    assert finding_of(RULE, own(flat(level=-7.0), 0.9)) is None
    assert finding_of(RULE, own(np.linspace(9.0, 1.0, 200), 0.0)) is None  # on its way
    # without labels nobody knows
    assert judged(flat(level=-7.0), np.nan).severity == "info"


def test_what_falls_and_predicts_nothing_is_told_at_the_end():
    """A loss of something that has nothing to do with the labels."""
    falling = np.linspace(9.0, 1.0, 400)
    finding = finding_of(RULE, own(falling, 0.0, over=True))
    assert finding.severity == "warning"
    assert next(iter(finding.evidence)) == "error_over_baseline"
    assert finding.evidence["output"] == 0
    assert "are no better than always predicting the mean" in finding.message
    assert finding_of(RULE, own(falling, 0.0)) is None  # not yet
    # far above the baseline after 250 steps, of which 95 say nothing
    assert finding_of(RULE, own(falling[:250], 0.0, over=True)) is not None
    assert finding_of(RULE, own(falling[:95], 0.0, over=True)) is None
    assert finding_of(RULE, own(falling, 0.9, over=True)) is None


def test_a_short_fit_that_has_come_to_rest_and_predicts_nothing_is_told():
    """Below the baseline's limit for short fits, and nothing more is to come."""
    rested = np.append(np.linspace(9.0, 1.0, 60), 1.0 + 0.01 * np.cos(np.arange(140)))
    assert finding_of(RULE, own(rested, None, over=True)).severity == "warning"
    assert finding_of(RULE, own(rested, 0.9, over=True)) is None


def test_a_prediction_that_is_the_same_for_every_example_is_called_so():
    finding = finding_of(RULE, own(np.linspace(9.0, 1.0, 400), None, over=True))
    assert "the predictions are the same for every example" in finding.message


def test_of_several_outputs_that_which_is_not_learned_is_named():
    finding = finding_of(RULE, own(np.linspace(9.0, 1.0, 400), 0.9, 0.0, over=True))
    assert "the predictions of output 2 are no better" in finding.message
    assert finding.evidence["output"] == 1
    assert finding_of(RULE, own(np.linspace(9.0, 1.0, 400), 0.9, 0.8, over=True)) is None


def test_it_says_when_nothing_can_be_held_against_anything():
    assert "labels" in RULE.abstains(with_losses(history_of(), flat()))
    assert RULE.abstains(with_losses(history_of(), flat(), LN_10)) is None
    assert RULE.abstains(own(flat(), 0.0)) is None


def test_a_loss_at_a_guess_that_falls_from_epoch_to_epoch_is_no_stall():
    """Each epoch's mean is 0.5 % below the last one's, under the noise of single batches."""
    creeping = {"epoch_steps": np.arange(1, 5) * 50, "epoch_losses": [2.33, 2.318, 2.306, 2.294]}
    creeping = {name: np.asarray(values) for name, values in creeping.items()}
    rows = history_of(series={Statistic.LOSS: [[1.0]]}, steps=[199])
    history = with_losses(rows, flat(noise=0.03), LN_10)
    assert finding_of(RULE, history) is not None
    assert finding_of(RULE, dataclasses.replace(history, **creeping)) is None
