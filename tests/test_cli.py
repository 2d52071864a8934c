"""The command line."""

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import initwatch
from initwatch.cli import main
from initwatch.diagnosis.catalogue import CATALOGUE

every_rule = pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)


def test_rules_lists_every_rule_in_order(capsys):
    assert main(["rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[r.code, r.symptom] for r in CATALOGUE]
    assert all(line.endswith(r.summary) for line, r in zip(lines, CATALOGUE, strict=True))


@every_rule
def test_explain_finds_a_rule_by_code_and_by_symptom(rule, capsys):
    answers = []
    for name in (
        rule.code,
        rule.code.lower(),
        rule.symptom,
        rule.symptom.replace("_", "-").upper(),
    ):
        assert main(["explain", name]) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1
    assert answers[0].startswith(f"{rule.code} {rule.symptom}: {rule.summary}\n")
    assert inspect.getdoc(rule) in answers[0]


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
