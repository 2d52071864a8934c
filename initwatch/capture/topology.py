"""From the calls of one step to the layers in signal order: trunk, activation, kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from initwatch.capture.activations import is_activation_layer
from initwatch.capture.observer import Call, Observer
from initwatch.records.layer import Activation, ActivationFunction, Kernel, LayerSpec
from initwatch.theory.fans import fans, keras_fans

_NORMALIZATIONS: tuple[type, ...] = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
    keras.layers.RMSNormalization,
)
# Layers between a kernel and its activation that do not make the activation another layer's.
_TRANSPARENT: tuple[type, ...] = (
    *_NORMALIZATIONS,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianNoise,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
)
# Activations that models apply as plain operations, by their name in the graph.
_OPERATIONS: dict[str, tuple[str, ActivationFunction, bool]] = {
    "Relu": ("relu", lambda z: np.maximum(z, 0.0), True),
    "Tanh": ("tanh", np.tanh, False),
    "Sigmoid": ("sigmoid", lambda z: 1.0 / (1.0 + np.exp(-z)), False),
}

SOURCE = -1


def unique_layers(calls: list[Call]) -> list[Any]:
    """The layers called, each once, in the order of their first call."""
    found: list[Any] = []
    for call in calls:
        if all(call.layer is not layer for layer in found):
            found.append(call.layer)
    return found


def unique_paths(layers: list[Any]) -> dict[int, str]:
    """id(layer) -> Keras's path of it; a path met again gets ``#2``, ``#3``...

    Layers without weights may have no path in Keras: their name stands for it.
    """
    counts: dict[str, int] = {}
    paths: dict[int, str] = {}
    for layer in layers:
        if id(layer) in paths:
            continue
        path = layer.path or layer.name
        counts[path] = counts.get(path, 0) + 1
        paths[id(layer)] = path if counts[path] == 1 else f"{path}#{counts[path]}"
    return paths


def describe_layers(
    observer: Observer,
    layers: list[Any],
    activations: Mapping[int, Activation | None],
    paths: Mapping[int, str],
) -> tuple[LayerSpec, ...]:
    """The layers in signal order.

    Args:
        observer: what one step showed.
        layers: ``unique_layers`` of its calls.
        activations: id(layer) -> the activation that the layer itself applies last.
        paths: id(layer) -> its path, unique in the model.
    """
    calls = observer.calls
    first = {id(layer): i for i, layer in reversed([(i, c.layer) for i, c in enumerate(calls)])}
    sinks = _sinks(observer)
    trunk = _trunk(calls, sinks)
    towers = _towers(calls, sinks, trunk)
    return tuple(
        _describe(observer, layer, first[id(layer)], paths, trunk, towers, sinks, activations)
        for layer in layers
    )


def _describe(
    observer: Observer,
    layer: Any,
    index: int,
    paths: Mapping[int, str],
    trunk: set[int],
    towers: Mapping[int, int],
    sinks: set[int],
    activations: Mapping[int, Activation | None],
) -> LayerSpec:
    calls = observer.calls
    kernels = kernels_of(layer)
    kernel = kernels[-1] if kernels else None
    activation, signal, normalized, dropout, head = (
        activations.get(id(layer)),
        index,
        False,
        0.0,
        (index in sinks),
    )
    if kernel is not None:
        activation, signal, normalized, dropout, head = _follow(
            calls, index, sinks, activations, paths
        )
    own_weights = layer.weights
    return LayerSpec(
        path=paths[id(layer)],
        class_name=type(layer).__name__,
        outputs=_outputs(calls[index].output),
        trunk=index in trunk,
        is_output=head,
        frozen=bool(own_weights) and not layer.trainable_weights,
        kernel=kernel,
        activation=activation,
        signal=paths[id(calls[signal].layer)],
        normalized=normalized,
        dropout=dropout,
        first_kernel=kernels[0] if len(kernels) > 1 else None,
        recurrent_kernel=_recurrent_kernel(layer),
        dtype=keras.backend.standardize_dtype(calls[index].output.dtype),
        tower=towers.get(index, 0),
    )


def _outputs(output: Any) -> int:
    """Elements per example of a batched tensor; unknown axes count as 1."""
    return max(1, math.prod(int(d) for d in output.shape[1:] if d is not None))


def _sinks(observer: Observer) -> set[int]:
    """Calls whose output the prediction is made of; the last call where that is not known."""
    calls = observer.calls
    if observer.prediction_origins is not None and observer.prediction_origins.known:
        return set(observer.prediction_origins.known)
    return {len(calls) - 1} if calls else set()


def _trunk(calls: list[Call], sinks: set[int], start: int | None = None) -> set[int]:
    """Calls through which every path from the input to the prediction passes.

    Calls come in a topological order. A call is passed by if some edge starts before it and
    ends after it; edges that do not lead to the prediction do not count.

    Args:
        calls: of one step.
        sinks: calls whose output the prediction is made of.
        start: only paths that begin at this call count; from any input by default.
    """
    end = len(calls)
    reaching = set(sinks)
    for i in range(end - 1, -1, -1):
        if i in reaching:
            reaching |= calls[i].origins.known
    if start is not None:
        reached = {start}
        for i in range(start + 1, end):
            if calls[i].origins.known & reached:
                reached.add(i)
        reaching &= reached
    edges = [(i, end) for i in sinks & reaching]
    for i in reaching:
        edges += [(j, i) for j in calls[i].origins.known & reaching]
        if i == start or (start is None and calls[i].origins.from_input):
            edges.append((SOURCE, i))
    # furthest end of any edge that starts at or before a place
    jumps = [0] * (end + 1)
    for start, stop in edges:
        jumps[start + 1] = max(jumps[start + 1], stop)
    trunk: set[int] = set()
    furthest = 0
    for i in range(end):
        furthest = max(furthest, jumps[i])  # edges that start before i
        if i in reaching and furthest <= i:
            trunk.add(i)
    return trunk


def _towers(calls: list[Call], sinks: set[int], trunk: set[int]) -> dict[int, int]:
    """Call -> number of the tower it is part of, from 1 on; those of the trunk are in none.

    A tower begins at an input that others are merged with later, or where the paths to several
    predictions have parted.
    """
    starts = [
        i
        for i, call in enumerate(calls)
        if not call.origins.known and "unknown" not in call.origins.operations
    ]
    ways = [_trunk(calls, sinks, start) for start in starts] if len(starts) > 1 else []
    if len(sinks) > 1:
        ways += [_trunk(calls, {sink}) for sink in sorted(sinks)]
    towers: dict[int, int] = {}
    for number, way in enumerate(ways, 1):
        towers |= dict.fromkeys(way - trunk - towers.keys(), number)
    return towers


def _follow(
    calls: list[Call],
    index: int,
    sinks: set[int],
    activations: Mapping[int, Activation | None],
    paths: Mapping[int, str],
) -> tuple[Activation | None, int, bool, float, bool]:
    """What happens to a kernel's output before the next kernel.

    Returns:
        the activation, the call at which it is complete, whether a normalisation was passed,
        the share dropped, and whether the prediction is what came out.
    """
    result = activations.get(id(calls[index].layer))
    # a layer that does not tell its activation (a custom one) has none to look for behind it
    searching = result is not None and result.name == "linear"
    at, signal, normalized, dropout = index, index, False, 0.0
    while at not in sinks:
        following = [i for i, call in enumerate(calls) if at in call.origins.known]
        if len(following) != 1:
            # nobody is known to read it, or several do, of which one may bend it for itself
            bent = any(calls[i].between or is_activation_layer(calls[i].layer) for i in following)
            if searching and (bent or not following):
                result = None
            break
        call = calls[following[0]]
        alone = call.origins.known == {at}
        if searching and call.between:
            result, searching = _from_operations(call.between, paths[id(calls[index].layer)]), False
        if searching and alone and is_activation_layer(call.layer):
            result, signal = activations.get(id(call.layer)), following[0]
            searching = False
        elif alone and isinstance(call.layer, _TRANSPARENT):
            normalized |= isinstance(call.layer, _NORMALIZATIONS)
            dropout = max(dropout, float(getattr(call.layer, "rate", 0.0) or 0.0))
        else:
            break
        at = following[0]
    return result, signal, normalized, dropout, at in sinks


def _from_operations(operations: frozenset[str], path: str) -> Activation | None:
    """The activation that plain operations between two layers amount to, None if unknown."""
    if len(operations) == 1 and (known := _OPERATIONS.get(next(iter(operations)))):
        name, function, rectifies = known
        return Activation(name, function, path, rectifies)
    return None


def kernels_of(layer: Any) -> tuple[Kernel, ...]:
    """The layer's weight matrices in the order the signal meets them.

    Empty if it has none (or several of equal rank side by side, as RNNs have).
    """
    if isinstance(layer, (keras.layers.RNN, keras.layers.Embedding)):
        return ()
    name = type(layer).__name__
    whole = "depthwise_initializer" if "Depthwise" in name else "kernel_initializer"
    found = (
        _kernel(layer, "depthwise_kernel", "depthwise_initializer", "Depthwise"),
        _kernel(layer, "pointwise_kernel", "pointwise_initializer", "Conv"),
        _kernel(layer, "kernel", whole, name),
    )
    return tuple(kernel for kernel in found if kernel is not None)


def _recurrent_kernel(layer: Any) -> Kernel | None:
    cell = getattr(layer, "cell", None)
    if not isinstance(layer, keras.layers.RNN) or cell is None:
        return None
    return _kernel(cell, "recurrent_kernel", "recurrent_initializer", type(cell).__name__)


def _kernel(layer: Any, attribute: str, argument: str, kind: str) -> Kernel | None:
    """The variable ``attribute`` as a layer of class ``kind`` would have it."""
    variable = getattr(layer, attribute, None)
    if variable is None or not hasattr(variable, "path") or len(variable.shape) < 2:
        return None
    shape = tuple(int(d) for d in variable.shape)
    fan_in, fan_out = fans(
        kind,
        shape,
        groups=int(getattr(layer, "groups", 1) or 1),
        equation=layer.equation if isinstance(layer, keras.layers.EinsumDense) else "",
        strides=tuple(getattr(layer, "strides", ()) or ()),
    )
    return Kernel(
        variable=variable.path,
        shape=shape,
        fan_in=fan_in,
        fan_out=fan_out,
        keras_fans=keras_fans(shape),
        initializer=getattr(layer, argument, None),
        argument=argument,
    )
