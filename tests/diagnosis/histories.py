"""Synthetic histories: forward and backward passes of small NumPy networks, in float64.

Nothing of the package's own measuring is used here, so that rules are judged on figures from a
second implementation. All arrays are read-only: a rule that writes into its history fails.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from initwatch.records import (
    Activation,
    History,
    Kernel,
    LayerSpec,
    Output,
    Statistic,
    VariableSpec,
)

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017
_erf = np.vectorize(math.erf, otypes=[float])


@dataclasses.dataclass(frozen=True)
class Phi:
    """An activation function and its slope, both as functions of z."""

    function: Callable
    slope: Callable
    max_slope: float | None = None
    rectifies: bool = False


def sigmoid(z):
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def selu(z):
    return _SELU_SCALE * np.where(z > 0, z, _SELU_ALPHA * np.expm1(np.minimum(z, 0.0)))


def gelu(z):
    return 0.5 * z * (1.0 + _erf(z / math.sqrt(2.0)))


def gelu_slope(z):
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + _erf(z / math.sqrt(2.0))) + z * density


PHIS = {
    "linear": Phi(lambda z: z, np.ones_like),
    "relu": Phi(lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0, 1.0, True),
    "leaky_relu": Phi(lambda z: np.where(z > 0, z, 0.2 * z), lambda z: np.where(z > 0, 1.0, 0.2)),
    "tanh": Phi(np.tanh, lambda z: 1.0 - np.tanh(z) ** 2, 1.0),
    "sigmoid": Phi(sigmoid, lambda z: sigmoid(z) * (1.0 - sigmoid(z)), 1.0 / 16.0),
    "elu": Phi(
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0.0))),
        1.0,
    ),
    "selu": Phi(
        selu,
        lambda z: _SELU_SCALE * np.where(z > 0, 1.0, _SELU_ALPHA * np.exp(np.minimum(z, 0.0))),
        (_SELU_SCALE * _SELU_ALPHA) ** 2,
    ),
    "softplus": Phi(lambda z: np.logaddexp(0.0, z), sigmoid, 1.0),
    "gelu": Phi(gelu, gelu_slope),
    "silu": Phi(lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z)))),
}


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def dense(path, fan_in, units, activation="relu", **changes):
    """A Dense layer of the trunk as capture describes it."""
    phi = PHIS[activation]
    spec = LayerSpec(
        path=path,
        class_name="Dense",
        outputs=units,
        trunk=True,
        is_output=False,
        frozen=False,
        kernel=Kernel(
            variable=f"{path}/kernel",
            shape=(fan_in, units),
            fan_in=fan_in,
            fan_out=units,
            keras_fans=(fan_in, units),
            initializer=None,
            argument="kernel_initializer",
        ),
        activation=Activation(activation, phi.function, path, phi.rectifies, phi.max_slope),
        signal=path,
        normalized=False,
    )
    return dataclasses.replace(spec, **changes)


def plain(path, class_name, units=8, **changes):
    """A layer without a kernel, such as Dropout, Add or ReLU."""
    spec = LayerSpec(
        path=path,
        class_name=class_name,
        outputs=units,
        trunk=True,
        is_output=False,
        frozen=False,
        kernel=None,
        activation=None,
        signal=path,
        normalized=False,
    )
    return dataclasses.replace(spec, **changes)


def frozen_array(values):
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def history_of(layers=(), variables=(), series=None, *, steps=None, losses=(), examples=0):
    """A history of given figures; ``series``: rows of each statistic."""
    held = {statistic: frozen_array(rows) for statistic, rows in (series or {}).items()}
    rows = max((len(array) for array in held.values()), default=0)
    blank = History(
        layers=tuple(layers),
        variables=tuple(variables),
        steps=np.arange(rows) if steps is None else np.asarray(steps),
        series=held,
        loss_steps=np.arange(0),
        losses=np.zeros(0),
        trivial_losses=np.zeros(0),
        error_shares=np.zeros(0),
        examples=examples,
    )
    return with_losses(blank, losses)


def with_losses(history, losses, trivial=np.nan):
    """The same history with these losses of steps 0, 1, 2...; ``trivial``: a constant's loss."""
    losses = frozen_array(losses)
    return dataclasses.replace(
        history,
        loss_steps=np.arange(len(losses)),
        losses=losses,
        trivial_losses=frozen_array(np.broadcast_to(trivial, losses.shape)),
        error_shares=frozen_array(np.full(losses.shape, np.nan)),
    )


def with_series(history, changed: Mapping[Statistic, Callable | np.ndarray]):
    """The same history with other figures: arrays, or functions of the present array."""
    series = dict(history.series)
    for statistic, change in changed.items():
        series[statistic] = frozen_array(
            change(series[statistic].copy()) if callable(change) else change
        )
    return dataclasses.replace(history, series=series)


