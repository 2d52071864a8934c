"""IW405 on a train_step that leaves out scale_loss, and on those that do not."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.forgotten_loss_scale import ForgottenLossScale
from initwatch.records import Statistic
from tests.diagnosis.histories import finding_of, mlp_history, set_to, with_losses, with_series

RULE = ForgottenLossScale()
FLAT = 2.3 + 0.001 * np.cos(np.arange(100.0))
FALLING = np.linspace(2.3, 1.0, 100)


def forgetful(losses=(), ratio=1e-7, rows=30, forgotten=True):
    history = mlp_history(3, rows=rows)
    history = with_series(history, {Statistic.UPDATE_RATIO: set_to(ratio)})
    history = with_losses(history, losses, 2.3) if len(losses) else history
    output = dataclasses.replace(
        history.output, own_step=True, loss_scale_forgotten=forgotten, loss_seen=True
    )
    return dataclasses.replace(history, output=output)


def test_a_step_without_scale_loss_is_found_and_one_with_it_is_not():
    finding = finding_of(RULE, forgetful(FLAT))
    assert (finding.code, finding.symptom) == ("IW405", "update_too_small")
    assert finding.severity == "error"
    assert finding.layers == []
    assert finding.evidence["update_ratio"] == 1e-7
    assert finding.evidence["update_ratio_limit"] == 1e-5
    assert "scale_loss" in finding.message
    assert finding_of(RULE, forgetful(FLAT, forgotten=False)) is None
    assert RULE.retracted


@pytest.mark.parametrize(
    ("losses", "ratio", "rows", "severity"),
    [
        ((), 1e-3, 2, "info"),  # Adam hides it
        ((), 1e-7, 2, "info"),  # a warm-up may begin at 0
        (FALLING, 1e-7, 30, "warning"),
        (FALLING, 1e-3, 30, "info"),  # it learns all the same
        (FLAT, 1e-3, 30, "error"),
        (np.append(FALLING, np.nan), 1e-3, 30, "error"),
    ],
)
def test_how_severe_it_is_depends_on_what_comes_of_it(losses, ratio, rows, severity):
    assert finding_of(RULE, forgetful(losses, ratio, rows)).severity == severity


def test_the_variable_that_moves_most_is_told():
    history = with_series(forgetful(FLAT), {Statistic.UPDATE_RATIO: set_to(0.02, columns=2)})
    assert finding_of(RULE, history).evidence["update_ratio"] == 0.02
    # a bias that began at 0 has no ratio
    history = with_series(forgetful(FLAT), {Statistic.UPDATE_RATIO: set_to(np.nan)})
    assert finding_of(RULE, history).evidence["update_ratio"] == 0.0


def test_the_first_step_alone_says_nothing():
    assert finding_of(RULE, forgetful(rows=1)) is None
