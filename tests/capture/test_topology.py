"""Layers in signal order: trunk, the activation that is each layer's own, fans."""

import keras
import numpy as np
import pytest
from keras import layers

from initwatch.capture.session import Session
from initwatch.errors import Faults
from tests.capture import models


def layers_of(model, x, y):
    """What capture makes of the layers in one step on these eight rows."""
    samples = []
    session = Session(model)
    session.attach(Faults(lambda message: pytest.fail(message)), samples.append)
    arming = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: session.arm(histograms=False)
    )
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[arming])
    return samples[-1].structure.layers


def structure_of(model, data=None):
    """The same by name, on made-up data where none is given."""
    x, y = models.data_for(model, 8) if data is None else data
    return {layer.path.split("/")[-1]: layer for layer in layers_of(model, x, y)}


def compiled(inputs, outputs):
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def head(x):
    return layers.Dense(10, activation="softmax", name="head")(x)


@pytest.mark.parametrize(
    ("behind", "name", "signal"),
    [
        ([layers.Activation("tanh", name="act")], "tanh", "act"),
        ([layers.ReLU(name="act")], "relu", "act"),
        ([layers.LeakyReLU(negative_slope=0.3, name="act")], "leaky_relu", "act"),
        ([layers.PReLU(name="act")], "prelu", "act"),
        ([layers.BatchNormalization(), layers.ReLU(name="act")], "relu", "act"),
        ([layers.Dropout(0.5), layers.Activation("elu", name="act")], "elu", "act"),
        ([], "linear", "dense"),
    ],
)
def test_activation_in_a_layer_of_its_own(behind, name, signal):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    x = layers.Dense(16, name="dense")(inputs)
    for layer in behind:
        x = layer.__class__.from_config(layer.get_config())(x)
    found = structure_of(compiled(inputs, head(x)))
    dense = found["dense"]
    assert dense.activation.name == name
    assert dense.signal.endswith(signal)
    assert dense.normalized == any(isinstance(x, layers.BatchNormalization) for x in behind)
    assert dense.dropout == (0.5 if any(isinstance(x, layers.Dropout) for x in behind) else 0.0)
    if name == "leaky_relu":
        assert dense.activation.function(np.array([-2.0, 3.0])) == pytest.approx([-0.6, 3.0])


def test_a_shortcut_takes_its_branch_out_of_the_trunk():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    stem = layers.Dense(12, activation="relu", name="stem")(inputs)
    branch = layers.Dense(12, activation="relu", name="branch")(stem)
    total = layers.Add(name="sum")([stem, branch])
    found = structure_of(compiled(inputs, head(total)))
    assert {name: layer.trunk for name, layer in found.items()} == {
        "stem": True,
        "branch": False,
        "sum": True,
        "head": True,
    }
    assert [name for name, layer in found.items() if layer.is_output] == ["head"]


def test_plain_operations_of_a_subclassed_model_are_followed():
    """tf.nn.relu and ``x + ...`` between layers leave no layer to see, but a graph to read."""
    found = structure_of(models.compiled(models.subclassed))
    assert found["first"].trunk
    assert not found["inside"].trunk
    assert found["second"].trunk
    assert found["second"].activation.name == "tanh"
    assert found["second"].signal == found["second"].path
    assert found["head"].is_output


@pytest.mark.skipif(models.BACKEND != "tensorflow", reason="a graph is there on JAX and torch")
def test_eager_tensors_do_not_remember_so_nothing_is_claimed():
    model = models.compiled(models.subclassed, run_eagerly=True)
    found = structure_of(model)
    assert found["first"].activation is None
    assert not found["first"].trunk


def test_two_inputs_join_the_trunk_where_they_meet():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    left = layers.Dense(6, name="left")(inputs)
    right = layers.Dense(6, name="right")(inputs)
    joined = layers.Concatenate(name="joined")([left, right])
    found = structure_of(compiled(inputs, head(joined)))
    assert not found["left"].trunk
    assert not found["right"].trunk
    assert found["joined"].trunk


def test_towers_of_two_inputs_are_told_apart():
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((12,)), keras.Input((8,))]
    ends = []
    for name, x in zip("ab", inputs, strict=True):
        for i in range(3):
            x = layers.Dense(6, activation="tanh", name=f"{name}{i}")(x)
        ends.append(x)
    model = compiled(inputs, head(layers.Concatenate(name="joined")(ends)))
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((8, 12)), rng.standard_normal((8, 8))]
    towers = {}
    for name, layer in structure_of(model, (x, rng.integers(0, 10, 8))).items():
        towers.setdefault(layer.tower, set()).add(name)
    assert towers.pop(0) == {"joined", "head"}
    assert sorted(map(sorted, towers.values())) == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]


