"""IW204 zero_gradient: a layer that is to be trained gets no gradient, or as good as none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis import depth, sensitivity, updates
from initwatch.diagnosis.course import AT_GUESS, LONG, course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroGradient:
    """All weights of a trainable layer get a gradient of zero, step after step.

    What it means:
        No path carries the loss back to this layer: units that are all dead, weights that are
        all zero behind it, a constant output (softmax over one unit), a signal that has
        underflowed.
    Why it hurts:
        The layer stays as it was initialised.
    How it is measured:
        max|dL/dw| = 0 for every variable of the layer in 4 steps in a row, of which the
        network was updated in at least two. In a run that is no better than a constant guess
        after 100 steps also a gradient that might as well be 0: if every kernel of n weights
        changed by its own size along it, the loss would change by less than float32 can tell,
        norm(dL/dw) x RMS(w) x n^(1/4) / L < 2^-24 for each in 4 steps in a row.
    What it does not flag:
        Frozen layers and layers beside the path to the prediction (their gradient is absent,
        not zero). Zero-initialised branches: zero in the first step only.
        Embeddings, of which only rows in the batch get a gradient. Gradients that are only small.
        Branches that are left out at random: those need 16 steps in a row.

    References:
        Lu et al. 2019 (networks born dead).
    """

    code: ClassVar[str] = "IW204"
    symptom: ClassVar[str] = "zero_gradient"
    summary: ClassVar[str] = "a layer gets no gradient, or one that is as good as none"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.GRADIENT_MAX_ABS, Statistic.GRADIENT_NON_FINITE, Statistic.UPDATE_RMS}
    )
    uses: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.GRADIENT_NORM, Statistic.WEIGHT_RMS}
    )
    retracted: ClassVar[bool] = True
    persists: ClassVar[bool] = True

    least_sensitivity: Threshold = threshold(
        2.0**-24,
        unit="norm(dL/dw) x RMS(w) x n^(1/4) / L",
        source="half of float32's last digit: the loss would be the same number",
    )
    window: int = 4  # steps: a zero-initialised branch needs two updates to open
    branch_window: int = 16  # steps: a branch left out in half of them is not there once in 65,000
    long: int = LONG

    def check(self, history: History) -> Iterator[Finding]:
        found = self._exactly(history) or self._as_good_as(history)
        if found is not None:
            yield found

    def _exactly(self, history: History) -> Finding | None:
        found = depth.at_zero(history, Statistic.GRADIENT_MAX_ABS, self.window)
        if found is None:
            return None
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
        layers = self._for_long(history, layers) if not all_zero else layers
        if not layers:
            return None
        at_output = self._reaches_output(history, zero & present)
        layers.sort(key=lambda path: order.get(path, len(order)))
        return Finding(
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
                "zero_at_output": int(at_output),
            },
            message=(
                "Every gradient of the network is exactly 0"
                + (
                    ", the output layer's too: the loss does not change with the outputs, and"
                    if at_output
                    else ":"
                )
                + " nothing is being learned."
                if all_zero
                else f"The gradient of {layers[0]} is exactly 0 in {self.window} steps in a row: "
                "it is not being trained."
            ),
        )

    def _for_long(self, history: History, layers: list[str]) -> list[str]:
        """Of layers that some paths go round only those that have been without for longer.

        A branch that is left out of some steps at random has no gradient in them.
        """
        trunk = {layer.path for layer in history.layers if layer.trunk}
        found = depth.at_zero(history, Statistic.GRADIENT_MAX_ABS, self.branch_window)
        if found is None:
            return [path for path in layers if path in trunk]
        zero, _ = found
        seen = [i for i in range(len(zero)) if not np.isnan(zero[i])]
        of_layer: dict[str, list[bool]] = {}
        for i in seen:
            path = history.layers_of([history.variables[i].layer])[0]
            of_layer.setdefault(path, []).append(bool(zero[i]))
        return [path for path in layers if path in trunk or all(of_layer.get(path, [False]))]

    @staticmethod
    def _reaches_output(history: History, zero: NDArray[np.bool_]) -> bool:
        """True if the weights of the output itself have no gradient."""
        heads = {layer.path for layer in history.layers if layer.is_output and layer.kernel}
        own = [i for i, v in enumerate(history.variables) if v.layer in heads]
        return bool(own) and all(bool(zero[i]) for i in own)

    def _as_good_as(self, history: History) -> Finding | None:
        course = course_of(history)
        if course is None or course.steps < self.long:
            return None
        # a loss that has come down to where nothing moves any more stands no better than one
        # that never fell
        if not (course.hurt or (course.share is not None and course.share >= AT_GUESS)):
            return None
        columns = updates.kernels(history)
        rows = slice(-self.window, None)
        if history.last(Statistic.SKIPPED, self.window).any() or not columns:
            return None
        if not sensitivity.known(history, rows).all():
            return None
        norms = history.last(Statistic.GRADIENT_NORM, self.window)[:, columns]
        if not np.isfinite(norms).all() or not course.finite:
            return None
        largest = sensitivity.sensitivity(history, columns, rows).max(axis=0)
        if not (largest < self.least_sensitivity).all():
            return None
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=history.layers_of(history.variables[i].layer for i in columns),
            step=history.step,
            evidence={
                "sensitivity": float(largest.max()),
                "sensitivity_limit": self.least_sensitivity,
                "gradient_norm": float(np.sqrt(np.square(norms).sum(axis=1)).max()),
                "steps": self.window,
                **course.evidence(),
            },
            message=(
                "The gradient of every kernel is as good as 0: weights changed by their own size "
                f"along it would change the loss by {largest.max():.1e} of itself."
            ),
        )
