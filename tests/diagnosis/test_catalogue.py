"""What every rule owes: a code, a symptom, a text, sourced thresholds, a test, silence."""

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from initwatch.diagnosis.catalogue import CATALOGUE, default_rules
from initwatch.diagnosis.rule import Threshold
from initwatch.records import History, Output, Statistic
from initwatch.records.finding import SEVERITIES
from tests.diagnosis.histories import (
    against_labels,
    mlp_history,
    predicting,
    set_to,
    with_losses,
    with_series,
)

SYMPTOMS = frozenset(
    """
    vanishing_gradient exploding_gradient non_finite zero_gradient dead_relu saturated_activation
    vanishing_signal exploding_signal symmetric_units initializer_mismatch stalled_loss
    diverging_loss oscillating_loss update_too_small update_too_large unchanged_weights
    unscaled_input output_loss_mismatch initial_loss regularization uphill
    """.split()
)
HEADINGS = [
    "What it means:",
    "Why it hurts:",
    "How it is measured:",
    "What it does not flag:",
    "References:",
]
# What the recorder puts into every row, whatever was captured.
ALWAYS = frozenset(
    {
        *(Statistic.LOSS, Statistic.TRIVIAL_LOSS, Statistic.SKIPPED, Statistic.PENALTY),
        *(Statistic.ERROR_RATE, Statistic.TRIVIAL_ERROR_RATE),
    }
)

every_rule = pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)


def fails_at(kernels, biases):
    """Kills layer 2 and makes its kernel constant: several rules have something to say."""
    kernels[2][:] = 0.01
    biases[2][:] = -50.0


FLAT = 2.3 + 0.001 * np.cos(np.arange(200.0))


def with_updates(ratio):
    history = mlp_history(4, rows=30)
    changed = dict.fromkeys((Statistic.UPDATE_RATIO, Statistic.UPDATE_RMS), set_to(ratio))
    return with_series(history, changed)


def one_sided(kernels, biases):
    kernels[1][:] = np.random.default_rng(0).uniform(size=kernels[1].shape)


def forgetful():
    """A step of the user's own that leaves out ``scale_loss``."""
    history = with_losses(mlp_history(4), FLAT, 2.3)
    output = dataclasses.replace(history.output, own_step=True, loss_scale_forgotten=True)
    return dataclasses.replace(history, output=output)


def sick():
    return [
        mlp_history(30, "relu", 1.0),
        mlp_history(30, "relu", 4.0),
        mlp_history(6, "tanh", 100.0),
        mlp_history(4, "relu", rows=12, edit=fails_at),
        with_losses(mlp_history(4), 2.3 + 0.001 * np.cos(np.arange(200.0)), 2.3),
        with_series(mlp_history(4), {Statistic.GRADIENT_NON_FINITE: set_to(1.0)}),
        with_losses(mlp_history(4, rows=30, input_scale=100.0), FLAT, 2.3),
        dataclasses.replace(mlp_history(4), output=Output("logits", "softmax", 1)),
        with_losses(with_updates(1.0), FLAT, 2.3),
        with_losses(with_updates(1e-6), FLAT, 2.3),
        with_losses(with_updates(0.0), FLAT, 2.3),
        with_losses(mlp_history(4), 2.3 + np.arange(200.0), 2.3),
        with_losses(mlp_history(4), 2.3 + 2.0 * np.sin(np.arange(200.0) / 5.0), 2.3),
        with_losses(mlp_history(3, "relu", 100.0), np.append(40.0, np.full(150, 20.0)), 2.3),
        mlp_history(4, edit=one_sided),
        with_losses(with_series(mlp_history(4), {Statistic.PENALTY: set_to(23.0)}), FLAT, 2.3),
        with_series(mlp_history(4), {Statistic.UPDATE_DESCENT: set_to(-1.0)}),
        forgetful(),
    ]


def of_own_loss(losses, error, sigma_w2=2.0):
    """A run under a loss of the user's own, whose targets of variance 1 are so far off."""
    random = np.random.default_rng(0)
    y = random.normal(size=(64, 1))
    told = against_labels(y, error * random.normal(size=y.shape))
    history = with_losses(mlp_history(3, "relu", sigma_w2), losses)
    output = Output("logits", "linear", 1, label_rank=2, rank=2, loss_seen=True, labels_seen=True)
    return predicting(dataclasses.replace(history, output=output), [told])


def half_dead(array):
    array[:, :-1] = 0.5
    return array


HEALTHY = {
    "relu He": lambda: mlp_history(10, "relu", 2.0, rows=12),
    "relu He, 30 layers": lambda: mlp_history(30, "relu", 2.0),
    "relu Glorot, 8 layers": lambda: mlp_history(8, "relu", 1.0),
    "tanh Glorot": lambda: mlp_history(10, "tanh", 1.0),
    "selu LeCun": lambda: mlp_history(30, "selu", 1.0),
    "elu He": lambda: mlp_history(10, "elu", 2.0),
    "linear": lambda: mlp_history(20, "linear", 1.0),
    "sigmoid, 2 layers": lambda: mlp_history(2, "sigmoid", 1.0),
    "loss x 1e-6": lambda: mlp_history(10, "relu", 2.0, loss_factor=1e-6),
    "loss x 1e6": lambda: mlp_history(10, "relu", 2.0, loss_factor=1e6),
    "input / 255": lambda: mlp_history(10, "relu", 2.0, input_scale=1.0 / 255.0),
    "input x 255": lambda: mlp_history(10, "relu", 2.0, input_scale=255.0),
    "width 32": lambda: mlp_history(10, "relu", 2.0, width=32),
    "width 256": lambda: mlp_history(10, "relu", 2.0, width=256),
    "frozen backbone": lambda: mlp_history(10, "relu", 2.0, frozen=tuple(range(9))),
    "dropout with Glorot": lambda: mlp_history(20, "relu", 1.0, dropout=0.5),
    "half of the units off": lambda: with_series(
        mlp_history(10, "relu", 2.0, rows=12), {Statistic.DEAD_FRACTION: half_dead}
    ),
}


