"""Initializers as a user gives them to layers: variance, arguments, saving."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import initwatch
from initwatch.advice.initializers import initializer_for, orthogonal_for
from initwatch.initializers import Critical, DataDriven
from initwatch.records import Kernel
from initwatch.theory.choice import sigma_w2
from initwatch.theory.fans import fans, keras_fans
from tests.generators import leaves_generators_alone
from tests.layer_kinds import KINDS, built


@keras.saving.register_keras_serializable(package="tests")
def bent(z):
    """Slope 1 above 0 and 1/2 below: critical at 2 / 1.25."""
    return keras.ops.where(z > 0, z, 0.5 * z)


def measured(kernel, fan_in):
    """fan_in x mean square of the weights."""
    return fan_in * float(np.mean(np.square(np.asarray(kernel, np.float64))))


@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer_gets_the_critical_variance(name, distribution):
    """Measured on the layer's own kernel: within 10 % of sigma_w^2 = 2 / 1.04."""
    kind = KINDS[name]
    shape = kind.kernel(built(kind, "zeros")[0]).shape
    fan_in, _ = fans(shape=shape, **kind.told)
    initializer = Critical(
        keras.layers.LeakyReLU(0.2),
        seed=11,
        distribution=distribution,
        fan_in=None if kind.by_shape else fan_in,
    )
    kernel = kind.kernel(built(kind, initializer)[0])
    assert measured(kernel, fan_in) == pytest.approx(2.0 / 1.04, rel=0.1)


@pytest.mark.parametrize("family", ["he", "glorot", "lecun", "computed"])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer_gets_the_advised_variance(name, family):
    """Within 10 %, drawn as advice is applied: by the kernel's shape alone."""
    kind = KINDS[name]
    shape = tuple(kind.kernel(built(kind, "zeros")[0]).shape)
    fan_in, fan_out = fans(shape=shape, **kind.told)
    kernel = Kernel("it/kernel", shape, fan_in, fan_out, keras_fans(shape), None, "initializer")
    initializer, _ = initializer_for(family, 1.3, kernel)
    expected = sigma_w2(family, 1.3, fan_in, fan_out)
    assert measured(initializer(shape), fan_in) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer_gets_the_advised_variance_from_orthogonal_weights(name):
    """gain^2 to within 10 %: a matrix with more columns than rows has all of it in its rows."""
    kind = KINDS[name]
    shape = tuple(kind.kernel(built(kind, "zeros")[0]).shape)
    fan_in, fan_out = fans(shape=shape, **kind.told)
    kernel = Kernel("it/kernel", shape, fan_in, fan_out, keras_fans(shape), None, "initializer")
    initializer, _ = orthogonal_for(1.3, kernel)
    assert measured(initializer(shape), fan_in) == pytest.approx(1.3**2, rel=0.1)


@pytest.mark.parametrize("role", ["kernel", "recurrent_kernel"])
@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
@pytest.mark.parametrize("family", ["he", "glorot", "lecun", "computed"])
def test_every_gate_gets_the_advised_variance(layer, role, family):
    kind = KINDS[f"{layer} {role}"]
    shape = tuple(kind.kernel(built(kind, "zeros")[0]).shape)
    fan_in, fan_out = fans(shape=shape, **kind.told)
    kernel = Kernel("it/kernel", shape, fan_in, fan_out, keras_fans(shape), None, "initializer")
    initializer, _ = initializer_for(family, 1.3, kernel)
    drawn = np.asarray(initializer(shape))
    gates = np.split(drawn, shape[-1] // 64, axis=-1)
    assert len(gates) == {"LSTM": 4, "GRU": 3}[layer]
    expected = sigma_w2(family, 1.3, fan_in, fan_out)
    for gate in gates:
        assert measured(gate, fan_in) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.by_shape])
def test_the_shape_alone_misleads_where_the_docstring_says_so(name):
    kind = KINDS[name]
    shape = kind.kernel(built(kind, "zeros")[0]).shape
    fan_in, _ = fans(shape=shape, **kind.told)
    kernel = kind.kernel(built(kind, Critical("relu", seed=1))[0])
    assert abs(measured(kernel, fan_in) - 2.0) > 0.5


@pytest.mark.parametrize(
    ("activation", "scale"),
    [
        ("relu", 2.0),
        ("tanh", 1.0),
        ("linear", 1.0),
        (None, 1.0),
        ("elu", 1.0),
        ("selu", 2.0 / (1.0507010**2 + 1.7580993**2)),
        (keras.layers.LeakyReLU(0.3), 2.0 / 1.09),
        (keras.layers.ReLU(negative_slope=0.5), 2.0 / 1.25),
        (keras.layers.Activation("tanh"), 1.0),
        (keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25)), 2.0 / 1.0625),
        (bent, 2.0 / 1.25),
        (lambda z: keras.ops.sin(z), 1.0),
        (keras.activations.tanh, 1.0),
    ],
    ids=lambda value: getattr(value, "__name__", None) or getattr(value, "name", str(value)),
)
def test_activations_in_every_form(activation, scale):
    """sigma_w^2 from slopes at 0; He et al. 2015, eq. 15 for slopes on one side."""
    initializer = Critical(activation)
    assert initializer.sigma_w2 == pytest.approx(scale, abs=1e-4)


