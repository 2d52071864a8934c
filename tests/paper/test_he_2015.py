"""He et al. 2015, Delving deep into rectifiers."""

import math

import numpy as np
import pytest

from initwatch.initializers import Critical
from initwatch.theory.criticality import critical_point
from initwatch.theory.propagation import propagate
from initwatch.theory.variance import moments


def relu(z):
    return np.maximum(z, 0.0)


def backward_left(sigma_w2, layers, seed, width=500):
    """RMS of dL/dz behind ``layers`` layers of ReLU over that in front of them."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(8, width)).astype("float32")
    weights, masks = [], []
    for _ in range(layers):
        weights.append(random.normal(size=(width, width), scale=math.sqrt(sigma_w2 / width)))
        masks.append(z > 0)
        z = relu(z) @ weights[-1].astype("float32")
    first = delta = random.normal(size=z.shape)
    for weight, mask in zip(reversed(weights), reversed(masks), strict=True):
        delta = (delta @ weight.T) * mask
    return math.sqrt(np.mean(delta**2) / np.mean(first**2))


@pytest.mark.parametrize(("sigma_w2", "left"), [(1.0, 2.0**-15), (2.0, 1.0)])
def test_thirty_layers_of_relu(sigma_w2, left):
    """Sec. 2.2: with Xavier's 1/n the gradient's standard deviation falls by 2^-1/2 a layer, to
    2^-15 = 3.1e-5 over 30 layers; with 2/n it stays. Median of 5 networks of width 500, to a
    factor of 2 (their spread over networks is sqrt(30 x 5 / 500)); theory to 1e-4.
    """
    measured = np.median([backward_left(sigma_w2, 30, seed) for seed in range(5)])
    assert 0.5 < measured / left < 2.0
    stack = propagate(1.0, [sigma_w2] * 31, [0.0] * 31, [relu] * 31)
    assert math.exp(stack.log_backward / 2.0) == pytest.approx(left, rel=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.25, 1.0])
def test_parametric_rectifiers(slope):
    """Eq. 15: (1 + a^2) n Var(w) / 2 = 1. Exact to 1e-6."""
    point = critical_point(lambda z: np.where(z > 0, z, slope * z))
    assert point.sigma_w2 == pytest.approx(2.0 / (1.0 + slope**2), abs=1e-6)
    assert Critical("relu").sigma_w2 == pytest.approx(2.0, abs=1e-6)
    assert moments("HeNormal", {}, (3, 3, 16, 32)).variance == 2.0 / (9 * 16)


def trained(sigma_w2, steps=200, depth=30, width=128, classes=10, rate=3e-4):
    """Losses of SGD with momentum on 10 Gaussian clusters, by NumPy."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, width))
    labels = np.arange(200) % classes
    x = centres[labels] + 0.5 * random.normal(size=(200, width))
    # float64: in float32 a run of so deep a network depends on the order of its sums
    weights = [
        random.normal(size=(width, width), scale=math.sqrt(sigma_w2 / width)) for _ in range(depth)
    ]
    head = random.normal(size=(width, classes), scale=math.sqrt(1 / width))
    weights.append(head)
    speeds = [np.zeros_like(w) for w in weights]
    losses = []
    for _ in range(steps):
        rows = random.integers(0, 200, 64)
        signals = [x[rows]]
        for weight in weights[:-1]:
            signals.append(relu(signals[-1] @ weight))
        logits = signals[-1] @ weights[-1]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        losses.append(-np.mean(np.log(p[np.arange(64), labels[rows]] + 1e-12)))
        delta = (p - np.eye(classes)[labels[rows]]) / 64
        for i in range(depth, -1, -1):
            gradient = signals[i].T @ delta
            delta = (delta @ weights[i].T) * (signals[i] > 0)
            speeds[i] = 0.9 * speeds[i] - rate * gradient
            weights[i] = weights[i] + speeds[i]
    return losses


def test_thirty_layers_converge_with_he_and_stall_with_xavier():
    """Sec. 2.2 and fig. 3, in small: 200 steps on ten clusters. Xavier stays within 2 % of the
    guess, ln 10, at three hundred times the rate too; He comes below a tenth of it.
    """
    guess = math.log(10.0)
    for rate in (3e-4, 0.1):
        assert all(abs(loss / guess - 1.0) < 0.02 for loss in trained(1.0, rate=rate))
    assert np.mean(trained(2.0)[-20:]) < 0.1 * guess
