"""Which batches are sampled."""

import dataclasses

import numpy as np
import pytest

from initwatch.errors import ArgumentError
from initwatch.schedule import Agenda, Schedule


def sampled(schedule, batches, epoch=None, alarms=()):
    """Numbers of the sampled batches, and of those with histograms."""
    agenda = Agenda(schedule)
    taken, drawn = [], []
    for batch in range(batches):
        if epoch and batch % epoch == 0:
            agenda.epoch()
        if agenda.due(batch):
            taken.append(batch)
            if agenda.take(batch):
                drawn.append(batch)
        if batch in alarms:
            agenda.alarm(batch)
    return taken, drawn


def test_dense_at_first_and_ever_sparser():
    taken, _ = sampled(Schedule(), 3000)
    assert taken[:40] == list(range(40))
    assert taken[40:50] == [40, 42, 44, 46, 48, 50, 52, 54, 56, 58]
    plan = [min(50, batch // 20) for batch in taken[40:-1]]
    off = np.abs(np.diff(taken[40:]) / plan - 1.0)
    assert 0.1 < off.max() <= 0.25
    assert len(taken) < 185
    gaps = np.diff(sampled(Schedule(), 30_000)[0])[-500:]
    assert 49.0 < gaps.mean() < 51.0  # of 500 draws: 0.3 is the standard error


@pytest.mark.parametrize("epoch", [47, 50, 100, 200])
def test_no_batch_of_an_epoch_stands_for_all(epoch):
    taken, _ = sampled(Schedule(histograms=False), 30_000)
    places = np.array([batch % epoch for batch in taken[-400:]])
    quarters = np.bincount(4 * places // epoch, minlength=4)
    assert quarters.min() > 60  # of 100


def test_every_batch_or_hardly_any():
    assert sampled(Schedule(every=1), 100)[0] == list(range(100))
    assert sampled(Schedule(first=0, every=64), 4)[0] == [0, 1, 2]
    assert sampled(Schedule(first=0, every=3), 12)[0] == [0, 1, 2, 4, 7, 10]


def test_dense_after_an_alarm():
    quiet, _ = sampled(Schedule(), 2100)
    alarm = quiet[-2]
    after = [alarm + n for n in range(1, 6)]
    taken, _ = sampled(Schedule(alarm=5), 2100, alarms=[alarm])
    assert taken[: len(quiet) + 4] == [*quiet[:-1], *after]
    assert 37 <= taken[len(quiet) + 4] - after[-1] <= 63
    assert sampled(Schedule(alarm=0), 2100, alarms=[alarm])[0] == quiet


def test_histograms_at_the_beginning_of_epochs_that_are_far_enough_apart():
    _, drawn = sampled(Schedule(), 3000, epoch=100)
    assert drawn == [0, 100, 200, 300, 500, 800, 1200, 1700, 2200, 2700]
    assert sampled(Schedule(histograms=False), 300, epoch=100)[1] == []


def test_an_epoch_that_begins_early_is_not_forgotten():
    # epochs of 7 batches: the first one that begins ten samples after the last histograms
    assert sampled(Schedule(), 30, epoch=7)[1] == [0, 14, 28]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": -1}, r"first=.*0 or more\. Received: -1"),
        ({"every": 0}, r"every=.*1 or more\. Received: 0"),
        ({"first": "a"}, r"first=.*whole number.*Received: 'a'"),
        ({"first": 1.5}, r"first=.*whole number.*Received: 1\.5"),
        ({"every": True}, r"every=.*whole number.*Received: True"),
        ({"alarm": -1}, r"alarm=.*0 or more\. Received: -1"),
        ({"histograms": 3}, r"histograms=.*True or False\. Received: 3"),
    ],
)
def test_impossible_numbers_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Schedule(**arguments)


def test_a_schedule_is_a_value():
    assert Schedule() == Schedule(first=20, every=50, alarm=10, histograms=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Schedule().first = 3