def test_a_prelu_counts_with_its_present_slope():
    layer = keras.layers.PReLU()
    layer.build((None, 8))
    layer.alpha.assign(np.full(8, 0.5, "float32"))
    assert Critical(layer).sigma_w2 == pytest.approx(2.0 / 1.25)


def test_biases_move_tanh_along_its_critical_line():
    """Schoenholz et al. 2017: 1.76 at sigma_b^2 = 0.05."""
    initializer = Critical("tanh", sigma_b2=0.05)
    assert initializer.sigma_w2 == pytest.approx(1.7610, abs=1e-3)
    assert initializer.q == pytest.approx(0.5700, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "gelu"}, r"gelu critical with sigma_b2=0.0.*Give sigma_b2=0\.2"),
        ({"activation": "relu", "sigma_b2": 0.1}, r"Give sigma_b2=0\.0, for which it has"),
        ({"activation": "softplus"}, "none for any sigma_b2; take another activation"),
        ({"activation": "softmax"}, "by itself"),
        ({"activation": keras.layers.Softmax()}, "by itself"),
        ({"activation": keras.layers.Dense(3)}, "by itself"),
        ({"activation": "rleu"}, "name of a Keras activation.*'rleu'"),
        ({"activation": 3.0}, "name of a Keras activation.*3.0"),
        ({"activation": "tanh", "sigma_b2": -1.0}, "sigma_b2 must be a finite variance"),
        ({"activation": "tanh", "fan_in": 0}, "fan_in must be.*Received: 0"),
        ({"activation": "tanh", "fan_in": 2.5}, "fan_in must be.*Received: 2.5"),
    ],
    ids=str,
)
def test_errors_tell_what_to_do(arguments, message):
    with pytest.raises(initwatch.ArgumentError, match=message):
        Critical(**arguments)


def test_what_the_error_proposes_for_gelu_works():
    assert Critical("gelu", sigma_b2=0.2).sigma_w2 == pytest.approx(1.97, abs=0.01)


def model_of(initializers):
    dense, depthwise = initializers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, depthwise_initializer=depthwise),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation=bent, kernel_initializer=dense),
            keras.layers.EinsumDense("ab,bc->ac", 4, kernel_initializer=dense),
        ]
    )


SAVED = [
    Critical(bent, seed=3),
    Critical("tanh", sigma_b2=0.05, distribution="uniform"),
    Critical(keras.layers.LeakyReLU(0.3), seed=keras.random.SeedGenerator(5)),
    DataDriven(seed=4),
    DataDriven(),
]


@pytest.mark.parametrize("initializer", SAVED, ids=lambda i: type(i).__name__)
def test_a_saved_model_comes_back(initializer, tmp_path):
    depthwise = Critical("relu", fan_in=9, seed=1)
    model = model_of((initializer, depthwise))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(model.weights, loaded.weights, strict=True):
        assert np.array_equal(before, after)
    for i, argument in ((0, "depthwise_initializer"), (2, "kernel_initializer")):
        before, after = (getattr(m.layers[i], argument) for m in (model, loaded))
        assert type(after) is type(before)
        assert after.get_config() == before.get_config()
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    assert np.array_equal(*(keras.ops.convert_to_numpy(m(x)) for m in (model, loaded)))


def test_a_clone_draws_the_same():
    for initializer in SAVED:
        if isinstance(initializer.get_config()["seed"], int):
            again = type(initializer).from_config(initializer.get_config())
            assert np.array_equal(again((64, 32)), initializer((64, 32)))


@pytest.mark.parametrize("make", [lambda: Critical("tanh"), DataDriven])
def test_one_unseeded_instance_gives_each_layer_weights_of_its_own(make):
    initializer = make()
    dense = [keras.layers.Dense(32, kernel_initializer=initializer) for _ in range(2)]
    einsum = keras.layers.EinsumDense("ab,bc->ac", 32, kernel_initializer=initializer)
    heads = keras.layers.MultiHeadAttention(1, 32, kernel_initializer=initializer)
    for layer in (*dense, einsum):
        layer.build((None, 32))
    heads.build((None, 4, 32), (None, 4, 32))
    attention = (heads._query_dense, heads._key_dense)
    kernels = [np.array(layer.kernel).ravel() for layer in (*dense, einsum, *attention)]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_another_process_loads_it_once_the_module_is_imported(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=Critical("tanh"))]
    )
    model.save(tmp_path / "model.keras")
    program = (
        "import keras, initwatch.initializers\n"
        f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r})\n"
        "print(type(model.layers[0].kernel_initializer).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["Critical"], run.stderr


def test_making_and_drawing_leaves_every_generator_alone():
    def draw():
        Critical("relu", seed=1)((8, 8))
        Critical(keras.layers.LeakyReLU(0.3), seed=1, fan_in=4)((8, 8))
        DataDriven(seed=1)((8, 8))

    assert leaves_generators_alone(draw)


def test_data_driven_kernels_are_orthonormal():
    kernel = np.asarray(DataDriven(seed=0)((3, 3, 8, 16)), np.float64).reshape(72, 16)
    assert kernel.T @ kernel == pytest.approx(np.eye(16), abs=1e-5)
