"""The run's memory."""

import pickle

import numpy as np
import pytest

from initwatch.measurement.layout import Layout
from initwatch.measurement.moments import Measurement
from initwatch.measurement.recorder import FIRST_ROWS, LOSSES, RECENT_ROWS, ROWS, Recorder
from initwatch.records import Output, Statistic, VariableSpec
from tests.diagnosis.histories import plain

LAYERS = (plain("a", "Dense", 3), plain("b", "Dense", 2))
VARIABLES = tuple(VariableSpec(path, path[0], "kernel", 4) for path in ("a/kernel", "b/kernel"))
NO_UNITS = Layout((), (), 2, 2)
UNITS = Layout((), ((0, 3),), 2, 2)


def recorder():
    return Recorder(LAYERS, VARIABLES, Output())


def measurement(step, loss=1.0, *, trivial=2.0, skipped=False, examples=8, **values):
    named = {Statistic(name): np.array(value, float) for name, value in values.items()}
    return Measurement(step, named, loss, trivial, skipped, examples)


def add(run, *args, active=None, **options):
    layout = NO_UNITS if active is None else UNITS
    return run.add(measurement(*args, **options), np.array(active or [], bool), layout)


def test_a_long_run_takes_no_more_memory_than_a_short_one():
    run = recorder()
    sizes = {}
    for step in range(20_000):
        add(run, step, 1.0 / (step + 1), weight_rms=[1.0, 2.0], active=[True, False, True])
        if step + 1 in (5_000, 20_000):
            sizes[step + 1] = len(pickle.dumps(run))
    history = run.history()
    assert sizes[20_000] < 1.3 * sizes[5_000]
    assert FIRST_ROWS + RECENT_ROWS <= len(history.steps) <= ROWS
    assert len(history.series[Statistic.WEIGHT_RMS]) == len(history.steps)
    assert LOSSES // 2 < len(history.losses) <= LOSSES
    assert run.rows_seen == 20_000
    assert run.last_step == history.step == 19_999


def test_the_first_and_the_newest_rows_are_kept():
    run = recorder()
    for step in range(500):
        add(run, step, weight_rms=[float(step), 0.0])
    history = run.history()
    recent = len(history.steps) - FIRST_ROWS
    assert recent >= RECENT_ROWS
    expected = [*range(FIRST_ROWS), *range(500 - recent, 500)]
    assert history.steps.tolist() == expected
    assert history.series[Statistic.WEIGHT_RMS][:, 0].tolist() == expected
    assert history.first(Statistic.WEIGHT_RMS, 2)[:, 0].tolist() == [0.0, 1.0]
    assert history.last(Statistic.WEIGHT_RMS, 2)[:, 0].tolist() == [498.0, 499.0]


def test_a_history_handed_out_never_changes():
    run = recorder()
    taken = {}
    for step in range(3 * ROWS):
        add(run, step, weight_rms=[float(step), 0.0])
        history = run.history()
        taken[step] = (history, history.steps.tolist())
    for history, steps in taken.values():
        assert history.steps.tolist() == steps
        assert history.series[Statistic.WEIGHT_RMS][:, 0].tolist() == steps


def test_losses_are_thinned_from_the_oldest_and_stay_in_order():
    run = recorder()
    for step in range(20_000):
        add(run, step, float(step), trivial=2.0 * step)
    history = run.history()
    steps = history.loss_steps
    assert steps[0] == 0
    assert np.all(np.diff(steps) > 0)
    # the newest half is whole
    assert steps[-LOSSES // 2 :].tolist() == list(range(20_000 - LOSSES // 2, 20_000))
    # each loss still stands beside its own step
    assert history.losses.tolist() == steps.tolist()
    assert history.trivial_losses.tolist() == (2 * steps).tolist()


def test_a_short_run_keeps_every_loss():
    run = recorder()
    for step in range(300):
        add(run, step, float(step))
    assert run.history().loss_steps.tolist() == list(range(300))


def test_the_loss_of_a_skipped_step_counts_only_if_it_is_a_number():
    run = recorder()
    add(run, 0, 1.0)
    add(run, 1, np.nan, skipped=True)
    add(run, 2, 2.0, skipped=True)
    add(run, 3, np.nan)
    history = run.history()
    assert history.loss_steps.tolist() == [0, 2, 3]
    assert history.series[Statistic.SKIPPED][:, 0].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_update_ratio_is_of_the_larger_of_present_and_first_weights():
    run = recorder()
    first = add(run, 0, weight_rms=[2.0, 1.0], update_rms=[0.1, 0.1])
    grown = add(run, 1, weight_rms=[4.0, 0.01], update_rms=[0.1, 0.1])
    assert first[Statistic.UPDATE_RATIO] == pytest.approx([0.05, 0.1])
    # the second has shrunk: it is measured against what it was
    assert grown[Statistic.UPDATE_RATIO] == pytest.approx([0.025, 0.1])


def test_weights_that_begin_at_zero_have_no_ratio_at_first():
    run = recorder()
    with np.errstate(all="raise"):
        first = add(run, 0, weight_rms=[0.0, 0.0], update_rms=[0.1, 0.0])
        second = add(run, 1, weight_rms=[0.2, 0.0], update_rms=[0.1, 0.0])
    assert np.isnan(first[Statistic.UPDATE_RATIO]).all()
    assert second[Statistic.UPDATE_RATIO] == pytest.approx([0.5, np.nan], nan_ok=True)


def test_dead_units_are_those_of_all_steps_so_far():
    run = recorder()
    first = add(run, 0, active=[True, False, False])
    second = add(run, 1, active=[False, False, True])
    assert first[Statistic.DEAD_FRACTION] == pytest.approx([2 / 3, np.nan], nan_ok=True)
    assert second[Statistic.DEAD_FRACTION] == pytest.approx([1 / 3, np.nan], nan_ok=True)
    assert run.history().examples == 16


def test_a_statistic_missing_in_a_row_is_nan_there():
    run = recorder()
    add(run, 0, weight_rms=[1.0, 2.0])
    add(run, 1, delta_rms=[3.0, 4.0])
    series = run.history().series
    expected = [[1.0, 2.0], [np.nan, np.nan]]
    assert np.array_equal(series[Statistic.WEIGHT_RMS], expected, equal_nan=True)
    expected = [[np.nan, np.nan], [3.0, 4.0]]
    assert np.array_equal(series[Statistic.DELTA_RMS], expected, equal_nan=True)


def test_before_the_first_step_there_is_nothing():
    run = recorder()
    history = run.history()
    assert run.last_step == history.step == -1
    assert history.series == {}
    assert len(history.losses) == len(history.steps) == 0


def test_a_history_does_not_change_with_later_steps():
    run = recorder()
    add(run, 0, weight_rms=[1.0, 2.0])
    early = run.history()
    add(run, 1, weight_rms=[5.0, 6.0])
    assert early.steps.tolist() == [0]
    assert early.series[Statistic.WEIGHT_RMS].tolist() == [[1.0, 2.0]]
