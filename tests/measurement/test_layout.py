"""The order of the sums in a row."""

import numpy as np
import pytest

from initwatch.measurement.layout import FIELDS, HEADER, STEP_BASE, Group, Layout, Source


def test_width_is_the_header_and_the_fields_of_each_group():
    sources = [Source.WEIGHT, Source.GRADIENT, Source.UPDATE, Source.ACTIVATION, Source.DELTA]
    layout = Layout(
        groups=tuple(Group(source, 0) for source in sources),
        activity=((0, 5), (2, 7)),
        layers=3,
        variables=1,
    )
    assert layout.width == 10 + (9 + 8 + 3 + 9 + 4)
    assert layout.activity_width == 12
    assert Layout((), (), 0, 0).width == len(HEADER)
    assert Layout((), (), 0, 0).activity_width == 0


def test_every_source_has_fields_that_can_be_scaled_back():
    assert set(FIELDS) == set(Source)
    for source, fields in FIELDS.items():
        assert len(set(fields)) == len(fields)
        # those of an output and of a descent are means and counts, of no scale
        scaled = source not in (Source.OUTPUT, Source.DESCENT)
        assert (fields[:2] == ("size", "scale")) is scaled


@pytest.mark.parametrize("step", [0, 65535, 65536, 2**24 + 1, 2**31 - 1])
def test_float32_holds_both_halves_of_a_step_exactly(step):
    high, low = np.float32(step // STEP_BASE), np.float32(step % STEP_BASE)
    assert int(high) * STEP_BASE + int(low) == step
