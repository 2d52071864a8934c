"""IW105 on losses that start far above the baseline, by the weights' doing and by another's."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.initial_loss import InitialLoss, start_over_baseline
from initwatch.records import Output, Statistic, VariableSpec
from tests.diagnosis.histories import (
    against_labels,
    finding_of,
    history_of,
    mlp_history,
    predicting,
    with_layers,
    with_losses,
    with_series,
)

RULE = InitialLoss()
GUESS = float(np.log(10.0))


def large(losses=None, **options):
    """Three hidden layers whose weights are seven times as large as He's."""
    history = mlp_history(3, "relu", 100.0, **options)
    return history if losses is None else with_losses(history, losses, GUESS)


def test_weights_that_are_far_too_large_are_blamed_and_healthy_ones_are_not():
    history = large()
    assert history.losses[0] > 100.0
    finding = finding_of(RULE, history)
    assert (finding.code, finding.symptom, finding.severity) == ("IW105", "initial_loss", "info")
    assert finding.layers == ["dense_0", "dense_1", "dense_2"]  # the output's are as they should be
    evidence = finding.evidence
    times = history.losses[0] / history.trivial_losses[0]
    assert evidence["loss_over_baseline"] == pytest.approx(times)
    assert evidence["loss_over_baseline_limit"] == 5.0
    assert evidence["weights_over_suitable"] == pytest.approx([np.sqrt(50.0)] * 3, rel=0.05)
    assert "dense" in finding.message
    assert finding_of(RULE, mlp_history(3)) is None


@pytest.mark.parametrize(
    ("now", "steps", "severity"),
    [
        (40.0, 10, "info"),  # too early
        (40.0, 40, "warning"),
        (40.0, 150, "error"),  # it has not moved for long
        (4.0, 150, "info"),  # below twice the baseline: on its way
    ],
)
def test_it_grows_more_severe_while_the_loss_stays_above_the_baseline(now, steps, severity):
    losses = np.append(40.0, np.full(steps, now))
    assert finding_of(RULE, large(losses)).severity == severity


def test_a_loss_that_falls_slowly_from_there_is_no_error_unless_everything_is_still_wrong():
    falling = np.linspace(60.0, 20.0, 150)
    assert finding_of(RULE, large(falling)).severity == "warning"
    wrong = dataclasses.replace(large(falling), error_shares=np.full(150, 0.99))
    assert finding_of(RULE, wrong).severity == "error"


def test_inputs_out_of_scale_are_another_rules():
    history = mlp_history(3, input_scale=100.0)
    assert history.losses[0] > 5.0 * history.trivial_losses[0]
    assert finding_of(RULE, history) is None


def test_a_start_near_the_baseline_is_fine_whatever_the_weights_are():
    assert finding_of(RULE, large(np.full(150, 1.3 * GUESS))) is None


def test_weights_in_front_of_a_normalisation_are_not_to_blame():
    normalized = with_layers(large(), lambda x: dataclasses.replace(x, normalized=True))
    assert finding_of(RULE, normalized) is None


def test_recurrent_kernels_are_judged_by_others():
    recurrent = with_layers(large(), lambda x: dataclasses.replace(x, recurrent_kernel=x.kernel))
    assert finding_of(RULE, recurrent) is None


@pytest.mark.parametrize(("size", "layers"), [(5.0, ["words"]), (1.0, None)])
def test_embeddings_are_to_blame_too(size, layers):
    history = with_losses(mlp_history(3), np.full(3, 40.0), GUESS)
    variables = (*history.variables, VariableSpec("words/embeddings", "words", "embeddings", 4096))
    series = {
        statistic: np.append(rows, np.full((len(rows), 1), size), axis=1)
        for statistic, rows in history.series.items()
        if rows.shape[1] == len(history.variables)
    }
    history = dataclasses.replace(with_series(history, series), variables=variables)
    finding = finding_of(RULE, history)
    assert (finding and finding.layers) == layers


# --------------------------------------------------------------------- losses without a baseline


def regression(scale, shift=0.0, units=1, losses=None):
    """Predictions of size ``scale`` for targets of variance 1 about ``shift``, a loss of one's own.

    The weights are too large in any case.
    """
    random = np.random.default_rng(0)
    y = shift + random.normal(size=(64, units))
    history = with_losses(mlp_history(3, "relu", 100.0), np.ones(3) if losses is None else losses)
    output = Output("logits", "linear", units, label_rank=2, rank=2)
    history = dataclasses.replace(history, output=output)
    return predicting(history, [against_labels(y, scale * random.normal(size=(64, units)))])


def test_predictions_are_held_against_labels_where_the_loss_says_nothing():
    finding = finding_of(RULE, regression(10.0))
    assert finding.severity == "info"
    assert finding.evidence["loss_over_baseline"] == pytest.approx(101.0, rel=0.3)
    assert finding_of(RULE, regression(1.0)) is None
    # twenty steps later they are no better
    assert finding_of(RULE, regression(10.0, losses=np.full(40, 5.0))).severity == "warning"
    assert finding_of(RULE, regression(10.0, losses=np.full(150, 5.0))).severity == "error"


def test_targets_far_from_zero_are_not_the_weights_doing():
    """Outputs that start near 0 must come to them, whatever the weights are."""
    assert start_over_baseline(regression(0.1, shift=100.0)) is None
    assert finding_of(RULE, regression(0.1, shift=100.0)) is None


def test_neither_several_outputs_nor_none_can_be_judged_by_their_error():
    one = regression(10.0)
    rows = {name: values[0, 0] for name, values in one.series.items() if values.shape[1] == 1}
    assert start_over_baseline(predicting(one, [rows, rows])) is None
    without = {k: v for k, v in one.series.items() if k is not Statistic.PREDICTION_ERROR}
    assert start_over_baseline(dataclasses.replace(one, series=without)) is None


def test_class_numbers_have_an_error_rate_that_cannot_be_far_above_the_baselines():
    """Of a class that is rare a first guess gets nearly all wrong: that is no fault."""
    one = regression(10.0, units=3)
    numbered = Output("logits", "linear", 3, numbered=True, label_rank=1, rank=2)
    classes = dataclasses.replace(one, output=numbered)
    assert start_over_baseline(one) is not None
    assert start_over_baseline(classes) is None


def test_a_first_loss_that_is_not_finite_is_another_rules():
    assert finding_of(RULE, large(np.array([np.nan, 1.0, 1.0]))) is None
    assert finding_of(RULE, history_of(series={Statistic.LOSS: [[1.0]]})) is None


def test_what_is_found_once_is_let_go():
    assert not RULE.retracted
    assert RULE.lets_go(finding_of(RULE, large()))
