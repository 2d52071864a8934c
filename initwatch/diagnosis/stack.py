"""The plain stack of a network: layers whose signal theory can follow from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.records import Activation, History, Kernel, LayerSpec, Statistic
from initwatch.theory.choice import Candidate, candidates
from initwatch.theory.propagation import Stack, propagate, propagate_from_one

# Layers between kernels that leave theory's assumptions standing, besides activations.
_NEUTRAL = frozenset(
    "Activation ReLU LeakyReLU PReLU ELU Flatten Reshape Dropout AlphaDropout SpatialDropout1D "
    "SpatialDropout2D MaxPooling1D MaxPooling2D MaxPooling3D ZeroPadding1D ZeroPadding2D "
    "InputLayer Rescaling Normalization".split()
)


InputSquare = Callable[[LayerSpec], float]


def _unit_input(first: LayerSpec) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class PlainStack:
    """Consecutive layers with a kernel and a known activation, without shortcuts or norms.

    One entry for each kernel: a layer with two of them stands twice, the first time with a
    linear activation.

    Attributes:
        layers: the layers, input side first.
        kernels: the kernel of each.
        activations: phi of each.
        sigma_w2: fan_in x mean square of the weights of each, as measured at the first step.
        sigma_b2: mean square of the bias of each, as measured at the first step.
        factors: what dropout multiplies each layer's input power by.
        theory: the signal's course that follows from these.
    """

    layers: tuple[LayerSpec, ...]
    kernels: tuple[Kernel, ...]
    activations: tuple[Activation, ...]
    sigma_w2: tuple[float, ...]
    sigma_b2: tuple[float, ...]
    factors: tuple[float, ...]
    theory: Stack

    @property
    def depth(self) -> int:
        """Number of layers, each counted once."""
        return len({layer.path for layer in self.layers})

    @property
    def activation(self) -> Activation:
        """The stack's activation: the first that is not linear, if there is one."""
        bent = [phi for phi in self.activations if phi.name != "linear"]
        return bent[0] if bent else self.activations[0]

    def candidates(self) -> list[Candidate]:
        """Families of initializers for this stack, best first."""
        return candidates(
            [(kernel.fan_in, kernel.fan_out) for kernel in self.kernels],
            [activation.function for activation in self.activations],
            name=self.activation.name,
            keep=self.factors,
            linear=[phi.name == "linear" for phi in self.activations],
        )

    def with_weights(self, sigma_w2: Mapping[str, float]) -> Stack:
        """Theory's course with other weights: an input of pre-activation variance 1, no biases.

        Args:
            sigma_w2: variable -> fan_in x Var(w); kernels that are not in it stay as they are.
        """
        variances = [
            sigma_w2.get(kernel.variable, now) * factor
            for kernel, now, factor in zip(self.kernels, self.sigma_w2, self.factors, strict=True)
        ]
        return propagate_from_one(
            variances, [activation.function for activation in self.activations]
        )


def plain_stack(
    history: History, row: int = 0, input_square: InputSquare = _unit_input
) -> PlainStack | None:
    """The longest plain stack of the trunk with its weights as in ``row``; None if shorter
    than two layers or not measured.

    ``input_square`` tells the mean square of what a first layer is given, as theory takes it.
    """
    if Statistic.WEIGHT_RMS not in history.series or not len(history.steps):
        return None
    longest: list[LayerSpec] = []
    current: list[LayerSpec] = []
    for layer in history.layers:
        if not layer.trunk:
            continue
        if layer.kernel is not None and _followed(layer):
            current.append(layer)
        elif layer.class_name not in _NEUTRAL:
            current = []
        if len(current) > len(longest):
            longest = list(current)
    if len(longest) < 2:
        return None
    return _measured(history, longest, row, input_square)


def _followed(layer: LayerSpec) -> bool:
    return layer.activation is not None and not layer.normalized and not layer.is_output


def _measured(
    history: History, layers: list[LayerSpec], row: int, input_square: InputSquare
) -> PlainStack | None:
    rms = history.series[Statistic.WEIGHT_RMS][row]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    entries: list[tuple[LayerSpec, Kernel, Activation]] = []
    factors: list[float] = []
    between = 1.0
    for layer in layers:
        assert layer.kernel is not None
        assert layer.activation is not None
        if layer.first_kernel is not None:
            entries.append((layer, layer.first_kernel, _linear(layer.path)))
            factors.append(between)
            between = 1.0
        entries.append((layer, layer.kernel, layer.activation))
        factors.append(between)
        between = 1.0 / (1.0 - layer.dropout)
    members, kernels, activations = (list(column) for column in zip(*entries, strict=True))
    # a frozen layer's weights are not in the row: theory cannot follow through it
    if any(kernel.variable not in columns for kernel in kernels):
        return None
    biases = {v.layer: i for i, v in enumerate(history.variables) if v.role == "bias"}
    sigma_w2 = [kernel.fan_in * float(rms[columns[kernel.variable]]) ** 2 for kernel in kernels]
    sigma_b2 = [
        float(rms[biases[layer.path]]) ** 2
        if layer.path in biases and kernel is layer.kernel
        else 0.0
        for layer, kernel in zip(members, kernels, strict=True)
    ]
    if not np.all(np.isfinite(sigma_w2)) or min(sigma_w2) <= 0.0:
        return None
    effective = [w * f for w, f in zip(sigma_w2, factors, strict=True)]
    theory = propagate(
        input_square(layers[0]), effective, sigma_b2, [a.function for a in activations]
    )
    return PlainStack(
        tuple(members),
        tuple(kernels),
        tuple(activations),
        tuple(sigma_w2),
        tuple(sigma_b2),
        tuple(factors),
        theory,
    )


def _identity(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return z


def _linear(path: str) -> Activation:
    return Activation("linear", _identity, path)