def with_layers(history, change: Callable[[LayerSpec], LayerSpec]):
    """The same history with ``change`` applied to every layer."""
    return dataclasses.replace(history, layers=tuple(map(change, history.layers)))


def against_labels(labels, predictions, weights=None):
    """What predictions have to do with labels, one row of each statistic: by plain NumPy.

    Args:
        labels: class numbers int[n], or numbers of the predictions' shape.
        predictions: float[n, units].
        weights: what each example counts.
    """
    labels, p = np.asarray(labels), np.asarray(predictions, float)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, float)
    counted = np.count_nonzero(w)
    classes = labels.ndim < p.ndim and p.shape[-1] > 1
    y = np.eye(p.shape[-1])[labels] if classes else labels.reshape(p.shape).astype(float)
    mean_y, mean_p = (np.average(x, axis=0, weights=w) for x in (y, p))

    def over(x):
        """A sum over the units of classes, else a mean over all."""
        each = np.average(x, axis=0, weights=w)
        return each.sum() if classes else each.mean()

    if classes:
        error = np.average(p.argmax(axis=1) != labels, weights=w)
        baseline = 1.0 - mean_y.max()
    else:
        error = over((y - p) ** 2)
        baseline = over((y - mean_y) ** 2) * len(p) / max(len(p) - 1, 1)
    return {
        Statistic.LABELS_COUNTED: counted,
        Statistic.PREDICTION_ERROR: error,
        Statistic.BASELINE_ERROR: baseline,
        Statistic.PREDICTION_COVARIANCE: over((y - mean_y) * (p - mean_p)),
        Statistic.PREDICTION_VARIANCE: over((p - mean_p) ** 2),
        Statistic.PREDICTION_SQUARE: over(p**2),
        Statistic.TARGET_VARIANCE: over((y - mean_y) ** 2),
    }


def predicting(history, outputs):
    """The same history with what is known of its outputs' predictions.

    Args:
        outputs: for each output its rows, as ``against_labels`` gives them, as many as the
            history has; one row stands for all of them.
    """
    rows = len(history.steps)
    each = [[given] * rows if isinstance(given, dict) else given for given in outputs]
    names = each[0][0].keys()
    return with_series(
        history, {s: [[r[s] for r in row] for row in zip(*each, strict=True)] for s in names}
    )


def set_to(value, rows=slice(None), columns=slice(None)):
    """For ``with_series``: sets a part of the array to ``value``."""

    def change(array):
        array[rows, columns] = value
        return array

    return change


@functools.cache
def mlp_history(
    depth,
    activation="relu",
    sigma_w2=2.0,
    *,
    width=128,
    rows=3,
    seed=0,
    batch=64,
    classes=10,
    dropout=0.0,
    input_scale=1.0,
    loss_factor=1.0,
    frozen=(),
    edit=None,
):
    """A random network of ``depth`` hidden Dense layers in training, for ``rows`` steps.

    The optimizer goes along the normalised gradient: a factor on the loss changes no step.

    Args:
        depth: number of hidden layers ``dense_0``, ``dense_1``...; ``logits`` comes after.
        activation: a name of ``PHIS``.
        sigma_w2: fan_in x Var(w) of the hidden layers (1 = Glorot of a square layer, 2 = He).
        dropout: share dropped behind each hidden layer.
        loss_factor: factor on the loss.
        frozen: numbers of the layers that are not trained.
        edit: called with the lists of kernels and biases, alters them before the first step.
    """
    random = np.random.default_rng(seed)
    phi = PHIS[activation]
    sizes = [width] * (depth + 1) + [classes]
    kernels = [
        random.normal(size=(n, m)) * np.sqrt((sigma_w2 if i < depth else 1.0) / n)
        for i, (n, m) in enumerate(itertools.pairwise(sizes))
    ]
    biases = [np.zeros(m) for m in sizes[1:]]
    if edit is not None:
        edit(kernels, biases)
    names = [*(f"dense_{i}" for i in range(depth)), "logits"]
    layers = [
        dense(
            name,
            sizes[i],
            sizes[i + 1],
            activation if i < depth else "linear",
            is_output=i == depth,
            frozen=i in frozen,
            dropout=dropout if i < depth else 0.0,
        )
        for i, name in enumerate(names)
    ]
    trained = [i for i in range(depth + 1) if i not in frozen]
    specs, variables = [], []
    for i in trained:
        for role, variable in (("kernel", kernels[i]), ("bias", biases[i])):
            specs.append(VariableSpec(f"{names[i]}/{role}", names[i], role, variable.size))
            variables.append(variable)
    initial = [rms(variable) for variable in variables]
    ever = [np.zeros(m, bool) for m in sizes[1:]]
    recorded = []
    for _ in range(rows):
        x = input_scale * random.normal(size=(batch, width))
        labels = random.integers(classes, size=batch)
        masks = [np.ones(1)] * depth
        if dropout:
            kept = random.random((depth, batch, width)) >= dropout
            masks = list(kept / (1.0 - dropout))
        with np.errstate(all="ignore"):  # sick networks overflow
            row, gradients = _one_step(kernels, biases, phi, x, labels, masks, loss_factor)
            for i, output in enumerate(row.pop("outputs")):
                ever[i] |= (output > 0).any(axis=0)
            row[Statistic.DEAD_FRACTION] = [
                1.0 - np.mean(units) if phi.rectifies and i < depth else np.nan
                for i, units in enumerate(ever)
            ]
            of_trained = [gradients[i][role] for i in trained for role in (0, 1)]
            row |= _variable_row(variables, of_trained, initial)
        recorded.append(row)
    series = {statistic: [row[statistic] for row in recorded] for statistic in recorded[0]}
    history = history_of(layers, specs, series, examples=rows * batch)
    losses = history.series[Statistic.LOSS][:, 0]
    history = with_losses(history, losses, history.series[Statistic.TRIVIAL_LOSS][:, 0])
    loss = "sparse_categorical_crossentropy"
    output = Output("logits", "linear", classes, loss=loss, from_logits=True)
    return dataclasses.replace(history, output=output)


