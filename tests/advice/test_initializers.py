"""The suggested object has the variance that was promised, and is what the code line makes;
moments of an initializer of any origin.
"""

import random

import keras
import numpy as np
import pytest

from initwatch.advice.initializers import initializer_for, initializer_text, moments_of, rescaled
from initwatch.errors import ArgumentError
from initwatch.records import Kernel
from initwatch.theory.choice import sigma_w2
from initwatch.theory.fans import fans, keras_fans
from tests.generators import leaves_generators_alone


def kernel_of(class_name, shape, argument="kernel_initializer"):
    fan_in, fan_out = fans(class_name, shape)
    return Kernel("layer/kernel", shape, fan_in, fan_out, keras_fans(shape), None, argument)


KERNELS = [
    kernel_of("Dense", (256, 128)),
    kernel_of("Conv2D", (3, 3, 64, 64)),
    kernel_of("DepthwiseConv2D", (3, 3, 512, 1), "depthwise_initializer"),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: str(kernel.shape))
@pytest.mark.parametrize(
    ("family", "scale"), [("he", 0.0), ("glorot", 0.0), ("lecun", 0.0), ("computed", 1.55)]
)
def test_drawn_variance_is_the_promised_one(kernel, family, scale):
    initializer, _ = initializer_for(family, scale, kernel)
    drawn = np.array(initializer(kernel.shape), np.float64)
    promised = sigma_w2(family, scale, kernel.fan_in, kernel.fan_out)
    assert kernel.fan_in * np.mean(drawn**2) == pytest.approx(promised, rel=0.1)


@pytest.mark.parametrize("family", ["he", "glorot", "lecun", "computed"])
def test_the_line_makes_what_was_suggested(family):
    kernel = KERNELS[0]
    initializer, code = initializer_for(family, 1.55, kernel)
    argument, _, expression = code.partition("=")
    pasted = eval(expression, {"keras": keras})  # noqa: S307 our own line
    assert argument == "kernel_initializer"
    assert type(pasted) is type(initializer)
    given, made = pasted.get_config(), initializer.get_config()
    given.pop("seed", None)
    made.pop("seed", None)
    assert given == made


def test_draws_leave_every_generator_alone():
    def draw():
        initializer, _ = initializer_for("he", 0.0, KERNELS[0])
        initializer(KERNELS[0].shape)

    assert leaves_generators_alone(draw)


