"""Fans of every kind of layer, against counting the connections one by one."""

import itertools

import keras
import numpy as np
import pytest

from initwatch.theory.fans import fans, is_certain, keras_fans, units_of
from tests.layer_kinds import KINDS, built


def counted(edges):
    """(largest number of edges into one output, largest number out of one input)."""
    into, out = {}, {}
    for source, target in edges:
        into[target] = into.get(target, 0) + 1
        out[source] = out.get(source, 0) + 1
    return max(into.values()), max(out.values())


def convolution(field, channels, units, groups=1, length=12):
    """Edges of a one-dimensional grouped convolution; ``channels`` counts all inputs."""
    for at, k in itertools.product(range(length - field + 1), range(field)):
        for channel, unit in itertools.product(range(channels), range(units)):
            if channel * groups // channels == unit * groups // units:
                yield (at + k, channel), (at, unit)


def transposed(field, channels, units, stride, length=12):
    """Edges of a one-dimensional transposed convolution: input i feeds i * stride + k."""
    for i, k in itertools.product(range(length), range(field)):
        for channel, unit in itertools.product(range(channels), range(units)):
            yield (i, channel), (i * stride + k, unit)


def test_dense_counts_rows_and_columns():
    edges = itertools.product(range(784), range(30))
    assert fans("Dense", (784, 30)) == counted(edges)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_count_their_group_only(groups):
    field, channels, units = 3, 8, 12
    expected = counted(convolution(field, channels, units, groups))
    assert fans("Conv1D", (field, channels // groups, units), groups=groups) == expected


def test_fields_of_every_rank_are_multiplied():
    assert fans("Conv2D", (3, 5, 4, 7)) == (3 * 5 * 4, 3 * 5 * 7)
    assert fans("Conv3D", (2, 3, 5, 4, 7)) == (2 * 3 * 5 * 4, 2 * 3 * 5 * 7)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_units_see_one_channel(multiplier):
    field, channels = 3, 8
    # each channel is a group of its own
    expected = counted(convolution(field, channels, channels * multiplier, groups=channels))
    assert fans("DepthwiseConv1D", (field, channels, multiplier)) == expected
    assert fans("DepthwiseConv2D", (3, 3, 64, multiplier)) == (9, 9 * multiplier)
    assert units_of("DepthwiseConv2D", (3, 3, 64, multiplier)) == 64 * multiplier


@pytest.mark.parametrize(("channels", "kept"), [(16, 0.120), (64, 0.031), (256, 0.0078)])
def test_keras_takes_depthwise_kernels_for_dense_ones(channels, kept):
    """Keras 3.15.1, DepthwiseConv2D(3) with he_normal: fan_in x Var(w) measured 2 / channels."""
    shape = (3, 3, channels, 1)
    assert keras_fans(shape) == (9 * channels, 9)
    fan_in, _ = fans("DepthwiseConv2D", shape)
    assert 2.0 / keras_fans(shape)[0] * fan_in == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize(("field", "stride"), [(4, 2), (3, 1), (6, 3)])
def test_transposed_convolutions_sum_over_one_stride_of_the_field(field, stride):
    channels, units = 5, 7
    expected = counted(transposed(field, channels, units, stride))
    kernel = (field, units, channels)  # units come before channels
    assert fans("Conv1DTranspose", kernel, strides=(stride,)) == expected
    assert units_of("Conv1DTranspose", kernel) == units


def test_a_stride_beyond_the_field_leaves_a_fan_of_one():
    assert fans("Conv2DTranspose", (1, 1, 4, 1), strides=(2, 2))[0] == 1


def test_a_pointwise_kernel_is_a_dense_one():
    assert fans("Conv", (1, 1, 16, 32)) == (16, 32)


def test_an_embedding_sums_over_one_row():
    assert fans("Embedding", (10_000, 64)) == (1, 64)


def test_einsum_kernels_sum_over_the_contracted_axes():
    # attention's query projection abc,cde->abde, and its output projection abcd,cde->abe
    assert fans("EinsumDense", (512, 8, 64), equation="abc,cde->abde") == (512, 8 * 64)
    assert fans("EinsumDense", (8, 64, 512), equation="abcd,cde->abe") == (8 * 64, 512)
    assert keras_fans((512, 8, 64)) == (512 * 8, 512 * 64)


def test_heads_with_a_matrix_each_do_not_count_for_each_other():
    # every head h maps its own 64 features to its own 32 units
    assert fans("EinsumDense", (8, 64, 32), equation="abhc,hcd->abhd") == (64, 32)
    assert fans("EinsumDense", (64, 32), equation="...x,xy->...y") == (64, 32)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.counted])
def test_fans_are_those_of_the_layer_itself(name):
    """With kernel and inputs of ones, the largest output is the number of inputs it sums over;
    the number of units an input feeds is the slope of all outputs by it.
    """
    kind = KINDS[name]
    layer, output = built(kind, "ones")
    kernel = kind.kernel(layer)
    counted = fans(shape=kernel.shape, **kind.told)
    assert counted[0] == np.max(keras.ops.convert_to_numpy(output))
    assert is_certain(kind.told["class_name"], kind.told.get("equation", ""))
    if keras.backend.backend() == "tensorflow" and name != "Embedding":
        import tensorflow as tf

        x = tf.ones((1, *kind.inputs))
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x))
        assert counted[1] == np.max(tape.gradient(total, x))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.counted])
def test_fans_of_kernels_within_a_layer(name):
    """Inputs of one product with the kernel, from its shape as Keras documents it."""
    kind = KINDS[name]
    kernel = kind.kernel(built(kind, "ones")[0])
    *field, rows, _ = kernel.shape
    if "Attention" in name and not name.endswith("output"):
        expected = kernel.shape[0]  # (features, heads, size of a head)
    elif "depthwise" in name:
        expected = np.prod(field)
    else:
        expected = np.prod(field) * rows
    assert fans(shape=kernel.shape, **kind.told)[0] == expected
    assert is_certain(kind.told["class_name"], kind.told.get("equation", ""))


def test_a_reversed_embedding_is_a_dense_kernel():
    assert fans("ReversibleEmbedding", (1000, 64), role="embeddings") == (1, 64)
    assert fans("ReversibleEmbedding", (64, 1000), role="reverse_embeddings") == (64, 1000)


def test_unknown_layers_are_counted_as_keras_counts():
    assert fans("MyLayer", (3, 4, 5)) == keras_fans((3, 4, 5)) == (12, 15)
    assert not is_certain("MyLayer")
    assert keras_fans((7,)) == (7, 7)
    assert keras_fans(()) == (1, 1)


def test_units_are_the_last_axis():
    assert units_of("Dense", (784, 30)) == 30
    assert units_of("Conv2D", (3, 3, 4, 7)) == 7


def test_units_of_recurrent_cells_are_those_of_a_gate():
    assert units_of("LSTMCell", (10, 4 * 8)) == units_of("LSTMCell", (8, 4 * 8)) == 8
    assert units_of("GRUCell", (10, 3 * 8)) == 8
    assert units_of("SimpleRNNCell", (10, 8)) == 8


def test_units_of_recurrent_layers_and_convolutional_ones():
    assert units_of("LSTM", (10, 4 * 8)) == 8
    assert units_of("GRU", (10, 3 * 8)) == 8
    assert units_of("ConvLSTMCell", (3, 3, 5, 4 * 8)) == units_of("ConvLSTM2D", (3, 3, 5, 32)) == 8
