"""Faults of initwatch's own stay out of the training they happen in."""

import sys

import pytest

from initwatch import errors
from initwatch.errors import Faults, InitwatchError


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentError", ValueError),
        ("LogDirError", OSError),
        ("NotReadyError", RuntimeError),
        ("UnsupportedError", NotImplementedError),
    ],
)
def test_errors_can_be_caught_as_initwatchs_and_as_pythons(name, builtin):
    error = getattr(errors, name)
    assert issubclass(error, InitwatchError)
    assert issubclass(error, builtin)
    assert name in errors.__doc__


def test_a_fault_is_told_once_a_stage():
    told = []
    faults = Faults(told.append)
    for _ in range(3):
        with faults.contained("rules", "no findings."):
            raise ZeroDivisionError("by\n  zero")
    with faults.contained("console", "nothing is printed."):
        raise KeyError("x")
    assert len(told) == 2
    assert told == faults.problems
    # what, where, and what the user loses by it
    assert "initwatch's own rules" in told[0]
    assert "test_errors.py:" in told[0]
    assert "ZeroDivisionError: by zero" in told[0]
    assert told[0].endswith("Training goes on; no findings.")
    assert faults.failed("rules")
    assert not faults.failed("outlets")


def test_a_sound_stage_says_nothing():
    faults = Faults(pytest.fail)
    with faults.contained("rules", "no findings."):
        pass
    assert faults.problems == []
    assert not faults.failed("rules")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_to_end_the_program_passes_through(stop):
    told = []
    faults = Faults(told.append)
    with pytest.raises(stop), faults.contained("rules", "no findings."):
        raise stop
    assert told == faults.problems == []


def test_long_messages_are_cut():
    faults = Faults(lambda line: None)
    with faults.contained("rules", "no findings."):
        raise ValueError("x" * 10_000)
    assert len(faults.problems[0]) < 600


def test_a_problem_can_be_told_without_an_exception():
    told = []
    faults = Faults(told.append)
    faults.add("backend", "this backend is not observed")
    faults.add("backend", "said before")
    assert told == ["this backend is not observed"]
    assert faults.failed("backend")


def test_a_broken_console_does_not_break_training(monkeypatch, capsys):
    def broken(line):
        raise BrokenPipeError

    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    faults = Faults(broken)
    with faults.contained("rules", "no findings."):
        raise ValueError("lost")
    assert "lost" in faults.problems[0]
    assert "initwatch: a fault in initwatch's own rules" in capsys.readouterr().err


def test_without_any_stderr_the_fault_is_kept(monkeypatch):
    def broken(line):
        raise BrokenPipeError

    monkeypatch.setattr(sys, "__stderr__", None)  # as under pythonw
    faults = Faults(broken)
    faults.add("rules", "lost")
    assert faults.problems == ["lost"]
