"""Curves in figures and candidates in order, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from initwatch.measurement import ranking
from initwatch.records import Report, Run


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30])
def test_students_t(freedom):
    for t in (0.0, 0.1, 1.0, 3.0, 50.0):
        expected = 1.0 - 2.0 * stats.t.sf(t, freedom)
        assert ranking.coverage(t, freedom) == pytest.approx(expected, abs=1e-12)
    for probability in (0.5, 0.95, 0.999):
        expected = stats.t.ppf((1.0 + probability) / 2.0, freedom)
        assert ranking.quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)
    assert ranking.coverage(math.inf, freedom) == 1.0


def test_the_interval_is_students():
    values = np.array([0.31, 0.42, 0.29, 0.35])
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert ranking.interval(values) == pytest.approx(expected)
    assert np.isnan(ranking.interval(values[:1])).all()


def test_p_values_are_of_the_paired_test_and_corrected():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 6)) + rng.normal(size=6) * 5.0 + np.array([[0.0], [0.5], [2.0]])
    pairs = [(0, 1), (0, 2), (1, 2)]
    plain = [stats.ttest_rel(values[a], values[b]).pvalue for a, b in pairs]
    # Holm 1979 by hand: the smallest times 3, the next times 2, never falling
    order = np.argsort(plain)
    expected = np.maximum.accumulate(np.minimum(1.0, np.array(plain)[order] * [3, 2, 1]))
    found = ranking.paired_p_values(values)
    for p, i in zip(expected, order, strict=True):
        a, b = pairs[i]
        assert found[a, b] == found[b, a] == pytest.approx(p)
    assert np.isnan(np.diag(found)).all()
    assert np.isnan(ranking.paired_p_values(values[:, :1])).all()


def test_equals_are_seldom_told_apart():
    """Four equal candidates, 5 seeds: a false difference anywhere in at most 5 % of comparisons.

    2,000 draws: a share of 5 % has a standard deviation of 0.5 %.
    """
    rng = np.random.default_rng(1)
    wrong = sum(
        np.nanmin(ranking.paired_p_values(rng.normal(size=(4, 5)) + rng.normal(size=5))) < 0.05
        for _ in range(2000)
    )
    assert wrong / 2000 < 0.05 + 3 * 0.005


def test_a_difference_without_any_spread():
    same = ranking.paired_p_values(np.array([[1.0, 2.0], [1.0, 2.0]]))
    assert same[0, 1] == 1.0
    shifted = ranking.paired_p_values(np.array([[1.0, 2.0], [1.5, 2.5]]))
    assert shifted[0, 1] == 0.0


def test_a_curve_in_figures():
    losses = np.linspace(10.0, 1.0, 20)
    assert ranking.final_loss(losses) == pytest.approx(losses[-2:].mean())
    assert ranking.final_loss(losses[:5]) == losses[4]
    assert ranking.area_under(losses) == pytest.approx(19 * 5.5)
    losses[-2] = np.inf
    assert np.isnan(ranking.final_loss(losses))
    assert np.isnan(ranking.area_under(losses))


def runs(label, *finals, failure=""):
    return [
        Run(
            label=label,
            seed=seed,
            losses=np.array([2.0, final]),
            first_loss=2.0,
            final_loss=final,
            area=1.0 + final / 2.0,
            report=Report(steps_seen=2),
            failure=failure,
        )
        for seed, final in enumerate(finals)
    ]


def ranked(**finals):
    groups = {name: runs(name, *values) for name, values in finals.items()}
    return ranking.ranked(dict.fromkeys(groups), groups)


def test_who_is_surely_best():
    comparison = ranked(b=(1.0, 1.1, 0.9), a=(0.1, 0.2, 0.05))
    assert comparison.ranking == ["a", "b"]
    assert [c.verdict for c in comparison.candidates] == ["lowest", "worse"]
    assert comparison.sure
    assert comparison["b"].difference == pytest.approx(1.0 - 0.35 / 3)
    assert "a is best" in str(comparison)
    assert "3 of 3" in str(comparison)


def test_scatter_larger_than_the_difference():
    comparison = ranked(a=(0.1, 0.9, 0.5), b=(0.6, 0.4, 0.7), c=(5.0, 5.4, 5.1))
    assert comparison.ranking == ["a", "b", "c"]
    assert [c.verdict for c in comparison.candidates] == ["lowest", "not told apart", "worse"]
    assert not comparison.sure
    text = str(comparison)
    assert "No difference can be told between a and b with 3 seeds" in text
    assert "More seeds tell smaller differences apart. Worse than a: c." in text


def test_what_a_seed_does_to_both_cancels():
    apart = ranked(a=(1.0, 2.0, 3.0), b=(1.11, 2.1, 3.12))
    low, high = apart["a"].interval
    assert low < apart["b"].final_loss < high  # the intervals alone could not tell
    assert apart.sure


def test_one_seed_is_never_sure():
    comparison = ranked(a=(0.1,), b=(9.0,))
    assert comparison.ranking == ["a", "b"]
    assert not comparison.sure
    assert np.isnan(comparison["a"].interval).all()
    assert "with one seed" in str(comparison)
    assert "take seeds=3 or more" in str(comparison)


def test_what_is_not_finite_comes_last():
    nan = math.nan
    comparison = ranked(all=(nan, nan), some=(0.01, nan), b=(1.0, 1.2), a=(0.1, 0.3))
    assert comparison.ranking == ["a", "b", "some", "all"]
    assert [c.verdict for c in comparison.candidates[2:]] == ["failed", "failed"]
    assert comparison.sure  # p = 0 between a and b, and the others have failed
    assert "not finite in 1 of 2 runs" in str(comparison)
    assert "not finite in 2 of 2 runs" in str(comparison)
    assert "Not every run ended with a finite loss: some and all." in str(comparison)


def test_nobody_is_best_where_all_failed():
    groups = {"a": runs("a", math.nan), "b": runs("b", 0.5, failure="ValueError: no")}
    comparison = ranking.ranked(dict.fromkeys(groups), groups)
    assert not comparison.sure
    assert "No candidate ended" in str(comparison)
    assert "1 of 1 runs failed (ValueError: no)" in str(comparison)
    with pytest.raises(KeyError):
        comparison["c"]
