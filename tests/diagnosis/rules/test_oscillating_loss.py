"""IW503 on losses of known course."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.oscillating_loss import OscillatingLoss, swings
from tests.diagnosis.histories import finding_of, history_of, with_losses

RULE = OscillatingLoss()
STEPS = np.arange(400.0)


def running(losses, guess=2.3):
    return with_losses(history_of(series={}), losses, guess)


def test_swings_as_large_as_what_there_is_to_learn_are_flagged():
    finding = finding_of(RULE, running(2.0 + 1.5 * np.sin(STEPS / 8.0)))
    assert (finding.symptom, finding.severity, finding.layers) == (
        "oscillating_loss",
        "warning",
        [],
    )
    assert finding.evidence["loss_swings"] >= 3
    assert finding.evidence["loss_swings_limit"] == 3


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("level", [2.3, 0.7, 0.2])
def test_the_noise_of_batches_of_four_is_not(seed, level):
    """A batch's loss is the mean of four: gamma with shape 1 to 4 around its level."""
    draws = np.random.default_rng(seed).gamma(2.0, level / 2.0, size=400)
    assert finding_of(RULE, running(draws)) is None


def test_small_swings_are_not():
    assert finding_of(RULE, running(1.0 + 0.4 * np.sin(STEPS / 8.0))) is None


def test_two_restarts_are_not():
    losses = 2.3 * np.exp(-(STEPS % 150) / 30.0)
    assert finding_of(RULE, running(losses)) is None


def test_only_the_second_half_counts():
    losses = np.where(STEPS < 200, 2.0 + 1.5 * np.sin(STEPS / 8.0), 0.3)
    assert finding_of(RULE, running(losses)) is None


def test_without_a_known_guess_the_start_is_the_measure():
    assert finding_of(RULE, running(2.0 + 1.5 * np.sin(STEPS / 8.0), np.nan)) is not None


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([0, 1, 0, 1, 0], 1),
        ([1, 0, 1, 0, 1], 2),
        ([0, 0.4, 0, 0.4], 0),
        ([3, 2, 1, 0], 0),
        ([1], 0),
    ],
)
def test_swings_are_counted_down_and_up_again(values, count):
    assert swings(np.array(values, float), 0.5) == count
