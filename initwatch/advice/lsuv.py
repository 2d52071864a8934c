"""Layer-sequential unit-variance: kernels scaled to what they put out on one batch of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from initwatch.advice.generators import generators_held
from initwatch.errors import ArgumentError

# Layers that hand what their kernel gives to ``activation``: there it can be seen before that.
FUSED: tuple[type, ...] = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True, slots=True)
class Rescaled:
    """One kernel and what its layer put out, on the batch given.

    Attributes:
        layer: path of the layer.
        variable: path of the kernel.
        factor: what the kernel was multiplied with, 1 if it was right as drawn.
        before: variance of the pre-activation over batch and units, all earlier layers scaled.
        after: the same with this kernel scaled; further from 1 than the tolerance only if the
            tries ran out.
    """

    layer: str
    variable: str
    factor: float
    before: float
    after: float


def lsuv(
    model: keras.Model,
    x: Any,
    *,
    layers: Sequence[str] | None = None,
    tolerance: float = 0.1,
    tries: int = 10,
) -> list[Rescaled]:
    """Scales each kernel, in the order the signal meets them, until its output has variance 1.

    The second half of Mishkin & Matas 2016, alg. 1; build the model with
    ``initwatch.initializers.DataDriven`` for the first, orthonormal kernels. The output is that
    of the kernel and bias, before an activation that belongs to the layer. Dropout is off and
    normalisations use their moving statistics. Of a separable convolution the pointwise kernel
    is scaled; kernels in the loop of an RNN or TimeDistributed and frozen ones are left alone.

    Nothing but the kernels changes: no generator moves, no optimizer or metric is touched.

    Args:
        model: a model before training; one that is not built yet is built by ``x``.
        x: one batch as the model takes it, of some dozens of examples and more.
        layers: paths or names of the layers to scale; all that have a kernel by default.
        tolerance: largest |variance - 1| that is left alone.
        tries: most often that one kernel is scaled.

    Returns:
        One record a kernel, in the order of the signal.

    Raises:
        ArgumentError: if an argument is wrong, the model does not run on ``x``, or a layer's
            output does not vary or is not finite. The kernels are then as they were.
    """
    chosen = None if layers is None else [layers] if isinstance(layers, str) else list(layers)
    return scale_kernels(
        model,
        x,
        lambda layer: chosen is None or layer.path in chosen or layer.name in chosen,
        chosen or (),
        tolerance,
        tries,
    )


def scale_kernels(
    model: keras.Model,
    x: Any,
    wanted: Callable[[Any], bool],
    expected: Sequence[str],
    tolerance: float,
    tries: int,
) -> list[Rescaled]:
    """``lsuv`` for the layers that are ``wanted``; those ``expected`` by name must be there."""
    if not isinstance(model, keras.Model):
        raise ArgumentError(f"model must be a keras.Model. Received: {model!r}")
    if not 0.0 < tolerance < 1.0:
        raise ArgumentError(
            f"tolerance must lie between 0 and 1, such as 0.1: it is the largest |variance - 1| "
            f"left alone. Received: {tolerance!r}"
        )
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        raise ArgumentError(f"tries must be a whole number, 1 or more. Received: {tries!r}")
    if not all(layer.built for layer in model._flatten_layers()):
        _run(model, x)  # weights are drawn as they would be without us
    kernels = {
        id(layer): (layer, kernel)
        for layer in _scalable(model)
        if wanted(layer) and (kernel := kernel_of(layer)) is not None
    }
    names = {name for layer, _ in kernels.values() for name in (layer.path, layer.name)}
    if missing := sorted(set(expected) - names):
        raise ArgumentError(
            f"no trainable kernel to scale in {', '.join(missing)}; there is one in: "
            f"{', '.join(layer.path for layer, _ in kernels.values()) or 'no layer'}."
        )
    drawn = [(kernel, keras.ops.convert_to_numpy(kernel)) for _, kernel in kernels.values()]
    try:
        return _in_order(model, x, kernels, tolerance, tries)
    except BaseException:
        for kernel, values in drawn:
            kernel.assign(values)
        raise


def _in_order(
    model: keras.Model, x: Any, kernels: dict[int, tuple[Any, Any]], tolerance: float, tries: int
) -> list[Rescaled]:
    """Scales the kernels one after the other."""
    layers = [layer for layer, _ in kernels.values()]
    variances = _variances(model, x, layers)
    done = []
    for key in list(variances):
        layer, kernel = kernels[key]
        drawn = keras.ops.convert_to_numpy(kernel)
        before, factor = variances[key], 1.0
        for _ in range(tries):
            _check(layer, variances[key])
            if abs(variances[key] - 1.0) < tolerance:
                break
            factor /= float(np.sqrt(variances[key]))
            kernel.assign(drawn * factor)
            # shows the next layer's output too, as this one leaves it
            variances = _variances(model, x, layers)
        _check(layer, variances[key])
        done.append(Rescaled(layer.path, kernel.path, factor, before, variances[key]))
    return done


def kernel_of(layer: Any) -> Any:
    """The trainable kernel that a layer's output is proportional to, None if it has none."""
    for name in ("pointwise_kernel", "kernel"):
        kernel = getattr(layer, name, None)
        if isinstance(kernel, keras.Variable) and len(kernel.shape) >= 2:
            return kernel if kernel.trainable else None
    return None


