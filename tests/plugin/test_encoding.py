"""How the numbers of a step are packed: what comes back, and how exactly."""

import json

import numpy as np
import pytest

from initwatch.plugin.encoding import (
    MAX_RELATIVE_ERROR,
    UNKNOWN,
    numbers,
    pack,
    pack_json,
    portable,
    unpack,
    unpack_json,
)

SPECIAL = [0.0, np.inf, -np.inf, np.nan]
EXTREME = [1e-45, 1e38, -1e-45, -1e38, 1e-38, 3.4028235e38, 1.0, -1.0, 1e-30, 0.5, 2.0]


def there_and_back(values, known=None, exact=()):
    values = np.array(values, float)
    known = np.ones(len(values), bool) if known is None else np.array(known, bool)
    data = pack(np.array(exact, float), values, known)
    back, codes = unpack(data, len(exact), len(values))
    return back, codes


def test_what_is_no_ordinary_number_comes_back_as_it_was():
    _, codes = there_and_back(SPECIAL)
    np.testing.assert_array_equal(numbers(codes), SPECIAL)


def test_extreme_magnitudes_come_back_within_the_stated_error():
    _, codes = there_and_back(EXTREME)
    np.testing.assert_allclose(numbers(codes), EXTREME, rtol=MAX_RELATIVE_ERROR)


def test_the_stated_error_holds_everywhere_and_is_reached():
    magnitudes = np.exp2(np.linspace(-149.0, 128.0, 200_001))
    signs = np.where(np.arange(len(magnitudes)) % 3 == 0, -1.0, 1.0)
    _, codes = there_and_back(magnitudes * signs)
    error = np.abs(numbers(codes) / (magnitudes * signs) - 1.0)
    assert MAX_RELATIVE_ERROR * 0.98 < error.max() <= MAX_RELATIVE_ERROR * (1.0 + 1e-9)
    assert MAX_RELATIVE_ERROR < 0.0035


def test_beyond_its_range_a_number_is_the_last_one_in_it():
    _, codes = there_and_back([1e-300, 1e300, -1e300])
    lowest, highest, negative = numbers(codes)
    assert 0.0 < lowest < 1e-48
    assert 1e48 < highest < 1e50
    assert negative == -highest


def test_what_was_not_measured_is_told_from_nan():
    _, codes = there_and_back([1.0, np.nan, np.nan, 4.0], known=[True, False, True, True])
    assert (codes == UNKNOWN).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(numbers(codes), [1.0, np.nan, np.nan, 4.0])


def test_figures_of_the_whole_step_are_exact():
    exact = [np.pi, np.nan, 1e-310, -np.inf]
    back, codes = there_and_back(np.zeros(0), exact=exact)
    assert back.tobytes() == np.array(exact).tobytes()
    assert len(codes) == 0


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_any_number_of_values(count):
    rng = np.random.default_rng(count)
    values = np.exp(rng.normal(0.0, 20.0, count)) * rng.choice([-1.0, 1.0], count)
    known = rng.random(count) < 0.7
    _, codes = there_and_back(values, known, exact=[1.0])
    np.testing.assert_allclose(numbers(codes)[known], values[known], rtol=MAX_RELATIVE_ERROR)
    np.testing.assert_array_equal(codes == UNKNOWN, ~known)


def test_a_step_of_another_length_is_refused():
    data = pack(np.zeros(2), np.ones(10), np.ones(10, bool))
    with pytest.raises(ValueError, match="values was expected"):
        unpack(data, 2, 30)


def test_json_is_strict():
    thing = {"a": [1, 1.5, np.float32(2.0), np.int64(3), True, None, "x"], "b": (np.nan, np.inf)}
    back = unpack_json(pack_json(thing))
    assert back == {"a": [1, 1.5, 2.0, 3, True, None, "x"], "b": ["NaN", "Infinity"]}
    assert json.dumps(portable(-np.inf), allow_nan=False) == '"-Infinity"'
