"""Every Keras layer with a kernel, at a width at which a draw's variance is sharp.

Each comes with what ``fans`` is told of its kernel, and with the layer itself, linear where it
can be, so that its connections can be counted on the real thing.
"""

import dataclasses
from collections.abc import Callable, Mapping

import keras

layers = keras.layers

# Of which axes an EinsumDense sums over its initializer is told by newer Keras only.
TOLD_AXES = hasattr(keras.initializers.HeNormal(), "input_axes")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kernel of one kind of layer.

    Attributes:
        make: the layer, its kernel drawn by the initializer given.
        inputs: shape of the input, without batch.
        kernel: layer -> the kernel.
        told: what ``fans`` is told beside the kernel's shape.
        by_shape: True if an initializer that sees the shape (and an EinsumDense's axes) alone
            can know the fan-in.
        counted: True if with a kernel of ones, an output unit is the sum of its inputs.
    """

    make: Callable
    inputs: tuple
    told: Mapping
    kernel: Callable = lambda layer: layer.kernel
    by_shape: bool = True
    counted: bool = True


def _conv(rank, make, **options):
    inputs = (5,) * rank + (options.pop("channels", 64),)
    field = options.pop("field", 3)
    name = f"{make}{rank}D" + options.pop("suffix", "")
    told = {"class_name": name}
    told |= {key: options[key] for key in ("groups",) if key in options}
    if name.endswith("Transpose"):
        told["strides"] = (options["strides"],) * rank
    units = () if make == "DepthwiseConv" else (64,)
    argument = "depthwise_initializer" if make == "DepthwiseConv" else "kernel_initializer"
    return Kind(
        make=lambda w: getattr(layers, name)(
            *units, field, padding="same", **{argument: w}, **options
        ),
        inputs=inputs,
        told=told,
        by_shape=make != "DepthwiseConv" and not name.endswith("Transpose"),
    )


def _separable(rank, role):
    argument = role.replace("kernel", "initializer")
    name = f"SeparableConv{rank}D"
    other = "depthwise" if role.startswith("pointwise") else "pointwise"
    return Kind(
        make=lambda w: getattr(layers, name)(
            64, 3, padding="same", **{argument: w, f"{other}_initializer": "ones"}
        ),
        inputs=(5,) * rank + (1024 if role.startswith("depthwise") else 64,),
        told={"class_name": name, "role": role},
        kernel=lambda layer: getattr(layer, role),
        by_shape=role.startswith("pointwise"),
        counted=False,
    )


def _recurrent(name, role, *units, inputs=(4, 64)):
    argument = {"kernel": "kernel_initializer", "recurrent_kernel": "recurrent_initializer"}[role]
    return Kind(
        make=lambda w: getattr(layers, name)(*units, **{argument: w}),
        inputs=inputs,
        told={"class_name": name, "role": role},
        kernel=lambda layer: getattr(layer.cell, role),
        counted=False,
    )


def _attention(make, projection, equation):
    return Kind(
        make=make,
        inputs=(5, 64),
        told={"class_name": "EinsumDense", "equation": equation},
        kernel=lambda layer: getattr(layer, f"_{projection}_dense").kernel,
        by_shape=TOLD_AXES or projection == "output",
        counted=False,
    )


def _heads(w):
    return layers.MultiHeadAttention(num_heads=4, key_dim=24, kernel_initializer=w)


def _grouped(w):
    return layers.GroupQueryAttention(
        head_dim=24, num_query_heads=4, num_key_value_heads=2, kernel_initializer=w
    )


KINDS = {
    "Dense": Kind(lambda w: layers.Dense(96, kernel_initializer=w), (64,), {"class_name": "Dense"}),
    **{f"Conv{rank}D": _conv(rank, "Conv") for rank in (1, 2, 3)},
    "Conv2D grouped": _conv(2, "Conv", groups=4),
    # one field a channel: a thousand channels for a sharp variance
    **{f"DepthwiseConv{rank}D": _conv(rank, "DepthwiseConv", channels=1024) for rank in (1, 2)},
    "DepthwiseConv2D multiplied": _conv(2, "DepthwiseConv", channels=256, depth_multiplier=4),
    **{
        f"SeparableConv{rank}D {role}": _separable(rank, role)
        for rank in (1, 2)
        for role in ("depthwise_kernel", "pointwise_kernel")
    },
    **{
        f"Conv{rank}DTranspose": _conv(rank, "Conv", suffix="Transpose", field=4, strides=2)
        for rank in (1, 2, 3)
    },
    "Embedding": Kind(
        lambda w: layers.Embedding(128, 64, embeddings_initializer=w),
        (5,),
        {"class_name": "Embedding"},
        kernel=lambda layer: layer.embeddings,
        by_shape=False,
    ),
    **{
        f"{name} {role}": _recurrent(name, role, 64)
        for name in ("SimpleRNN", "LSTM", "GRU")
        for role in ("kernel", "recurrent_kernel")
    },
    **{
        f"ConvLSTM{rank}D {role}": _recurrent(
            f"ConvLSTM{rank}D", role, 64, 3, inputs=(2, *(4,) * rank, 64)
        )
        for rank in (1, 2)
        for role in ("kernel", "recurrent_kernel")
    },
    "EinsumDense": Kind(
        lambda w: layers.EinsumDense("abc,cd->abd", (5, 96), kernel_initializer=w),
        (5, 64),
        {"class_name": "EinsumDense", "equation": "abc,cd->abd"},
    ),
    "EinsumDense by heads": Kind(
        lambda w: layers.EinsumDense("abhc,hcd->abhd", (5, 4, 96), kernel_initializer=w),
        (5, 4, 64),
        {"class_name": "EinsumDense", "equation": "abhc,hcd->abhd"},
        by_shape=TOLD_AXES,
    ),
    **{
        f"{name} {projection}": _attention(
            make, projection, "abc,cde->abde" if projection != "output" else "abde,dec->abc"
        )
        for name, make in (("MultiHeadAttention", _heads), ("GroupedQueryAttention", _grouped))
        for projection in ("query", "key", "value", "output")
    },
}


def built(kind, initializer):
    """The layer with its weights, called once with ones."""
    layer = kind.make(initializer)
    ones = keras.ops.ones((1, *kind.inputs))
    attends = isinstance(layer, (layers.MultiHeadAttention, layers.GroupQueryAttention))
    return layer, layer(ones, ones) if attends else layer(ones)