def test_a_branch_inside_a_tower_is_no_part_of_it():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    stem = layers.Dense(12, name="stem")(inputs)
    branch = layers.Dense(12, name="branch")(stem)
    total = layers.Add(name="sum")([stem, branch])
    beside = layers.Dense(12, name="beside")(inputs)
    found = structure_of(compiled(inputs, head(layers.Concatenate()([total, beside]))))
    assert found["stem"].tower == found["sum"].tower != 0
    assert found["beside"].tower not in (0, found["stem"].tower)
    assert found["branch"].tower == found["head"].tower == 0


def test_ways_to_two_predictions_part_into_towers():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    stem = layers.Dense(12, name="stem")(inputs)
    outputs = {}
    for name in ("a", "b"):
        x = layers.Dense(12, name=f"{name}0")(stem)
        outputs[name] = layers.Dense(1, name=name)(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", {"a": "mse", "b": "mse"})
    x = np.random.default_rng(0).standard_normal((8, 12))
    found = structure_of(model, (x, dict.fromkeys("ab", x[:, 0])))
    tower = {name: layer.tower for name, layer in found.items()}
    assert tower["stem"] == 0
    assert tower["a0"] == tower["a"] != 0
    assert tower["b0"] == tower["b"] not in (0, tower["a"])


def test_nested_models_show_their_layers_once():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [layers.Dense(8, activation="relu", name="a"), layers.Dense(8, name="b")], name="inner"
    )
    inputs = keras.Input((12,))
    found = structure_of(compiled(inputs, head(inner(inputs))))
    assert list(found) == ["a", "b", "head"]
    assert all(layer.trunk for layer in found.values())


def test_equal_names_get_paths_of_their_own():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = layers.Dense(12, name="dense")
            self.two = layers.Dense(10, name="dense", activation="softmax")

        def call(self, x):
            return self.two(self.one(x))

    model = Twins()
    model(np.zeros((1, 12), "float32"))
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    first, second = layers_of(model, rng.standard_normal((8, 12)), rng.integers(0, 10, 8))
    assert second.path == f"{first.path}#2"


@pytest.mark.parametrize(
    ("layer", "shape", "fans"),
    [
        (layers.Dense(7, name="it"), (5,), (5, 7)),
        (layers.Conv2D(8, 3, name="it"), (8, 8, 4), (36, 72)),
        (layers.Conv2D(8, 3, groups=2, name="it"), (8, 8, 4), (18, 36)),
        (layers.DepthwiseConv2D(3, name="it"), (8, 8, 4), (9, 9)),
        (layers.SeparableConv2D(6, 3, name="it"), (8, 8, 4), (4, 6)),
        (layers.EinsumDense("ab,bcd->acd", (3, 4), name="it"), (5,), (5, 12)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fans_of_layers(layer, shape, fans):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    x = layer.__class__.from_config(layer.get_config())(inputs)
    found = structure_of(compiled(inputs, head(layers.Flatten()(x))))
    assert (found["it"].kernel.fan_in, found["it"].kernel.fan_out) == fans


def test_cells_of_recurrent_layers_are_not_listed():
    found = structure_of(models.compiled(models.recurrent_net))
    assert not any("cell" in path for path in found)
    assert sum(layer.class_name == "LSTM" for layer in found.values()) == 1


def test_attention_is_followed_inside():
    found = structure_of(models.compiled(models.transformer))
    query = found["query"]
    assert query.class_name == "EinsumDense"
    assert (query.kernel.fan_in, query.kernel.fan_out) == (32, 32)
    assert not query.trunk
    assert sum(layer.trunk for layer in found.values()) >= 8


@pytest.mark.parametrize(
    ("kind", "gates"), [(layers.SimpleRNN, 1), (layers.GRU, 3), (layers.LSTM, 4)]
)
def test_the_recurrent_kernel_of_a_layers_cell_is_known(kind, gates):
    inputs = keras.Input((5, 3))
    found = structure_of(compiled(inputs, head(kind(6, name="it")(inputs))))
    kernel = found["it"].recurrent_kernel
    assert kernel.shape == (6, 6 * gates)
    assert (kernel.fan_in, kernel.fan_out) == (6, 6 * gates)
    assert kernel.argument == "recurrent_initializer"
    assert isinstance(kernel.initializer, keras.initializers.Orthogonal)
    assert kernel.variable.endswith("cell/recurrent_kernel")
    assert found["it"].kernel is None
    assert found["head"].recurrent_kernel is None
