"""A log is read back from its files as it was written."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event

from initwatch.outlets import tab_log
from initwatch.plugin.answers import (
    UnknownNameError,
    gathered,
    histogram_tags,
    histograms_answer,
    rounded,
    run_answer,
    run_summary,
    values_answer,
)
from initwatch.plugin.encoding import MAX_RELATIVE_ERROR
from initwatch.plugin.log import NewerLogError, read_logs
from initwatch.plugin.tfrecord import records
from initwatch.records import Advice, Finding, Report, Statistic
from tests.outlets.feed import feed, layers_of, updates

ROUNDING = 5e-4  # half a unit of the fourth digit of 1.000


def read(log_dir):
    (log,) = read_logs(log_dir)
    return log


def expected(given, statistic):
    """[steps, layers], as the updates had it; of variables the kernel's, every other one."""
    rows = np.array([update.values[statistic] for update in given])
    return rows[:, ::2] if statistic.subject == "variable" else rows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs") / "run"
    given = list(updates(40, 6, histograms_every=10))
    feed(folder, given)
    return given, read(folder.parent)


@pytest.mark.parametrize("statistic", [*tab_log.OF_LAYER, *tab_log.OF_KERNEL])
def test_every_number_of_every_layer_comes_back(written, statistic):
    given, log = written
    answer = values_answer(log, statistic.value)
    assert (answer["run"], answer["quantity"]) == ("run/initwatch", statistic.value)
    assert answer["steps"] == list(range(40))
    np.testing.assert_allclose(
        np.array(answer["values"], float),
        expected(given, statistic),
        rtol=MAX_RELATIVE_ERROR + ROUNDING,
    )


def test_figures_of_the_step_are_exact(written):
    given, log = written
    per_step = run_answer(log)["per_step"]
    assert list(per_step) == [statistic.value for statistic in tab_log.OF_STEP]
    for statistic in tab_log.OF_STEP:
        assert per_step[statistic.value] == expected(given, statistic)[:, 0].tolist()


def test_norms_follow_from_what_is_stored(written):
    _, log = written
    rms, norm = (
        np.array(values_answer(log, name)["values"], float) for name in ("delta_rms", "delta_norm")
    )
    np.testing.assert_allclose(norm, rms * np.sqrt(64.0), rtol=2 * ROUNDING)
    rms, norm = (
        np.array(values_answer(log, f"gradient_{name}")["values"], float)
        for name in ("rms", "norm")
    )
    np.testing.assert_allclose(norm, rms * 64.0, rtol=2 * ROUNDING)


def test_the_run_is_described(written):
    given, log = written
    answer = run_answer(log)
    assert [layer["path"] for layer in answer["layers"]] == [x.path for x in given[0].layers]
    assert answer["layers"][2] == {
        "path": "net/dense_2",
        "class_name": "Dense",
        "activation": "relu",
        "initializer": None,
        "argument": "kernel",
        "trunk": True,
        "is_output": False,
        "frozen": False,
        "normalized": False,
        "outputs": 64,
        "shape": [64, 64],
        "fan_in": 64,
        "fan_out": 64,
        "kernel": "net/dense_2/kernel",
        "parameters": 64 * 65,
    }
    assert answer["steps"] == list(range(40))
    assert answer["ended"] is True
    names = {entry["name"] for entry in answer["quantities"]}
    assert names == {statistic.value for statistic in tab_log.SHOWN}
    for entry in answer["quantities"]:
        statistic = Statistic(entry["name"])
        assert entry["subject"] == statistic.subject
        assert entry["definition"] == statistic.definition
        assert entry["scale"] in ("log", "linear")
    assert run_summary(log) == {
        "run": "run/initwatch",
        "layers": 6,
        "steps": 40,
        "last_step": 39,
        "ended": True,
        "errors": 0,
        "warnings": 0,
    }


