"""The row of a batch that several replicas shared, against that of the batch as one."""

import numpy as np
import pytest

from initwatch.measurement.layout import FIELDS, HEADER, Group, Layout, Source
from initwatch.measurement.moments import measure
from initwatch.measurement.replicas import whole_step
from initwatch.records import Statistic

LAYOUT = Layout((Group(Source.OUTPUT, 0), Group(Source.OUTPUT, 1)), (), 0, 0, outputs=2)


def row(loss, examples, *outputs, **head):
    known = {"loss": loss, "examples": examples, "loss_scale": 1.0, **head}
    header = [known.get(name, 0.0) for name in HEADER]
    told = [given.get(name, np.nan) for given in outputs for name in FIELDS[Source.OUTPUT]]
    return np.array([*header, *told], np.float32)


def test_a_single_replica_is_the_step():
    only = row(1.5, 4, {"count": 4.0}, {})
    assert np.array_equal(whole_step(only[None], LAYOUT, 1.0), only, equal_nan=True)


def test_means_over_labels_are_those_of_all_labels():
    """8 and 24 labels: an error of 1 and one of 0.2 are one of 0.4."""
    parts = [
        row(2.0, 8, {"count": 8.0, "error": 1.0, "off": -1.0}, {"count": 8.0, "error": 0.0}),
        row(4.0, 24, {"count": 24.0, "error": 0.2, "off": -1.0}, {"count": 8.0, "error": 0.5}),
    ]
    found = measure(whole_step(np.stack(parts), LAYOUT, 0.5), LAYOUT, [])
    assert found.loss == 3.0
    assert found.examples == 32
    assert found.values[Statistic.LABELS_COUNTED].tolist() == [32.0, 16.0]
    assert found.values[Statistic.PREDICTION_ERROR] == pytest.approx([0.4, 0.25])
    assert found.values[Statistic.PREDICTION_SUM_OFF][0] == -1.0
    assert np.isnan(found.values[Statistic.BASELINE_ERROR]).all()


def test_a_replica_without_labels_that_count_changes_nothing():
    some, none = {"count": 5.0, "error": 0.7}, {"count": 0.0, "error": 0.0}
    parts = [row(1.0, 5, some, some), row(1.0, 5, none, none)]
    found = measure(whole_step(np.stack(parts), LAYOUT, 0.5), LAYOUT, [])
    assert found.values[Statistic.PREDICTION_ERROR] == pytest.approx([0.7, 0.7])
