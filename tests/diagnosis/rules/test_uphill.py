"""IW404 on updates along the gradient, and on a loss of the wrong sign."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.uphill import Uphill
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    against_labels,
    finding_of,
    mlp_history,
    predicting,
    set_to,
    with_losses,
    with_series,
)

RULE = Uphill()


def moving(descent, rows=6):
    return with_series(mlp_history(3, rows=rows), {Statistic.UPDATE_DESCENT: set_to(descent)})


def test_updates_along_the_gradient_are_an_error_and_plain_descent_is_not():
    healthy = mlp_history(3, rows=6)
    kernels = healthy.series[Statistic.UPDATE_DESCENT][:, ::2]
    assert (kernels == 1.0).all()  # the optimizer of these histories goes downhill
    assert finding_of(RULE, healthy) is None
    finding = finding_of(RULE, moving(-1.0))
    assert (finding.code, finding.symptom, finding.severity) == ("IW404", "uphill", "error")
    assert finding.layers == []
    assert finding.evidence["update_descent"] == -1.0
    assert finding.evidence["update_descent_limit"] == -0.9
    assert "100% of the weights are moved along their gradient" in finding.message
    assert RULE.persists


@pytest.mark.parametrize("descent", [0.98, 0.3, 0.0, -0.02, -0.5, -0.85])
def test_momentum_and_weight_decay_move_some_weights_along_their_gradient(descent):
    assert finding_of(RULE, moving(descent)) is None


def weighted(counted, loss=-1.5, rows=6, weighted=True):
    """Labels of which so many count for more than nothing."""
    history = with_losses(mlp_history(3, rows=rows), np.full(rows, loss))
    series = {Statistic.LABELS_COUNTED: np.full((rows, 1), counted)}
    output = dataclasses.replace(history.output, weighted=weighted)
    return dataclasses.replace(with_series(history, series), output=output)


def test_sample_weights_below_0_are_an_error():
    finding = finding_of(RULE, weighted(0.0))
    assert (finding.severity, finding.evidence["labels_counted"]) == ("error", 0.0)
    assert "Every sample weight is below 0" in finding.message


@pytest.mark.parametrize(
    "history",
    [
        weighted(12.0),  # advantages: some above, some below
        weighted(0.0, loss=0.0),  # weights of 0
        weighted(0.0, weighted=False),
        weighted(0.0, rows=4),
    ],
)
def test_weights_of_which_some_count_are_no_fault(history):
    assert finding_of(RULE, history) is None


def test_what_has_neither_gradient_nor_update_says_nothing():
    assert finding_of(RULE, moving(np.nan)) is None


def test_a_first_step_alone_is_waited_out():
    assert finding_of(RULE, moving(-1.0, rows=1)) is None
    assert finding_of(RULE, moving(-1.0, rows=2)) is not None


def test_the_first_rows_are_asked():
    """Later, momentum may go anywhere."""
    late = with_series(
        mlp_history(3, rows=12), {Statistic.UPDATE_DESCENT: set_to(-1.0, [*range(5, 12)])}
    )
    assert finding_of(RULE, late) is None


def test_one_kernel_of_many_does_not_decide():
    one = with_series(mlp_history(3, rows=6), {Statistic.UPDATE_DESCENT: set_to(-1.0, columns=2)})
    assert finding_of(RULE, one) is None


def test_biases_are_not_asked():
    biases = with_series(
        mlp_history(3, rows=6), {Statistic.UPDATE_DESCENT: set_to(-1.0, columns=[1, 3, 5, 7])}
    )
    assert finding_of(RULE, biases) is None


# --------------------------------------------------------------------- a loss of the wrong sign

FALLING = -np.linspace(1.0, 40.0, 120)


def under_own_loss(losses=FALLING, loss="", **output):
    """A training whose loss is the user's own, or one of Keras's."""
    history = with_losses(mlp_history(3, rows=6), losses)
    given = {"units": 1, "label_rank": 2, "rank": 2, "loss": loss, **output}
    return dataclasses.replace(history, output=dataclasses.replace(history.output, **given))


def fitting(error, losses=FALLING, loss=""):
    """Predictions of targets of variance 1, whose error has this standard deviation."""
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = against_labels(y, y + error * random.normal(size=(64, 1)))
    return predicting(under_own_loss(losses, loss), [told])


def test_a_loss_that_falls_below_zero_while_predictions_get_worse_has_the_wrong_sign():
    finding = finding_of(RULE, fitting(10.0))
    assert finding.severity == "error"
    assert finding.evidence["error_over_baseline"] > 50.0
    assert finding.evidence["error_over_baseline_limit"] == 2.0
    assert "wrong sign" in finding.message


def test_a_likelihood_may_fall_below_zero_where_predictions_fit():
    assert finding_of(RULE, fitting(0.1)) is None


def test_a_cosine_similarity_fits_whatever_the_size_is():
    """Far off as numbers are, they go with the labels."""
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    history = under_own_loss()
    told = against_labels(y, 10.0 * y + 0.5 * random.normal(size=(64, 1)))
    assert told[Statistic.PREDICTION_ERROR] > 50.0
    assert finding_of(RULE, predicting(history, [told])) is None


@pytest.mark.parametrize(
    "losses",
    [
        np.linspace(40.0, 1.0, 120),  # above 0
        -np.linspace(40.0, 1.0, 120),  # below, and rising
        -1.0 + 0.1 * np.cos(np.arange(120.0)),  # below, and flat
    ],
)
def test_other_courses_are_other_rules(losses):
    assert finding_of(RULE, fitting(10.0, losses)) is None


def test_a_young_run_and_a_loss_of_kerass_are_left_alone():
    assert finding_of(RULE, fitting(10.0, FALLING[:90])) is None
    assert finding_of(RULE, fitting(10.0, loss="poisson")) is None


def test_without_labels_only_updates_can_tell():
    history = under_own_loss()
    assert Statistic.PREDICTION_ERROR not in history.series
    assert finding_of(RULE, history) is None


def test_of_several_outputs_one_that_fits_is_enough():
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = [against_labels(y, y + size * random.normal(size=(64, 1))) for size in (10.0, 0.1)]
    history = under_own_loss()
    assert finding_of(RULE, predicting(history, told)) is None
    assert finding_of(RULE, predicting(history, told[:1] * 2)) is not None


def of_classes(scores_of):
    """Three classes under a loss of one's own that falls below 0."""
    random = np.random.default_rng(0)
    labels = random.integers(3, size=64)
    told = against_labels(labels, scores_of(np.eye(3)[labels], random.normal(size=(64, 3))))
    history = under_own_loss(label_rank=1, units=3, numbered=True)
    highest = {Statistic.LABEL_MAX: set_to(2.0)}
    return predicting(with_series(history, highest), [told])


def test_classes_that_are_told_are_no_matter():
    assert finding_of(RULE, of_classes(lambda right, noise: 10.0 * right + noise)) is None


@pytest.mark.parametrize("wrong", ["numbers", "classes"])
def test_predictions_that_go_against_the_labels_do_not_fit(wrong):
    """What a squared error or a cross-entropy of the wrong sign makes of them."""
    if wrong == "classes":
        history = of_classes(lambda right, noise: -10.0 * right + noise)
    else:
        y = np.random.default_rng(0).normal(size=(64, 1))
        history = predicting(under_own_loss(), [against_labels(y, -20.0 * y)])
    assert finding_of(RULE, history) is not None