def test_histograms_are_those_of_the_layer(written):
    given, log = written
    found = histograms_answer(log, "net/dense_1")["histograms"]
    kinds = {(entry["quantity"], entry["variable"]) for entry in found}
    assert kinds == {
        ("activation", None),
        *((quantity, role) for quantity in ("weight", "gradient") for role in ("kernel", "bias")),
    }
    kernel = [e for e in found if (e["quantity"], e["variable"]) == ("weight", "kernel")]
    assert [entry["step"] for entry in kernel] == [0, 10, 20, 30]
    assert kernel[1]["counts"] == given[10].histograms[2].counts.tolist()
    assert (kernel[1]["low"], kernel[1]["high"]) == (-1.0, 1.0)


def test_the_variables_of_a_layer_inside_are_not_the_outer_ones():
    tags = [
        "initwatch/weight/net/block/kernel",
        "initwatch/weight/net/block/dense/kernel",
        "initwatch/activation/net/block",
        "initwatch/activation/net/block/dense",
        "initwatch/gradient/net/block_2/kernel",
    ]
    assert histogram_tags(tags, "net/block") == [
        ("initwatch/activation/net/block", "activation", None),
        ("initwatch/weight/net/block/kernel", "weight", "kernel"),
    ]


def test_a_quantity_or_layer_that_is_not_there_is_told(written):
    _, log = written
    with pytest.raises(UnknownNameError, match="no quantity 'loss'; it has delta_rms, "):
        values_answer(log, "loss")
    with pytest.raises(UnknownNameError, match="no layer 'net'; it has net/dense_0, "):
        histograms_answer(log, "net")


def test_numbers_that_are_none(tmp_path):
    """0, NaN, infinities and the smallest and largest of float32, and what was not measured."""
    given = list(updates(1, 8))
    special = [0.0, np.inf, 1e-45, 1e38, np.nan, np.nan, -1e38, 1.0]
    counts = np.array([0, 1, 0, 0, 5, 0, 0, 0], float)
    values = {
        **given[0].values,
        Statistic.DELTA_RMS: np.array(special),
        Statistic.DELTA_NON_FINITE: counts,
        Statistic.LOSS: np.array([np.nan]),
        Statistic.PENALTY: np.array([np.nan]),
        Statistic.TRIVIAL_LOSS: np.array([np.inf]),
    }
    del values[Statistic.DEAD_FRACTION]
    feed(tmp_path, [replace(given[0], values=values)])
    log = read(tmp_path)
    (row,) = values_answer(log, "delta_rms")["values"]
    assert row[0] == 0.0
    assert row[1] == "Infinity"
    # NaN among numbers that are not finite is one of them; else nothing was measured
    assert row[4:6] == ["NaN", None]
    assert row[7] == 1.0
    np.testing.assert_allclose(
        np.array([row[2], row[3], row[6]]), [1e-45, 1e38, -1e38], rtol=MAX_RELATIVE_ERROR + ROUNDING
    )
    per_step = run_answer(log)["per_step"]
    assert per_step["loss"] == ["NaN"]
    assert per_step["trivial_loss"] == ["Infinity"]
    assert "penalty" not in per_step
    with pytest.raises(UnknownNameError):
        values_answer(log, "dead_fraction")


def test_rounding_keeps_four_digits():
    values = np.array([[1.23456, -9.99996e-30, 12345.6, 6.0221e23, 0.0, np.nan, np.inf, 5e-324]])
    shown = rounded(values)[0]
    np.testing.assert_allclose(shown[:4], [1.235, -1e-29, 12350.0, 6.022e23], rtol=1e-12)
    assert [str(value) for value in shown[[0, 2]]] == ["1.235", "12350.0"]
    np.testing.assert_array_equal(shown[4:7], values[0, 4:7])


