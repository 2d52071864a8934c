"""IW602 on outputs, losses and labels that fit and that do not."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.output_loss_mismatch import OutputLossMismatch
from initwatch.records import Output, Statistic
from tests.diagnosis.histories import (
    against_labels,
    finding_of,
    history_of,
    plain,
    predicting,
    set_to,
    with_losses,
    with_series,
)

RULE = OutputLossMismatch()
BINARY, CATEGORICAL = "binary_crossentropy", "categorical_crossentropy"
SPARSE, SQUARED = "sparse_categorical_crossentropy", "mean_squared_error"
NOISE = 0.02 * np.random.default_rng(0).normal(size=200)


def ending(activation, units, loss, labels, *, low=-np.inf, high=np.inf, logits=False, read=False):
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
    output = Output(
        "output",
        activation,
        units,
        low,
        high,
        loss,
        logits,
        read,
        labels_seen=True,
        aligned=bool(loss),
        numbered=y.ndim == 1 and units > 1,
        label_rank=1 if y.ndim == 1 and units > 1 else 2,
        rank=2,
    )
    return dataclasses.replace(history, output=output)


HALF = [0, 1] * 8
ONE_HOT = np.eye(4)
WIDE = np.linspace(3.0, 103.0, 50)
NEAR = WIDE / 10.0

FITS = {
    "sigmoid, binary": ending("sigmoid", 1, BINARY, HALF, low=0, high=1),
    "logits, binary": ending("linear", 1, BINARY, HALF, logits=True),
    "softmax, one-hot": ending("softmax", 4, CATEGORICAL, ONE_HOT, low=0, high=1),
    "softmax, smoothed": ending("softmax", 4, CATEGORICAL, 0.9 * ONE_HOT + 0.025),
    "softmax, numbers": ending("softmax", 4, SPARSE, [0, 1, 2, 3], low=0, high=1),
    "logits, numbers": ending("linear", 4, SPARSE, [0, 1, 2, 3], logits=True),
    "only some classes": ending("softmax", 4, SPARSE, [2, 2, 2]),
    "multi-label": ending("sigmoid", 4, BINARY, [[1, 1, 0, 0]], low=0, high=1),
    "regression": ending("linear", 1, SQUARED, NEAR),
    "positive regression": ending("relu", 1, SQUARED, NEAR, low=0),
    "unknown activation": ending("", 3, CATEGORICAL, np.eye(3)),
    "unknown loss": ending("relu", 1, "", HALF),
    "unknown loss of class numbers": ending("softmax", 4, "", [0, 1, 2, 3], low=0, high=1),
    "nothing known": ending("", 0, "", HALF),
}
CANNOT_WORK = {
    "softmax on one": ending("softmax", 1, BINARY, HALF, low=0, high=1),
    "softmax on one, squared": ending("softmax", 1, SQUARED, WIDE, low=0, high=1),
    "sigmoid for 3 to 103": ending("sigmoid", 1, SQUARED, WIDE, low=0, high=1),
    "relu below zero": ending("relu", 1, SQUARED, -WIDE, low=0),
    "labels from 1": ending("softmax", 4, SPARSE, [1, 2, 3, 4]),
    "labels of halves": ending("softmax", 4, SPARSE, [0.5, 1.0]),
    "labels of -1 and 1": ending("sigmoid", 1, BINARY, [-1, 1]),
    "class numbers, binary": ending("sigmoid", 1, BINARY, [0, 1, 2]),
    "one unit, categorical": ending("sigmoid", 1, CATEGORICAL, HALF),
}
CUT_OFF = {
    "relu, binary": ending("relu", 1, BINARY, HALF, low=0),
    "linear, categorical": ending("linear", 4, CATEGORICAL, ONE_HOT),
    "softmax twice": ending("softmax", 4, SPARSE, [0, 1], logits=True),
    "softmax, two labels a row": ending("softmax", 4, BINARY, [[1, 1, 0, 0]]),
    "relu, a third out of reach": ending("relu", 1, SQUARED, np.linspace(-4, 6, 50), low=0),
    "one-hot, divided by 255": ending("softmax", 4, CATEGORICAL, ONE_HOT / 255),
    "all classes but one": ending("softmax", 4, CATEGORICAL, 1 - ONE_HOT),
    "tanh, numbers": ending("tanh", 4, SPARSE, [0, 1, 2, 3], low=-1, high=1),
}
OFTEN_WORKS = {
    "sigmoid, categorical": ending("sigmoid", 4, CATEGORICAL, ONE_HOT),
    "softmax, multi-label": ending("softmax", 4, BINARY, ONE_HOT),
    "softmax and from_logits": ending("softmax", 4, SPARSE, [0, 1], logits=True, read=True),
    "squared error of classes": ending("sigmoid", 1, SQUARED, HALF, low=0, high=1),
    "a few out of reach": ending("relu", 1, SQUARED, np.linspace(-1, 9, 50), low=0),
    "two classes a row": ending("softmax", 4, CATEGORICAL, [[1, 1, 0, 0]]),
    "half of the rows of no class": ending("softmax", 4, CATEGORICAL, ONE_HOT[:2] / 2),
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
    assert finding_of(RULE, ending("sigmoid", 1, BINARY, [0.0, np.nan, 1.0])) is None


def with_output(history, **changes):
    return dataclasses.replace(history, output=dataclasses.replace(history.output, **changes))


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
    history = ending("sigmoid", 1, BINARY, [0] * 16, low=0, high=1)
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
    assert finding_of(RULE, ending("softmax", 4, CATEGORICAL, padded)).severity == "info"


def test_quantities_may_all_be_one():
    history = ending("linear", 1, SQUARED, [3.0] * 16)
    history = dataclasses.replace(history, one_label=1600)
    assert finding_of(RULE, with_losses(history, np.full(100, 0.01))) is None


# ---------------------------------------------------------------------- losses of one's own


def of_own_loss(history, losses=(), fits=None, **changes):
    """The same history under a loss of one's own, and predictions that fit or do not."""
    output = dataclasses.replace(history.output, loss="", aligned=False, **changes)
    history = dataclasses.replace(history, output=output)
    if fits is not None:
        random = np.random.default_rng(0)
        y = random.normal(size=(64, 1))
        told = against_labels(y, fits * y + (1.0 - fits) * random.normal(size=y.shape))
        history = predicting(history, [told])
    return with_losses(history, losses) if len(losses) else history


