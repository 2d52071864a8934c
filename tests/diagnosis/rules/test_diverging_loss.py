"""IW502 on losses of known course."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.diverging_loss import DivergingLoss
from tests.diagnosis.histories import finding_of, history_of, with_losses

RULE = DivergingLoss()


def noise(size, n=200, seed=0):
    return size * np.random.default_rng(seed).normal(size=n)


def running(losses, guess=2.3):
    return with_losses(history_of(series={}), losses, guess)


def test_a_loss_that_rises_to_three_times_its_start_is_a_warning():
    finding = finding_of(RULE, running(np.linspace(2.3, 7.0, 200) + noise(0.3)))
    assert (finding.symptom, finding.severity) == ("diverging_loss", "warning")
    assert finding.evidence["loss_rise"] == pytest.approx(3.0, rel=0.1)
    assert finding.evidence["loss_rise_limit"] == 2.0


def test_ten_times_is_an_error_also_on_a_plateau():
    assert finding_of(RULE, running([2.3, *(50.0 + noise(1.0, 40))])).severity == "error"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_rise(seed):
    assert finding_of(RULE, running(2.3 + np.abs(noise(0.8, seed=seed)))) is None


def test_a_spike_that_passes_is_not_flagged():
    losses = np.linspace(2.3, 0.5, 200)
    losses[60:75] = 30.0
    assert finding_of(RULE, running(losses)) is None


def test_a_rise_that_a_guess_would_still_beat_is_not_flagged():
    # a converged model under a restarted learning rate
    assert finding_of(RULE, running(0.2 + 1.2 * np.linspace(0, 1, 200))) is None


def test_what_knew_and_forgets_is_flagged():
    assert finding_of(RULE, running(np.linspace(0.3, 2.4, 200))) is not None


def test_without_a_known_guess_more_is_asked_for():
    assert finding_of(RULE, running(np.linspace(0.7, 5.0, 200), np.nan)) is None  # players
    assert finding_of(RULE, running(np.linspace(0.7, 15.0, 200), np.nan)) is not None


def test_ten_losses_are_waited_for():
    losses = np.array([2.3, 90, 900, 9e3, 9e4, 9e4, 9e4, 9e4, 9e4, 9e4])
    assert finding_of(RULE, running(losses[:9])) is None
    assert finding_of(RULE, running(losses)) is not None


def test_a_large_loss_that_falls_is_not_flagged():
    assert finding_of(RULE, running(np.linspace(1000.0, 100.0, 200))) is None
