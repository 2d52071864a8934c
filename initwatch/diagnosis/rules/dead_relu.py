"""IW301 dead_relu: units of a ReLU layer that no example switches on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import LONG, does_not_learn
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, LayerSpec, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRelu:
    """Most units of a ReLU layer were positive for no example of any batch looked at.

    What it means:
        Such a unit puts out 0 and passes no gradient, whatever the input.
    Why it hurts:
        It cannot learn its way back: the layer is narrower than it looks, and a layer that is
        dead as a whole cuts the network in two.
    How it is measured:
        Per unit, not per layer mean: a unit counts as dead if it was never positive in the
        last 10 to 64 sampled batches, as many as hold 512 examples (3 are enough for a layer that
        is dead as a whole).
        Fires above the share that chance explains in a deep network whose inputs have become
        collinear, 1/2 + 3 standard deviations of a binomial; in a run that is lost or no better
        than a constant guess after 100 steps, at 1/2.
    What it does not flag:
        Sparse activations (each unit is on for some example), masks and padding, LeakyReLU
        and kin, the output layer.

    References:
        Lu et al. 2019, sec. 3 (born dead); Nair & Hinton 2010 (ReLU).
    """

    code: ClassVar[str] = "IW301"
    symptom: ClassVar[str] = "dead_relu"
    summary: ClassVar[str] = "units of a ReLU layer that no example switches on"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.DEAD_FRACTION})
    retracted: ClassVar[bool] = True
    waits_for_harm: ClassVar[bool] = True

    share: Threshold = threshold(
        0.5,
        unit="dead units / units",
        source="collinear inputs: a symmetric unit is off for all of them with probability 1/2",
    )
    deviations: Threshold = threshold(
        3.0, unit="binomial standard deviations", source="one layer in 700 by chance"
    )
    min_steps: int = 10
    long: int = LONG
    min_steps_whole: int = 3
    min_examples: int = 64

    def limit(self, units: int) -> float:
        """The share of dead units above which a layer of this width is flagged."""
        return min(1.0, self.share + self.deviations * float(np.sqrt(0.25 / units)))

    def check(self, history: History) -> Iterator[Finding]:
        rows = len(history.steps)
        if rows < self.min_steps_whole or history.examples < self.min_examples:
            return
        dead = history.last(Statistic.DEAD_FRACTION, 1)[0]
        hurt = does_not_learn(history, self.long)
        found: list[tuple[LayerSpec, float, float]] = []
        for layer, share in zip(history.layers, dead, strict=True):
            if layer.is_output or np.isnan(share):
                continue
            limit = self.share if hurt else self.limit(layer.outputs)
            whole = share == 1.0
            beyond = share > limit or (hurt and share == limit)
            if whole or (beyond and rows >= self.min_steps):
                found.append((layer, float(share), limit))
        if not found:
            return
        whole_layers = sum(share == 1.0 for _, share, _ in found)
        worst = max(found, key=lambda entry: entry[1])
        order = [worst, *(entry for entry in found if entry is not worst)]
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if whole_layers else "warning",
            layers=[layer.path for layer, _, _ in order],
            step=history.step,
            evidence={
                "dead_fraction": worst[1],
                "dead_fraction_limit": worst[2],
                "dead_fraction_of_each": [share for _, share, _ in order],
                "examples": history.examples,
            },
            message=(
                f"{worst[1]:.0%} of the units of {worst[0].path} were positive for none of "
                f"{history.examples} examples."
            ),
        )
