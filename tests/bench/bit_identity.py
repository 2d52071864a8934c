"""How far training with the callback is from training without it, by network and compiler.

    python -m tests.bench.bit_identity

Each network of ``tests/capture/models.py`` is trained three times for 50 steps from equal weights
and data: twice plainly, and under ``InitWatch`` with 33 of the steps sampled. Printed is the
largest absolute difference between all variables of model and optimizer; "equal" means bit for
bit.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import initwatch
from tests.capture import models
from tests.capture.test_bit_identity import DENSE_SCHEDULE, STEPS, trained


def differences(build, jit_compile):
    """(plain against plain, plain against watched, steps sampled)"""
    watch = initwatch.InitWatch(schedule=DENSE_SCHEDULE, console=False)
    plain, again, watched = (
        trained(build, callbacks, jit_compile=jit_compile)[0] for callbacks in ([], [], [watch])
    )
    assert watch.report.problems == []
    return difference(plain, again), difference(plain, watched), watch.report.steps_seen


def difference(first, second):
    """0.0 only if all values are the same bit for bit."""
    if all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return 0.0
    return max(
        float(np.max(np.abs(a.astype("float64") - b.astype("float64")), initial=0.0))
        for a, b in zip(first, second, strict=True)
    )


def main():
    print(f"{'network':<16}{'jit_compile':<13}{'plain again':<14}{'watched':<14}sampled")
    for build in models.NETWORKS:
        for jit_compile in (False, True):
            again, watched, sampled = differences(build, jit_compile)
            cells = [f"{value:.1e}" if value else "equal" for value in (again, watched)]
            print(
                f"{build.__name__:<16}{jit_compile!s:<13}{cells[0]:<14}{cells[1]:<14}"
                f"{sampled} of {STEPS}",
                flush=True,
            )


if __name__ == "__main__":
    main()
