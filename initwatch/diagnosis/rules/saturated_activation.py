"""IW302 saturated_activation: units driven into the flat ends of their activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic

_BOUNDED = frozenset({"tanh", "sigmoid", "hard_sigmoid", "hard_tanh", "softsign"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturatedActivation:
    """A layer of tanh, sigmoid or kin works in the flat ends of its activation.

    What it means:
        Nearly all units sit at the bounds of their activation, whatever the example.
    Why it hurts:
        The slope there is next to 0, so next to nothing of the gradient passes the layer.
    How it is measured:
        Mean of phi'(z)^2 over batch and units, relative to its largest possible value, in 3
        steps in a row: the very factor by which the layer shrinks the squared gradient. A run
        that learns well is not hurt by it, unless its loss stays above a constant guess's.
    What it does not flag:
        The output layer (a sure sigmoid is right to be sure), gates of recurrent layers, a
        layer of which a part is saturated while gradient passes through the rest.

    References:
        Glorot & Bengio 2010, sec. 3; Schoenholz et al. 2017, eq. 5 (chi).
    """

    code: ClassVar[str] = "IW302"
    symptom: ClassVar[str] = "saturated_activation"
    summary: ClassVar[str] = "units driven into the flat ends of their activation"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.ACTIVATION_SLOPE})
    retracted: ClassVar[bool] = True
    waits_for_harm: ClassVar[bool] = True
    hurts_above_guess: ClassVar[bool] = True

    min_slope: Threshold = threshold(
        0.1,
        unit="mean phi'^2 / max phi'^2",
        source="tanh at pre-activation std 5; healthy tanh nets on raw inputs measure 0.2 and up",
    )
    window: int = depth.WINDOW

    def check(self, history: History) -> Iterator[Finding]:
        rows = history.last(Statistic.ACTIVATION_SLOPE, self.window)
        if len(rows) < self.window:
            return
        found: list[tuple[str, float]] = []
        for i, layer in enumerate(history.layers):
            activation = layer.activation
            if layer.is_output or activation is None or activation.max_slope is None:
                continue
            # a kernel layer whose activation is a layer of its own is judged there
            if activation.name not in _BOUNDED or activation.layer != layer.path:
                continue
            relative = rows[:, i] / activation.max_slope
            if np.all(relative < self.min_slope):
                found.append((layer.path, float(np.median(relative))))
        if not found:
            return
        found.sort(key=lambda entry: entry[1])
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=[path for path, _ in found],
            step=history.step,
            evidence={
                "slope_share": found[0][1],
                "slope_share_limit": self.min_slope,
                "slope_share_of_each": [value for _, value in found],
            },
            message=(
                f"{found[0][0]} is saturated: the mean of phi'(z)^2 is {found[0][1]:.2g} of its "
                "maximum, so that little of the gradient passes."
            ),
        )
