"""Updates of a made-up training, for outlets that are fed without one."""

from dataclasses import replace

import numpy as np

from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.records import (
    Activation,
    Kernel,
    LayerSpec,
    Report,
    Statistic,
    Subject,
    VariableSpec,
)
from initwatch.records.update import Histogram, Update


def relu(z):
    return np.maximum(z, 0.0)


def layers_of(count, width=64, name="net/dense"):
    """(layers, variables) of a plain ReLU stack: a kernel and a bias each."""
    layers, variables = [], []
    for i in range(count):
        path = f"{name}_{i}"
        layers.append(
            LayerSpec(
                path=path,
                class_name="Dense",
                outputs=width,
                trunk=True,
                is_output=i == count - 1,
                frozen=False,
                kernel=Kernel(
                    f"{path}/kernel", (width, width), width, width, (width, width), None, "kernel"
                ),
                activation=Activation("relu", relu, path, rectifies=True, max_slope=1.0),
                signal=path,
                normalized=False,
            )
        )
        variables.append(VariableSpec(f"{path}/kernel", path, "kernel", width * width))
        variables.append(VariableSpec(f"{path}/bias", path, "bias", width))
    return tuple(layers), tuple(variables)


def updates(steps, count, first=0, seed=0, histograms_every=0, report=None, layers=None):
    """One update a step: every statistic that a fit has, over many powers of ten.

    Sizes drift over depth and time and scatter by 5 % from step to step, as those of a training do.
    """
    rng = np.random.default_rng(seed)
    layers, variables = layers or layers_of(count)
    sizes = dict.fromkeys(Subject, 1) | {Subject.LAYER: count, Subject.VARIABLE: 2 * count}
    drift = {
        statistic: np.exp(np.cumsum(rng.normal(-0.1, 0.2, sizes[statistic.subject])))
        for statistic in Statistic
    }
    for statistic, values in drift.items():
        if statistic.value.endswith("non_finite") or statistic is Statistic.SKIPPED:
            values *= 0.0
        if statistic.value.endswith(("fraction", "similarity", "slope")):
            values[:] = rng.uniform(0.2, 0.8, len(values))
    for step in range(first, first + steps):
        values = {
            statistic: base * np.exp(rng.normal(0.0, 0.05, len(base)))
            for statistic, base in drift.items()
        }
        drawn = ()
        if histograms_every and step % histograms_every == 0:
            counts = rng.integers(0, 200, 30).astype(float)
            drawn = tuple(
                Histogram(quantity, Subject.VARIABLE, i, -1.0, 1.0, counts)
                for quantity in ("weight", "gradient")
                for i in range(2 * count)
            ) + tuple(
                Histogram("activation", Subject.LAYER, i, 0.0, 1.0, counts) for i in range(count)
            )
        told = replace(report or Report(), steps_seen=step - first + 1, last_step=step)
        yield Update(step, layers, variables, values, drawn, (), told)


def feed(log_dir, given, first=0, end=True):
    """Writes the updates to the TensorBoard outlet; what was told last.

    Without ``end`` the log is left as a killed process leaves it.
    """
    outlet = TensorBoardOutlet(log_dir)
    outlet.open(first)
    update = None
    for update in given:
        outlet.emit(update)
    if end:
        outlet.close(update.report)
    else:
        outlet._file.close()
    return update
