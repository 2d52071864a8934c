"""What is known of a layer and of a variable before any number is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ActivationFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation function phi as theory needs it.

    Attributes:
        name: its name as a user knows it, such as ``relu`` or ``leaky_relu``.
        function: phi, elementwise on float64 arrays of any shape.
        layer: path of the layer that applies it (the kernel's own layer if it is fused).
        rectifies: True if a unit below zero has output and slope exactly 0 (ReLU and kin).
        max_slope: largest phi'(z)^2 over z, None where phi' is not known from the output.
    """

    name: str
    function: ActivationFunction
    layer: str
    rectifies: bool = False
    max_slope: float | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """The weight matrix of a layer: where it is and how it was drawn.

    Attributes:
        variable: path of the variable.
        shape: its shape.
        fan_in: number of inputs one unit sums over.
        fan_out: number of units one input feeds.
        keras_fans: the two fans as Keras's own initializers count them.
        initializer: the layer's ``keras.initializers.Initializer``, None if unknown.
        argument: name of the layer's argument that takes it (``kernel_initializer``).
    """

    variable: str
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    keras_fans: tuple[int, int]
    initializer: Any
    argument: str


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A trainable variable.

    Attributes:
        path: Keras's own, unique in the model.
        layer: path of its layer.
        role: such as ``kernel`` or ``bias``.
        size: number of elements.
        constraint: class of the constraint that is applied to it after each update, or empty.
    """

    path: str
    layer: str
    role: str
    size: int
    constraint: str = ""


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer with an output, in the order in which the signal meets it.

    Attributes:
        path: Keras's own path of the layer, unique in the model.
        class_name: such as ``Dense``.
        outputs: number of output elements per example.
        trunk: True if every path from the input to the loss passes through this output,
            so that its size is the size of the whole signal (False inside a residual branch).
        tower: number of the tower it is part of: all that comes from one input, or all that one
            prediction is made of, passes through this output, though other paths pass it by.
            0 on the trunk, and inside a branch.
        is_output: True if the model's prediction is this layer's output.
        frozen: True if the layer has weights and none of them is trainable.
        kernel: its weight matrix, None if it has none.
        activation: the phi its output goes through before the next kernel, fused or separate;
            a linear one where there is none; None if it could not be told.
        signal: path of the layer at whose output this layer's signal is complete (itself,
            or the activation layer behind it).
        normalized: True if a normalisation layer stands between the kernel and the next one.
        dropout: share of the outputs a Dropout between kernel and next kernel drops.
        first_kernel: a weight matrix the same layer applies before ``kernel``, with no
            activation between (the depthwise one of a separable convolution).
        recurrent_kernel: the weight matrix that the cell of an RNN applies to its state.
        dtype: of its output, such as ``float16``; empty if unknown.
    """

    path: str
    class_name: str
    outputs: int
    trunk: bool
    is_output: bool
    frozen: bool
    kernel: Kernel | None
    activation: Activation | None
    signal: str
    normalized: bool
    dropout: float = 0.0
    first_kernel: Kernel | None = None
    recurrent_kernel: Kernel | None = None
    dtype: str = ""
    tower: int = 0

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All weight matrices of the layer."""
        found = (self.first_kernel, self.kernel, self.recurrent_kernel)
        return tuple(kernel for kernel in found if kernel is not None)
