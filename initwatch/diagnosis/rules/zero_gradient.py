"""IW204 zero_gradient: a layer that is to be trained gets a gradient of exactly zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis import depth
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroGradient:
    """All weights of a trainable layer get a gradient of exactly zero, step after step.

    What it means:
        No path carries the loss back to this layer: units that are all dead, weights that are
        all zero behind it, a constant output (softmax over one unit), a signal that has
        underflowed.
    Why it hurts:
        The layer stays as it was initialised.
    How it is measured:
        max|dL/dw| = 0 for every variable of the layer in 4 steps in a row, of which the
        network was updated in at least two.
    What it does not flag:
        Frozen layers and layers beside the path to the prediction (their gradient is absent,
        not zero). Zero-initialised branches: zero in the first step only.
        Embeddings, of which only rows in the batch get a gradient. Small gradients.

    References:
        Lu et al. 2019 (networks born dead).
    """

    code: ClassVar[str] = "IW204"
    symptom: ClassVar[str] = "zero_gradient"
    summary: ClassVar[str] = "a layer gets a gradient of exactly zero"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.GRADIENT_MAX_ABS, Statistic.GRADIENT_NON_FINITE, Statistic.UPDATE_RMS}
    )
    retracted: ClassVar[bool] = True
    persists: ClassVar[bool] = True

    window: int = 4  # steps: a zero-initialised branch needs two updates to open

    def check(self, history: History) -> Iterator[Finding]:
        found = depth.at_zero(history, Statistic.GRADIENT_MAX_ABS, self.window)
        if found is None:
            return
        zero, all_zero = found
        rows = history.last(Statistic.GRADIENT_MAX_ABS, self.window)
        present: NDArray[np.bool_] = np.all(~np.isnan(rows), axis=0)
        # a gradient that is NaN has a count of what is not finite, one that is absent has not
        counted = history.last(Statistic.GRADIENT_NON_FINITE, self.window)
        absent: NDArray[np.bool_] = np.all(np.isnan(counted), axis=0)
        order = {layer.path: i for i, layer in enumerate(history.layers)}
        trunk = [layer.path for layer in history.layers if layer.trunk and not layer.is_output]
        by_layer: dict[str, list[bool]] = {}
        for i, variable in enumerate(history.variables):
            if present[i]:
                by_layer.setdefault(variable.layer, []).append(bool(zero[i]))
            elif absent[i] and present.any() and history.layers_of([variable.layer])[0] in trunk:
                # every path from the input to the prediction leads through it, and none back
                by_layer.setdefault(variable.layer, []).append(True)
        whole = [path for path, flags in by_layer.items() if all(flags)]
        layers = history.layers_of(whole)
        if not layers:
            return
        layers.sort(key=lambda path: order.get(path, len(order)))
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if all_zero else "warning",
            layers=layers,
            step=history.step,
            evidence={
                "gradient_max_abs": 0.0,
                "gradient_max_abs_limit": 0.0,
                "steps": self.window,
                "layers_zero": len(layers),
                "layers_with_gradient": len(by_layer) - len(layers),
            },
            message=(
                "Every gradient of the network is exactly 0: nothing is being learned."
                if all_zero
                else f"The gradient of {layers[0]} is exactly 0 in {self.window} steps in a row: "
                "it is not being trained."
            ),
        )
