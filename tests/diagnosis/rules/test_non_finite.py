"""IW203 on networks in which a number went wrong."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.non_finite import NonFinite
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    set_to,
    with_layers,
    with_series,
)

RULE = NonFinite()


def test_twenty_skipped_steps_in_a_row_are_no_longer_the_scales_doing():
    for rows, flagged in ((19, False), (20, True)):
        history = with_series(
            mlp_history(2, rows=rows),
            {Statistic.SKIPPED: set_to(1.0), Statistic.GRADIENT_NON_FINITE: set_to(1.0)},
        )
        assert bool(list(RULE.check(history))) == flagged


def spoil(kernels, biases):
    kernels[2][5, 7] = np.nan


def test_a_nan_is_found_where_it_starts():
    finding = finding_of(RULE, mlp_history(5, "tanh", edit=spoil, rows=1))
    assert (finding.code, finding.symptom, finding.severity) == ("IW203", "non_finite", "error")
    assert finding.layers[0] == "dense_2"
    assert finding.step == 0
    evidence = finding.evidence
    assert next(iter(evidence)) == "non_finite"
    assert evidence["non_finite_limit"] == 0
    # unit 7 of 64 examples, and everything behind it: layers of 128, 128 and 10 units
    assert evidence["activation_non_finite"] == 64 * (1 + 128 + 128 + 10)
    assert evidence["weight_non_finite"] == 1
    counts = [value for name, value in evidence.items() if name.endswith("_non_finite")]
    assert evidence["non_finite"] == sum(counts) + 1  # and the loss


def test_the_same_network_without_it_is_healthy():
    assert finding_of(RULE, mlp_history(5, "tanh", rows=1)) is None


@pytest.mark.parametrize(
    ("statistic", "column", "layer", "born"),
    [
        (Statistic.GRADIENT_NON_FINITE, 4, "dense_2", "gradient"),
        (Statistic.WEIGHT_NON_FINITE, 5, "dense_2", "weights"),
    ],
)
def test_one_value_in_a_gradient_or_a_weight_is_enough(statistic, column, layer, born):
    history = with_series(mlp_history(5), {statistic: set_to(1.0, rows=-1, columns=column)})
    finding = finding_of(RULE, history)
    assert finding.layers == [layer]
    assert finding.evidence["non_finite"] == finding.evidence[str(statistic)] == 1
    assert finding.evidence["born_in"] == born


@pytest.mark.parametrize(
    "statistic",
    [
        Statistic.ACTIVATION_NON_FINITE,
        Statistic.DELTA_NON_FINITE,
        Statistic.INPUT_NON_FINITE,
        Statistic.LABEL_NON_FINITE,
    ],
)
def test_an_infinity_that_nothing_comes_of_is_no_fault(statistic):
    """Such as -inf in front of a softmax, which masks a choice: loss and gradients are finite."""
    masked = with_series(mlp_history(5), {statistic: set_to(3.0, columns=0)})
    assert finding_of(RULE, masked) is None
    reaching = with_series(masked, {Statistic.GRADIENT_NON_FINITE: set_to(1.0, columns=0)})
    assert finding_of(RULE, reaching).evidence[str(statistic)] == 3


def test_layers_stand_in_signal_order():
    changed = {
        Statistic.ACTIVATION_NON_FINITE: set_to(2.0, rows=-1, columns=[4, 1]),
        Statistic.GRADIENT_NON_FINITE: set_to(2.0, rows=-1, columns=6),
    }
    finding = finding_of(RULE, with_series(mlp_history(5), changed))
    # outputs first: gradients are spoiled by what comes behind them
    assert finding.layers == ["dense_1", "dense_4", "dense_3"]


def test_a_step_that_loss_scaling_skips_is_by_design():
    """Micikevicius et al. 2018: overflown gradients are thrown away and the scale is halved."""
    infinite = {Statistic.GRADIENT_NON_FINITE: set_to(16384.0, rows=-1)}
    skipped = {Statistic.SKIPPED: set_to(1.0, rows=-1)}
    history = with_series(mlp_history(5), infinite)
    assert finding_of(RULE, history) is not None
    assert finding_of(RULE, with_series(history, skipped)) is None


def test_an_infinite_loss_alone_is_enough():
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.inf, rows=-1)})
    finding = finding_of(RULE, history)
    assert finding.layers == []
    assert finding.evidence["non_finite"] == 1


def test_a_loss_that_was_not_captured_is_no_sign():
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.nan)})
    assert finding_of(RULE, history) is None


def test_only_the_newest_step_is_asked():
    # the engine asks at every step: an older one has been reported
    history = with_series(mlp_history(5), {Statistic.GRADIENT_NON_FINITE: set_to(1.0, rows=0)})
    assert finding_of(RULE, history) is None


def test_a_captured_loss_that_is_nan_alone_is_one():
    """log of a negative number: its gradient is finite, and so is every weight."""
    history = with_series(mlp_history(5), {Statistic.LOSS: set_to(np.nan, rows=-1)})
    seen = dataclasses.replace(history, output=dataclasses.replace(history.output, loss_seen=True))
    finding = finding_of(RULE, seen)
    assert finding.severity == "error"
    assert finding.layers == []
    assert finding.evidence["born_in"] == "loss"
    assert finding.message.startswith("The loss is NaN in the batch at step 2")
    assert "log(0)" in finding.message


# ---------------------------------------------------------------------- where it is born

ONE = {
    "inputs": {Statistic.INPUT_NON_FINITE: (0, 7.0)},
    "labels": {Statistic.LABEL_NON_FINITE: (0, 2.0)},
    "output": {Statistic.ACTIVATION_NON_FINITE: (3, 5.0)},
    "gradient": {Statistic.GRADIENT_NON_FINITE: (4, 1.0)},
    "weights": {Statistic.WEIGHT_NON_FINITE: (4, 1.0)},
}


def spoiled(*stages, loss=np.nan, rows=3):
    """A network in whose newest step these stages are not finite, and with them the loss."""
    history = mlp_history(5, rows=rows)
    changed = {
        statistic: set_to(count, rows=-1, columns=column)
        for stage in stages
        for statistic, (column, count) in ONE[stage].items()
    }
    changed[Statistic.LOSS] = set_to(loss, rows=-1)
    output = dataclasses.replace(history.output, loss_seen=True)
    return dataclasses.replace(with_series(history, changed), output=output)


@pytest.mark.parametrize(
    ("stages", "born", "words"),
    [
        (
            ["inputs"],
            "inputs",
            "7 numbers of the inputs are NaN or infinite in the batch at step 2",
        ),
        (["inputs", "output", "gradient"], "inputs", "7 numbers of the inputs"),
        (["labels", "gradient"], "labels", "2 labels are NaN or infinite in the batch at step 2"),
        # labels cannot make an output so
        (["labels", "output", "gradient"], "output", "The output of dense_3 is NaN or infinite in"),
        (["output", "gradient"], "output", "while the inputs and all weights are finite"),
        ([], "loss", "The loss is NaN"),
        (["gradient"], "loss", "The loss is NaN"),
        # one that is in the weights spoils all that is made of them
        (["inputs", "output", "gradient", "weights"], "weights", "1 weight is NaN"),
    ],
)
def test_it_is_born_at_the_first_stage_that_is_not_finite(stages, born, words):
    finding = finding_of(RULE, spoiled(*stages))
    assert finding.evidence["born_in"] == born
    assert words in finding.message


def test_a_gradient_can_be_born_of_a_finite_loss():
    """sqrt(0): the layer nearest to the output is where the backward pass meets it first."""
    changed = {
        Statistic.DELTA_NON_FINITE: set_to(4.0, rows=-1, columns=[0, 1, 3]),
        Statistic.GRADIENT_NON_FINITE: set_to(1.0, rows=-1, columns=[0, 2]),
    }
    finding = finding_of(RULE, with_series(mlp_history(5), changed))
    assert finding.evidence["born_in"] == "gradient"
    assert finding.layers == ["dense_3", "dense_0", "dense_1"]
    assert "first at dense_3, while the loss and all outputs are finite" in finding.message


@pytest.mark.parametrize("update", [np.inf, np.nan])
def test_an_update_can_be_born_of_a_finite_gradient(update):
    """An optimizer that divides by 0; or by an epsilon that float16 rounds to it."""
    history = mlp_history(5)
    sick = with_series(history, {Statistic.UPDATE_RMS: set_to(update, rows=-1, columns=2)})
    finding = finding_of(RULE, sick)
    assert (finding.evidence["born_in"], finding.layers) == ("update", ["dense_1"])
    assert "The update of dense_1" in finding.message
    assert finding.evidence["non_finite"] == 1


def test_weights_are_told_from_the_start_and_later():
    at_first = finding_of(RULE, mlp_history(5, "tanh", edit=spoil, rows=1))
    assert at_first.evidence["born_in"] == "weights"
    assert at_first.message.startswith("1 weight is NaN or infinite from the start, first at den")
    assert "at step 2" in finding_of(RULE, spoiled("weights")).message


def test_a_loss_that_is_infinite_is_called_so():
    assert finding_of(RULE, spoiled(loss=np.inf)).message.startswith("The loss is infinite")


def test_float16_has_an_end_of_its_own():
    def half(layer):
        return dataclasses.replace(layer, dtype="float16")

    assert "65,504" not in finding_of(RULE, spoiled("output")).message
    assert "65,504" in finding_of(RULE, with_layers(spoiled("output"), half)).message


def test_a_single_label_is_one():
    one = with_series(spoiled("labels"), {Statistic.LABEL_NON_FINITE: set_to(1.0)})
    assert finding_of(RULE, one).message == "1 label is NaN or infinite in the batch at step 2."
