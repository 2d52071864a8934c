"""Training with the callback gives the weights that training without it gives, bit for bit."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch import Schedule
from tests.capture import models

STEPS, BATCH = 50, 8
DENSE_SCHEDULE = Schedule(first=25, every=3)
# a graph optimizer may regroup the arithmetic of one and not of the other
OPTIMIZERS = ["sgd", "adam"] if models.BACKEND == "tensorflow" else ["adam"]


def trained(build, callbacks, **compile_options):
    model = models.compiled(build, **compile_options)
    x, y = models.data_for(model, STEPS * BATCH)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)
    state = models.values_of([*model.variables, *model.optimizer.variables])
    drawn = models.native_draw(), float(keras.random.uniform(())), float(np.random.uniform())
    return state, drawn


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("build", models.NETWORKS)
def test_default_configuration(build, optimizer, tmp_path):
    """What ``jit_compile="auto"`` comes to without an accelerator: a plain graph in TensorFlow,
    XLA in JAX, operation by operation in torch.
    """
    plain, drawn_plain = trained(build, [], optimizer=optimizer)
    watch = initwatch.InitWatch(tmp_path, schedule=DENSE_SCHEDULE, console=False)
    watched, drawn_watched = trained(build, [watch], optimizer=optimizer)
    assert watch.report.steps_seen >= 25
    assert watch.report.problems == []
    assert same(plain, watched)
    assert drawn_plain == drawn_watched  # the global generators stand where they would


@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, {"steps_per_execution": 7}],
    ids=lambda options: next(iter(options)),
)
def test_other_ways_of_running_a_dense_net(options):
    if "steps_per_execution" in options and models.BACKEND == "torch":
        pytest.skip("Keras has no steps_per_execution on torch")
    plain, _ = trained(models.dense_net, [], **options)
    watch = initwatch.InitWatch(schedule=DENSE_SCHEDULE, console=False)
    watched, _ = trained(models.dense_net, [watch], **options)
    assert watch.report.steps_seen >= 25
    assert watch.report.problems == []
    assert same(plain, watched)


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        plain, _ = trained(models.dense_net, [])
        watch = initwatch.InitWatch(schedule=DENSE_SCHEDULE, console=False)
        watched, _ = trained(models.dense_net, [watch])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert watch.report.steps_seen >= 25
    assert watch.report.problems == []
    assert same(plain, watched)
