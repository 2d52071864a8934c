"""Weights that are a draw of their layer's initializer, and weights that are not."""

import keras
import numpy as np
import pytest
from keras import layers

from initwatch.advice.pretrained import not_as_drawn
from initwatch.records import Statistic, VariableSpec
from tests.diagnosis.histories import history_of


def seen(model):
    """A history of the model's weights as they are."""
    values = [keras.ops.convert_to_numpy(v).astype(float) for v in model.trainable_variables]
    specs = [
        VariableSpec(v.path, v.path.rpartition("/")[0], v.name, v.shape)
        for v in model.trainable_variables
    ]
    return history_of(
        variables=specs,
        series={
            Statistic.WEIGHT_MEAN: [[w.mean() for w in values]],
            Statistic.WEIGHT_RMS: [[np.sqrt(np.mean(w**2)) for w in values]],
        },
    )


def left_alone(model):
    return not_as_drawn(model, seen(model))


INITIALIZERS = [
    "glorot_uniform",
    "he_normal",
    "lecun_uniform",
    "orthogonal",
    "zeros",
    "ones",
    keras.initializers.RandomNormal(stddev=0.01),
    keras.initializers.RandomNormal(mean=0.3, stddev=0.1),
    keras.initializers.RandomUniform(-1, 1),
    keras.initializers.TruncatedNormal(stddev=3.0),
    keras.initializers.Constant(0.1),
    keras.initializers.VarianceScaling(2.4, "fan_out", "uniform"),
]


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=range(len(INITIALIZERS)))
@pytest.mark.parametrize("seed", range(5))
def test_what_was_just_drawn_is_not_taken_for_trained(initializer, seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(8, 3, kernel_initializer=initializer),
            layers.DepthwiseConv2D(3, depthwise_initializer=initializer),
            layers.Flatten(),
            layers.Dense(16, kernel_initializer=initializer, bias_initializer="ones"),
        ]
    )
    assert left_alone(model) == frozenset()


def test_recurrent_layers_and_embeddings_as_keras_draws_them():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((7,)), layers.Embedding(50, 16), layers.LSTM(12), layers.BatchNormalization()]
    )
    found = left_alone(model)
    # what has no initializer by its own name is left alone as well
    assert not {path for path in found if "embedding" in path}


def test_loaded_weights_are_left_alone():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32,)), layers.Dense(32), layers.Dense(32)])
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([1.3 * kernel, bias])
    whole = {v.path for v in model.layers[0].trainable_variables}
    assert left_alone(model) == whole
    model.layers[0].set_weights([kernel + 0.1, bias])
    assert left_alone(model) == whole
    model.layers[0].set_weights([kernel, bias + 0.5])
    assert left_alone(model) == whole
    model.layers[0].set_weights([kernel, bias])
    assert left_alone(model) == frozenset()


def test_one_step_of_training_makes_no_draw_a_loaded_weight():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32,)), layers.Dense(32), layers.Dense(4)])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(16, n)).astype("float32") for n in (32, 4))
    model.fit(x, y, batch_size=16, verbose=0)
    assert left_alone(model) == frozenset()


def test_trained_weights_are_left_alone():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((32,)), layers.Dense(32), layers.Dense(4)])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 32)).astype("float32")
    model.fit(x, x[:, :4] ** 2, epochs=30, verbose=0)
    assert {v.path for v in model.trainable_variables} == left_alone(model)


def test_a_custom_initializer_is_looked_at_in_a_draw():
    def wide(shape, dtype=None):
        return keras.random.normal(shape, stddev=3.0, dtype=dtype, seed=5)

    model = keras.Sequential([keras.Input((32,)), layers.Dense(32, kernel_initializer=wide)])
    assert left_alone(model) == frozenset()
    model.layers[0].set_weights([0.1 * w for w in model.layers[0].get_weights()])
    assert left_alone(model) == {v.path for v in model.layers[0].trainable_variables}
