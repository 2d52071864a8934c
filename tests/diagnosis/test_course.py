"""Where a loss stands: epochs that creep down, harm, losses that only predictions can judge."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.course import (
    HARM_AFTER,
    UNKNOWN_AFTER,
    course_of,
    does_not_learn,
    is_harmed,
    is_hurt,
)
from initwatch.records import Output, Statistic
from tests.diagnosis.histories import (
    against_labels,
    history_of,
    predicting,
    with_losses,
)

GUESS = 2.3
SPARSE = Output("out", "softmax", 10, loss="sparse_categorical_crossentropy", loss_seen=True)
OWN = Output("out", "linear", 1, loss_seen=True, label_rank=2, rank=2)


def flat(n=200, level=GUESS, noise=0.01, seed=0):
    return level * (1.0 + noise * np.random.default_rng(seed).normal(size=n))


def of_losses(losses, trivial=GUESS, penalty=np.nan, output=SPARSE, epochs=(), **changes):
    rows = history_of(series={Statistic.LOSS: np.ones((4, 1)), Statistic.PENALTY: [[penalty]] * 4})
    return dataclasses.replace(
        with_losses(rows, losses, trivial),
        output=output,
        epoch_steps=np.arange(1, len(epochs) + 1) * 50,
        epoch_losses=np.asarray(epochs, float),
        **changes,
    )


def predicted(fits, losses, **options):
    """A loss of one's own beside predictions of targets of variance 1.

    Args:
        fits: 0 = predictions have nothing to do with the labels, 1 = they are the labels.
    """
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = against_labels(y, fits * y + (1.0 - fits) * random.normal(size=y.shape))
    return predicting(of_losses(losses, np.nan, output=OWN, **options), [told])


# --------------------------------------------------------------------- epochs


@pytest.mark.parametrize(
    ("epochs", "creeps"),
    [
        ([2.40, 2.39, 2.38, 2.37], True),
        ([2.50, 2.60, 2.39, 2.38, 2.37, 2.36], True),  # the newest count
        ([2.40, 2.39, 2.38], False),  # three in a row need four
        ([2.40, 2.39, 2.39, 2.38], False),
        ([2.3026, 2.3025, 2.3024, 2.3023], False),  # the labels' frequencies are learned, no more
        ([2.40, 2.39, np.nan, 2.37], False),
        ([-1.0, -1.1, -1.2, -1.3], False),
        ([], False),
    ],
)
def test_epoch_means_that_fall_one_after_another_tell_a_slow_fall(epochs, creeps):
    course = course_of(of_losses(flat(level=0.97 * GUESS), epochs=epochs))
    assert course.creeps is creeps
    # under the noise of single batches nothing shows
    assert course.falls is creeps
    assert course.hurt is not creeps


def test_a_penalty_may_be_what_falls_in_the_epochs_mean():
    epochs = [2.40, 2.39, 2.38, 2.37]
    assert not course_of(of_losses(flat(), epochs=epochs, penalty=0.1)).creeps
    assert course_of(of_losses(flat(), epochs=epochs, penalty=0.0)).creeps


def test_the_means_of_epochs_tell_more_than_single_losses():
    """By those it has stood at the guess for long; the mean of each epoch is below the last's."""
    losses = np.append(np.linspace(6.0, GUESS, 50), flat(150))
    stands = course_of(of_losses(losses, epochs=[2.6, 2.5, 2.4, 2.35]))
    assert stands.creeps
    assert stands.stands
    assert not stands.hurt


# --------------------------------------------------------------------- harm


@pytest.mark.parametrize(
    ("steps", "trivial", "over", "harmed"),
    [
        (HARM_AFTER, GUESS, False, False),
        (HARM_AFTER + 1, GUESS, False, True),
        (HARM_AFTER, GUESS, True, True),  # the end of a fit
        (HARM_AFTER + 1, np.nan, False, False),  # it has to tell by its own course
        (UNKNOWN_AFTER + 1, np.nan, False, True),
        (15, GUESS, True, False),  # too few losses
    ],
)
def test_harm_is_a_loss_that_does_not_fall_for_long_enough(steps, trivial, over, harmed):
    assert is_harmed(of_losses(flat(steps), trivial, over=over)) is harmed


def test_a_loss_that_is_lost_is_harm_at_once():
    assert is_harmed(of_losses([2.3, np.nan]))
    unseen = dataclasses.replace(SPARSE, loss_seen=False)
    assert not is_harmed(of_losses([2.3, np.nan], output=unseen))
    # and a cross-entropy below 0
    assert is_harmed(of_losses(np.full(5, -0.5)))


