"""IW106 on kernels that were drawn around another number than 0."""

import dataclasses

import numpy as np
import pytest

from initwatch.advice.weights import resize
from initwatch.diagnosis.rules.one_sided_weights import OneSidedWeights
from initwatch.records import Statistic, VariableSpec
from tests.diagnosis.histories import finding_of, mlp_history, with_layers, with_series

RULE = OneSidedWeights()


def positive(*which):
    """Draws the kernels of these layers from U(0, 1)."""

    def edit(kernels, biases):
        random = np.random.default_rng(1)
        for i in which:
            kernels[i][:] = random.uniform(size=kernels[i].shape)

    return edit


def around(mean):
    """Shifts the kernel of the second layer, standard deviation sqrt(2 / 128)."""

    def edit(kernels, biases):
        kernels[1] += mean * np.sqrt(2.0 / 128.0)

    return edit


SICK = mlp_history(3, edit=positive(0, 2))


def test_weights_from_zero_to_one_are_one_sided_and_hes_are_not():
    finding = finding_of(RULE, SICK)
    assert (finding.code, finding.symptom) == ("IW106", "initializer_mismatch")
    assert finding.severity == "warning"  # which the engine keeps to itself until harm is seen
    assert RULE.waits_for_harm
    assert finding.layers == ["dense_0", "dense_2"]
    evidence = finding.evidence
    # 0.5 x sqrt(128) x sqrt(12)
    assert evidence["common_over_own"] == pytest.approx(0.5 * np.sqrt(128 * 12), rel=0.02)
    assert evidence["common_over_own_limit"] == 5.0
    assert evidence["weight_mean"] == pytest.approx(0.5, rel=0.02)
    assert evidence["weight_std"] == pytest.approx(np.sqrt(1 / 12), rel=0.02)
    assert evidence["suitable_std"] == pytest.approx(np.sqrt(2 / 128))
    assert "instead of 0" in finding.message
    assert finding_of(RULE, mlp_history(3)) is None


@pytest.mark.parametrize(("mean", "found"), [(0.2, False), (0.4, False), (0.5, True), (-0.5, True)])
def test_a_mean_is_held_against_what_tells_units_apart(mean, found):
    """|mean| x sqrt(128) / std: 2.3, 4.5 and 5.7."""
    assert (finding_of(RULE, mlp_history(3, edit=around(mean))) is not None) is found


def test_the_first_step_is_asked():
    """Means that training makes are no fault of the initializer."""
    later = {s: v.copy() for s, v in mlp_history(3).series.items()}
    later[Statistic.WEIGHT_MEAN][1:] = 0.5
    assert finding_of(RULE, dataclasses.replace(mlp_history(3), series=later)) is None
    first = {s: v[:1] for s, v in SICK.series.items()}
    assert finding_of(RULE, dataclasses.replace(SICK, steps=SICK.steps[:1], series=first))


@pytest.mark.parametrize(("value", "found"), [(0.5, True), (-0.01, True), (0.0, False)])
def test_a_constant_is_all_in_common_and_zeros_are_nothing(value, found):
    """Also where a random layer behind them parts the units in the first update."""

    def constant(kernels, biases):
        kernels[1][:] = value

    finding = finding_of(RULE, mlp_history(3, edit=constant))
    assert (finding is not None) is found
    if found:
        assert finding.layers == ["dense_1"]
        assert finding.evidence["common_over_own"] == np.inf


@pytest.mark.parametrize(
    ("mean", "std", "found"),
    [(1.0, 0.0, True), (0.5, 0.05, True), (0.5, 0.29, False), (0.0, 0.03, False), (0.0, 0.0, 0)],
)
def test_embeddings_that_begin_alike(mean, std, found):
    """U(0, 1), 0.5 with a deviation of 0.29, tells entries apart."""
    history = mlp_history(3)
    words = VariableSpec("words/embeddings", "words", "embeddings", 4096)
    told = {Statistic.WEIGHT_MEAN: mean, Statistic.WEIGHT_STD: std}
    wider = {
        s: np.append(rows, np.full((len(rows), 1), told.get(s, 0.1)), axis=1)
        for s, rows in history.series.items()
        if rows.shape[1] == len(history.variables)
    }
    history = dataclasses.replace(
        with_series(history, wider), variables=(*history.variables, words)
    )
    finding = finding_of(RULE, history)
    assert (finding is not None) == bool(found)
    if found:
        assert finding.layers == ["words"]
        (advice,) = resize(history, ("IW106",))
        assert advice.code == 'embeddings_initializer="uniform"'
        assert "begin alike" in advice.reason


def test_small_matrices_scatter():
    """Of 8 inputs the mean of a draw around 0 is up to 4 / sqrt(64) of its deviation."""
    for seed in range(50):
        assert finding_of(RULE, mlp_history(2, width=8, seed=seed, rows=1)) is None


@pytest.mark.parametrize("change", ["one unit", "normalized", "recurrent"])
def test_what_is_not_flagged(change):
    def changed(layer):
        kernel = layer.kernel
        if change == "one unit":
            one = dataclasses.replace(kernel, shape=(kernel.shape[0], 1))
            return dataclasses.replace(layer, kernel=one)
        if change == "normalized":
            return dataclasses.replace(layer, normalized=True)
        return dataclasses.replace(layer, recurrent_kernel=kernel)

    assert finding_of(RULE, with_layers(SICK, changed)) is None


def test_frozen_layers_are_not_looked_at():
    assert finding_of(RULE, mlp_history(3, edit=positive(0), frozen=(0,))) is None
