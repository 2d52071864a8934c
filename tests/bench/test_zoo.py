"""The zoo keeps what it promises: cases of every symptom, whose truth was measured."""

from collections import Counter

import pytest

from tests.bench.zoo.cases import SYMPTOMS
from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.runner import reports
from tests.bench.zoo.score import alarms, matching
from tests.bench.zoo.sick import SICK
from tests.bench.zoo.truth import harmless, measured, unlearnt


def test_every_symptom_is_planted_in_several_architectures():
    planted = Counter(case.planted for case in SICK.values())
    assert set(planted) == set(SYMPTOMS)
    assert min(planted.values()) >= 3
    for symptom in SYMPTOMS:
        twins = {case.twin for case in SICK.values() if case.planted == symptom}
        assert len(twins) >= 2, symptom


def test_there_are_many():
    assert len(HEALTHY) >= 32
    assert len(SICK) >= 64


def test_all_that_may_be_said_is_a_symptom():
    for case in SICK.values():
        assert case.symptoms <= set(SYMPTOMS), case.name


def test_truth_was_measured_and_is_as_claimed():
    known = measured()
    assert known.keys() == HEALTHY.keys() | SICK.keys()
    assert unlearnt(known) == []
    assert harmless(known) == []


# one of each kind, of those that train fastest; `python -m tests.bench.zoo` runs them all
SHORT = """
default_2 continued binary regression
relu_zeros bias_negative softmax_one_unit adam_tiny nan_input cut_code
""".split()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_short_walk_through_the_zoo(name):
    (found,), problems = (reports(name, 1)[key] for key in ("found", "problems"))
    assert problems == []
    if name in HEALTHY:
        assert alarms(found) == []
        return
    assert any(SICK[name].names(f["layer"]) or not SICK[name].layers for f in found)
    assert matching(SICK[name], found)
