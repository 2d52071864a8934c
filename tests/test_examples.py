"""The examples as users start them: a process of their own, figures on the last line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.slow


def run(name, log_dir):
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", log_dir],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def event_files(folder):
    return [path for path in folder.rglob("events.out.tfevents.*") if path.stat().st_size > 1000]


def test_quickstart(tmp_path):
    """Chance is 0.102: the largest of ten classes among the held-out rows."""
    printed, figures = run("quickstart", tmp_path)
    before, after = figures["before"], figures["after"]
    assert before["accuracy"] < 0.15
    assert not before["healthy"]
    assert before["first_finding_step"] <= 10
    assert {"initializer_mismatch", "vanishing_signal", "vanishing_gradient"} <= set(
        before["symptoms"]
    )
    assert after["accuracy"] > 0.85
    assert after == {**after, "healthy": True, "first_finding_step": None, "symptoms": []}
    assert "kernel_initializer=keras.initializers.HeNormal()" in printed
    for name in ("before", "after"):
        assert event_files(tmp_path / name / "initwatch"), name
        assert event_files(tmp_path / name / "train"), name


def test_tutorial(tmp_path):
    """Nobody is warned of what learns; the constant draws are named and mended."""
    _, figures = run("tutorial", tmp_path)
    for case in ("relu_he", "relu_random_normal", "tanh_glorot", "tanh_random_normal"):
        assert figures[case]["before"]["healthy"], case
        assert figures[case]["before"]["accuracy"] > 0.85, case
        assert "after" not in figures[case], case
    for case in ("relu_constant", "tanh_constant"):
        assert "symmetric_units" in figures[case]["before"]["symptoms"], case
        assert figures[case]["before"]["first_finding_step"] <= 10, case
        assert figures[case]["after"]["healthy"], case
        assert figures[case]["after"]["accuracy"] > 0.85, case


def test_compare_initializers(tmp_path):
    """He's two shapes lead, nobody says that one of them is better, the faint normal is last."""
    printed, figures = run("compare_initializers", tmp_path)
    assert set(figures["ranking"][:2]) == {"he_normal", "he_uniform"}
    assert figures["ranking"][2:] == ["glorot_uniform", "random_normal_0.05"]
    candidates = figures["candidates"]
    assert candidates["random_normal_0.05"]["verdict"] == "worse"
    assert candidates["random_normal_0.05"]["healthy_runs"] == 0
    assert candidates["he_normal"]["healthy_runs"] == 3
    assert not figures["sure"]
    assert "No difference can be told between" in printed
    assert event_files(tmp_path / "he_normal" / "seed_2" / "initwatch")
