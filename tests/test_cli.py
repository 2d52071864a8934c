"""The command line."""

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import initwatch
from initwatch.cli import main
from initwatch.diagnosis.catalogue import CATALOGUE
from initwatch.plugin.answers import gathered
from initwatch.plugin.log import read_logs
from tests.outlets.feed import feed, updates
from tests.plugin.test_log import ADVICE as ADVICES
from tests.plugin.test_log import FINDING

every_rule = pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)


def test_rules_lists_every_rule_in_order(capsys):
    assert main(["rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[r.code, r.symptom] for r in CATALOGUE]
    assert all(line.endswith(r.summary) for line, r in zip(lines, CATALOGUE, strict=True))


@every_rule
def test_explain_finds_a_rule_by_code_and_by_symptom(rule, capsys):
    def explained(name):
        assert main(["explain", name]) == 0
        return capsys.readouterr().out

    by_code, by_symptom = explained(rule.code), explained(rule.symptom)
    assert explained(rule.code.lower()) == by_code
    assert explained(rule.symptom.replace("_", "-").upper()) == by_symptom
    assert by_code.startswith(f"{rule.code} {rule.symptom}: {rule.summary}\n")
    assert inspect.getdoc(rule) in by_code
    # of rules that share a symptom all are explained, in their order
    sharing = [r.code for r in CATALOGUE if r.symptom == rule.symptom]
    assert by_symptom == "\n".join(map(explained, sharing))


def test_explain_of_a_shared_symptom_has_a_page_for_each_rule(capsys):
    assert main(["explain", "initializer_mismatch"]) == 0
    text = capsys.readouterr().out
    first, second = (text.index(f"{code} initializer_mismatch: ") for code in ("IW101", "IW106"))
    assert 0 == first < second
    assert text[:second].endswith("\n\n")
    assert main(["explain", "IW106"]) == 0
    assert capsys.readouterr().out == text[second:]


@every_rule
def test_explain_gives_each_threshold_with_unit_and_source(rule, capsys):
    main(["explain", rule.code])
    text = capsys.readouterr().out
    named = [field for field in fields(rule) if field.metadata]
    assert ("Thresholds:" in text) is bool(named)
    for field in named:
        unit, source = field.metadata["unit"], field.metadata["source"]
        assert f"    {field.name} = {field.default:.4g} [{unit}]: {source}" in text


@pytest.mark.parametrize("name", ["IW999", "vanishing", ""])
def test_an_unknown_rule_is_an_error_that_tells_the_known_ones(name, capsys):
    assert main(["explain", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert repr(name) in captured.err
    assert all(rule.code in captured.err for rule in CATALOGUE)


@pytest.mark.parametrize("arguments", [[], ["explain"], ["cure"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: initwatch" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == initwatch.__version__


def test_the_module_runs_without_loading_keras():
    # -X importtime lists every module that was loaded
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "initwatch", "explain", "IW201"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("IW201 vanishing_gradient")
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    assert "initwatch.diagnosis.catalogue" in loaded
    assert loaded.isdisjoint({"keras", "tensorflow", "tensorboard"})


def test_the_readme_lists_every_rule():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    listed = [line for line in readme.splitlines() if line.startswith("| IW")]
    assert listed == [f"| {rule.code} | `{rule.symptom}` | {rule.summary} |" for rule in CATALOGUE]


# ---------------------------------------------------------------------- report


@pytest.fixture
def logs(tmp_path):
    report = initwatch.Report(findings=[FINDING], advice=ADVICES)
    told = feed(tmp_path / "a", updates(6, 2, report=report)).report
    feed(tmp_path / "b", updates(9, 2), end=False)
    return tmp_path, told


def test_report_prints_what_the_run_printed(logs, capsys):
    log_dir, told = logs
    assert main(["report", str(log_dir / "a")]) == 0
    assert capsys.readouterr().out == f"{told}\n"


def test_report_names_several_runs_and_says_which_did_not_end(logs, capsys):
    log_dir, told = logs
    assert main(["report", str(log_dir)]) == 0
    out = capsys.readouterr().out
    first, second = out.split("b/initwatch:\n")
    assert first == f"a/initwatch:\n{told}\n"
    assert second.startswith("The run is going on, or did not end: this is what it has logged.\n")
    assert "healthy, nothing to report (9 steps measured up to step 8)" in second


def test_report_on_a_terminal_has_blocks(logs, capsys, monkeypatch):
    log_dir, _ = logs
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["report", str(log_dir / "a")]) == 0
    out = capsys.readouterr().out
    assert "IW101 initializer_mismatch" in out
    assert "╭─" in out
    assert "signal ratio 1e+09 -> 1.5" in out
    assert "1 error (6 steps measured up to step 5)" in out


def test_report_as_json_has_the_answers_of_the_tab(logs, capsys):
    log_dir, _ = logs
    assert main(["report", str(log_dir), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == gathered(read_logs(log_dir))
    path = log_dir / "out.json"
    assert main(["report", str(log_dir), "--json", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(path.read_text(encoding="utf-8")) == printed


def test_report_says_what_is_wrong_with_a_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for folder, words in (
        ("missing", "is no folder. Give the one that InitWatch(log_dir) wrote."),
        ("file", "is no folder."),
        ("empty", "no initwatch log under "),
    ):
        assert main(["report", str(tmp_path / folder)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("initwatch: ")
        assert words in captured.err
        assert folder in captured.err


def test_report_goes_to_the_terminal_by_a_dash(logs, capsys):
    log_dir, _ = logs
    page = log_dir / "page.html"
    assert main(["report", str(log_dir), "--json", "-", "--html", str(page)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == gathered(read_logs(log_dir))
    assert str(page) in captured.err
    assert main(["report", str(log_dir), "--html", "-"]) == 0
    assert capsys.readouterr().out == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [[], ["--json"], ["--html", "-"]])
def test_a_reader_that_has_had_enough_is_no_fault(logs, option):
    command = [sys.executable, "-m", "initwatch", "report", str(logs[0]), *option]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait(30) == 0


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_report_says_that_a_file_cannot_be_written(logs, capsys, option):
    log_dir, _ = logs
    assert main(["report", str(log_dir), option, str(log_dir)]) == 2
    assert "cannot be written (Is a directory)" in capsys.readouterr().err


def test_report_of_a_later_versions_log_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("initwatch.outlets.tab_log.SCHEMA", 99)
    feed(tmp_path, updates(2, 2))
    assert main(["report", str(tmp_path)]) == 2
    assert "schema 99" in capsys.readouterr().err


def test_report_loads_no_backend(logs):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "initwatch", "report", str(logs[0])],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    assert "initwatch.plugin.log" in loaded
    assert loaded.isdisjoint({"keras", "tensorflow", "jax", "torch"})
