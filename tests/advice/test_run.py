"""Answers to faults of the run, on made-up findings: code to paste, and where NaN is born."""

import dataclasses

import keras
import numpy as np
import pytest

from initwatch.advice import run
from initwatch.advice.advisor import advise
from initwatch.diagnosis.rules.non_finite import NonFinite
from initwatch.records import Finding, Output, Statistic
from initwatch.records.training import Training
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    plain,
    set_to,
    with_layers,
    with_losses,
    with_series,
)

SGD = Training("SGD", 0.1, "mean_squared_error")


def found(code="IW203", severity="error", step=2, layers=(), **evidence):
    return Finding(
        code=code,
        symptom=".",
        severity=severity,
        layers=list(layers),
        step=step,
        evidence=evidence,
        message=".",
    )


# ---------------------------------------------------------------------- the optimizer's line


def made(line):
    """The optimizer that the line makes."""
    return eval(line, {"keras": keras})  # noqa: S307


def test_an_optimizers_line_keeps_momentum_and_clipping():
    training = Training("SGD", 0.1, settings={"momentum": 0.9, "nesterov": True, "clipnorm": 1.0})
    line = training.code("0.01")
    assert line == (
        "keras.optimizers.SGD(learning_rate=0.01, momentum=0.9, nesterov=True, clipnorm=1.0)"
    )
    assert (made(line).momentum, made(line).clipnorm) == (0.9, 1.0)
    assert Training("Adam", 0.1).code("0.001") == "keras.optimizers.Adam(learning_rate=0.001)"


def test_what_is_to_change_comes_over_what_was():
    training = Training("SGD", 0.1, settings={"momentum": 0.9})
    assert training.code("1.0", momentum=0.5, global_clipnorm=1.0) == (
        "keras.optimizers.SGD(learning_rate=1.0, momentum=0.5, global_clipnorm=1.0)"
    )


def test_the_wrapper_of_the_loss_scale_stays():
    training = Training("Adam", 0.1, settings={"beta_1": 0.5}, scales_loss=True)
    line = training.code("0.01")
    assert line == (
        "keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(learning_rate=0.01, beta_1=0.5))"
    )
    assert made(line).inner_optimizer.beta_1 == 0.5


def test_another_rate_and_another_clip_keep_the_rest():
    training = Training("SGD", 0.1, settings={"momentum": 0.9, "clipvalue": 0.5}, scales_loss=True)
    rate = run.other_rate(found(), training, "Too large.")
    assert rate.code == training.code("0.01")
    assert "momentum=0.9, clipvalue=0.5" in rate.code
    clip = run.clip_norm(found(), training)
    # Keras takes one way of clipping
    assert "clipvalue" not in clip.code
    assert "momentum=0.9, global_clipnorm=1.0" in clip.code
    assert made(clip.code).inner_optimizer.global_clipnorm == 1.0


def test_a_rate_that_is_not_known_is_told_in_words():
    schedule = Training("SGD", None, settings={"momentum": 0.9})
    assert run.other_rate(found(), schedule, "Too large.").code == (
        "# learning_rate: a tenth of the present one"
    )


# ---------------------------------------------------------------------- where NaN is born


def spoiled(changed, *, first=False, loss=np.nan, **options):
    """A network of which these counts of the newest step are not 0; ``first``: the first one."""
    history = mlp_history(4, rows=1 if first else 3, **options)
    counts = {statistic: set_to(3.0, -1, column) for statistic, column in changed.items()}
    history = with_series(history, {**counts, Statistic.LOSS: set_to(loss, rows=-1)})
    return dataclasses.replace(history, output=dataclasses.replace(history.output, loss_seen=True))


INPUT, LABEL = {Statistic.INPUT_NON_FINITE: 0}, {Statistic.LABEL_NON_FINITE: 0}
OUTPUT, GRADIENT = {Statistic.ACTIVATION_NON_FINITE: 2}, {Statistic.GRADIENT_NON_FINITE: 4}
WEIGHTS = {Statistic.WEIGHT_NON_FINITE: 4}


def answered(history):
    """(where it is born, the advice)."""
    finding = finding_of(NonFinite(), history)
    return finding.evidence["born_in"], run.keep_finite(finding, history, SGD)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("changed", "loss", "born", "kind", "code"),
    [
        (INPUT | GRADIENT, np.nan, "inputs", "data", "assert np.isfinite(x).all()"),
        (LABEL | GRADIENT, np.nan, "labels", "data", "assert np.isfinite(y).all()"),
        ({}, np.nan, "loss", "output_loss", "keras.ops.log("),
        (GRADIENT, 1.0, "gradient", "output_loss", "keras.ops.sqrt(keras.ops.maximum("),
    ],
)
def test_each_place_has_an_answer_of_its_own(changed, loss, born, kind, code, first):
    place, (advice,) = answered(spoiled(changed, first=first, loss=loss))
    assert place == born
    assert advice.kind == kind
    assert advice.code.startswith(code)
    assert advice.codes == ("IW203",)
    if kind == "data":
        assert f"3 of the {born} in the batch of step {0 if first else 2} are not finite" in (
            advice.reason
        )


