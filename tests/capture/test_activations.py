"""Activation functions of layers: phi on arrays, and its slope from its output."""

import keras
import numpy as np
import pytest

from initwatch.capture.activations import activation_of, slope_of_output
from tests.capture.models import layers

Z = np.linspace(-5.9, 5.9, 240)  # 0, where some have a kink, is not among them


def dense(activation):
    layer = layers.Dense(3, activation=activation)
    layer.build((None, 4))
    return layer


@pytest.mark.parametrize(
    "name",
    "relu relu6 tanh sigmoid hard_sigmoid softsign softplus elu selu hard_tanh".split(),
)
def test_slope_from_the_output_is_the_derivative(name):
    activation = activation_of(dense(name), "it")
    slope = slope_of_output(name, dense(name))
    outputs = activation.function(Z).astype("float32")
    step = 1e-3  # Keras computes tanh in float32 on JAX, whatever it is given
    derivative = (activation.function(Z + step) - activation.function(Z - step)) / (2 * step)
    assert np.array(slope(keras.ops.convert_to_tensor(outputs))) == pytest.approx(
        derivative, abs=2e-4
    )
    assert activation.max_slope >= np.max(derivative**2) - 1e-3


@pytest.mark.parametrize(("name", "rectifies"), [("relu", True), ("elu", False), ("gelu", False)])
def test_rectifiers_are_told_by_their_values(name, rectifies):
    assert activation_of(dense(name), "it").rectifies == rectifies


def test_functions_without_a_slope_from_the_output():
    assert slope_of_output("gelu", dense("gelu")) is None
    assert slope_of_output("relu", layers.ReLU(negative_slope=0.1)) is None
    assert slope_of_output("elu", layers.ELU(alpha=0.5)) is None


def test_a_custom_function_needs_no_table():
    def bent(z):
        return keras.ops.where(z > 0, z, 0.0) ** 1.5

    activation = activation_of(dense(bent), "it")
    assert activation.name == "bent"
    assert activation.rectifies
    assert activation.function(np.array([-1.0, 4.0])) == pytest.approx([0.0, 8.0])


def test_what_is_not_elementwise_is_not_known():
    assert activation_of(dense("softmax"), "it") is None
    assert activation_of(dense(lambda x: keras.ops.mean(x, axis=-1)), "it") is None
    assert activation_of(layers.LSTM(3), "it") is None


def test_a_trained_prelu_is_taken_at_its_present_slope():
    layer = layers.PReLU()
    layer.build((None, 3))
    layer.alpha.assign([0.1, 0.2, 0.3])
    activation = activation_of(layer, "it")
    assert activation.function(np.array([-1.0, 2.0])) == pytest.approx([-0.2, 2.0])
