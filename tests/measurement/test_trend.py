"""The trend of a noisy series, against a plain count of pairs."""

import itertools
import math

import numpy as np
import pytest

from initwatch.measurement.trend import MAX_POINTS, has_jumped, trend_of


def mann_kendall(values):
    """(rising pairs - falling pairs) / its standard deviation without a trend, by counting."""
    score = sum((b > a) - (b < a) for a, b in itertools.combinations(values.tolist(), 2))
    n = len(values)
    return score / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def noise(n, seed=0, std=1.0):
    return std * np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("slope", [0.0, -0.02, 0.05])
def test_z_counts_pairs(slope, seed):
    values = 10.0 + slope * np.arange(60) + noise(60, seed)
    assert trend_of(values).z == pytest.approx(mann_kendall(values))


def test_ten_falling_values_have_the_published_variance():
    """Mann 1945: Var(S) = n(n-1)(2n+5)/18 = 125 for n = 10; here S = -45."""
    assert trend_of(np.arange(10.0, 0.0, -1.0)).z == pytest.approx(-45.0 / math.sqrt(125.0))


def test_chance_alone_reaches_three_deviations_hardly_ever():
    # one in 700 to either side is expected at a limit of 3: of 400, more than 5 would be odd
    z = [trend_of(5.0 + noise(100, seed)).z for seed in range(400)]
    assert sum(abs(value) > 3.0 for value in z) <= 5
    assert np.std(z) == pytest.approx(1.0, abs=0.1)


def test_start_end_and_fall_are_of_medians():
    values = np.concatenate([np.full(10, 4.0), np.full(80, 3.0), np.full(10, 1.0)])
    values[[0, 95]] = [400.0, -400.0]  # medians: single batches do not count
    trend = trend_of(values)
    assert (trend.start, trend.end) == (4.0, 1.0)
    assert trend.fall == pytest.approx(0.75)


def test_a_short_series_takes_five_points_at_each_end():
    trend = trend_of(np.array([9.0, 9.0, 8.0, 7.0, 7.0, 3.0, 3.0, 2.0, 1.0, 1.0]))
    assert (trend.start, trend.end) == (8.0, 2.0)


def test_noise_is_that_around_the_trend():
    flat = 10.0 + noise(2000, std=0.5)
    falling = flat - 0.001 * np.arange(2000)
    assert trend_of(flat).noise == pytest.approx(0.05, rel=0.05)
    # the trend itself spreads the values by 0.6, and is no noise
    assert trend_of(falling).noise == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_loss_does_not_matter(factor):
    values = 3.0 - 0.01 * np.arange(100) + noise(100, std=0.1)
    trend, scaled = trend_of(values), trend_of(factor * values)
    assert scaled.z == trend.z
    assert scaled.fall == pytest.approx(trend.fall)
    assert scaled.noise == pytest.approx(trend.noise)


def test_negative_and_zero_losses_have_a_fall():
    assert trend_of(-1.0 - 0.01 * np.arange(50.0)).fall > 0.0
    from_zero = trend_of(np.concatenate([np.zeros(10), np.full(10, -2.0)]))
    assert from_zero.fall == 2.0  # absolute, as nothing can be relative to 0


def test_a_long_series_is_averaged_in_even_spans():
    values = 10.0 - 0.0002 * np.arange(4096) + noise(4096)
    edges = [i * 4096 // MAX_POINTS for i in range(MAX_POINTS + 1)]
    means = [np.mean(values[a:b]) for a, b in itertools.pairwise(edges)]
    assert trend_of(values).z == pytest.approx(mann_kendall(np.array(means)))


def test_a_long_trendless_series_has_no_trend():
    beyond = [abs(trend_of(10.0 + noise(4096, seed=seed)).z) > 3.0 for seed in range(200)]
    assert sum(beyond) <= 3  # one in 370 by chance


@pytest.mark.parametrize("draw", ["standard_normal", "random"])
def test_noise_seldom_jumps(draw):
    rng = np.random.default_rng(0)
    series = getattr(rng, draw)((5000, 17))
    assert np.mean([has_jumped(values) for values in series]) < 0.002


def test_a_jump_is_seen_at_any_scale():
    calm = np.random.default_rng(0).normal(1.0, 0.1, 40)
    for scale in (1e-6, 1.0, 1e6):
        assert not has_jumped(scale * calm)
        assert has_jumped(scale * np.append(calm, 2.0))
        assert has_jumped(np.append(scale * calm, np.nan))
        assert has_jumped(np.append(scale * calm, np.inf))


def test_what_is_lost_jumps_no_more():
    lost = np.append(np.ones(20), [np.nan, np.nan])
    assert not has_jumped(lost)
    assert not has_jumped(np.ones(5))
