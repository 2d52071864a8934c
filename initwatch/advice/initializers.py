"""Keras initializers for what theory asks for: the object, and the line to paste."""

from __future__ import annotations

import inspect
import math
import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.advice.generators import generators_held
from initwatch.errors import ArgumentError
from initwatch.records import Kernel
from initwatch.theory.choice import sigma_w2
from initwatch.theory.variance import Moments, moments


def seed_of(path: str) -> int:
    """A fixed seed of a layer's own: the global and the model's generators stay untouched."""
    return zlib.crc32(path.encode()) & 0x7FFFFFFF


def given_arguments(made: Any) -> dict[str, Any]:
    """Arguments of a Keras initializer or optimizer that are not at their default.

    Without the seed.
    """
    config = made.get_config()
    return {
        name: config[name]
        for name, parameter in inspect.signature(type(made)).parameters.items()
        if name != "seed" and name in config and config[name] != parameter.default
    }


def initializer_text(initializer: Any) -> str | None:
    """The line that makes an initializer, without what is at its default and without seed."""
    if initializer is None or isinstance(initializer, str):
        return initializer
    name = type(initializer).__name__
    if not hasattr(initializer, "get_config"):
        return getattr(initializer, "__name__", name)
    try:
        given = [f"{key}={value!r}" for key, value in given_arguments(initializer).items()]
    except (TypeError, ValueError, NotImplementedError):
        return name  # a class of the user's own
    home = "keras.initializers." if type(initializer).__module__.startswith("keras.") else ""
    return f"{home}{name}({', '.join(given)})"


def rescaled(initializer: Any, factor: float, step: int = 0) -> Any | None:
    """The same initializer with weights ``factor`` times as large; None for one not known here.

    Args:
        initializer: a ``keras.initializers.Initializer`` with a seed of its own.
        factor: on the standard deviation.
        step: added to the seed; with 0 the draw is the same, times ``factor``.
    """
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    if not isinstance(config.get("seed"), int):
        return None
    config["seed"] += step
    kind = type(initializer)
    if factor == 1.0:
        return kind.from_config(config)
    if isinstance(initializer, keras.initializers.VarianceScaling):
        return keras.initializers.VarianceScaling(
            scale=float(f"{initializer.scale * factor**2:.4g}"),
            mode=initializer.mode,
            distribution=initializer.distribution,
            seed=config["seed"],
        )
    argument = _SIZES.get(kind)
    if argument is None:
        return None
    return kind.from_config(config | {argument: float(f"{config[argument] * factor:.4g}")})


# Initializer -> the argument that its weights' standard deviation is proportional to.
_SIZES = {keras.initializers.RandomNormal: "stddev", keras.initializers.Orthogonal: "gain"}


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


def orthogonal(kernel: Kernel) -> tuple[Any, str]:
    """(initializer, code to paste): Keras's orthogonal weights as they are, gain 1."""
    return (
        keras.initializers.Orthogonal(seed=seed_of(kernel.variable)),
        f"{kernel.argument}=keras.initializers.Orthogonal()",
    )


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


def moments_of(
    initializer: Any, shape: Sequence[int], fans: tuple[int, int] | None = None
) -> Moments:
    """Mean and variance of the weights that ``initializer`` gives a kernel.

    Keras's own are computed. Any other is looked at in one draw, over the kernel's elements;
    every generator of Keras, NumPy and Python stands afterwards where it stood.

    Args:
        initializer: a ``keras.initializers.Initializer``, or a function of shape and dtype.
        shape: the kernel's shape.
        fans: (fan_in, fan_out) where Keras counts them other than by the shape.

    Raises:
        ArgumentError: if it is not known and does not give a kernel of this shape.
    """
    name = type(initializer).__name__
    if getattr(keras.initializers, name, None) is type(initializer):
        known = moments(name, initializer.get_config(), shape, fans)
        if known is not None:
            return known
    values = drawn(initializer, tuple(shape))
    return Moments(float(np.mean(values)), float(np.var(values)))


def drawn(initializer: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What ``initializer`` gives a kernel; generators stand afterwards where they stood.

    Raises:
        ArgumentError: if it does not give a kernel of this shape.
    """
    try:
        with generators_held():
            values = keras.ops.convert_to_numpy(initializer(shape, dtype="float32"))
        return np.asarray(values, dtype=np.float64).reshape(shape)
    except Exception as error:
        raise ArgumentError(
            f"the initializer {initializer!r} gives no kernel of shape {shape}, which it must "
            f"when it is called with that shape and dtype=. {type(error).__name__}: {error}"
        ) from error
