"""Fan-in and fan-out of a kernel, by the kind of layer it belongs to.

Keras's own count (``compute_fans``) goes by the kernel's shape alone and takes every kernel of
rank above 2 for a dense convolution; here a unit's fan-in is the number of inputs it sums over.
"""

import math
from collections.abc import Sequence


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
    groups: int = 1,
    contracted: Sequence[int] | None = None,
    strides: Sequence[int] = (),
) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel.

    Args:
        class_name: the layer's class, such as ``Conv2D``.
        shape: the kernel's shape.
        groups: groups of a grouped convolution.
        contracted: EinsumDense: axes of the kernel that are summed over.
        strides: strides of a transposed convolution.

    A layer of unknown class is counted as Keras counts it.
    """
    if "Depthwise" in class_name:  # kernel (*field, channels, multiplier): one channel each
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
    if class_name == "Embedding":  # a lookup sums over one row
        return 1, int(shape[-1])
    if contracted is not None:
        fan_in = math.prod(shape[axis] for axis in contracted)
        return int(fan_in), int(math.prod(shape) // max(fan_in, 1))
    return keras_fans(shape)


GATES = {"LSTMCell": 4, "GRUCell": 3}


def units_of(class_name: str, shape: Sequence[int]) -> int:
    """Number of units (columns) in a kernel whose last axes run over units.

    2 * channels for a depthwise kernel with multiplier 2; a gate of a recurrent cell, whose
    columns run over gates and units; the last axis otherwise.
    """
    if "Depthwise" in class_name:
        return int(shape[-2] * shape[-1])
    if class_name.startswith("Conv") and class_name.endswith("Transpose"):
        return int(shape[-2])
    return int(shape[-1]) // GATES.get(class_name, 1)