class HeNormal(keras.initializers.Initializer):
    """Somebody's own, by the name of one of Keras's: every weight from another generator."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        drawn = keras.ops.convert_to_numpy(keras.random.normal(shape, seed=self.seed, dtype=dtype))
        return 0.5 + drawn + np.random.normal(size=shape) + random.gauss(0.0, 1e-6)

    def get_config(self):
        return {"seed": self.seed}


@pytest.mark.parametrize(
    "seed", [None, 3, keras.random.SeedGenerator(4)], ids=["none", "number", "generator"]
)
def test_a_custom_initializer_is_drawn_once_and_leaves_no_trace(seed):
    """Mean 0.5 and variance 2 within 5 standard errors of 40,000 weights."""

    def state():
        own = np.array(seed.state) if isinstance(seed, keras.random.SeedGenerator) else 0
        return np.random.uniform(), random.random(), keras.random.uniform((2,)), own

    def started():
        keras.utils.clear_session()  # with it the global generator
        keras.utils.set_random_seed(0)
        return state()

    expected = started()
    keras.utils.clear_session()  # with it the global generator
    keras.utils.set_random_seed(0)
    found = moments_of(HeNormal(seed), (200, 200))
    for before, after in zip(expected, state(), strict=True):
        assert np.array_equal(before, after)
    assert found.mean == pytest.approx(0.5, abs=5 * 2**0.5 / 200)
    assert found.variance == pytest.approx(2.0, rel=5 * 2**0.5 / 200)


def test_moments_of_kerass_own_are_computed():
    he = keras.initializers.HeNormal()
    assert moments_of(he, (3, 3, 8, 16)).variance == 2.0 / 72
    assert moments_of(he, (64, 4, 32), fans=(64, 128)).variance == 2.0 / 64
    assert moments_of(keras.initializers.Constant(0.1), (5, 5)).mean_square == pytest.approx(0.01)


def test_moments_of_a_deterministic_kernel_are_those_of_its_elements():
    stft = keras.initializers.STFT("real", None, None)
    kernel = np.asarray(stft((16, 1, 9)), np.float64)
    assert moments_of(stft, (16, 1, 9)).mean_square == pytest.approx(np.mean(kernel**2))
    ramp = moments_of(lambda shape, dtype=None: np.arange(6.0).reshape(shape), (2, 3))
    assert (ramp.mean, ramp.variance) == (2.5, pytest.approx(35.0 / 12.0))


def test_what_gives_no_kernel_is_told():
    def wrong(shape, dtype=None):
        return np.zeros((2,))

    with pytest.raises(ArgumentError, match=r"wrong.* gives no kernel of shape \(3, 4\)"):
        moments_of(wrong, (3, 4))


class Own(keras.initializers.Initializer):
    def __init__(self, scale, seed=None):
        self.scale = scale

    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype) * self.scale

    def get_config(self):
        return {"scale": self.scale}


class Silent(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)

    def get_config(self):
        raise NotImplementedError


def drawn(shape, dtype=None):
    return keras.ops.ones(shape, dtype)


@pytest.mark.parametrize(
    ("initializer", "text"),
    [
        (keras.initializers.HeNormal(seed=3), "keras.initializers.HeNormal()"),
        (
            keras.initializers.RandomNormal(stddev=0.3),
            "keras.initializers.RandomNormal(stddev=0.3)",
        ),
        (keras.initializers.Constant(0.1), "keras.initializers.Constant(value=0.1)"),
        (
            keras.initializers.VarianceScaling(2.0, mode="fan_avg"),
            "keras.initializers.VarianceScaling(scale=2.0, mode='fan_avg')",
        ),
        (Own(0.5), "Own(scale=0.5)"),
        (Silent(), "Silent"),
        (drawn, "drawn"),
        (None, None),
    ],
)
def test_an_initializer_is_told_as_the_line_that_makes_it(initializer, text):
    assert initializer_text(initializer) == text
    if text is not None and text.startswith("keras."):
        again = eval(text, {"keras": keras})  # noqa: S307 our own text
        assert type(again) is type(initializer)


@pytest.mark.parametrize(
    "initializer",
    [
        keras.initializers.HeNormal(seed=3),
        keras.initializers.GlorotUniform(seed=3),
        keras.initializers.VarianceScaling(1.5, "fan_avg", "untruncated_normal", seed=3),
        keras.initializers.RandomNormal(stddev=0.1, seed=3),
        keras.initializers.Orthogonal(gain=1.2, seed=3),
    ],
    ids=lambda initializer: type(initializer).__name__,
)
def test_rescaled_draws_the_same_weights_times_a_factor(initializer):
    first = np.array(initializer((64, 32)))
    larger = np.array(rescaled(initializer, 1.1)((64, 32)))
    np.testing.assert_allclose(larger, 1.1 * first, rtol=1e-3)
    assert np.array_equal(np.array(rescaled(initializer, 1.0)((64, 32))), first)
    other = np.array(rescaled(initializer, 1.0, step=1)((64, 32)))
    assert not np.allclose(other, first)
    assert other.std() == pytest.approx(first.std(), rel=0.1)


def test_what_has_no_size_to_change_is_not_rescaled():
    assert rescaled(keras.initializers.RandomUniform(seed=1), 1.1) is None
    assert rescaled(keras.initializers.Zeros(), 1.1) is None
    assert rescaled(np.zeros, 1.1) is None
