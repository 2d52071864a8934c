"""Fan-in and fan-out of a kernel, by the kind of layer it belongs to.

Keras's own count (``compute_fans``) goes by the kernel's shape alone and takes every kernel of
rank above 2 for a dense convolution; here a unit's fan-in is the number of inputs it sums over,
and its fan-out the number of units that one input feeds.
"""

import math
from collections.abc import Sequence

# Columns of a recurrent kernel run over gates and units: so many gates.
GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3, "ConvLSTMCell": 4}
GATES |= {f"ConvLSTM{rank}D": 4 for rank in (1, 2, 3)}

_DENSE = frozenset({"Dense", "SimpleRNN", "SimpleRNNCell", "LSTM", "LSTMCell", "GRU", "GRUCell"})
_CONVOLUTIONS = frozenset(
    [f"{kind}{rank}D" for kind in ("Conv", "ConvLSTM") for rank in (1, 2, 3)]
    + [f"Conv{rank}DTranspose" for rank in (1, 2, 3)]
    + [f"{kind}Conv{rank}D" for kind in ("Depthwise", "Separable") for rank in (1, 2)]
    + ["ConvLSTMCell"]
)
_KNOWN = _DENSE | _CONVOLUTIONS | {"Embedding", "ReversibleEmbedding"}


def keras_fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) as Keras's initializers count them, from the shape alone."""
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return int(shape[0]), int(shape[0])
    if len(shape) == 2:
        return int(shape[0]), int(shape[1])
    field = math.prod(shape[:-2])
    return int(field * shape[-2]), int(field * shape[-1])


def fans(
    class_name: str,
    shape: Sequence[int],
    *,
    role: str = "kernel",
    groups: int = 1,
    equation: str = "",
    strides: Sequence[int] = (),
) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel.

    Args:
        class_name: the layer's class, such as ``Conv2D``. The projections of attention layers
            are ``EinsumDense`` layers of their own.
        shape: the kernel's shape.
        role: the layer's name for it, where it has several: ``depthwise_kernel`` and
            ``pointwise_kernel``, ``kernel`` and ``recurrent_kernel``, ``embeddings`` and
            ``reverse_embeddings``.
        groups: groups of a grouped convolution.
        equation: EinsumDense: its equation.
        strides: strides of a transposed convolution.

    A layer of unknown class is counted as Keras counts it: ``is_certain`` tells.
    """
    if equation:
        return _einsum_fans(equation, shape)
    if "Depthwise" in class_name or role == "depthwise_kernel":
        # kernel (*field, channels, multiplier): one channel each
        *field, _, multiplier = shape
        size = math.prod(field)
        return size, size * int(multiplier)
    if class_name.startswith("Conv") and class_name.endswith("Transpose"):
        # kernel (*field, units, channels); each output sums over 1/stride of the field
        *field, units, channels = shape
        stride = math.prod(strides) if strides else 1
        size = math.prod(field)
        return max(1, size * int(channels) // stride), size * int(units)
    if class_name.startswith("Conv"):  # kernel (*field, channels / groups, units)
        *field, channels, units = shape
        size = math.prod(field)
        return size * int(channels), size * int(units) // groups
    if class_name.endswith("Embedding") and role != "reverse_embeddings":
        return 1, int(shape[-1])  # a lookup sums over one row
    return keras_fans(shape)


def is_certain(class_name: str, equation: str = "") -> bool:
    """True if ``fans`` counts by what the layer does, False if by the kernel's shape alone."""
    return bool(equation) or class_name in _KNOWN


def _einsum_fans(equation: str, shape: Sequence[int]) -> tuple[int, int]:
    """Fans of a kernel that ``equation`` contracts with an input.

    Axes of the kernel that are in input and output both (heads with a matrix each) run over
    separate matrices: they count for neither.
    """
    operands, output = equation.replace("...", "").split("->")
    given, kernel = operands.split(",")
    sizes = [(letter, int(size)) for letter, size in zip(kernel, shape, strict=True)]
    return (
        math.prod(size for letter, size in sizes if letter not in output),
        math.prod(size for letter, size in sizes if letter not in given),
    )


def units_of(class_name: str, shape: Sequence[int]) -> int:
    """Number of units (columns) in a kernel whose last axes run over units.

    2 * channels for a depthwise kernel with multiplier 2; a gate of a recurrent layer, whose
    columns run over gates and units; the last axis otherwise.
    """
    if "Depthwise" in class_name:
        return int(shape[-2] * shape[-1])
    if class_name.startswith("Conv") and class_name.endswith("Transpose"):
        return int(shape[-2])
    return int(shape[-1]) // GATES.get(class_name, 1)
