"""Every way of training: nothing is changed by the callback, and what it measures is so."""

import dataclasses

import numpy as np
import pytest

from initwatch import Schedule
from initwatch.capture.observer import optimizers_of
from initwatch.records import Statistic
from tests.capture import reference, ways
from tests.capture.models import BACKEND
from tests.capture.watching import Watching, leftovers

EVERY_STEP = Schedule(first=1000)


def bits(values):
    return [(value.dtype, value.shape, value.tobytes()) for value in values]


def attributes(model):
    """What stands in the dictionaries of the model and all it holds."""
    owners = [model, *optimizers_of(model), *model._flatten_layers(include_self=False)]
    return [(type(owner), sorted(vars(owner))) for owner in owners]


def marks(way):
    if BACKEND in way.impossible:
        return pytest.mark.skip(reason=way.impossible[BACKEND])
    return pytest.mark.slow if way.slow == BACKEND else ()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks(way)) for name, way in ways.WAYS.items()]
)
def test_way(name, tmp_path):
    way = ways.WAYS[name]
    seen = []

    def check(model):
        assert watch.report.problems == []
        assert leftovers(model) == []
        seen.append(watch.report.steps_seen)

    plain = ways.train(way, [], tmp_path)
    watch, *others = [Watching(schedule=EVERY_STEP), *[Watching()] * (way.watchers - 1)]
    recorder = reference.Recorder(ways.BATCHES)
    watched = ways.train(way, [watch, *others, recorder], tmp_path, check)

    assert plain.histories == watched.histories
    assert bits(plain.state) == bits(watched.state)
    assert attributes(plain.model) == attributes(watched.model)

    assert sum(seen) == way.steps
    assert [u.step for u in watch.updates] == [way.counted(step) for step in range(way.steps)]
    for other in others:
        assert [u.step for u in other.updates] == [u.step for u in watch.updates]
    compare(way, watch.updates, recorder)


def compare(way, updates, recorder):
    first, *later = sorted(recorder.before)
    for step in [first, later[len(later) // 2]]:
        update = updates[step]
        expected = ways.step_at(way, recorder, step)
        if recorder.before[step]:
            assert {v.path for v in update.variables} == set(recorder.trainable[step])
        compared = reference.compare(update, expected, way.tolerance, way.loss_seen)
        assert set(compared) == set(expected.outputs) - {way.unread}
        assert Statistic.ACTIVATION_MEAN in update.values
    if way.compile.get("steps_per_execution", 1) == 1:
        reference.compare_updates(updates, recorder, ways.built(way))


def test_validation_changes_no_number():
    way = ways.WAYS["adam"]
    validated = numbers_of(way, validation_data=ways.VALIDATION, epochs=2)
    assert_equal(numbers_of(way, epochs=2), validated)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no steps_per_execution on torch")
def test_steps_inside_an_execution_are_those_of_single_ones():
    by_seven = ways.WAYS["steps_per_execution=7"]
    assert_equal(numbers_of(ways.Way()), numbers_of(by_seven))


def numbers_of(way, **fit):
    watch = Watching(schedule=EVERY_STEP)
    ways.train(dataclasses.replace(way, fit=fit), [watch], None)
    return [update.values for update in watch.updates]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for statistic, value in one.items():
            assert np.array_equal(value, other[statistic], equal_nan=True), statistic


def test_every_network_has_names_of_its_own():
    """Else paths would count the models made in this process, and no two would be alike."""
    for name, way in ways.WAYS.items():
        paths = [[v.path for v in ways.built(way).trainable_variables] for _ in range(2)]
        assert paths[0] == paths[1], name