def similarity(x):
    """Mean cosine between rows."""
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.mean((rows @ rows.T)[np.triu_indices(len(rows), 1)])


def _one_step(kernels, biases, phi, x, labels, masks, loss_factor):
    """Statistics of layers and the gradients [(kernel, bias)] of one batch."""
    depth = len(kernels) - 1
    inputs, before, outputs = [], [], []
    signal = x
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        inputs.append(signal)
        z = signal @ kernel + bias
        before.append(z)
        outputs.append(phi.function(z) if i < depth else z)
        signal = outputs[-1] * masks[i] if i < depth else z
    logits = signal - signal.max(axis=1, keepdims=True)
    log_share = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    share = np.exp(log_share)
    picked = np.arange(len(labels)), labels
    loss = -loss_factor * np.mean(log_share[picked])
    delta = share.copy()
    delta[picked] -= 1.0
    delta *= loss_factor / len(labels)
    deltas, gradients = [None] * (depth + 1), [None] * (depth + 1)
    for i in range(depth, -1, -1):
        deltas[i] = delta
        through = delta * phi.slope(before[i]) if i < depth else delta
        gradients[i] = (inputs[i].T @ through, through.sum(axis=0))
        delta = through @ kernels[i].T
        if i > 0:
            delta = delta * masks[i - 1]
    counts = np.bincount(labels) / len(labels)
    entropy = -np.sum(counts[counts > 0] * np.log(counts[counts > 0]))
    slopes = [phi.slope(z) for z in before[:-1]]
    known = phi.max_slope is not None
    return {
        "outputs": outputs,
        Statistic.INPUT_RMS: [rms(x)],
        Statistic.INPUT_MAX_ABS: [np.max(np.abs(x))],
        Statistic.INPUT_NON_FINITE: [np.sum(~np.isfinite(x))],
        Statistic.LABEL_NON_FINITE: [0.0],
        Statistic.LABEL_MEAN: [np.mean(labels)],
        Statistic.LABEL_STD: [np.std(labels)],
        Statistic.LABEL_MIN: [np.min(labels)],
        Statistic.LABEL_MAX: [np.max(labels)],
        Statistic.LABEL_WHOLE_FRACTION: [1.0],
        Statistic.LABEL_OUT_OF_REACH: [0.0],
        Statistic.ACTIVATION_STD: [np.std(a) for a in outputs],
        Statistic.ACTIVATION_RMS: [rms(a) for a in outputs],
        Statistic.ACTIVATION_NON_FINITE: [np.sum(~np.isfinite(a)) for a in outputs],
        Statistic.ACTIVATION_SLOPE: [*(np.mean(s**2) if known else np.nan for s in slopes), np.nan],
        Statistic.DELTA_RMS: [rms(d) for d in deltas],
        Statistic.DELTA_NORM: [rms(d) * np.sqrt(d.shape[1]) for d in deltas],
        Statistic.DELTA_NON_FINITE: [np.sum(~np.isfinite(d)) for d in deltas],
        Statistic.ACTIVATION_SIMILARITY: [similarity(a[:4]) for a in outputs],
        Statistic.LOSS: [loss],
        Statistic.TRIVIAL_LOSS: [loss_factor * entropy],
        Statistic.PENALTY: [np.nan],
        Statistic.ERROR_RATE: [np.mean(logits.argmax(axis=1) != labels)],
        Statistic.TRIVIAL_ERROR_RATE: [1.0 - np.max(counts)],
        Statistic.SKIPPED: [0.0],
    }, gradients