def test_weights_that_began_so_were_loaded_or_drawn():
    _, (advice,) = answered(spoiled(WEIGHTS | GRADIENT, first=True))
    assert (advice.kind, advice.layer) == ("data", "dense_2")
    assert "before the first step" in advice.reason
    # later it is what the updates made of them
    _, advice = answered(spoiled(WEIGHTS | GRADIENT))
    assert [item.kind for item in advice] == ["learning_rate", "clipping"]


def test_weights_that_have_grown_a_hundredfold_overflow_wherever_it_shows_first():
    for changed in (OUTPUT | GRADIENT, GRADIENT, {}):
        history = spoiled(changed)
        grown = {Statistic.WEIGHT_RMS: set_to(1e4, rows=-1)}
        _, advice = answered(with_series(history, grown))
        assert [item.kind for item in advice] == ["learning_rate", "clipping"]


def test_an_output_of_float16_may_be_computed_in_float32():
    def half(layer):
        return dataclasses.replace(layer, dtype="float16")

    born, (advice,) = answered(with_layers(spoiled(OUTPUT | GRADIENT), half))
    assert born == "output"
    assert (advice.layer, advice.kind) == ("dense_2", "activation")
    assert advice.code.startswith('dtype="float32"')


def test_a_layer_without_weights_computes_what_is_not_defined():
    history = spoiled(OUTPUT | GRADIENT)
    layers = [
        plain("log", "Lambda") if layer.path == "dense_2" else layer for layer in history.layers
    ]
    history = dataclasses.replace(history, layers=tuple(layers))
    _, (advice,) = answered(history)
    assert (advice.layer, advice.kind) == ("log", "activation")
    assert "maximum" in advice.code
    # unless what it is given is huge already
    huge = with_series(history, {Statistic.ACTIVATION_RMS: set_to(1e30, columns=1)})
    _, advice = answered(huge)
    assert [item.kind for item in advice] == ["learning_rate", "clipping"]


def test_a_layer_that_holds_its_weights_in_a_cell_is_none_without():
    history = spoiled(OUTPUT | GRADIENT)
    layers = [
        dataclasses.replace(layer, kernel=None, recurrent_kernel=layer.kernel)
        if layer.path == "dense_2"
        else layer
        for layer in history.layers
    ]
    _, advice = answered(dataclasses.replace(history, layers=tuple(layers)))
    assert [item.kind for item in advice] == ["learning_rate", "clipping"]


def test_a_signal_that_overflows_at_the_first_step_is_of_inputs_or_weights():
    _, (advice,) = answered(spoiled(OUTPUT | GRADIENT, first=True))
    assert (advice.kind, advice.layer) == ("input_scale", "dense_2")


# ---------------------------------------------------------------------- the user's own step


@pytest.mark.parametrize(
    ("code", "evidence", "kind", "words"),
    [
        ("IW405", {"update_ratio": 1e-7}, "train_step", "scale_loss"),
        ("IW404", {"update_descent": -1.0}, "train_step", "assign_sub"),
        ("IW404", {"error_over_baseline": 9.0}, "output_loss", "return -value"),
    ],
)
def test_a_step_of_ones_own_is_mended_where_it_is_wrong(code, evidence, kind, words):
    (advice,) = run.mend_step(found(code, **evidence))
    assert advice.kind == kind
    assert words in advice.code
    # it answers what follows from it, too
    follows = found("IW501", "error", loss_fall=0.0)
    (advice,) = advise([found(code, **evidence), follows], mlp_history(4), SGD)
    assert advice.codes == (code, "IW501")


def test_a_loss_without_a_slope_is_told_from_an_output_that_is_off():
    history = mlp_history(4)
    finding = found("IW204", zero_at_output=1)
    (advice,) = run.mend_constant_loss(finding, history)
    assert (advice.layer, advice.kind) == ("", "output_loss")
    assert "does not change with the outputs" in advice.reason
    relu = Output("logits", "relu", 10, low=0.0)
    off = with_series(history, {Statistic.PREDICTION_SQUARE: np.zeros((3, 1))})
    off = dataclasses.replace(off, output=relu)
    (advice,) = run.mend_constant_loss(finding, off)
    assert (advice.layer, advice.code) == ("logits", "keras.layers.Dense(10)")
    on = with_series(off, {Statistic.PREDICTION_SQUARE: set_to(0.3)})
    assert run.mend_constant_loss(finding, on)[0].layer == ""


def test_a_penalty_is_told_at_its_largest():
    history = with_losses(mlp_history(4), np.full(60, 2.0))
    finding = found("IW504", penalty_first=30.0, penalty_now=0.5)
    (advice,) = run.hold_less_back(finding, history)
    assert advice.kind == "regularization"
    assert advice.current == "penalties of 30 beside a loss of 2"
