"""Klambauer et al. 2017, Self-normalizing neural networks."""

import keras
import numpy as np
import pytest

from initwatch.theory.criticality import fixed_point
from initwatch.theory.propagation import DEPTH_SCALES, propagate
from initwatch.theory.quadrature import expectation, mean_square


def selu(z):
    return np.asarray(keras.ops.convert_to_numpy(keras.activations.selu(z)), np.float64)


def test_mean_0_and_variance_1_are_a_fixed_point():
    """Sec. 2 (alpha 1.6733, scale 1.0507): Keras's SELU in its float32 keeps both to 1e-6."""
    assert expectation(selu) == pytest.approx(0.0, abs=1e-6)
    assert mean_square(selu, 1.0) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("start", [0.8, 1.0, 1.5])
def test_the_fixed_point_attracts(start):
    """Theorem 1: variances in [0.8, 1.5] come to 1 with LeCun's weights, to 1e-4."""
    assert fixed_point(1.0, 0.0, selu, q=start).q == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("sigma_w2", "moments"), [(1.0, (1.0, 1.0, 1.0)), (2.0, (2.0, 30.6, 2.92e3))]
)
def test_second_moments_of_random_networks(sigma_w2, moments):
    """After 1, 10, 50 layers from variance 1: kept with LeCun's 1/n; with He's 2/n 2.00, 30.6
    and 2920 (0.5 %) in theory. After 10 layers of three networks of width 1000 to 15 %.
    """
    stack = propagate(1.0 / sigma_w2, [sigma_w2] * 51, [0.0] * 51, [selu] * 51)
    assert [stack.q[i] for i in (1, 10, 50)] == pytest.approx(moments, rel=5e-3)
    # a depth of 50 is beyond what He's variance can bear, and within LeCun's forward
    assert (stack.log_forward > DEPTH_SCALES) == (sigma_w2 == 2.0)
    reached = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        z = random.normal(size=(8, 1000)).astype("float32")
        for _ in range(10):
            weight = random.normal(size=(1000, 1000), scale=(sigma_w2 / 1000) ** 0.5)
            z = selu(z).astype("float32") @ weight.astype("float32")
        reached.append(np.mean(z.astype(np.float64) ** 2))
    assert np.mean(reached) == pytest.approx(moments[1], rel=0.15)