def test_a_resumed_run_continues(tmp_path):
    """It takes back what the earlier one logged beyond the step it begins at."""
    feed(tmp_path, updates(30, 4), end=False)
    later = list(updates(5, 4, first=20, seed=1))
    feed(tmp_path, later, first=20, end=False)
    log = read(tmp_path)
    answer = values_answer(log, "delta_rms")
    assert answer["steps"] == list(range(25))
    np.testing.assert_allclose(
        np.array(answer["values"][20:], float),
        expected(later, Statistic.DELTA_RMS),
        rtol=MAX_RELATIVE_ERROR + ROUNDING,
    )
    assert len(list((tmp_path / "initwatch").iterdir())) == 2
    assert run_answer(log)["theory"] is not None  # that of the weights before training


def test_a_run_resumed_with_other_layers_has_those_and_keeps_what_fits(tmp_path):
    before = list(updates(5, 4))
    feed(tmp_path, before)
    layers, variables = layers_of(3)
    added, of_it = layers_of(1, name="other/dense")
    changed = (layers[0], *added, *layers[1:]), (*variables[:2], *of_it, *variables[2:])
    after = list(updates(5, 4, first=5, layers=changed))
    feed(tmp_path, after, first=5)
    log = read(tmp_path)
    answer = run_answer(log)
    paths = [layer["path"] for layer in answer["layers"]]
    assert paths == ["net/dense_0", "other/dense_0", "net/dense_1", "net/dense_2"]
    assert answer["steps"] == list(range(10))
    values = values_answer(log, "gradient_rms")["values"]
    assert [row[1] for row in values[:5]] == [None] * 5
    old, new = expected(before, Statistic.GRADIENT_RMS), expected(after, Statistic.GRADIENT_RMS)
    fitting = np.array([[row[0], *row[2:]] for row in values[:5]], float)
    np.testing.assert_allclose(fitting, old[:, :3], rtol=MAX_RELATIVE_ERROR + ROUNDING)
    np.testing.assert_allclose(np.array(values[5:], float), new, rtol=MAX_RELATIVE_ERROR + ROUNDING)


FINDING = Finding(
    code="IW101",
    symptom="initializer_mismatch",
    severity="error",
    layers=["net/dense_0", "net/dense_1"],
    step=3,
    evidence={"change": 57.5, "change_limit": 3.0, "n": 12, "bad": float("nan"), "of": [1.0, 2.5]},
    message="fan_in x Var(w) is too small.",
    last_step=7,
)
SYMPTOM = replace(FINDING, code="IW201", symptom="vanishing_gradient", cause="IW101", step=4)
ADVICE = [
    Advice(
        layer=layer,
        kind="initializer",
        current="RandomNormal",
        suggested="HeNormal",
        code="kernel_initializer=keras.initializers.HeNormal()",
        reason="Theory for relu.",
        codes=("IW101", "IW201"),
        predicted={"chi_before": 0.1, "chi_after": 1.0},
        measured={"signal_ratio_before": 1e9, "signal_ratio_after": 1.5, "steps": 1.0},
        variable=f"{layer}/kernel",
    )
    for layer in FINDING.layers
]
REPORT = Report(
    findings=[SYMPTOM, FINDING],
    advice=ADVICE,
    abstained={"IW301": "no layer rectifies: none", "IW302": "no layer rectifies: none"},
    problems=["a fault in initwatch's own rules"],
)


def test_the_report_comes_back(tmp_path):
    told = feed(tmp_path, updates(8, 2, report=REPORT)).report
    log = read(tmp_path)
    answer = run_answer(log)
    assert answer["text"] == str(told)
    assert [finding["code"] for finding in answer["findings"]] == ["IW101", "IW201"]
    first = answer["findings"][0]
    assert first["evidence"] == [
        {"name": "change", "value": 57.5, "limit": 3.0},
        {"name": "n", "value": 12, "limit": None},
        {"name": "bad", "value": "NaN", "limit": None},
        {"name": "of", "value": [1.0, 2.5], "limit": None},
    ]
    assert {name: first[name] for name in first if name != "evidence"} == {
        "code": "IW101",
        "symptom": "initializer_mismatch",
        "severity": "error",
        "state": "active",
        "layers": ["net/dense_0", "net/dense_1"],
        "step": 3,
        "last_step": 7,
        "cause": "",
        "message": "fan_in x Var(w) is too small.",
    }
    (advice,) = answer["advice"]  # the same code for both layers
    assert advice["layers"] == FINDING.layers
    assert advice["measured"]["signal_ratio_before"] == 1e9
    assert answer["trials"] == [{"name": "signal ratio", "before": 1e9, "after": 1.5}]
    assert answer["abstained"][0] == "IW301: no layer rectifies: none"
    assert answer["problems"] == REPORT.problems
    assert run_summary(log)["errors"] == 2


