"""Several devices and several processes measure what one device measures on the whole batch."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.capture.models import BACKEND

ENGINES = {
    "tensorflow": ["mirrored"],
    "jax": ["data_parallel", "model_parallel"],
    "torch": ["distributed"],
}[BACKEND]
PROCESSES = 2 if BACKEND == "torch" else 1


def run(engine, *options):
    """What each process of a training printed."""
    processes = PROCESSES if engine != "one" else 1
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        ranks = [str(rank), str(processes), str(port)] if processes > 1 else []
        command = [sys.executable, "-m", "tests.capture.devices", engine, *ranks, *options]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        )
    done = [process.communicate(timeout=300) for process in started]
    for process, (_, said) in zip(started, done, strict=True):
        assert process.returncode == 0, said[-3000:]
    return [json.loads(printed.splitlines()[-1]) for printed, _ in done]


OF_PARTS = (
    *("baseline_error", "prediction_covariance", "prediction_variance", "target_variance"),
    *("aligned_error", "crossed_error"),
)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_statistics_are_those_of_one_device(engine):
    (one,) = run("one")
    several = run(engine)
    plain = run(engine, "--plain")
    for process, unwatched in zip(several, plain, strict=True):
        assert process["problems"] == []
        assert process["steps"] == one["steps"] == [0, 1, 2, 3]
        assert process["weights"] == unwatched["weights"]
        for expected, measured in zip(one["values"], process["values"], strict=True):
            assert measured.keys() == expected.keys()
            for name, values in expected.items():
                if name in ("trivial_loss", "trivial_error_rate") and PROCESSES > 1:
                    continue  # the mean of that of each process's own labels
                if name in OF_PARTS:
                    continue  # a mean over replicas of what each of them compares with its own mean
                if name == "activation_similarity":
                    continue  # of the first examples of each replica's share
                # what is near 0 by cancellation is known to the rounding of what cancels
                assert measured[name] == pytest.approx(values, 1e-3, 1e-6, nan_ok=True), name


@pytest.mark.slow
@pytest.mark.skipif(PROCESSES == 1, reason="one process trains on all devices")
def test_a_process_that_watches_alone_is_told_so_and_trains_on():
    plain = run(ENGINES[0], "--plain")
    first, second = run(ENGINES[0], "--alone")
    assert "only some of the 2 processes of this training run initwatch" in first["problems"][0]
    assert len(first["problems"]) == 1
    assert first["steps"] == second["steps"] == []
    for process, unwatched in zip((first, second), plain, strict=True):
        assert np.array_equal(process["weights"][0], unwatched["weights"][0])
