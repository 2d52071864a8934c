"""Keras initializers whose variance is computed: for an activation, or from data.

Both are saved with a model. Import this module before loading such a model in another process,
so that Keras knows their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from initwatch.advice.lsuv import Rescaled, scale_kernels
from initwatch.capture.activations import activation_of, described, is_activation_layer
from initwatch.errors import ArgumentError
from initwatch.records import Activation
from initwatch.theory.criticality import critical_point, least_critical_biases
from initwatch.theory.fans import keras_fans
from initwatch.theory.propagation import gain

__all__ = ["Critical", "DataDriven"]


@keras.saving.register_keras_serializable(package="initwatch")
class Critical(keras.initializers.VarianceScaling):  # type: ignore[misc]
    """Weights with which a deep network of this activation is critical.

    Variance ``sigma_w2 / fan_in``, where sigma_w2 is computed for the activation so that the
    mean squared gradient keeps its size from layer to layer, at the variance where the forward
    signal comes to rest (Schoenholz et al. 2017; Hayou et al. 2019, alg. 1). For ReLU it is He
    et al. 2015, for LeakyReLU its eq. 15, for tanh without biases LeCun et al. 1998.

    ``sigma_b2`` belongs to the biases: with one above 0 give the layer
    ``bias_initializer=keras.initializers.RandomNormal(stddev=sigma_b2 ** 0.5)``. GELU and SiLU
    need it: without biases there is no variance that they keep.

    fan_in is counted from the kernel's shape: right for dense layers, convolutions (grouped
    ones too), recurrent kernels, and, where Keras tells an initializer the axes (3.15 does, 3.12
    does not), EinsumDense and attention. Which layer it draws for it is not told, so ``fan_in``
    must be given where the shape alone misleads: depthwise kernels (the kernel's height x
    width), transposed convolutions (height x width x input channels / strides) and embeddings
    (1).

    Args:
        activation: name of a Keras activation, a layer such as ``keras.layers.LeakyReLU(0.3)``
            (a PReLU counts with its present mean slope), or any elementwise function of
            tensors. None is linear.
        sigma_b2: variance of the biases.
        seed: None draws anew at each call, so that one instance serves many layers; so does a
            ``keras.random.SeedGenerator``, reproducibly. An int gives all kernels of one shape
            the same weights, as in Keras.
        distribution: ``truncated_normal``, ``untruncated_normal`` or ``uniform``.
        fan_in: number of inputs a unit sums over, where the shape does not tell.
        input_axes: axes of the kernel that are summed over; EinsumDense gives them.
        output_axes: the kernel's other axes; EinsumDense gives them.

    Attributes:
        sigma_w2: fan_in x Var(w).
        q: pre-activation variance at which the forward signal rests; 0 where it dies, slowly,
            1 where every variance is kept.

    Raises:
        ArgumentError: if the activation is unknown or not elementwise, if there are no critical
            weights for it at this ``sigma_b2``, or if ``fan_in`` is not a positive number.
    """

    def __init__(
        self,
        activation: Any,
        sigma_b2: float = 0.0,
        seed: Any = None,
        distribution: str = "truncated_normal",
        fan_in: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        if fan_in is not None and not (isinstance(fan_in, int | np.integer) and fan_in > 0):
            raise ArgumentError(
                "fan_in must be the number of inputs that a unit sums over, a whole number "
                f"above 0, or None to count it from the shape. Received: {fan_in!r}"
            )
        phi = _activation(activation)
        point = critical_point(phi.function, float(sigma_b2))
        if point is None:
            raise ArgumentError(_nothing_critical(phi, sigma_b2))
        super().__init__(point.sigma_w2, "fan_in", distribution, seed=_source(seed))
        self._anew = seed is None
        self.activation = activation
        self.sigma_w2, self.sigma_b2, self.q = point.sigma_w2, float(sigma_b2), point.q
        self.fan_in = None if fan_in is None else int(fan_in)
        self.input_axes, self.output_axes = input_axes, output_axes

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """A kernel of that shape and dtype."""
        counted, _ = keras_fans(shape)  # by which Keras will divide
        fan_in = self.fan_in or counted
        if self.fan_in is None and self.input_axes is not None:
            fan_in = math.prod(shape[axis] for axis in self.input_axes)
        scale = self.sigma_w2 * max(1, counted) / max(1, fan_in)
        draw = keras.initializers.VarianceScaling(scale, "fan_in", self.distribution, self.seed)
        return draw(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` makes the same initializer of."""
        activation = self.activation
        if not isinstance(activation, str | None):
            activation = keras.saving.serialize_keras_object(activation)
        return {
            "activation": activation,
            "sigma_b2": self.sigma_b2,
            "seed": None if self._anew else keras.saving.serialize_keras_object(self.seed),
            "distribution": self.distribution,
            "fan_in": self.fan_in,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Critical:
        """The initializer that ``get_config`` described."""
        activation = config["activation"]
        if isinstance(activation, dict):
            activation = keras.saving.deserialize_keras_object(activation)
        return cls(**{**config, "activation": activation})


@keras.saving.register_keras_serializable(package="initwatch")
class DataDriven(keras.initializers.Orthogonal):  # type: ignore[misc]
    """Orthonormal kernels, to be scaled on data before training: LSUV.

    An initializer sees a shape and no data, so this takes two steps (Mishkin & Matas 2016,
    alg. 1): build the model with it, then ``fit`` the model to one batch::

        init = initwatch.initializers.DataDriven()
        model = build(kernel_initializer=init)
        init.fit(model, x[:256])

    Args:
        seed: None draws anew at each call, so that one instance serves many layers; so does a
            ``keras.random.SeedGenerator``, reproducibly. An int gives all kernels of one shape
            the same weights, as in Keras.
    """

    def __init__(self, seed: Any = None) -> None:
        super().__init__(gain=1.0, seed=_source(seed))
        self._anew = seed is None

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` makes the same initializer of."""
        return {"seed": None if self._anew else keras.saving.serialize_keras_object(self.seed)}

    def fit(
        self, model: keras.Model, x: Any, *, tolerance: float = 0.1, tries: int = 10
    ) -> list[Rescaled]:
        """``initwatch.lsuv`` for the model's layers that were built with a ``DataDriven``.

        Args:
            model: a model before training.
            x: one batch as the model takes it.
            tolerance: largest |variance - 1| that is left alone.
            tries: most often that one kernel is scaled.

        Returns:
            One record a kernel, in the order of the signal.

        Raises:
            ArgumentError: as ``initwatch.lsuv`` does, and if no layer was built with one.
        """
        done = scale_kernels(model, x, _is_data_driven, (), tolerance, tries)
        if not done:
            raise ArgumentError(
                f"no layer of {model.name!r} that ran on x was built with DataDriven. Give it "
                "as kernel_initializer= when you build the model, or call initwatch.lsuv, which "
                "scales the kernels of any."
            )
        return done


def _source(seed: Any) -> Any:
    """What to draw from: Keras itself would give all layers of one unseeded instance one kernel,
    and theory (like LSUV) is of independent ones.
    """
    return keras.random.SeedGenerator() if seed is None else seed


def _is_data_driven(layer: Any) -> bool:
    names = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
    return any(isinstance(getattr(layer, name, None), DataDriven) for name in names)


def _activation(activation: Any) -> Activation:
    """The activation as theory needs it."""
    if is_activation_layer(activation):
        found = activation_of(activation, activation.name)
    elif isinstance(activation, keras.layers.Layer):
        found = described(activation.name, activation.call, activation.name)
    else:
        try:
            function = keras.activations.get(activation)
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                "activation must be the name of a Keras activation, an activation layer or an "
                f"elementwise function. Received: {activation!r}. {error}"
            ) from error
        found = described(getattr(function, "__name__", repr(function)), function, "")
    if found is None or not _is_elementwise(found):
        raise ArgumentError(
            "activation must act on each element by itself and be finite from -8 to 8: theory "
            f"follows one pre-activation at a time. Received: {activation!r}"
        )
    return found


def _is_elementwise(activation: Activation) -> bool:
    """False for softmax and its kind, whose values depend on their neighbours."""
    z = np.linspace(-2.0, 2.0, 8)
    return bool(np.allclose(activation.function(z)[:3], activation.function(z[:3]), atol=1e-6))


def _nothing_critical(phi: Activation, sigma_b2: float) -> str:
    """Why there are no weights to draw, and what there is instead."""
    least = least_critical_biases(phi.function)
    if least is None:
        cure = "It has none for any sigma_b2; take another activation"
    elif least == 0.0:
        cure = "Give sigma_b2=0.0, for which it has"
    else:
        cure = f"Give sigma_b2={np.ceil(100.0 * least) / 100.0:.2g} (and biases of that variance)"
    return (
        f"no weights make a deep network of {phi.name} critical with sigma_b2={sigma_b2}: none "
        f"keeps gradient and signal both. {cure}, or keep the signal of a shallow one at variance "
        f"1 by keras.initializers.VarianceScaling({gain(phi.function) ** 2:.4g})."
    )
