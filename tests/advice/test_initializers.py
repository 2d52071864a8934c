"""The suggested object has the variance that was promised, and is what the code line makes."""

import keras
import numpy as np
import pytest

from initwatch.advice.initializers import initializer_for
from initwatch.records import Kernel
from initwatch.theory.choice import sigma_w2
from initwatch.theory.fans import fans, keras_fans


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
    keras.utils.set_random_seed(0)
    expected = keras.random.uniform((3,)), np.random.uniform()
    keras.utils.set_random_seed(0)
    initializer, _ = initializer_for("he", 0.0, KERNELS[0])
    initializer(KERNELS[0].shape)
    found = keras.random.uniform((3,)), np.random.uniform()
    assert np.array_equal(expected[0], found[0])
    assert expected[1] == found[1]