def _scalable(model: keras.Model) -> list[Any]:
    """The model's layers but those that run in another layer's loop."""
    layers = list(model._flatten_layers(include_self=True))
    looped = {
        id(inner)
        for layer in layers
        if isinstance(layer, (keras.layers.RNN, keras.layers.TimeDistributed))
        for inner in layer._flatten_layers(include_self=isinstance(layer, keras.layers.RNN))
    }
    return [layer for layer in layers if layer.built and id(layer) not in looped]


def _check(layer: Any, variance: float) -> None:
    if not np.isfinite(variance):
        raise ArgumentError(
            f"the output of {layer.path} is not finite on this batch. Look for NaN or very large "
            "values in x and in the weights."
        )
    if variance == 0.0:
        raise ArgumentError(
            f"the output of {layer.path} is the same everywhere on this batch, so no scale gives "
            "it variance 1: its kernel or its inputs are 0, or the batch is one example. Give "
            "more examples, draw the kernel at random, or name the other layers in layers=."
        )


def _run(model: keras.Model, x: Any) -> None:
    try:
        model(x, training=False)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"the model {model.name!r} does not run on x, which must be one batch of its inputs "
            f"(arrays or tensors, not a dataset). {type(error).__name__}: {error}"
        ) from error


class _Spread:
    """Variance of arrays that come one at a time (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, tensor: Any) -> None:
        values = np.asarray(keras.ops.convert_to_numpy(tensor), dtype=np.float64)
        shift, total = float(np.mean(values)) - self._mean, self._count + values.size
        self._squares += float(np.sum((values - np.mean(values)) ** 2))
        self._squares += shift**2 * self._count * values.size / total
        self._mean += shift * values.size / total
        self._count = total

    @property
    def variance(self) -> float:
        return self._squares / self._count


def _variances(model: keras.Model, x: Any, layers: Sequence[Any]) -> dict[int, float]:
    """id(layer) -> variance of its pre-activation, in the order in which layers are called."""
    seen: dict[int, _Spread] = {}

    def tell(layer: Any, tensor: Any) -> None:
        seen.setdefault(id(layer), _Spread()).add(tensor)

    with generators_held(), _watched(layers, tell):
        _run(model, x)
    return {key: spread.variance for key, spread in seen.items()}


@contextmanager
def _watched(layers: Sequence[Any], tell: Callable[[Any, Any], None]) -> Iterator[None]:
    """Each call of a layer tells its pre-activation: what its activation is given, if it has one
    of its own that it uses, or what it returns.
    """
    shadowed: list[tuple[Any, str, bool, Any]] = []

    def shadow(layer: Any, name: str, stand_in: Any) -> None:
        # through __dict__, past Keras's attribute tracking
        shadowed.append((layer, name, name in layer.__dict__, layer.__dict__.get(name)))
        layer.__dict__[name] = stand_in

    def watch(layer: Any) -> None:
        told: list[Any] = []
        call, activation = layer.call, getattr(layer, "activation", None)

        def watched_activation(z: Any) -> Any:
            told.append(z)
            return z if activation is None else activation(z)

        def watched_call(*args: Any, **kwargs: Any) -> Any:
            told.clear()
            output = call(*args, **kwargs)
            for tensor in told or keras.tree.flatten(output)[:1]:
                tell(layer, tensor)
            return output

        shadow(layer, "call", watched_call)
        if isinstance(layer, FUSED):
            shadow(layer, "activation", watched_activation)

    try:
        for layer in layers:
            watch(layer)
        yield
    finally:
        for layer, name, was_there, previous in reversed(shadowed):
            if was_there:
                layer.__dict__[name] = previous
            else:
                layer.__dict__.pop(name, None)
