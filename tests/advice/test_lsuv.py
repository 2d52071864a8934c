"""LSUV on every kind of model, against variances read by other means."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch.initializers import DataDriven

layers = keras.layers


def batch(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(256, *shape)).astype("float32")


def sequential(depth=6, activation="relu", **options):
    hidden = [layers.Dense(64, activation=activation, **options) for _ in range(depth)]
    return keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(10)])


def pre_activations(model, x):
    """Of a stack of Dense layers, by NumPy alone."""
    for layer in model.layers:
        x = np.asarray(x, np.float64) @ np.asarray(layer.kernel) + np.asarray(layer.bias)
        yield np.var(x)
        x = keras.ops.convert_to_numpy(layer.activation(keras.ops.convert_to_tensor(x)))


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", None])
@pytest.mark.parametrize("initializer", ["glorot_uniform", "random_normal"])
def test_every_output_has_variance_one(activation, initializer):
    """|Var - 1| < 0.1 on the batch (Mishkin & Matas 2016), 0.75 to 1.3 on another one."""
    keras.utils.set_random_seed(1)
    model = sequential(activation=activation, kernel_initializer=initializer)
    x = batch(32)
    was = list(pre_activations(model, x))
    done = initwatch.lsuv(model, x)
    now = list(pre_activations(model, x))
    assert [r.layer for r in done] == [layer.path for layer in model.layers]
    assert done[0].before == pytest.approx(was[0], rel=1e-4)
    assert [r.after for r in done] == pytest.approx(now, rel=1e-4)
    assert max(abs(v - 1.0) for v in now) < 0.1
    assert all(0.75 < v < 1.3 for v in pre_activations(model, batch(32, seed=1)))


def test_one_factor_suffices_where_the_output_is_proportional_to_the_kernel():
    keras.utils.set_random_seed(0)
    model = sequential(kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=3))
    model.layers[-1].kernel.assign(0.1 * model.layers[-1].kernel)
    kernels = [np.asarray(layer.kernel) for layer in model.layers]
    for record, kernel, layer in zip(
        initwatch.lsuv(model, batch(32)), kernels, model.layers, strict=True
    ):
        assert record.after == pytest.approx(1.0, abs=1e-4)
        assert record.factor == pytest.approx(record.before**-0.5, rel=1e-5)
        assert np.asarray(layer.kernel) == pytest.approx(record.factor * kernel, rel=1e-5)
        assert record.variable == layer.kernel.path


def test_what_is_within_the_tolerance_is_left_as_drawn():
    model = sequential()
    initwatch.lsuv(model, batch(32))
    kernels = [np.asarray(layer.kernel) for layer in model.layers]
    assert all(r.factor == 1.0 for r in initwatch.lsuv(model, batch(32)))
    for kernel, layer in zip(kernels, model.layers, strict=True):
        assert np.array_equal(kernel, layer.kernel)


def test_kinds_of_kernels_and_a_nested_residual_model():
    inputs = keras.Input((8, 8, 4))
    inner = keras.Sequential(
        [layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(8, 1, activation="relu")]
    )
    x = layers.Conv2D(8, 3, padding="same", groups=2, name="grouped")(inputs)
    x = layers.Add()([x, inner(x)])
    x = layers.SeparableConv2D(8, 3, activation="tanh", name="separable")(x)
    x = layers.Conv2DTranspose(8, 4, strides=2, name="transposed")(x)
    x = layers.Reshape((-1, 8))(x)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    x = layers.EinsumDense("abc,cd->abd", (None, 16), name="einsum")(x)
    x = layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    x = layers.LSTM(8, name="lstm")(x)
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    done = initwatch.lsuv(model, batch(8, 8, 4)[:32])
    names = [record.layer.split("/")[-1] for record in done]
    assert names[0] == "grouped"
    assert names[3:6] == ["separable", "transposed", "einsum"]
    assert set(names[6:9]) == {"query", "key", "value"}
    assert names[9:] == ["attention_output", "head"]
    assert max(abs(record.after - 1.0) for record in done) < 0.1
    assert "pointwise" in done[3].variable


class Subclassed(keras.Model):
    """Layers in another order than they are called in; one is shared, one never called."""

    def __init__(self):
        super().__init__()
        self.last = layers.Dense(4, name="last")
        self.shared = layers.Dense(32, activation="tanh", name="shared")
        self.unused = layers.Dense(5, name="unused")
        self.first = layers.Dense(32, name="first")

    def call(self, x, training=False):
        x = self.first(x)
        return self.last(self.shared(self.shared(x)))


def test_a_subclassed_model_is_built_and_scaled_in_the_order_of_its_calls():
    model = Subclassed()
    done = initwatch.lsuv(model, batch(32))
    assert [r.layer.split("/")[-1] for r in done] == ["first", "shared", "last"]
    assert max(abs(r.after - 1.0) for r in done) < 0.1
    # both calls of the shared layer in one variance
    z = keras.ops.convert_to_numpy(model.first(batch(32)))
    kernel, bias = (np.asarray(v) for v in (model.shared.kernel, model.shared.bias))
    once = z @ kernel + bias
    both = np.concatenate([once, np.tanh(once) @ kernel + bias])
    assert done[1].after == pytest.approx(np.var(both), rel=1e-3)


def test_a_custom_layer_is_seen_at_its_output():
    class Rectified(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 16), name="kernel")

        def call(self, x):
            return keras.ops.relu(keras.ops.matmul(x, self.kernel))

    model = keras.Sequential([keras.Input((32,)), Rectified()])
    (record,) = initwatch.lsuv(model, 5.0 * batch(32))
    assert abs(record.after - 1.0) < 0.1
    assert np.var(keras.ops.convert_to_numpy(model(5.0 * batch(32)))) == pytest.approx(
        record.after, rel=1e-4
    )


def test_tries_run_out_and_are_told():
    keras.utils.set_random_seed(0)
    model = sequential(activation="tanh", bias_initializer=keras.initializers.RandomNormal(0, 3))
    records = initwatch.lsuv(model, batch(32), tries=2)
    assert max(abs(record.after - 1.0) for record in records) > 0.1


def test_layers_can_be_chosen_and_frozen_ones_are_left_alone():
    model = sequential()
    model.layers[2].trainable = False
    kernel = np.asarray(model.layers[2].kernel)
    assert len(initwatch.lsuv(model, batch(32))) == len(model.layers) - 1
    assert np.array_equal(kernel, model.layers[2].kernel)
    (record,) = initwatch.lsuv(model, 3.0 * batch(32), layers=[model.layers[0].name])
    assert record.layer == model.layers[0].path
    assert record.factor == pytest.approx(1.0 / 3.0, rel=0.1)


def test_nothing_else_changes():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((32,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
            layers.Dense(10),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(batch(32), batch(10), verbose=0)
    kernels = {id(layer.kernel) for layer in (model.layers[0], model.layers[-1])}
    others = [v for v in model.variables + model.optimizer.variables if id(v) not in kernels]
    before = [np.array(v) for v in others]
    attributes = [dict(layer.__dict__) for layer in model.layers]
    expected = np.random.get_state()[1].copy()
    initwatch.lsuv(model, 5.0 * batch(32))
    for variable, value in zip(others, before, strict=True):
        assert np.array_equal(variable, value), variable.path
    assert np.array_equal(np.random.get_state()[1], expected)
    for layer, had in zip(model.layers, attributes, strict=True):
        assert layer.__dict__.keys() == had.keys()
        assert layer.__dict__.get("activation") is had.get("activation")
        assert "call" not in layer.__dict__


def test_data_driven_scales_what_was_built_with_it():
    init = DataDriven(seed=5)
    model = sequential(kernel_initializer=init)
    done = init.fit(model, batch(32))
    assert [r.layer for r in done] == [layer.path for layer in model.layers[:-1]]
    assert max(abs(r.after - 1.0) for r in done) < 0.1
    kernel = np.asarray(model.layers[1].kernel, np.float64)
    # a multiple of an orthonormal matrix still
    assert kernel.T @ kernel == pytest.approx(done[1].factor ** 2 * np.eye(64), abs=1e-4)
    with pytest.raises(initwatch.ArgumentError, match="built with DataDriven"):
        init.fit(sequential(), batch(32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be a keras.Model"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1.*0.0"),
        ({"tries": 0}, "tries must be a whole number.*0"),
        ({"layers": ["nowhere"]}, "no trainable kernel to scale in nowhere; there is one in: "),
        ({"x": np.zeros((4, 7))}, r"does not run on x.*one batch"),
        ({"x": np.full((64, 32), np.nan)}, "is not finite on this batch"),
        ({"x": np.zeros((64, 32))}, "the same everywhere on this batch"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors_tell_what_to_do(arguments, message):
    given = {"model": sequential(), "x": batch(32)} | arguments
    with pytest.raises(initwatch.ArgumentError, match=message):
        initwatch.lsuv(given.pop("model"), given.pop("x"), **given)


def test_an_error_leaves_every_kernel_as_it_was():
    model = sequential()
    model.layers[3].kernel.assign(np.zeros((64, 64)))
    before = [np.asarray(v) for v in model.weights]
    with pytest.raises(initwatch.ArgumentError, match=model.layers[3].name):
        initwatch.lsuv(model, 4.0 * batch(32))
    for value, variable in zip(before, model.weights, strict=True):
        assert np.array_equal(value, variable)
    assert all("call" not in layer.__dict__ for layer in model.layers)
