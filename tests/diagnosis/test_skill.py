"""How well predictions go with labels, on predictions whose skill is known."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.skill import LEAST_LABELS, skills_of
from initwatch.records import Output, Statistic
from tests.diagnosis.histories import against_labels, history_of, predicting, set_to, with_series

NUMBERS = Output("out", "linear", 1, label_rank=2, rank=2)


def history(rows, *outputs, output=NUMBERS, labels=None):
    """``outputs``: rows of each, as ``against_labels`` gives them.

    ``labels``: their lowest, highest, and the share of whole numbers.
    """
    series = {Statistic.LOSS: np.ones((rows, 1))}
    names = (Statistic.LABEL_MIN, Statistic.LABEL_MAX, Statistic.LABEL_WHOLE_FRACTION)
    for name, value in zip(names, labels or (), strict=False):
        series[name] = np.full((rows, 1), float(value))
    made = dataclasses.replace(history_of(series=series), output=output)
    return predicting(made, outputs)


def numbers(predict, rows=12, batch=32, seed=0):
    """Rows of batches of targets of variance 1 and what ``predict`` makes of them."""
    random = np.random.default_rng(seed)
    told = []
    for _ in range(rows):
        y = random.normal(size=(batch, 1))
        told.append(against_labels(y, predict(y, random.normal(size=y.shape))))
    return told


def skill_of(told, **options):
    (skill,) = skills_of(history(len(told), told, **options))
    return skill


def test_predictions_that_have_nothing_to_do_with_labels_are_at_the_baseline():
    skill = skill_of(numbers(lambda y, noise: 0.1 * noise))
    assert skill.share == pytest.approx(1.0, abs=0.05)
    assert skill.agreement < 0.05
    assert skill.labels == 8 * 32  # of the newest rows
    assert skill.at_baseline
    assert not skill.is_good
    assert not skill.same


def test_predictions_that_fit_are_not():
    skill = skill_of(numbers(lambda y, noise: y + 0.3 * noise))
    assert skill.share == pytest.approx(0.09, rel=0.2)
    assert skill.agreement == pytest.approx(1.0 / 1.09, rel=0.05)
    assert skill.is_good
    assert not skill.at_baseline


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_a_loss_may_ask_for_another_scale_than_that_of_the_labels(scale):
    """Logarithms, logits, standardised targets: far off as numbers, they go with the labels."""
    skill = skill_of(numbers(lambda y, noise: 7.0 + scale * (y + 0.3 * noise)))
    assert skill.share > 10.0
    assert skill.agreement == pytest.approx(1.0 / 1.09, rel=0.05)
    assert not skill.at_baseline
    assert skill.is_good


@pytest.mark.parametrize("constant", [0.0, -3.0, 1e-4])
def test_a_constant_is_at_the_baseline_whatever_it_is(constant):
    skill = skill_of(numbers(lambda y, noise: np.full_like(y, constant)))
    assert skill.agreement == 0.0
    assert skill.at_baseline
    assert skill.same == (constant != 0.0)  # of nothing but zeros it is not told


def test_what_float32_cannot_tell_apart_is_the_same_for_every_example():
    """A softmax over one unit, a sum that has swallowed what differs."""
    last_digit = skill_of(numbers(lambda y, noise: 1.0 + 3e-6 * y))
    assert last_digit.agreement > 0.99
    assert last_digit.same
    assert last_digit.at_baseline
    assert not skill_of(numbers(lambda y, noise: 1.0 + 1e-3 * y)).at_baseline


def test_only_the_newest_rows_are_looked_at():
    told = numbers(lambda y, noise: noise, rows=40)[:28] + numbers(lambda y, noise: y, rows=12)
    assert skill_of(told).share == 0.0
    # a quarter of them, eight at least
    assert skill_of(told).labels == 10 * 32
    assert skill_of(told[:33]).share > 0.5


def test_means_are_those_of_all_labels():
    """A batch that is smaller counts less."""
    random = np.random.default_rng(0)
    y = random.normal(size=(96, 1))
    p = y + random.normal(size=y.shape)
    told = [against_labels(y[:64], p[:64]), against_labels(y[64:], p[64:])]
    pooled = {s: np.average([row[s] for row in told], weights=[64, 32]) for s in told[0]}
    skill = skill_of(told)
    assert skill.labels == 96
    error, baseline = pooled[Statistic.PREDICTION_ERROR], pooled[Statistic.BASELINE_ERROR]
    assert skill.share == pytest.approx(error / baseline)
    covariance, variance, target = (
        pooled[s]
        for s in (
            Statistic.PREDICTION_COVARIANCE,
            Statistic.PREDICTION_VARIANCE,
            Statistic.TARGET_VARIANCE,
        )
    )
    assert skill.agreement == pytest.approx(covariance**2 / (variance * target))


def test_steps_that_show_no_labels_are_passed_over():
    told = numbers(lambda y, noise: y)
    unknown = dict.fromkeys(told[0], np.nan)
    none = {**told[0], Statistic.LABELS_COUNTED: 0.0, Statistic.PREDICTION_ERROR: 9.0}
    assert skill_of([*told[:8], unknown, none]).labels == 6 * 32
    assert skill_of([*told[:8], unknown, none]).share == 0.0
    assert skills_of(history(3, [unknown] * 3)) == ()
    assert skills_of(history(3, [none] * 3)) == ()


def test_labels_that_are_all_the_same_leave_nothing_to_be_predicted():
    same = against_labels(np.ones((32, 1)), np.random.default_rng(0).normal(size=(32, 1)))
    assert skills_of(history(8, same)) == ()


def test_few_labels_say_little():
    told = numbers(lambda y, noise: 0.1 * noise, rows=8, batch=6)
    assert skill_of(told).labels == 48 < LEAST_LABELS
    assert skill_of(told).share > 0.95
    assert not skill_of(told).at_baseline


def test_labels_of_weight_zero_are_in_no_figure():
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    p = np.where(np.arange(64)[:, None] < 32, y, 100.0)
    weights = np.arange(64) < 32
    assert skill_of([against_labels(y, p)] * 8).at_baseline
    skill = skill_of([against_labels(y, p, weights)] * 8)
    assert (skill.share, skill.labels) == (0.0, 8 * 32)


def test_several_outputs_each_have_their_own():
    good, bad = numbers(lambda y, noise: y), numbers(lambda y, noise: noise)
    constant = against_labels(np.ones((32, 1)), np.ones((32, 1)))
    found = skills_of(history(12, good, constant, bad))
    assert [skill.output for skill in found] == [0, 2]
    assert [skill.at_baseline for skill in found] == [False, True]


def test_without_one_of_the_figures_nothing_is_said():
    told = history(12, numbers(lambda y, noise: y))
    for statistic in told.series.keys() - {Statistic.LOSS}:
        series = {k: v for k, v in told.series.items() if k is not statistic}
        assert skills_of(dataclasses.replace(told, series=series)) == ()


# --------------------------------------------------------------------- classes


def classes(sharpness, rows=12, batch=32, units=4, seed=0):
    """Scores of which the right one stands out by so much, in noise of 1."""
    random = np.random.default_rng(seed)
    told = []
    for _ in range(rows):
        y = random.integers(units, size=batch)
        scores = sharpness * np.eye(units)[y] + random.normal(size=(batch, units))
        told.append(against_labels(y, scores))
    return told


def of_loss(loss, units=4):
    return Output("out", "linear", units, loss=loss, numbered=True, label_rank=1, rank=2)


def test_classes_are_counted():
    sparse = of_loss("sparse_categorical_crossentropy")
    guessing = skill_of(classes(0.0), output=sparse)
    # 3 in 4 are wrong; a batch of 32 has a commonest class of more than 1 in 4 by chance
    assert 1.0 < guessing.share < 1.2
    assert guessing.agreement < 0.02
    assert guessing.at_baseline
    sure = skill_of(classes(6.0), output=sparse)
    assert sure.share < 0.02
    assert sure.agreement > 0.7
    assert sure.is_good


def test_a_rare_class_is_told_though_the_common_one_is_always_chosen():
    """Of 1 in 8 no score passes that of the others: the errors are the baseline's."""
    random = np.random.default_rng(0)
    y = (np.arange(256) % 8 == 0).astype(int)
    rare = np.where(y == 1, -0.5, -1.5) + 0.2 * random.normal(size=256)
    scores = np.stack([np.zeros(256), rare], axis=1)
    skill = skill_of([against_labels(y, scores)] * 8, output=of_loss("", 2), labels=(0, 1, 1))
    assert skill.share == pytest.approx(1.0, abs=0.1)
    assert skill.agreement > 0.3
    assert not skill.at_baseline


