"""Dead units over a sliding span of steps."""

import numpy as np
import pytest

from initwatch.measurement.activity import Activity
from initwatch.measurement.layout import Layout


def layout(*activity, layers=None):
    return Layout((), activity, layers or len(activity), 0)


def units(*flags):
    return np.array(flags, dtype=bool)


def test_dead_is_what_no_step_switched_on():
    activity = Activity()
    random = np.random.default_rng(0)
    rows = random.random((10, 40)) < 0.1
    for row in rows:
        activity.add(row, 32)
    dead = activity.dead_fractions(layout((0, 15), (1, 25)))
    assert dead[0] == pytest.approx(np.mean(~rows[:, :15].any(axis=0)))
    assert dead[1] == pytest.approx(np.mean(~rows[:, 15:].any(axis=0)))
    assert 0.0 < dead[0] < 1.0
    assert activity.examples == 320


def test_layers_that_do_not_rectify_are_nan():
    activity = Activity()
    activity.add(units(True, False), 8)
    dead = activity.dead_fractions(layout((2, 2), layers=4))
    assert dead == pytest.approx([np.nan, np.nan, 0.5, np.nan], nan_ok=True)


def test_nothing_is_known_before_the_first_step():
    activity = Activity()
    assert np.isnan(activity.dead_fractions(layout((0, 3)))).all()
    assert activity.examples == 0


def test_a_layer_called_twice_lives_if_either_call_does():
    activity = Activity()
    activity.add(units(True, False, False, False, True, False), 8)
    dead = activity.dead_fractions(layout((0, 3), (0, 3), layers=1))
    assert dead == pytest.approx([1.0 / 3.0])


def test_a_layer_called_at_two_widths_has_the_units_of_both():
    activity = Activity()
    activity.add(units(True, False, True, False, False, False), 8)
    dead = activity.dead_fractions(layout((0, 2), (0, 3), (1, 1), layers=2))
    assert dead == pytest.approx([3.0 / 5.0, 1.0])


def test_a_unit_that_dies_late_is_seen():
    activity = Activity(block=4, blocks=2)
    for _ in range(8):
        activity.add(units(True, True), 10)
    for _ in range(4):
        activity.add(units(True, False), 10)
    # one of the two blocks still holds steps in which both were on
    assert activity.dead_fractions(layout((0, 2)))[0] == 0.0
    for _ in range(4):
        activity.add(units(True, False), 10)
    assert activity.dead_fractions(layout((0, 2)))[0] == 0.5


def test_the_span_is_bounded_and_its_examples_are_counted():
    activity = Activity(block=4, blocks=3)
    for step in range(1000):
        activity.add(units(step == 0), 10)
    # 3 blocks of 4 steps
    assert activity.examples == 120
    assert activity.dead_fractions(layout((0, 1)))[0] == 1.0


@pytest.mark.parametrize(("examples", "steps"), [(256, 12), (32, 16), (8, 64)])
def test_a_death_is_seen_once_enough_examples_have_passed(examples, steps):
    """Three full blocks of four steps, or as many as hold 512 examples."""
    activity = Activity()
    for _ in range(100):
        activity.add(units(True, True), examples)
    needed = 0
    while activity.dead_fractions(layout((0, 2)))[0] != 0.5:
        activity.add(units(True, False), examples)
        needed += 1
    assert steps <= needed <= steps + 4


def test_the_callers_array_is_left_alone():
    activity = Activity()
    first = units(True, False)
    activity.add(first, 1)
    activity.add(units(False, True), 1)
    assert first.tolist() == [True, False]
    first[:] = False
    assert activity.dead_fractions(layout((0, 2)))[0] == 0.0


def test_another_number_of_units_begins_anew():
    activity = Activity()
    activity.add(units(True, True), 5)
    activity.add(units(False, True, True), 5)
    assert activity.dead_fractions(layout((0, 3)))[0] == pytest.approx(1.0 / 3.0)