def test_labels_out_of_reach_are_only_mentioned_under_a_loss_of_ones_own_while_it_learns():
    """It may compare something else with them than the output."""
    beyond = ending("sigmoid", 1, SQUARED, WIDE, low=0, high=1)
    assert finding_of(RULE, beyond).severity == "error"
    own = of_own_loss(beyond)
    assert finding_of(RULE, own).severity == "info"
    assert finding_of(RULE, own).evidence["loss_function"] == "unknown"
    falling = of_own_loss(beyond, np.linspace(9.0, 1.0, 200))
    assert finding_of(RULE, falling).severity == "info"
    assert finding_of(RULE, of_own_loss(beyond, 9.0 + NOISE)).severity == "error"
    # predictions that go with the labels are what it asks for
    assert finding_of(RULE, of_own_loss(beyond, 9.0 + NOISE, fits=0.9)).severity == "info"
    assert finding_of(RULE, of_own_loss(beyond, 9.0 + NOISE, fits=0.0)).severity == "error"


def test_a_softmax_over_one_unit_is_constant_under_any_loss():
    assert finding_of(RULE, of_own_loss(CANNOT_WORK["softmax on one"])).severity == "error"


def test_class_numbers_of_several_units_are_no_quantities():
    """Each unit is one class: that the numbers lie beyond its range says nothing."""
    own = of_own_loss(ending("softmax", 4, SPARSE, [0, 1, 2, 3], low=0, high=1))
    assert finding_of(RULE, with_losses(own, 2.3 + NOISE)) is None


def test_what_the_labels_of_a_custom_loss_may_be_is_not_known():
    for name in ("labels of -1 and 1", "class numbers, binary", "labels from 1"):
        assert finding_of(RULE, of_own_loss(CANNOT_WORK[name])) is None


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (Output(), "the step shows no labels to hold the output against"),
        (Output(labels_seen=True), "there are several outputs"),
        (Output("out", "linear", 1, labels_seen=True, label_rank=2, rank=2), None),
    ],
)
def test_it_abstains_where_it_cannot_look(output, why):
    assert RULE.abstains(dataclasses.replace(FITS["regression"], output=output)) == why


# ---------------------------------------------------------------------- labels [n], outputs [n, 1]