def _variable_row(variables, gradients, initial):
    """Statistics of variables; moves them by 0.01 along the normalised gradient, in place."""
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    updates = [-0.01 * g / (norm or 1.0) for g in gradients]
    row = {
        Statistic.WEIGHT_MEAN: [np.mean(w) for w in variables],
        Statistic.WEIGHT_STD: [np.std(w) for w in variables],
        Statistic.WEIGHT_RMS: [rms(w) for w in variables],
        Statistic.WEIGHT_NON_FINITE: [np.sum(~np.isfinite(w)) for w in variables],
        Statistic.WEIGHT_UNIT_SPREAD: [_spread(w) for w in variables],
        Statistic.GRADIENT_RMS: [rms(g) for g in gradients],
        Statistic.GRADIENT_NORM: [np.linalg.norm(g) for g in gradients],
        Statistic.GRADIENT_MAX_ABS: [np.max(np.abs(g)) for g in gradients],
        Statistic.GRADIENT_ZERO_FRACTION: [np.mean(g == 0) for g in gradients],
        Statistic.GRADIENT_NON_FINITE: [np.sum(~np.isfinite(g)) for g in gradients],
        Statistic.UPDATE_RMS: [rms(u) for u in updates],
        Statistic.UPDATE_DESCENT: [
            _descent(w, u, g) for w, u, g in zip(variables, updates, gradients, strict=True)
        ],
        Statistic.UPDATE_RATIO: [
            rms(u) / max(rms(w), first) if max(rms(w), first) > 0 else np.nan
            for u, w, first in zip(updates, variables, initial, strict=True)
        ],
    }
    for variable, update in zip(variables, updates, strict=True):
        variable += update
    return row


def _descent(w, update, gradient):
    """Share of weights moved against their gradient less that along it; NaN for vectors."""
    signs = np.sign(update) * np.sign(gradient)
    moved = np.count_nonzero(signs)
    return -np.sum(signs) / moved if w.ndim > 1 and moved else np.nan


def _spread(w):
    """Largest difference between two units' weights over the largest weight; NaN for vectors."""
    if w.ndim < 2:
        return np.nan
    largest = np.max(np.abs(w))
    return np.max(np.abs(w - w[:, :1])) / largest if largest > 0 else 0.0


def residual_history(*, zero=("branch_out",), rows=6, seed=0):
    """A network with one residual branch, trained by gradient descent; no biases.

    out(a + branch_out(relu(branch_in(a)))) with a = relu(stem(x)), squared error.

    Args:
        zero: names of the layers whose kernels begin at zero.
    """
    random = np.random.default_rng(seed)
    names = ("stem", "branch_in", "branch_out", "out")
    shapes = ((12, 16), (16, 16), (16, 16), (16, 3))
    kernels = {
        name: np.zeros(shape) if name in zero else random.normal(size=shape) / 4.0
        for name, shape in zip(names, shapes, strict=True)
    }
    layers = [
        dense("stem", 12, 16),
        dense("branch_in", 16, 16, trunk=False),
        dense("branch_out", 16, 16, "linear", trunk=False),
        plain("add", "Add", 16),
        dense("out", 16, 3, "linear", is_output=True),
    ]
    specs = [VariableSpec(f"{n}/kernel", n, "kernel", kernels[n].size) for n in names]
    recorded = []
    for _ in range(rows):
        x, target = random.normal(size=(32, 12)), random.normal(size=(32, 3))
        a = np.maximum(x @ kernels["stem"], 0.0)
        h = np.maximum(a @ kernels["branch_in"], 0.0)
        total = a + h @ kernels["branch_out"]
        error = (total @ kernels["out"] - target) / len(x)
        at_sum = error @ kernels["out"].T
        at_h = at_sum @ kernels["branch_out"].T * (h > 0)
        at_a = (at_sum + at_h @ kernels["branch_in"].T) * (a > 0)
        gradients = (x.T @ at_a, a.T @ at_h, h.T @ at_sum, total.T @ error)
        row = _variable_row(list(kernels.values()), list(gradients), [1.0] * 4)
        row |= {Statistic.SKIPPED: [0.0], Statistic.LOSS: [np.mean(error**2)]}
        recorded.append(row)
    series = {statistic: [row[statistic] for row in recorded] for statistic in recorded[0]}
    return history_of(layers, specs, series, examples=32 * rows)


def finding_of(rule, history):
    """What the rule finds, None if nothing; a rule has one finding at most."""
    findings = list(rule.check(history))
    assert len(findings) <= 1
    return findings[0] if findings else None


def late(history, losses, trivial=np.nan):
    """The same figures, measured long after the first steps, at these losses."""
    steps = np.arange(len(history.steps)) + 1000
    steps[0] = 0
    return with_losses(dataclasses.replace(history, steps=steps), losses, trivial)
