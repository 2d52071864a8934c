"""The fit over depth, against a plain loop over all pairs."""

import math
import statistics

import numpy as np
import pytest

from initwatch.measurement.profile import fit_over_depth


def theil_sen(values):
    """Median of the slopes of all pairs (Theil 1950; Sen 1968), one pair at a time."""
    points = [(i, math.log(v)) for i, v in enumerate(values) if math.isfinite(v) and v > 0]
    return statistics.median(
        (b - a) / (j - i) for at, (i, a) in enumerate(points) for j, b in points[at + 1 :]
    )


@pytest.mark.parametrize("depth", [3, 4, 5, 7, 8, 30, 201, 1000])
@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_an_exponential_is_recovered(depth, factor):
    fit = fit_over_depth(5.0 * factor ** np.arange(depth, dtype=float))
    slope = math.log(factor)
    assert fit.log_slope == pytest.approx(slope, abs=1e-9)
    assert fit.depth == depth - 1
    assert fit.log_total == pytest.approx(slope * (depth - 1), abs=1e-6)
    assert fit.log_ends == pytest.approx(slope * (depth - 1), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_the_median_of_all_pairs(seed):
    random = np.random.default_rng(seed)
    values = np.exp(-0.3 * np.arange(20) + random.normal(size=20))
    values[[3, 11]] = [0.0, np.nan]
    assert fit_over_depth(values).log_slope == pytest.approx(theil_sen(values))


def test_odd_layers_do_not_move_the_fit():
    values = 0.8 ** np.arange(12.0)
    spoiled = values.copy()
    spoiled[[0, 5, 9]] *= [1e6, 1e-6, 1e3]  # a quarter of the layers, below the 29 % it bears
    assert fit_over_depth(spoiled).log_slope == pytest.approx(math.log(0.8), abs=0.02)
    # where least squares are led astray
    least_squares = np.polyfit(np.arange(12), np.log(spoiled), 1)[0]
    assert abs(least_squares - math.log(0.8)) > 0.2


def test_ends_are_medians_of_the_outer_quarters():
    # 8 layers: quarters of 2; a jump in the middle shows in the ends, not in the slope
    values = np.array([1.0, 1.0, 1.0, 1.0, 10.0, 10.0, 10.0, 10.0])
    fit = fit_over_depth(values)
    assert fit.log_ends == pytest.approx(math.log(10.0) * 7 / 6)
    assert fit.log_total == pytest.approx(theil_sen(values) * 7)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_unusable_layers_are_left_out_and_keep_their_place(bad):
    values = 2.0 ** np.arange(10.0)
    values[[0, 4]] = bad
    fit = fit_over_depth(values)
    assert fit.log_slope == pytest.approx(math.log(2.0))
    assert fit.depth == 8


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 0.0], [np.nan] * 5, [1.0, np.inf, 2.0, 0.0]]
)
def test_fewer_than_three_layers_show_no_trend(values):
    assert fit_over_depth(np.array(values)) is None


def test_the_unit_does_not_matter():
    values = np.exp(np.random.default_rng(0).normal(size=15))
    fit, scaled = fit_over_depth(values), fit_over_depth(1e-20 * values)
    assert scaled.log_slope == pytest.approx(fit.log_slope)
    assert scaled.log_ends == pytest.approx(fit.log_ends)
