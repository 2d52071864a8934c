"""IW601 on inputs of known size, with losses of known course."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis.rules.unscaled_input import UnscaledInput
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    mlp_history,
    plain,
    set_to,
    with_layers,
    with_losses,
    with_series,
)

RULE = UnscaledInput()
NOISE = 0.02 * np.random.default_rng(0).normal(size=60)
FLAT, FALLING = 2.3 + NOISE, np.linspace(2.3, 0.9, 60) + NOISE


def fed(scale, losses, rows=10):
    return with_losses(mlp_history(4, rows=rows, input_scale=scale), losses, 2.3)


@pytest.mark.parametrize("scale", [100.0, 1e-4])
def test_inputs_far_from_one_are_a_warning_where_nothing_is_learned(scale):
    finding = finding_of(RULE, fed(scale, FLAT))
    assert (finding.symptom, finding.severity) == ("unscaled_input", "warning")
    assert finding.layers == ["dense_0"]
    assert finding.evidence["input_rms"] == pytest.approx(scale, rel=0.05)
    assert finding.evidence["input_rms_limit"] == (10.0 if scale > 1 else 0.01)


def alike(similarity, losses, bias=0.0):
    """To the first layer all examples are so similar."""
    history = fed(1.0, losses)
    first_bias = [v.path for v in history.variables].index("dense_0/bias")
    return with_series(
        history,
        {
            Statistic.ACTIVATION_SIMILARITY: set_to(similarity, columns=0),
            Statistic.WEIGHT_RMS: set_to(bias, columns=first_bias),
        },
    )


def test_examples_that_are_the_same_to_the_first_layer():
    finding = finding_of(RULE, alike(1.0, FLAT))
    assert (finding.severity, finding.layers) == ("error", ["dense_0"])
    assert (finding.evidence["apart"], finding.evidence["apart_limit"]) == (0.0, 1e-6)
    assert "All examples look the same to dense_0" in finding.message


def test_examples_that_differ_or_are_told_apart_all_the_same_are_no_fault():
    assert finding_of(RULE, alike(1.0 - 1e-5, FLAT)) is None
    assert finding_of(RULE, alike(1.0, FALLING)) is None
    # large biases make all outputs alike, whatever the inputs are
    assert finding_of(RULE, alike(1.0, FLAT, bias=5.0)) is None


def test_a_single_unit_tells_nothing_of_how_alike_examples_are():
    """The cosine of two numbers of one sign is 1."""
    single = with_layers(alike(1.0, FLAT), lambda x: dataclasses.replace(x, outputs=1))
    assert finding_of(RULE, single) is None


@pytest.mark.parametrize("scale", [255.0, 1e-4])
def test_a_run_that_learns_is_told_no_more_than_the_figure(scale):
    assert finding_of(RULE, fed(scale, FALLING)).severity == "info"


@pytest.mark.parametrize("scale", [1.0, 5.0, 1.0 / 50.0])
def test_inputs_near_one_are_no_matter_even_where_nothing_is_learned(scale):
    assert finding_of(RULE, fed(scale, FLAT)) is None


def test_before_twenty_losses_it_is_not_judged():
    assert finding_of(RULE, fed(100.0, FLAT[:19])).severity == "info"


def test_a_loss_that_is_lost_counts_from_ten():
    lost = np.append(np.linspace(2.3, 1e6, 10), np.nan)
    assert finding_of(RULE, fed(100.0, lost)).severity == "warning"


def test_a_run_that_is_lost_within_three_steps():
    begun = fed(100.0, np.array([2.3, 1e9, np.nan]), rows=3)
    seen = dataclasses.replace(begun.output, loss_seen=True)
    assert finding_of(RULE, dataclasses.replace(begun, output=seen)).severity == "warning"
    # NaN stands for a loss that nobody saw, too
    assert finding_of(RULE, begun).severity == "info"


@pytest.mark.parametrize("name", ["Rescaling", "BatchNormalization", "Embedding"])
def test_what_brings_its_input_to_size_is_not_flagged(name):
    history = fed(100.0, FLAT)
    layers = (plain("first", name, 128), *history.layers)
    assert finding_of(RULE, dataclasses.replace(history, layers=layers)) is None


def test_inputs_of_nothing_but_zeros_are_an_error_where_nothing_is_learned():
    """Pixels between 0 and 1, cast to whole numbers."""
    finding = finding_of(RULE, fed(0.0, FLAT))
    assert (finding.severity, finding.layers) == ("error", ["dense_0"])
    assert finding.evidence["input_rms"] == 0.0
    assert finding.message == "Every number of the inputs is 0, and the run does not learn."
    assert finding_of(RULE, fed(0.0, FALLING)).severity == "info"


def test_one_of_several_inputs_may_be_zero():
    history = fed(1.0, FLAT)
    two = {
        statistic: np.hstack([history.series[statistic], np.zeros((10, 1))])
        for statistic in (Statistic.INPUT_RMS, Statistic.INPUT_MAX_ABS)
    }
    assert finding_of(RULE, with_series(history, two)) is None
