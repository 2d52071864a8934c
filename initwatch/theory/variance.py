"""Mean and variance of the weights that Keras's initializers draw, without drawing.

Functions of an initializer's class, its ``get_config()`` and the kernel's shape: nothing of
Keras is needed. The moments are those of one weight over draws; of deterministic kernels
(``Identity``) those over the kernel's elements.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initwatch.theory.fans import keras_fans

Config = Mapping[str, Any]
Shape = Sequence[int]

# Keras draws truncated normals within two standard deviations. Variance of such a one with
# stddev 1: 1 - 2 a n(a) / (2 N(a) - 1) at a = 2, n density and N distribution of the normal
# (Johnson, Kotz & Balakrishnan 1994, sec. 13.10.1). Its root is the 0.8796 in Keras's source.
_TRUNCATED = 1.0 - 4.0 * math.exp(-2.0) / (math.sqrt(2.0 * math.pi) * math.erf(math.sqrt(2.0)))


@dataclass(frozen=True, slots=True)
class Moments:
    """What is known of one weight.

    Attributes:
        mean: its expected value.
        variance: its variance; 0 for a constant.
    """

    mean: float
    variance: float

    @property
    def mean_square(self) -> float:
        """Mean square, which is what a signal of many unlike inputs meets."""
        return self.mean**2 + self.variance


def moments(
    class_name: str, config: Config, shape: Shape, fans: tuple[int, int] | None = None
) -> Moments | None:
    """Mean and variance of one weight.

    Args:
        class_name: class of a Keras initializer, such as ``HeNormal``.
        config: its ``get_config()``.
        shape: the kernel's shape.
        fans: (fan_in, fan_out) where Keras counts them other than by the shape: of an
            ``EinsumDense`` kernel, whose axes the layer tells its initializer.

    Returns:
        None for an initializer that is not in Keras, or has no closed form (``STFT``, which
        draws nothing at random: its kernel itself can be looked at).
    """
    if class_name in _VARIANCE_SCALING:
        scale, mode, distribution = _VARIANCE_SCALING[class_name]
        known = {"scale": scale, "mode": mode, "distribution": distribution}
        return _variance_scaling({**config, **known}, shape, fans)
    if class_name == "VarianceScaling":
        return _variance_scaling(config, shape, fans)
    return _FORMULAS[class_name](config, shape) if class_name in _FORMULAS else None


def _variance_scaling(config: Config, shape: Shape, fans: tuple[int, int] | None) -> Moments:
    """Scale / n for every distribution: Keras widens truncated normals to make up for the cut."""
    fan_in, fan_out = fans or _counted(config, shape)
    n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}
    return Moments(0.0, float(config["scale"]) / max(1.0, n[config["mode"]]))


def _counted(config: Config, shape: Shape) -> tuple[int, int]:
    into, out = config.get("input_axes"), config.get("output_axes")
    if into is None or out is None:
        return keras_fans(shape)
    return math.prod(shape[axis] for axis in into), math.prod(shape[axis] for axis in out)


# scale, mode, distribution: Glorot & Bengio 2010, eq. 12; He et al. 2015, eq. 10; LeCun et al.
# 1998, sec. 4.6.
_VARIANCE_SCALING = {
    "GlorotUniform": (1.0, "fan_avg", "uniform"),
    "GlorotNormal": (1.0, "fan_avg", "truncated_normal"),
    "HeUniform": (2.0, "fan_in", "uniform"),
    "HeNormal": (2.0, "fan_in", "truncated_normal"),
    "LecunUniform": (1.0, "fan_in", "uniform"),
    "LecunNormal": (1.0, "fan_in", "truncated_normal"),
}


def _constant(config: Config, shape: Shape) -> Moments | None:
    value = config["value"]
    return Moments(float(value), 0.0) if isinstance(value, int | float) else None


def _random_normal(config: Config, shape: Shape) -> Moments:
    return Moments(float(config["mean"]), float(config["stddev"]) ** 2)


def _truncated_normal(config: Config, shape: Shape) -> Moments:
    """``stddev`` is that of the normal before it is cut, unlike in ``VarianceScaling``."""
    return Moments(float(config["mean"]), _TRUNCATED * float(config["stddev"]) ** 2)


def _random_uniform(config: Config, shape: Shape) -> Moments:
    low, high = float(config["minval"]), float(config["maxval"])
    return Moments((low + high) / 2.0, (high - low) ** 2 / 12.0)


def _orthogonal(config: Config, shape: Shape) -> Moments:
    """gain^2 / max(rows, columns) of the kernel flattened to a matrix (Saxe et al. 2014).

    The min(rows, columns) orthonormal vectors hold gain^2 each, spread over rows x columns.
    """
    rows, columns = math.prod(shape[:-1]), int(shape[-1])
    return Moments(0.0, float(config["gain"]) ** 2 / max(rows, columns))


def _identity(config: Config, shape: Shape) -> Moments:
    share = min(shape) / math.prod(shape)  # of the elements that are not 0
    gain = float(config["gain"])
    return Moments(gain * share, gain**2 * share * (1.0 - share))


_FORMULAS: dict[str, Callable[[Config, Shape], Moments | None]] = {
    "Zeros": lambda config, shape: Moments(0.0, 0.0),
    "Ones": lambda config, shape: Moments(1.0, 0.0),
    "Constant": _constant,
    "RandomNormal": _random_normal,
    "TruncatedNormal": _truncated_normal,
    "RandomUniform": _random_uniform,
    "Orthogonal": _orthogonal,
    "Identity": _identity,
}
