"""Keras initializers for what theory asks for: the object, and the line to paste."""

from __future__ import annotations

import math
import zlib
from typing import Any

import keras
import numpy as np

from initwatch.records import Kernel
from initwatch.theory.choice import sigma_w2


def seed_of(path: str) -> int:
    """A fixed seed of a layer's own: the global and the model's generators stay untouched."""
    return zlib.crc32(path.encode()) & 0x7FFFFFFF


def initializer_for(family: str, scale: float, kernel: Kernel) -> tuple[Any, str]:
    """(initializer, code to paste) that gives the kernel the family's variance.

    Args:
        family: ``glorot``, ``he``, ``lecun`` or ``computed``.
        scale: for ``computed``: fan_in x Var(w).
        kernel: the weight matrix it is for.

    Where Keras counts another fan-in than the layer has (depthwise kernels), its fan-based
    initializers would miss the variance; a normal with the right one is given instead.
    """
    seed = seed_of(kernel.variable)
    argument = kernel.argument
    if kernel.keras_fans != (kernel.fan_in, kernel.fan_out):
        variance = sigma_w2(family, scale, kernel.fan_in, kernel.fan_out) / kernel.fan_in
        std = float(f"{np.sqrt(variance):.3g}")
        return (
            keras.initializers.RandomNormal(stddev=std, seed=seed),
            f"{argument}=keras.initializers.RandomNormal(stddev={std})",
        )
    if family == "computed":
        rounded = float(f"{scale:.4g}")
        return (
            keras.initializers.VarianceScaling(
                scale=rounded, mode="fan_in", distribution="truncated_normal", seed=seed
            ),
            f"{argument}=keras.initializers.VarianceScaling(scale={rounded}, "
            'mode="fan_in", distribution="truncated_normal")',
        )
    classes = {
        "glorot": keras.initializers.GlorotUniform,
        "he": keras.initializers.HeNormal,
        "lecun": keras.initializers.LecunNormal,
    }
    chosen = classes[family]
    return chosen(seed=seed), f"{argument}=keras.initializers.{chosen.__name__}()"


def orthogonal_for(gain: float, kernel: Kernel) -> tuple[Any, str]:
    """(initializer, code to paste): orthogonal weights with gain^2 / fan_in a weight.

    Keras scales the orthonormal matrix itself, whose weights have variance 1 / max(rows, columns)
    (Saxe et al. 2014); rows are all axes but the last.
    """
    rows, columns = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    factor = float(f"{gain * math.sqrt(max(rows, columns) / kernel.fan_in):.4g}")
    return (
        keras.initializers.Orthogonal(gain=factor, seed=seed_of(kernel.variable)),
        f"{kernel.argument}=keras.initializers.Orthogonal(gain={factor})",
    )
