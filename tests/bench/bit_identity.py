"""How far training with the callback is from training without it, by network and compiler.

    python -m tests.bench.bit_identity

Each network of ``tests/capture/models.py`` is trained twice for 50 steps, 33 of them sampled,
from equal weights and data: plainly, and under ``InitWatch``. Printed is the largest absolute
difference between all variables of model and optimizer; "equal" means bit for bit.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import initwatch
from tests.capture import models

STEPS, BATCH = 50, 8
SCHEDULE = initwatch.Schedule(first=25, every=3)


def trained(build, jit_compile, callbacks):
    model = models.compiled(build, jit_compile=jit_compile)
    x, y = models.data_for(model, STEPS * BATCH)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)
    return [keras.ops.convert_to_numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def largest_difference(build, jit_compile):
    plain = trained(build, jit_compile, [])
    again = trained(build, jit_compile, [])
    watch = initwatch.InitWatch(schedule=SCHEDULE, console=False)
    watched = trained(build, jit_compile, [watch])
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
            again, watched, sampled = largest_difference(build, jit_compile)
            cells = [f"{value:.1e}" if value else "equal" for value in (again, watched)]
            print(
                f"{build.__name__:<16}{jit_compile!s:<13}{cells[0]:<14}{cells[1]:<14}"
                f"{sampled} of {STEPS}",
                flush=True,
            )


if __name__ == "__main__":
    main()