def test_of_a_run_that_has_not_ended_the_steps_tell_how_far_it_is(tmp_path):
    told = feed(tmp_path, updates(8, 2, report=REPORT), end=False).report
    log = read(tmp_path)
    assert run_answer(log)["ended"] is False
    assert run_answer(log)["text"] == str(told)
    assert "8 steps measured up to step 7" in run_answer(log)["text"]


def test_the_report_is_logged_when_it_changes_and_at_the_end(tmp_path):
    given = list(updates(9, 2))
    for i in range(3, 9):
        later = replace(FINDING, last_step=i)  # found again is nothing new
        given[i] = replace(given[i], report=replace(given[i].report, findings=[later]))
    mended = replace(FINDING, state="recovered", severity="info")
    given[7] = replace(given[7], report=replace(given[7].report, findings=[mended]))
    given[8] = replace(given[8], report=given[7].report)
    feed(tmp_path, given)
    (path,) = (tmp_path / "initwatch").iterdir()
    steps = [
        event.step
        for event in map(Event.FromString, records(path))
        for value in event.summary.value
        if value.tag == "initwatch/state"
    ]
    assert steps == [0, 3, 7, 8]


def test_everything_at_once_may_be_thinned(written):
    given, log = written
    whole = gathered([log])
    assert whole["runs"] == [run_summary(log)]
    assert whole["run"] == {"run/initwatch": run_answer(log)}
    assert whole["values"]["run/initwatch"]["delta_rms"] == values_answer(log, "delta_rms")
    layers = {layer.path for layer in given[0].layers}
    assert set(whole["histograms"]["run/initwatch"]) == layers
    few = gathered([log], most_steps=5)
    steps = few["run"]["run/initwatch"]["steps"]
    assert (steps[0], steps[-1], len(steps)) == (0, 39, 5)
    values = few["values"]["run/initwatch"]["delta_rms"]
    assert values["steps"] == steps
    assert values["values"] == [values_answer(log, "delta_rms")["values"][i] for i in steps]
    losses = run_answer(log)["per_step"]["loss"]
    assert few["run"]["run/initwatch"]["per_step"]["loss"] == [losses[i] for i in steps]


def test_runs_are_named_as_tensorboard_names_them(tmp_path):
    for name in ("a", "b/c"):
        feed(tmp_path / name, updates(2, 2))
    (tmp_path / "empty").mkdir()
    assert [log.run for log in read_logs(tmp_path)] == ["a/initwatch", "b/c/initwatch"]
    assert [log.run for log in read_logs(tmp_path / "a" / "initwatch")] == ["."]
    assert read_logs(tmp_path / "empty") == []


def test_the_log_of_a_later_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tab_log, "SCHEMA", 99)
    feed(tmp_path, updates(2, 2))
    with pytest.raises(NewerLogError, match=r"schema 99, this initwatch reads up to 1\. Upgrade"):
        read_logs(tmp_path)


def test_reading_loads_neither_keras_nor_tensorflow(tmp_path):
    feed(tmp_path, updates(2, 2))
    script = f"""
import sys
from pathlib import Path
from initwatch.plugin.answers import gathered
from initwatch.plugin.log import read_logs
print(gathered(read_logs(Path({str(tmp_path)!r})))["runs"][0]["steps"])
print({{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", "set()"]
