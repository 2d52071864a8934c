"""IW401 on updates of known size, with losses of known course."""

import numpy as np
import pytest

from initwatch.diagnosis.rules.update_too_small import UpdateTooSmall
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, with_losses, with_series

RULE = UpdateTooSmall()
NOISE = 0.02 * np.random.default_rng(0).normal(size=200)
FLAT = 2.3 + NOISE


def updating(ratio, losses, guess=2.3):
    """``ratio``: a number, or one for each of 40 rows."""
    history = mlp_history(4, rows=40)
    rows = np.broadcast_to(np.reshape(ratio, (-1, 1)), (40, len(history.variables)))
    return with_losses(with_series(history, {Statistic.UPDATE_RATIO: rows}), losses, guess)


def test_tiny_updates_of_a_run_that_does_not_learn_are_flagged():
    finding = finding_of(RULE, updating(1e-6, FLAT))
    assert (finding.symptom, finding.severity, finding.layers) == (
        "update_too_small",
        "warning",
        [],
    )
    assert finding.evidence["update_ratio"] == pytest.approx(1e-6)
    assert finding.evidence["update_ratio_limit"] == 2e-5


def test_customary_updates_are_not():
    assert finding_of(RULE, updating(1e-4, FLAT)) is None


def test_a_converged_run_is_not():
    assert finding_of(RULE, updating(1e-6, 0.3 + NOISE)) is None


def test_without_a_known_guess_it_is_only_worth_knowing():
    assert finding_of(RULE, updating(1e-6, FLAT, guess=np.nan)).severity == "info"


def test_a_warm_up_grows_and_is_not_flagged():
    assert finding_of(RULE, updating(np.linspace(1e-7, 1e-5, 40), FLAT)) is None


def test_a_hundred_steps_are_waited_for():
    assert finding_of(RULE, updating(1e-6, FLAT[:100])) is None
    assert finding_of(RULE, updating(1e-6, FLAT[:101])) is not None


def test_no_update_at_all_is_another_rules():
    assert finding_of(RULE, updating(0.0, FLAT)) is None


def test_a_solved_run_has_nothing_left_to_update():
    solved = np.concatenate([np.linspace(0.5, 0.0, 20), np.zeros(180)])
    assert finding_of(RULE, updating(1e-6, solved, guess=np.nan)) is None