def across(losses="crossed", rows=6, fits=0.0, aligned=False, ranks=(1, 2), units=1):
    """A regression with labels [n] and outputs [n, 1].

    Args:
        losses: "crossed" = mean squared error of all pairs, "rows" = of each prediction and its
            own label, or the losses themselves.
    """
    random = np.random.default_rng(0)
    aligned_errors, crossed_errors = [], []
    for _ in range(rows):
        y = random.normal(size=32)
        p = fits * y[:, None] + (1.0 - fits) * random.normal(size=(32, 1))
        aligned_errors.append([np.mean((y[:, None] - p) ** 2)])
        crossed_errors.append([np.mean((y - p) ** 2)])  # [32, 32]
    history = ending("linear", 1, SQUARED, random.normal(size=50))
    told = {name: np.tile(values[:1], (rows, 1)) for name, values in history.series.items()}
    by_name = {"crossed": crossed_errors, "rows": aligned_errors}
    step_losses = by_name[losses] if isinstance(losses, str) else [[1.0]] * rows
    told |= {
        Statistic.ALIGNED_ERROR: aligned_errors,
        Statistic.CROSSED_ERROR: crossed_errors,
        Statistic.LOSS: step_losses,
    }
    output = dataclasses.replace(
        history.output, loss="", aligned=aligned, label_rank=ranks[0], rank=ranks[1], units=units
    )
    made = dataclasses.replace(with_series(history, told), steps=np.arange(rows), output=output)
    return made if isinstance(losses, str) else with_losses(made, losses)


def test_a_loss_that_is_the_mean_over_all_pairs_is_proven():
    finding = finding_of(RULE, across("crossed"))
    assert finding.severity == "error"
    assert finding.evidence["loss_of_all_pairs"] == pytest.approx(1.0)
    assert finding.evidence["loss_of_all_pairs_limit"] == 1e-3
    assert "The labels have the shape [n] and the outputs [n, 1]" in finding.message
    assert "that is what the loss is the mean of" in finding.message
    assert finding_of(RULE, across("rows")) is None


def test_row_by_row_the_shapes_are_no_fault():
    """Keras's losses give both the same axes; with several units one label is a class."""
    assert finding_of(RULE, across("rows", aligned=True)) is None
    assert finding_of(RULE, across("rows", ranks=(2, 2))) is None
    assert finding_of(RULE, across("crossed", units=3)) is None


def test_a_loss_of_the_users_own_may_make_the_pairs_of_equal_shapes():
    finding = finding_of(RULE, across("crossed", ranks=(2, 2)))
    assert finding.severity == "error"
    assert finding.evidence["loss_of_all_pairs"] == pytest.approx(1.0)
    assert finding.message.startswith("The loss compares labels and outputs of the shapes")


def test_a_single_row_of_it_is_no_proof():
    assert finding_of(RULE, across("crossed", rows=1)) is None
    one_known = with_series(
        across("crossed"), {Statistic.CROSSED_ERROR: set_to(np.nan, rows=slice(1, None))}
    )
    assert finding_of(RULE, one_known) is None


def test_labels_that_are_all_alike_cannot_tell_pairs_from_rows():
    same = across("crossed")
    both = {Statistic.ALIGNED_ERROR: same.series[Statistic.CROSSED_ERROR]}
    assert finding_of(RULE, with_series(same, both)) is None


def test_of_another_loss_it_is_a_warning_once_nothing_is_learned():
    def course(n, fits):
        history = across(1.0 + 0.01 * NOISE[:n], fits=fits)
        random = np.random.default_rng(0)
        y = random.normal(size=(64, 1))
        told = against_labels(y, fits * y + (1.0 - fits) * random.normal(size=y.shape))
        return predicting(history, [told])

    finding = finding_of(RULE, course(150, fits=0.0))
    assert finding.severity == "warning"
    assert (finding.evidence["label_rank"], finding.evidence["label_rank_limit"]) == (1, 2)
    assert finding_of(RULE, course(60, fits=0.0)) is None
    assert finding_of(RULE, course(150, fits=0.9)) is None


# ---------------------------------------------------------------------- class numbers, spread


def spread(loss, labels, units=4, label_units=1, numbered=False, activation="softmax"):
    history = ending(activation, units, loss, labels)
    output = dataclasses.replace(history.output, label_units=label_units, numbered=numbered)
    return dataclasses.replace(history, output=output)


@pytest.mark.parametrize("loss", [SQUARED, "cosine_similarity", "kl_divergence", "poisson"])
@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_class_numbers_under_a_loss_of_whole_rows(loss, activation):
    finding = finding_of(RULE, spread(loss, [0, 1, 2, 3], activation=activation))
    assert finding.severity == "warning"
    assert (finding.evidence["label_units"], finding.evidence["label_units_limit"]) == (1.0, 4.0)
    assert f"{loss} holds each of the 4 outputs against the number of the class" in finding.message