@pytest.mark.parametrize("losses", [np.linspace(2.3, 1.0, 200), flat(level=0.4)])
def test_a_run_that_learns_or_has_learned_is_not_harmed(losses):
    assert not is_harmed(of_losses(losses))
    assert not does_not_learn(of_losses(losses), 50)


def test_a_loss_above_where_it_began_is_harm():
    assert is_harmed(of_losses(np.linspace(2.3, 9.0, 100)))


def test_a_fit_that_ends_far_above_the_baseline_was_harmed_though_it_fell():
    falling = np.linspace(6.0, 4.0, 120)
    assert not is_harmed(of_losses(falling))
    assert is_harmed(of_losses(falling, over=True))
    assert is_hurt(of_losses(falling, over=True), course_of(of_losses(falling, over=True)))
    # too short to say
    assert not is_harmed(of_losses(np.linspace(6.0, 4.0, 90), over=True))
    # a loss of one's own, by its predictions
    assert is_harmed(predicted(0.0, falling, over=True))
    assert not is_harmed(predicted(0.9, falling, over=True))


@pytest.mark.parametrize(("level", "poor"), [(0.95, True), (0.65, True), (0.55, False)])
def test_a_fit_that_ends_with_most_of_the_error_left_has_been_harmed_by_a_fault(level, poor):
    falling = np.append(np.linspace(2.0, level, 340), np.full(60, level)) * GUESS
    assert not is_harmed(of_losses(falling))
    assert is_harmed(of_losses(falling, over=True)) is poor
    assert not is_harmed(of_losses(falling[-90:], over=True))
    # of classes, by what is predicted wrong too
    errors = {"error_shares": np.full(400, 0.3)}
    assert not is_harmed(of_losses(falling, over=True, **errors))


@pytest.mark.parametrize(("fits", "poor"), [(0.1, True), (0.9, False)])
def test_under_a_loss_of_ones_own_what_goes_with_the_labels_is_no_poor_end(fits, poor):
    falling = np.linspace(5.0, 1.0, 400)
    assert is_harmed(predicted(fits, falling, over=True)) is poor


def test_half_of_the_errors_is_learned_whatever_the_loss_is():
    """Behind two softmaxes a cross-entropy stays at two thirds of the baseline."""
    falling = np.linspace(2.3, 1.6, 120)

    def wrong(share):
        return dataclasses.replace(of_losses(falling), error_shares=np.full(120, share))

    assert course_of(wrong(0.1)).learns_well
    assert not course_of(wrong(0.7)).learns_well


# --------------------------------------------------------------------- losses of one's own


def test_a_loss_of_ones_own_is_judged_by_its_predictions():
    flat_loss = flat(120, level=-7.0)
    good, bad = (predicted(fits, flat_loss) for fits in (1.0, 0.0))
    assert course_of(good).is_known
    assert course_of(good).share is None
    assert not course_of(good).no_better
    assert not course_of(good).hurt
    assert not is_harmed(good)
    assert course_of(bad).no_better
    assert course_of(bad).hurt
    assert is_harmed(bad)
    assert does_not_learn(bad, 100)
    # as early as one whose baseline is known
    assert is_harmed(predicted(0.0, flat(HARM_AFTER + 1)))


def test_it_has_learned_well_if_it_falls_and_its_predictions_fit():
    falling, standing = np.linspace(3.0, 2.6, 120), flat(120)
    assert course_of(predicted(0.9, falling)).learns_well
    assert not course_of(predicted(0.9, standing)).learns_well
    # a loss may fall by anything while nothing is predicted
    assert not course_of(predicted(0.0, np.linspace(3.0, 0.1, 120))).learns_well
    # where labels are not shown its own course has to do
    assert course_of(of_losses(np.linspace(3.0, 0.1, 120), np.nan)).learns_well
    assert not course_of(of_losses(falling, np.nan)).learns_well


def test_a_known_baseline_comes_before_predictions():
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    history = predicting(of_losses(flat()), [against_labels(y, y)])
    assert course_of(history).skill.share == 0.0
    assert course_of(history).no_better
    assert course_of(history).hurt


def test_of_several_outputs_the_best_predicted_counts():
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = [against_labels(y, p) for p in (random.normal(size=y.shape), 0.9 * y)]
    course = course_of(predicting(of_losses(flat(), np.nan, output=OWN), told))
    assert course.skill.output == 1
    assert not course.hurt


def test_what_rises_is_hurt_whatever_it_predicts():
    assert course_of(predicted(1.0, np.linspace(1.0, 9.0, 120))).hurt
