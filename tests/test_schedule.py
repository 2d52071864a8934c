"""Which batches are sampled."""

import dataclasses

import pytest

from initwatch.errors import ArgumentError
from initwatch.schedule import Schedule


def test_the_first_batches_are_all_sampled_and_then_each_tenth():
    due = [batch for batch in range(61) if Schedule().due(batch)]
    assert due == [*range(20), 20, 30, 40, 50, 60]


def test_sampling_goes_by_the_number_of_the_batch():
    # not by batches since the dense start: 7 and 14 are multiples, 3 + 7 is not
    due = [batch for batch in range(15) if Schedule(first=3, every=7).due(batch)]
    assert due == [0, 1, 2, 7, 14]


def test_every_batch_or_hardly_any():
    assert all(Schedule(first=0, every=1).due(batch) for batch in range(100))
    assert [b for b in range(1000) if Schedule(first=0, every=500).due(b)] == [0, 500]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": -1}, r"first=.*0 or more\. Received: -1"),
        ({"every": 0}, r"every=.*1 or more\. Received: 0"),
        ({"first": "a"}, r"first=.*whole number.*Received: 'a'"),
        ({"first": 1.5}, r"first=.*whole number.*Received: 1\.5"),
        ({"every": True}, r"every=.*whole number.*Received: True"),
        ({"histograms": 3}, r"histograms=.*True or False\. Received: 3"),
    ],
)
def test_impossible_numbers_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Schedule(**arguments)


def test_a_schedule_is_a_value():
    assert Schedule() == Schedule(first=20, every=10, histograms=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Schedule().first = 3
