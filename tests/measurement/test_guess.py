"""The loss of a constant guess, of labels that come in small batches."""

import math

import numpy as np
import pytest

from initwatch.measurement.guess import FEW, Guess, OneLabel
from initwatch.measurement.moments import Measurement
from initwatch.records import Output, Statistic


def step_of(labels, own):
    values = {
        Statistic.LABEL_MEAN: np.array([np.mean(labels)]),
        Statistic.LABEL_STD: np.array([np.std(labels)]),
    }
    return Measurement(0, values, 1.0, own, False, len(labels))


def guesses(loss, batches, own, units=1):
    guess = Guess(Output(units=units, loss=loss))
    return [guess.of(step_of(labels, own)) for labels in batches]


def test_balanced_batches_of_four_do_not_pass_for_a_sample():
    """The unbiased variance of (0, 1, 1, 0) is 1/3, that of the rows behind it 1/4."""
    found = guesses("mean_squared_error", [[0, 1, 1, 0]] * 200, own=1.0 / 3.0)
    assert found[0] == 1.0 / 3.0  # four labels say no more
    assert found[-1] == pytest.approx(0.25, rel=2e-3)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_small_random_batches_come_to_the_variance_of_all(size):
    labels = np.random.default_rng(0).normal(3.0, 2.0, (4000 // size, size))
    assert guesses("mean_squared_error", labels, 9.9)[-1] == pytest.approx(labels.var(), rel=1e-3)


def test_a_binary_entropy():
    labels = np.random.default_rng(0).random((500, 4)) < 0.2
    share = labels.mean()
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    found = guesses("binary_crossentropy", labels.astype(float), 0.1)
    assert found[-1] == pytest.approx(entropy, rel=2e-3)


def test_what_a_batch_tells_itself_stays():
    large = [[0.0, 1.0] * (FEW // 2)] * 3
    small = [[0, 1, 1, 0]] * 200
    assert guesses("mean_squared_error", large, own=0.7) == [0.7] * 3
    assert guesses("mean_squared_error", small, own=0.7, units=2)[-1] == 0.7
    assert guesses("mean_absolute_error", small, own=0.7)[-1] == 0.7
    assert guesses("binary_crossentropy", [[0, 0, 0, 0]] * 200, own=0.7)[-1] == 0.7
    assert math.isnan(guesses("mean_squared_error", small, own=math.nan)[-1])


def one_label_of(*batches):
    counted = OneLabel()
    for labels in batches:
        step = step_of(np.array(labels, float), 0.0)
        edges = {Statistic.LABEL_MIN: min(labels), Statistic.LABEL_MAX: max(labels)}
        step.values.update({name: np.array([float(edge)]) for name, edge in edges.items()})
        counted.add(step)
    return counted.examples


def test_examples_of_one_label_are_counted_until_two_differ():
    assert one_label_of([0, 0], [0, 0, 0]) == 5
    assert one_label_of([0, 0], [0, 1]) == 0
    # all of one, then all of another, and back
    assert one_label_of([0, 0], [1, 1], [0, 0]) == 0


def test_without_labels_nothing_is_counted():
    counted = OneLabel()
    counted.add(Measurement(0, {}, 1.0, 0.0, False, 8))
    assert counted.examples == 0
