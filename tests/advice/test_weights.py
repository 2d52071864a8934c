"""Initializers for weights that begin too large, one-sided or all alike."""

import dataclasses

import keras
import numpy as np

from initwatch.advice.weights import break_symmetry, mend_signal, resize
from initwatch.records import Finding, Statistic, VariableSpec
from tests.diagnosis.histories import mlp_history, with_layers, with_series

CODES = ("IW105",)


def large(*which, factor=10.0):
    def edit(kernels, biases):
        for i in which:
            kernels[i] *= factor

    return edit


def one_sided(*which):
    def edit(kernels, biases):
        random = np.random.default_rng(0)
        for i in which:
            kernels[i][:] = 0.1 * random.uniform(size=kernels[i].shape)

    return edit


def test_what_begins_too_large_is_drawn_by_the_match_of_its_activation():
    advice = resize(mlp_history(3, edit=large(1, 3)), CODES)
    assert [item.layer for item in advice] == ["dense_1", "logits"]  # the output as well
    assert [type(item.suggested).__name__ for item in advice] == ["HeNormal", "GlorotUniform"]
    hidden, output = advice
    assert hidden.variable == "dense_1/kernel"
    assert hidden.predicted["sigma_w2_before"] > 50.0 * hidden.predicted["sigma_w2_after"]
    assert hidden.predicted["sigma_w2_after"] == 2.0
    assert set(output.predicted) == {"sigma_w2_before", "sigma_w2_after"}
    assert "typical size (RMS)" in hidden.reason
    assert {item.codes for item in advice} == {CODES}
    assert resize(mlp_history(3), CODES) == []


def test_what_begins_with_a_mean_is_drawn_around_zero():
    (advice,) = resize(mlp_history(3, edit=one_sided(1)), ("IW106",))
    assert advice.layer == "dense_1"
    assert isinstance(advice.suggested, keras.initializers.HeNormal)
    assert "do not start around 0" in advice.reason


def test_in_front_of_a_normalisation_size_is_no_matter():
    history = with_layers(
        mlp_history(3, edit=large(0, 1)), lambda x: dataclasses.replace(x, normalized=True)
    )
    assert resize(history, CODES) == []


def with_embeddings(size):
    history = mlp_history(3)
    variables = (*history.variables, VariableSpec("words/embeddings", "words", "embeddings", 4096))
    wider = {
        statistic: np.append(rows, np.full((len(rows), 1), size), axis=1)
        for statistic, rows in history.series.items()
        if rows.shape[1] == len(history.variables)
    }
    return dataclasses.replace(with_series(history, wider), variables=variables)


def test_embeddings_are_drawn_as_keras_draws_them():
    (advice,) = resize(with_embeddings(6.0), CODES)
    assert (advice.layer, advice.variable) == ("words", "words/embeddings")
    assert isinstance(advice.suggested, keras.initializers.RandomUniform)
    assert advice.code == 'embeddings_initializer="uniform"'
    assert "6" in advice.current
    assert resize(with_embeddings(1.0), CODES) == []


# ---------------------------------------------------------------------- units that are all alike


def constant(values):
    """Kernels that begin with one value each: number of the layer -> value."""

    def edit(kernels, biases):
        for i, value in values.items():
            kernels[i][:] = value

    return edit


def broken(history, *layers):
    return [item.layer for item in break_symmetry(layers, history, ("IW102",))]


def test_signals_of_layers_that_began_as_copies_are_answered_with_random_weights():
    """Also where their units have parted since: behind noise, zeros do in a step."""
    finding = Finding(
        code="IW201",
        symptom="vanishing_gradient",
        severity="error",
        layers=["dense_0"],
        step=6,
        evidence={},
        message="",
    )
    history = mlp_history(3, edit=constant(dict.fromkeys(range(3), 0.0)))
    advice = mend_signal([finding], history, ("IW201",))
    assert {item.kind for item in advice} == {"initializer"}
    assert [item.layer for item in advice][:3] == ["dense_0", "dense_1", "dense_2"]


def test_layers_of_equal_units_are_drawn_and_a_random_output_is_left():
    history = mlp_history(3, edit=constant({0: 0.1, 1: 0.1}))
    assert broken(history, "dense_0", "dense_1") == ["dense_0", "dense_1"]


def test_an_output_whose_units_are_equal_is_drawn_with_them():
    """It gives all units before it the same gradient."""
    for value in (0.1, 0.0):
        history = mlp_history(3, edit=constant({1: 0.1, 3: value}))
        assert broken(history, "dense_1") == ["dense_1", "logits"]


def test_an_output_of_one_unit_has_nothing_to_be_equal_to():
    history = mlp_history(3, classes=1, edit=constant({1: 0.1, 3: 0.2}))
    assert broken(history, "dense_1") == ["dense_1"]
    # at 0 it lets no gradient through
    history = mlp_history(3, classes=1, edit=constant({1: 0.1, 3: 0.0}))
    assert broken(history, "dense_1") == ["dense_1", "logits"]


def test_units_that_a_layer_behind_them_has_parted_began_as_one_all_the_same():
    history = mlp_history(3, edit=constant({0: 0.1, 1: 0.1}))
    assert broken(history, "dense_0") == ["dense_0", "dense_1"]
    # a branch that begins at 0 is no such layer
    history = mlp_history(3, edit=constant({0: 0.1, 1: 0.0}))
    assert broken(history, "dense_0") == ["dense_0"]
    spread = history.series[Statistic.WEIGHT_UNIT_SPREAD][0]
    assert spread[0] == spread[2] == 0.0