@pytest.mark.parametrize(
    "history",
    [
        spread(SPARSE, [0, 1, 2, 3], numbered=True),
        spread("ctc", [0, 1, 2, 3]),  # a sequence of classes
        spread("", [0, 1, 2, 3]),  # what a loss of the user's own makes of it is not known
        spread(SQUARED, ONE_HOT, label_units=4),
        spread(SQUARED, [0.0, 0.5, 3.0], activation="linear"),  # one target of several experts
        spread(SQUARED, [0, 7, 30], activation="linear"),
        spread(SQUARED, [0, 1], units=1),
    ],
)
def test_rows_of_labels_and_quantities_are_no_class_numbers(history):
    finding = finding_of(RULE, history)
    assert finding is None or "label_units" not in finding.evidence


@pytest.mark.parametrize("loss", ["kl_divergence", "kldivergence"])
def test_kl_divergence_wants_probabilities(loss):
    finding = finding_of(RULE, spread(loss, WIDE.reshape(-1, 2), 2, 2, False, "linear"))
    assert (finding.severity, finding.evidence["label_max_limit"]) == ("error", 1.0)
    rows = np.array([[0.2, 0.8], [0.5, 0.5]])
    assert finding_of(RULE, spread(loss, rows, 2, 2)) is None


@pytest.mark.parametrize("loss", ["poisson", "mean_squared_logarithmic_error"])
def test_losses_of_counts_want_labels_from_0_on(loss):
    finding = finding_of(RULE, spread(loss, [[-2.5], [1.0]], 1, 1, False, "linear"))
    assert (finding.severity, finding.evidence["label_min"]) == ("info", -2.5)
    fine = finding_of(RULE, spread(loss, [[0.0], [3.0]], 1, 1, False, "linear"))
    assert fine is None


def of_one_row(variance=0.0, losses=None, count=32.0):
    """Many steps under one-hot labels, each batch with this variance."""
    rows = 60
    history = ending("softmax", 4, CATEGORICAL, ONE_HOT, low=0, high=1)
    told = {name: np.tile(values[:1], (rows, 1)) for name, values in history.series.items()}
    told |= {
        Statistic.TARGET_VARIANCE: np.full((rows, 1), variance),
        Statistic.LABELS_COUNTED: np.full((rows, 1), count),
    }
    made = dataclasses.replace(with_series(history, told), steps=np.arange(rows))
    return with_losses(made, np.linspace(1.0, 1e-4, rows) ** 4 if losses is None else losses)


def test_one_hot_labels_of_one_class_only():
    finding = finding_of(RULE, of_one_row())
    assert (finding.severity, finding.evidence["examples_of_one_label"]) == ("warning", 60 * 32)
    assert "is the same class" in finding.message
    assert finding_of(RULE, of_one_row(variance=0.1)) is None
    assert finding_of(RULE, of_one_row(count=4.0)) is None  # few


def test_data_in_the_order_of_their_classes_are_of_several():
    """Where a class begins, the loss is as high as ever."""
    losses = np.where(np.arange(60) % 15 == 0, 2.0, 1e-3)
    assert finding_of(RULE, of_one_row(losses=losses)) is None


# ---------------------------------------------------------------------- softmaxes


@pytest.mark.parametrize("loss", [SPARSE, ""])
def test_a_softmax_behind_a_softmax_is_mentioned_and_a_warning_if_nothing_is_learned(loss):
    def with_softmaxes(count):
        fine = ending("softmax", 4, SPARSE, [0, 1, 2, 3], low=0, high=1)
        output = dataclasses.replace(fine.output, loss=loss, softmaxes=count)
        return dataclasses.replace(fine, output=output)

    assert finding_of(RULE, with_softmaxes(1)) is None
    finding = finding_of(RULE, with_softmaxes(2))
    assert finding.severity == "info"
    assert finding.evidence["softmaxes"] == 2
    standing = with_losses(with_softmaxes(2), 1.38 + NOISE, 1.386)
    assert finding_of(RULE, standing).severity == "warning"


