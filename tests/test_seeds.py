"""Verdicts over 20 draws of the weights each, compiled once.

Depths and initializers are those of ``anchors``: ReLU with Glorot loses 2^-14 of delta over 30
layers (He et al. 2015, sec. 2.2), tanh with Glorot is healthy, SELU needs LeCun (Klambauer et
al. 2017).
"""

import keras
import numpy as np
import pytest

import initwatch

SEEDS = range(20)
SCALED = range(4)  # a factor on the loss changes nothing that a seed could
FACTORS = (1e-6, 1e6)
WIDTH, FEATURES, CLASSES, BATCH, STEPS = 256, 64, 10, 64, 6
INITIALIZERS = {
    "glorot": keras.initializers.GlorotUniform,
    "he": keras.initializers.HeNormal,
    "lecun": keras.initializers.LecunNormal,
}


class Rig:
    """A network that is compiled once and drawn anew for every verdict."""

    def __init__(self, activation, depth):
        keras.utils.set_random_seed(0)
        hidden = [
            keras.layers.Dense(WIDTH, activation=activation, name=f"hidden_{i}")
            for i in range(depth)
        ]
        head = keras.layers.Dense(CLASSES, activation="softmax", name="output")
        self.model = keras.Sequential([keras.Input((FEATURES,)), *hidden, head])
        self.factor = keras.Variable(1.0, trainable=False)

        def loss(y, p):
            plain = keras.losses.sparse_categorical_crossentropy(y, p)
            return self.factor * plain

        self.model.compile(keras.optimizers.Adam(1e-3), loss)
        self.watch = initwatch.InitWatch(console=False)

    def verdict(self, initializer, seed, factor=1.0):
        """Symptoms seen in a few steps from a fresh draw."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((BATCH * STEPS, FEATURES)).astype("float32")
        y = rng.integers(0, CLASSES, len(x))
        for i, layer in enumerate(self.model.layers):
            draw = INITIALIZERS[initializer](seed=1000 * seed + i)
            layer.kernel.assign(draw(layer.kernel.shape))
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
        for variable in self.model.optimizer.variables:
            if variable.path.rsplit("/", 1)[-1] != "learning_rate":
                variable.assign(keras.ops.zeros_like(variable))
        self.factor.assign(factor)
        self.model.fit(x, y, batch_size=BATCH, verbose=0, shuffle=False, callbacks=[self.watch])
        assert self.watch.report.steps_seen == STEPS
        assert self.watch.report.problems == []
        return {f.symptom for f in self.watch.report.findings if is_seen(f)}


def is_seen(finding):
    """Warnings on the signal wait for a sign of harm, which six steps cannot show."""
    waits = finding.code.startswith(("IW1", "IW2")) and finding.state == "active"
    return finding.severity != "info" or waits


@pytest.fixture(scope="module")
def relu():
    return Rig("relu", 30)


@pytest.mark.slow
def test_relu_with_glorot_is_flagged_at_depth_30(relu):
    for seed in SEEDS:
        found = relu.verdict("glorot", seed)
        assert {"initializer_mismatch", "vanishing_gradient", "vanishing_signal"} <= found, seed


@pytest.mark.slow
def test_relu_with_he_is_healthy_at_depth_30(relu):
    for seed in SEEDS:
        assert relu.verdict("he", seed) == set(), seed


@pytest.mark.slow
@pytest.mark.parametrize("initializer", ["glorot", "he"])
def test_a_scaled_loss_changes_no_verdict(relu, initializer):
    for seed in SCALED:
        first = relu.verdict(initializer, seed)
        assert all(relu.verdict(initializer, seed, f) == first for f in FACTORS), seed


@pytest.mark.slow
def test_tanh_with_glorot_is_healthy_at_depth_10():
    rig = Rig("tanh", 10)
    for seed in SEEDS:
        assert rig.verdict("glorot", seed) == set(), seed
    for seed in SCALED:
        assert all(rig.verdict("glorot", seed, f) == set() for f in FACTORS), seed


@pytest.mark.slow
def test_selu_needs_lecun_at_depth_20():
    rig = Rig("selu", 20)
    for seed in SEEDS:
        assert rig.verdict("lecun", seed) == set(), seed
        assert "initializer_mismatch" in rig.verdict("he", seed), seed
    for seed in SCALED:
        first = rig.verdict("he", seed)
        assert all(rig.verdict("he", seed, f) == first for f in FACTORS), seed


@pytest.mark.slow
def test_a_shallow_relu_net_with_kerass_default_is_healthy():
    rig = Rig("relu", 4)
    for seed in SEEDS:
        assert rig.verdict("glorot", seed) == set(), seed
