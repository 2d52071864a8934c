"""IW602 on outputs, losses and labels that fit and that do not."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.output_loss_mismatch import OutputLossMismatch
from initwatch.records import Output, Statistic
from tests.diagnosis.histories import finding_of, history_of, plain, with_losses

RULE = OutputLossMismatch()
BINARY, CATEGORICAL = "binary_crossentropy", "categorical_crossentropy"
SPARSE, SQUARED = "sparse_categorical_crossentropy", "mean_squared_error"
NOISE = 0.02 * np.random.default_rng(0).normal(size=200)


def predicting(
    activation, units, loss, labels, *, low=-np.inf, high=np.inf, logits=False, read=False
):
    """A history of three steps that saw ``labels``; the loss does not matter yet."""
    y = np.asarray(labels, float)
    beyond = np.mean(np.square(y - np.clip(y, low, high)))
    told = {
        Statistic.LABEL_MIN: y.min(),
        Statistic.LABEL_MAX: y.max(),
        Statistic.LABEL_MEAN: y.mean(),
        Statistic.LABEL_STD: y.std(),
        Statistic.LABEL_WHOLE_FRACTION: np.mean(y == np.floor(y)),
        Statistic.LABEL_OUT_OF_REACH: beyond,
    }
    history = history_of(
        [plain("output", "Dense", units)], series={k: [[v]] * 3 for k, v in told.items()}
    )
    output = Output("output", activation, units, low, high, loss, logits, read)
    return dataclasses.replace(history, output=output)


HALF = [0, 1] * 8
ONE_HOT = np.eye(4)
WIDE = np.linspace(3.0, 103.0, 50)

FITS = {
    "sigmoid, binary": predicting("sigmoid", 1, BINARY, HALF, low=0, high=1),
    "logits, binary": predicting("linear", 1, BINARY, HALF, logits=True),
    "softmax, one-hot": predicting("softmax", 4, CATEGORICAL, ONE_HOT, low=0, high=1),
    "softmax, smoothed": predicting("softmax", 4, CATEGORICAL, 0.9 * ONE_HOT + 0.025),
    "softmax, numbers": predicting("softmax", 4, SPARSE, [0, 1, 2, 3], low=0, high=1),
    "logits, numbers": predicting("linear", 4, SPARSE, [0, 1, 2, 3], logits=True),
    "only some classes": predicting("softmax", 4, SPARSE, [2, 2, 2]),
    "multi-label": predicting("sigmoid", 4, BINARY, [[1, 1, 0, 0]], low=0, high=1),
    "regression": predicting("linear", 1, SQUARED, WIDE),
    "positive regression": predicting("relu", 1, SQUARED, WIDE, low=0),
    "unknown activation": predicting("", 3, CATEGORICAL, np.eye(3)),
    "unknown loss": predicting("relu", 1, "", HALF),
    "nothing known": predicting("", 0, "", HALF),
}
CANNOT_WORK = {
    "softmax on one": predicting("softmax", 1, BINARY, HALF, low=0, high=1),
    "softmax on one, squared": predicting("softmax", 1, SQUARED, WIDE, low=0, high=1),
    "sigmoid for 3 to 103": predicting("sigmoid", 1, SQUARED, WIDE, low=0, high=1),
    "relu below zero": predicting("relu", 1, SQUARED, -WIDE, low=0),
    "labels from 1": predicting("softmax", 4, SPARSE, [1, 2, 3, 4]),
    "labels of halves": predicting("softmax", 4, SPARSE, [0.5, 1.0]),
    "labels of -1 and 1": predicting("sigmoid", 1, BINARY, [-1, 1]),
    "class numbers, binary": predicting("sigmoid", 1, BINARY, [0, 1, 2]),
    "one unit, categorical": predicting("sigmoid", 1, CATEGORICAL, HALF),
}
CUT_OFF = {
    "relu, binary": predicting("relu", 1, BINARY, HALF, low=0),
    "linear, categorical": predicting("linear", 4, CATEGORICAL, ONE_HOT),
    "softmax twice": predicting("softmax", 4, SPARSE, [0, 1], logits=True),
    "softmax, two labels a row": predicting("softmax", 4, BINARY, [[1, 1, 0, 0]]),
    "relu, a third out of reach": predicting("relu", 1, SQUARED, np.linspace(-4, 6, 50), low=0),
    "one-hot, divided by 255": predicting("softmax", 4, CATEGORICAL, ONE_HOT / 255),
    "tanh, numbers": predicting("tanh", 4, SPARSE, [0, 1, 2, 3], low=-1, high=1),
}
OFTEN_WORKS = {
    "sigmoid, categorical": predicting("sigmoid", 4, CATEGORICAL, ONE_HOT),
    "softmax, multi-label": predicting("softmax", 4, BINARY, ONE_HOT),
    "softmax and from_logits": predicting("softmax", 4, SPARSE, [0, 1], logits=True, read=True),
    "squared error of classes": predicting("sigmoid", 1, SQUARED, HALF, low=0, high=1),
    "a few out of reach": predicting("relu", 1, SQUARED, np.linspace(-1, 9, 50), low=0),
    "two classes a row": predicting("softmax", 4, CATEGORICAL, [[1, 1, 0, 0]]),
    "half of the rows of no class": predicting("softmax", 4, CATEGORICAL, ONE_HOT[:2] / 2),
}


@pytest.mark.parametrize("name", FITS)
def test_what_fits_is_not_flagged(name):
    assert finding_of(RULE, with_losses(FITS[name], 2.3 + NOISE, 2.3)) is None


@pytest.mark.parametrize("name", CANNOT_WORK)
def test_what_cannot_work_is_an_error_at_once(name):
    finding = finding_of(RULE, CANNOT_WORK[name])
    assert (finding.symptom, finding.severity) == ("output_loss_mismatch", "error")
    assert finding.layers == ["output"]
    first, second, *_ = finding.evidence
    assert second == f"{first}_limit"
    # also while the loss falls: it may be another one than the predictions'
    falling = with_losses(CANNOT_WORK[name], np.linspace(2.3, 0.1, 200), 2.3)
    assert finding_of(RULE, falling).severity == "error"


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_is_cut_off_is_a_warning_and_an_error_if_nothing_is_learned(name):
    assert finding_of(RULE, CUT_OFF[name]).severity == "warning"
    assert finding_of(RULE, with_losses(CUT_OFF[name], 2.3 + NOISE, 2.3)).severity == "error"


@pytest.mark.parametrize("name", OFTEN_WORKS)
def test_what_often_works_is_only_mentioned_until_nothing_is_learned(name):
    assert finding_of(RULE, OFTEN_WORKS[name]).severity == "info"
    learning = with_losses(OFTEN_WORKS[name], np.linspace(2.3, 0.5, 200), 2.3)
    assert finding_of(RULE, learning).severity == "info"
    assert finding_of(RULE, with_losses(OFTEN_WORKS[name], 2.3 + NOISE, 2.3)).severity == "warning"


def test_labels_that_are_not_numbers_are_another_rules():
    assert finding_of(RULE, predicting("sigmoid", 1, BINARY, [0.0, np.nan, 1.0])) is None


def test_a_single_row_is_waited_out():
    history = CANNOT_WORK["softmax on one"]
    series = {name: rows[:1] for name, rows in history.series.items()}
    one = dataclasses.replace(history, steps=history.steps[:1], series=series)
    assert finding_of(RULE, one) is None


@pytest.mark.parametrize(
    ("seen", "left", "found"),
    [
        (16000, 0.01, "warning"),
        (1600, 0.01, "info"),  # frauds are as rare
        (800, 0.01, None),
        (0, 0.01, None),
        (16000, 0.6, None),
    ],
)
def test_labels_of_one_class_only(seen, left, found):
    """Two players of a game may each be told one label: their loss stays."""
    history = predicting("sigmoid", 1, BINARY, [0] * 16, low=0, high=1)
    losses = np.linspace(0.7, left, 100)
    history = with_losses(dataclasses.replace(history, one_label=seen), losses)
    finding = finding_of(RULE, history)
    assert (finding and finding.severity) == found
    if found:
        assert finding.evidence["examples_of_one_label"] == seen
        assert finding.evidence["examples_of_one_label_limit"] == 1000


def test_rows_of_no_class_are_not_scaled_labels():
    """Padding, nineteen of twenty rows of it."""
    padded = np.zeros((20, 4))
    padded[0, 0] = 1.0
    assert finding_of(RULE, predicting("softmax", 4, CATEGORICAL, padded)).severity == "info"


def test_quantities_may_all_be_one():
    history = predicting("linear", 1, SQUARED, [3.0] * 16)
    history = dataclasses.replace(history, one_label=1600)
    assert finding_of(RULE, with_losses(history, np.full(100, 0.01))) is None
