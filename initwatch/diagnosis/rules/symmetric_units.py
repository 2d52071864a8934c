"""IW102 symmetric_units: all units of a layer compute the same, and go on doing so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.initial_weights import EQUAL
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, LayerSpec, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetricUnits:
    """All units of a layer have the same weights, and training does not part them.

    What it means:
        The kernel was initialised to a constant (or to zero), and after two updates its units
        are still copies of each other.
    Why it hurts:
        Units with equal weights get equal gradients and stay equal: the layer is worth one
        unit however wide it is. With zeros nothing is passed on at all.
    How it is measured:
        The largest difference between the weights of two units, relative to the largest
        weight, after at least two updates of the network.
    What it does not flag:
        Zero-initialised output layers and the last layers of residual branches (Fixup,
        LayerScale, LoRA): their units part with the first update. Biases and vectors.

    References:
        Goodfellow, Bengio & Courville 2016, sec. 8.4.
    """

    code: ClassVar[str] = "IW102"
    symptom: ClassVar[str] = "symmetric_units"
    summary: ClassVar[str] = "all units of a layer compute the same"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.WEIGHT_UNIT_SPREAD, Statistic.WEIGHT_RMS, Statistic.UPDATE_RMS}
    )
    retracted: ClassVar[bool] = True
    persists: ClassVar[bool] = True

    max_spread: Threshold = threshold(
        EQUAL,
        unit="largest difference / largest weight",
        source="float32: equal units drift apart by rounding, measured below 1e-6 in 100 steps",
    )
    min_updates: int = 2

    def check(self, history: History) -> Iterator[Finding]:
        rows = len(history.steps)
        if rows < self.min_updates + 1:
            return
        # the last row's weights are those before its update
        updates = int(np.count_nonzero(depth.updated(history, rows)[:-1]))
        spread = history.last(Statistic.WEIGHT_UNIT_SPREAD, 1)[0]
        rms = history.last(Statistic.WEIGHT_RMS, 1)[0]
        columns = {variable.path: i for i, variable in enumerate(history.variables)}
        found = [
            (layer, spread[columns[layer.kernel.variable]], rms[columns[layer.kernel.variable]])
            for layer in history.layers
            if layer.kernel is not None and layer.kernel.variable in columns and not layer.is_output
        ]
        for layer, kernels in _cells(history):
            found.append((layer, spread[kernels].max(), rms[kernels].max()))
        equal = [entry for entry in found if entry[1] <= self.max_spread]
        nothing_moves = updates == 0 and all(entry[2] == 0.0 for entry in equal)
        if not equal or (updates < self.min_updates and not nothing_moves):
            return
        zero = [layer.path for layer, _, size in equal if size == 0.0]
        layers = [layer.path for layer, _, _ in equal]
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=layers,
            step=history.step,
            evidence={
                "weight_unit_spread": float(max(value for _, value, _ in equal)),
                "weight_unit_spread_limit": self.max_spread,
                "updates": updates,
                "layers_equal": len(layers),
                "layers_zero": len(zero),
            },
            message=(
                f"All units of {layers[0]} have the same weights"
                + (" (zero)" if layers[0] in zero else "")
                + (f" after {updates} updates" if updates else "")
                + ": the layer computes one feature, however wide it is."
            ),
        )


def _cells(history: History) -> Iterator[tuple[LayerSpec, list[int]]]:
    """Recurrent layers with the columns of their cells' kernels, whose units must all be alike."""
    for layer in history.layers:
        if layer.kernel is None:
            inside = f"{layer.path}/"
            kernels = [
                i
                for i, v in enumerate(history.variables)
                if v.layer.startswith(inside) and v.role in ("kernel", "recurrent_kernel")
            ]
            if any(history.variables[i].role == "recurrent_kernel" for i in kernels):
                yield layer, kernels