def test_a_softmax_over_another_axis_does_not_add_up():
    def adding_up(off, activation="softmax", loss=SPARSE):
        fine = ending(activation, 4, loss, [0, 1, 2, 3], low=0, high=1)
        return with_series(fine, {Statistic.PREDICTION_SUM_OFF: [[value] for value in off]})

    finding = finding_of(RULE, adding_up([0.8, 0.9, 0.7]))
    assert finding.severity == "info"  # a batch of many rows may learn all the same
    assert finding.evidence["prediction_sum_off"] == pytest.approx(0.8)
    assert "over another axis" in finding.message
    assert finding_of(RULE, with_losses(adding_up([0.8] * 3), 2.3 + NOISE, 2.3)).severity == "error"
    for off in ([0.0] * 3, [0.01] * 3, [-1.0] * 3, [np.nan] * 3):
        assert finding_of(RULE, adding_up(off)) is None
    # an output that is a softmax over the classes is one for certain
    own = adding_up([0.8] * 3, loss="")
    assert finding_of(RULE, own) is None


# ---------------------------------------------------------------------- logits of one side


@pytest.mark.parametrize("activation", ["relu", "softplus", "exponential"])
def test_logits_that_cannot_be_negative_are_mentioned(activation):
    history = ending(activation, 4, SPARSE, [0, 1, 2, 3], low=0, logits=True)
    finding = finding_of(RULE, history)
    assert finding.severity == "info"
    assert finding.evidence["output_low"] == 0.0
    assert "from_logits=True" in finding.message
    assert finding_of(RULE, with_losses(history, 2.3 + NOISE, 2.3)).severity == "warning"
    linear = ending("linear", 4, SPARSE, [0, 1, 2, 3], logits=True)
    assert finding_of(RULE, with_losses(linear, 2.3 + NOISE, 2.3)) is None


def test_labels_of_which_smoothing_leaves_nothing():
    smoothed = {
        share: with_output(FITS["softmax, one-hot"], label_smoothing=share)
        for share in (0.1, 0.6, 1.0)
    }
    assert finding_of(RULE, smoothed[0.1]) is None
    assert finding_of(RULE, smoothed[0.6]).severity == "info"
    assert finding_of(RULE, with_losses(smoothed[0.6], 2.3 + NOISE, 2.3)).severity == "error"
    assert finding_of(RULE, smoothed[1.0]).severity == "error"
    assert finding_of(RULE, smoothed[1.0]).evidence["label_smoothing"] == 1.0


@pytest.mark.parametrize("loss", [BINARY, SPARSE])
def test_outputs_of_an_unknown_kind_that_are_no_probabilities(loss):
    def outside(share, activation="", logits=False):
        history = ending(activation, 4, loss, [0, 1, 2, 3], logits=logits)
        if loss == BINARY:
            history = ending(activation, 1, loss, HALF, logits=logits)
        return with_series(history, {Statistic.PREDICTION_OUTSIDE: [[share]] * 3})

    finding = finding_of(RULE, outside(0.4))
    assert finding.severity == "warning"
    assert finding.evidence["prediction_outside"] == pytest.approx(0.4)
    assert "40%" in finding.message
    assert finding_of(RULE, with_losses(outside(0.4), 2.3 + NOISE, 2.3)).severity == "error"
    for fine in (outside(0.0), outside(-1.0, logits=True), outside(np.nan)):
        assert finding_of(RULE, fine) is None


@pytest.mark.parametrize(
    "labels", [WIDE, NEAR + 1000.0, 1e-3 * NEAR], ids=["wide", "far", "narrow"]
)
def test_targets_out_of_scale_are_mentioned_and_a_warning_if_little_is_learned(labels):
    history = ending("linear", 1, SQUARED, labels)
    variance = float(np.var(labels))

    def over(*losses):
        given = with_losses(history, np.array(losses) * max(variance, 1.0), variance)
        return dataclasses.replace(given, over=True)

    def fallen_to(share):
        return over(*np.linspace(9.0, 1.0, 50), *np.full(150, share * min(variance, 1.0)))

    assert finding_of(RULE, fallen_to(0.05)).severity == "info"
    finding = finding_of(RULE, fallen_to(0.8))
    assert finding.severity == "warning"
    assert "target_off" in finding.evidence


def test_percentages_of_labels_around_0_that_are_no_better_than_0():
    loss = "mean_absolute_percentage_error"
    around = ending("linear", 1, loss, np.linspace(-2.0, 2.0, 50))
    assert finding_of(RULE, around).severity == "info"
    assert finding_of(RULE, with_losses(around, np.linspace(300.0, 20.0, 100))).severity == "info"
    finding = finding_of(RULE, with_losses(around, np.linspace(300.0, 99.0, 100)))
    assert finding.severity == "warning"
    assert finding.evidence["loss_over_that_of_0"] == pytest.approx(1.2, abs=0.1)
    assert finding_of(RULE, ending("linear", 1, loss, WIDE)) is None