def file_of(rule):
    return rule.__module__.rpartition(".")[2]


def test_codes_and_symptoms_are_unique_and_well_formed():
    codes = [rule.code for rule in CATALOGUE]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"IW[1-6]\d\d", code) for code in codes)
    # several rules may share a symptom: one with another cause has a code and a page of its own
    assert {rule.symptom for rule in CATALOGUE} <= SYMPTOMS


@every_rule
def test_every_rule_has_its_own_file_and_a_test(rule):
    name = file_of(rule)
    assert rule.__module__ == f"initwatch.diagnosis.rules.{name}"
    assert rule.__name__.lower() == name.replace("_", "")
    assert (Path(__file__).parent / "rules" / f"test_{name}.py").is_file()


def test_no_rule_is_forgotten_in_the_catalogue():
    folder = Path(inspect.getfile(CATALOGUE[0])).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == {file_of(rule) for rule in CATALOGUE}


@every_rule
def test_the_text_has_its_fixed_headings_in_order(rule):
    text = inspect.getdoc(rule)
    lines = text.splitlines()
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == HEADINGS
    for heading in HEADINGS:
        assert lines[lines.index(heading) + 1].startswith("    "), f"nothing under {heading}"
    assert rule.summary
    assert "\n" not in rule.summary
    # the file says the same in its first line
    module = inspect.getdoc(inspect.getmodule(rule))
    assert module.startswith(f"{rule.code} {file_of(rule)}: ")


@every_rule
def test_every_threshold_has_a_unit_and_a_source(rule):
    for field in dataclasses.fields(rule):
        if field.type in (Threshold, "Threshold") or isinstance(field.default, float):
            assert field.metadata.get("unit"), field.name
            assert len(field.metadata.get("source", "")) > 10, field.name


@every_rule
def test_rules_are_frozen_and_can_be_tuned(rule):
    assert rule.__dataclass_params__.frozen
    for field in dataclasses.fields(rule):
        tuned = rule(**{field.name: field.default + 1})
        assert getattr(tuned, field.name) == field.default + 1


def test_default_rules_are_one_of_each_in_order():
    assert [type(rule) for rule in default_rules()] == list(CATALOGUE)


@every_rule
def test_a_rule_reads_no_more_than_it_needs(rule):
    """The engine lets a rule abstain by ``needs``: what else it read would be a KeyError."""
    for history in sick():
        read = rule.needs | getattr(rule, "uses", frozenset()) | ALWAYS
        given = {s: v for s, v in history.series.items() if s in read}
        poor = dataclasses.replace(history, series=given)
        full = [finding.severity for finding in rule().check(history)]
        assert [finding.severity for finding in rule().check(poor)] == full
        needed = {s: v for s, v in given.items() if s in rule.needs | ALWAYS}
        list(rule().check(dataclasses.replace(history, series=needed)))


def test_rules_on_predictions_name_what_these_rest_on():
    for history in (
        of_own_loss(-np.linspace(1.0, 40.0, 200), 10.0),  # IW404
        of_own_loss(np.full(200, 7.0), 10.0, 100.0),  # IW105
        of_own_loss(7.0 + 0.001 * np.cos(np.arange(200.0)), 1.0),  # IW501
    ):
        for rule in CATALOGUE:
            read = rule.needs | getattr(rule, "uses", frozenset()) | ALWAYS
            given = {s: v for s, v in history.series.items() if s in read}
            poor = dataclasses.replace(history, series=given)
            full = [finding.severity for finding in rule().check(history)]
            assert [finding.severity for finding in rule().check(poor)] == full, rule.code


def test_the_sick_histories_make_every_rule_speak():
    # what the tests above and below rest on
    spoken = {f.code for h in sick() for rule in default_rules() for f in rule.check(h)}
    assert spoken == {rule.code for rule in CATALOGUE}


@every_rule
def test_findings_are_complete_and_repeatable(rule):
    for history in sick():
        findings = list(rule().check(history))
        assert findings == list(rule().check(history))
        for finding in findings:
            assert (finding.code, finding.symptom) == (rule.code, rule.symptom)
            assert finding.severity in SEVERITIES
            assert finding.step == history.step
            assert set(finding.layers) <= {layer.path for layer in history.layers}
            # the decisive figure comes first, its limit beside it
            first, second, *_ = finding.evidence
            assert second == f"{first}_limit"
            assert finding.message.endswith(".")


@every_rule
def test_an_empty_history_is_no_ground_for_a_verdict(rule):
    history = mlp_history(10, "relu", 1.0)
    empty = History(
        layers=history.layers,
        variables=history.variables,
        steps=history.steps[:0],
        series={s: v[:0] for s, v in history.series.items()},
        loss_steps=history.loss_steps[:0],
        losses=history.losses[:0],
        trivial_losses=history.trivial_losses[:0],
        error_shares=history.error_shares[:0],
    )
    assert list(rule().check(empty)) == []


@pytest.mark.parametrize("name", HEALTHY)
def test_no_rule_flags_a_healthy_network(name):
    history = HEALTHY[name]()
    said = [f for rule in default_rules() for f in rule.check(history)]
    assert [f for f in said if f.severity != "info"] == []
    # only inputs far from size 1 are worth a word
    assert {f.symptom for f in said} <= ({"unscaled_input"} if "input" in name else set())