@pytest.mark.parametrize(
    ("loss", "labels", "known"),
    [
        ("", (0, 3, 1), True),  # as many classes as units
        ("", (1, 3, 1), True),  # the first is not in these batches
        ("", (0, 9, 1), False),  # class numbers of which the loss makes something of its own
        ("", (0, 2, 1), False),  # more units than classes: an embedding, for a triplet loss
        ("", (-1, 3, 1), False),
        ("", (0, 3, 0.9), False),  # one quantity for several units: quantiles, a mixture
        ("", None, False),
        ("", (0, 3), False),
        ("sparse_categorical_crossentropy", (0, 2, 1), True),  # some are not in every batch
        ("sparse_categorical_crossentropy", None, True),
    ],
)
def test_class_numbers_under_a_loss_of_ones_own_need_a_unit_for_each_class(loss, labels, known):
    told = history(12, classes(0.0), output=of_loss(loss), labels=labels)
    assert bool(skills_of(told)) is known


def test_the_labels_of_all_rows_count():
    told = history(12, classes(0.0), output=of_loss(""), labels=(0, 1, 1))
    assert skills_of(told) == ()
    once = with_series(told, {Statistic.LABEL_MAX: set_to(3.0, rows=4)})
    assert len(skills_of(once)) == 1
    half = with_series(once, {Statistic.LABEL_WHOLE_FRACTION: set_to(0.5, rows=2)})
    assert skills_of(half) == ()


def test_numbers_under_a_loss_of_ones_own_need_no_such_thing():
    told = numbers(lambda y, noise: noise)
    assert len(skills_of(history(12, told, labels=(-17.3, 17.3, 0.0)))) == 1
    # one unit is no class, and as many labels as units are numbers
    column = Output("out", "linear", 1, label_rank=1, rank=2)
    assert len(skills_of(history(12, told, output=column))) == 1
    rows = Output("out", "linear", 4, label_rank=2, rank=2)
    assert len(skills_of(history(12, told, output=rows))) == 1
