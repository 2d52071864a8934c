"""Answers to faults of the run, on made-up findings: code to paste, and where NaN is born."""

import dataclasses
import warnings

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


def test_no_updates_are_blamed_where_there_was_no_signal_to_begin_with():
    finding, history = ruined(0.5)
    equal = with_series(history, {Statistic.WEIGHT_UNIT_SPREAD: set_to(0.0)})
    assert run.blame_updates(finding, equal, SGD) == []


def test_a_penalty_is_told_at_its_largest():
    history = with_losses(mlp_history(4), np.full(60, 2.0))
    finding = found("IW504", penalty_first=30.0, penalty_now=0.5)
    (advice,) = run.hold_less_back(finding, history)
    assert advice.kind == "regularization"
    assert advice.current == "penalties of 30 beside a loss of 2"


# ---------------------------------------------------------------------- rates and what eats weights


def ruined(ratio, gain=1.0, rows=12, step=11):
    """Signals that began with this gain a layer, and updates of this size in every step."""
    history = mlp_history(6, "relu", gain, rows=rows)
    kernels = [i for i, v in enumerate(history.variables) if v.role.endswith("kernel")]
    history = with_series(history, {Statistic.UPDATE_RATIO: set_to(ratio, columns=kernels)})
    return found("IW103", step=step), history


def test_updates_are_blamed_for_what_was_sound_before_them():
    (at_once,) = run.blame_updates(*ruined(0.5), SGD)
    assert (at_once.kind, "0.5 times their size" in at_once.reason) == ("learning_rate", True)
    (together,) = run.blame_updates(*ruined(0.15), SGD)
    assert "11 steps have changed kernels by 1.6 times their size" in together.reason
    # too little in so few steps
    assert run.blame_updates(*ruined(0.05), SGD) == []
    # nor were they sound
    assert run.blame_updates(*ruined(0.15, gain=0.3), SGD) == []
    assert run.blame_updates(*ruined(0.5, gain=0.3), SGD) == []
    # nor is there an update before the first step
    assert run.blame_updates(*ruined(0.5, step=0), SGD) == []


@pytest.mark.parametrize(
    ("decay", "rate", "told"), [(50.0, 0.03, 1), (0.004, 0.03, 0), (0.1, 0.1, 1)]
)
def test_weight_decay_that_eats_the_weights(decay, rate, told):
    training = Training("AdamW", rate, settings={"weight_decay": decay})
    advice = run.decay_less(("IW103",), training)
    assert len(advice) == told
    for item in advice:
        assert made(item.code).weight_decay == 0.004
    assert run.decay_less(("IW103",), Training("AdamW", None, settings={"weight_decay": 9.0})) == []


def stalled(**changed):
    """A loss that does not move; ``changed``: of the history."""
    history = with_losses(mlp_history(3, rows=30), np.full(120, 2.3), 2.3)
    return found("IW501", loss_of_a_constant=2.3), dataclasses.replace(history, **changed)


@pytest.mark.parametrize("optimizer", ["Adagrad", "Adadelta"])
def test_optimizers_that_are_slow_by_default_get_a_larger_rate(optimizer):
    training = Training(optimizer, 0.001, "binary_crossentropy")
    (item,) = run.start_learning(*stalled(), training, alone=True)
    assert (item.kind, item.suggested) == ("learning_rate", "0.01")
    assert optimizer in item.reason
    other = run.start_learning(*stalled(), Training("Adam", 0.001, None), alone=True)
    assert [x.kind for x in other] == ["data", "learning_rate"]


def test_a_loss_that_is_above_the_baseline_and_falls_is_on_its_way():
    finding, history = stalled()
    history = with_losses(history, np.linspace(9.0, 3.0, 120), 2.3)
    (item,) = run.start_learning(finding, history, Training("Adam", 0.001, None), alone=True)
    assert (item.kind, item.suggested) == ("learning_rate", "0.01")
    assert "still above the baseline" in item.reason


def test_targets_that_lie_far_from_0_are_brought_there():
    finding, history = stalled()
    output = Output("dense_2", "linear", 1, loss="mean_absolute_error", label_rank=2, rank=2)

    def labelled(mean, std, whole=0.0):
        told = {
            Statistic.LABEL_MEAN: mean,
            Statistic.LABEL_STD: std,
            Statistic.LABEL_WHOLE_FRACTION: whole,
        }
        rows = len(history.steps)
        series = {k: np.full((rows, 1), v) for k, v in told.items()}
        return dataclasses.replace(with_series(history, series), output=output)

    (item,) = run.bring_targets_near(finding, labelled(1000.0, 1.0))
    assert (item.kind, item.current) == ("target_scale", "mean 1e+03")
    assert "near 0" in item.reason
    for mean, std, whole in ((5.0, 1.0, 0.0), (1000.0, 400.0, 0.0), (1000.0, 1.0, 1.0)):
        assert run.bring_targets_near(finding, labelled(mean, std, whole)) == []


def test_noise_that_is_larger_than_its_signal():
    finding, history = stalled()

    def noisy(after):
        history_with = with_layers(
            history,
            lambda x: (
                dataclasses.replace(x, class_name="GaussianNoise", kernel=None)
                if x.path == "dense_1"
                else x
            ),
        )
        columns = {0: 0.5, 1: after}
        changes = [set_to(v, columns=c) for c, v in columns.items()]
        for change in changes:
            history_with = with_series(history_with, {Statistic.ACTIVATION_STD: change})
        return run.start_learning(finding, history_with, Training("Adam", 0.001, None), alone=True)

    assert noisy(1.2)[0].kind == "regularization"
    assert noisy(1.2)[0].code == "keras.layers.GaussianNoise(0.05)"
    assert noisy(0.55)[0].kind != "regularization"


def test_gradients_of_more_batches_than_there_are():
    training = Training("Adam", 0.001, settings={"gradient_accumulation_steps": 100_000})
    (item,) = run.change_rate(found("IW403", batches_seen=104), stalled()[1], training)
    assert item.kind == "optimizer"
    assert item.current == "gradient_accumulation_steps=100000"
    assert item.code == "keras.optimizers.Adam(learning_rate=0.001)"


def test_frozen_layers_are_named_where_nothing_else_is():
    finding, history = stalled()
    frozen = with_layers(history, lambda x: dataclasses.replace(x, frozen=x.path == "dense_0"))
    training = Training("Adam", 0.001, None)
    (item,) = run.start_learning(finding, frozen, training, alone=True)
    assert (item.kind, item.layer) == ("optimizer", "dense_0")
    beside = run.start_learning(finding, frozen, training, alone=False)
    assert [x.kind for x in beside] == ["learning_rate"]


def test_figures_that_are_not_known_make_no_warnings_of_numpys():
    """They would stand on the console of the user's training."""
    finding, history = ruined(np.nan)
    silent, told = stalled()
    noise = with_layers(told, lambda x: dataclasses.replace(x, class_name="GaussianNoise"))
    unknown = {
        Statistic.ACTIVATION_STD: set_to(np.nan),
        Statistic.LABEL_MEAN: np.full((30, 1), np.nan),
        Statistic.LABEL_STD: np.full((30, 1), np.nan),
        Statistic.LABEL_WHOLE_FRACTION: np.full((30, 1), np.nan),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.blame_updates(finding, history, SGD) == []
        advice = run.start_learning(silent, with_series(noise, unknown), SGD, alone=True)
    assert "regularization" not in [item.kind for item in advice]
