"""IW106 one_sided_weights: initial weights with a mean, so that all units see the same sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from initwatch.diagnosis.initial_weights import (
    ONE_SIDED,
    one_sided,
    one_sided_embeddings,
    suitable_rms,
)
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSidedWeights:
    """The initial weights of a layer have a mean that outweighs what tells its units apart.

    What it means:
        The kernel was drawn from one side of 0, as by RandomUniform(0, 1), or around another
        number than 0. All of its units add up their inputs nearly alike, and what a unit has of
        its own is lost in that sum.
    Why it hurts:
        The signal has one direction only: however wide the layer is, it tells the next one little
        more than a single number, and that number is large.
    How it is measured:
        |mean(w)| x sqrt(fan_in) / std(w) at the first step: of inputs that are all positive, as
        pixels and the outputs of ReLU are, the sum that all units have in common over what each
        has of its own. Of embeddings |mean| / std, by which entries are told apart. It is a
        warning once the run is seen to be harmed.
    What it does not flag:
        Kernels of zeros (see symmetric_units); a layer of a single unit; recurrent kernels; a
        kernel in front of a normalisation; layers of a run that learns.

    References:
        LeCun et al. 1998, sec. 4.6 (weights of mean 0); Glorot & Bengio 2010, sec. 4.2.
    """

    code: ClassVar[str] = "IW106"
    symptom: ClassVar[str] = "initializer_mismatch"
    summary: ClassVar[str] = "the initial weights are not centred on 0"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.WEIGHT_MEAN, Statistic.WEIGHT_STD, Statistic.LOSS}
    )
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True
    hurts_above_guess: ClassVar[bool] = True

    max_share: Threshold = threshold(
        ONE_SIDED,
        unit="|mean(w)| x sqrt(fan_in) / std(w)",
        source="draws around 0 of 8 units stay below 1.4 in 999 of 1000 cases (4 / sqrt(8)); "
        "U(0, 1) of 32 inputs has 9.8",
    )
    window: int = 1  # the first step shows the initialisation itself
    min_units: int = 2

    def check(self, history: History) -> Iterator[Finding]:
        if len(history.steps) < self.window:
            return
        found = [
            (layer, kernel, share)
            for layer, kernel, share in one_sided(history)
            if share > self.max_share
            and not layer.normalized
            and kernel.shape[-1] >= self.min_units
        ]
        if not found:
            yield from self._of_embeddings(history)
            return
        layer, kernel, share = max(found, key=lambda entry: entry[2])
        evidence = self._evidence(history, kernel.variable, share)
        suitable = suitable_rms(layer, kernel)
        yield self._finding(
            history,
            list(dict.fromkeys(each.path for each, _, _ in found)),
            evidence | {"suitable_std": suitable},
            f"The weights of {layer.path} start around {evidence['weight_mean']:.2g} instead of 0 "
            f"(standard deviation {evidence['weight_std']:.2g}; 0 and {suitable:.2g} suit it). All "
            "of its units add up their inputs nearly alike, so little of what tells examples "
            "apart gets through.",
        )

    def _of_embeddings(self, history: History) -> Iterator[Finding]:
        found = one_sided_embeddings(history)
        if not found:
            return
        variable, share = max(found, key=lambda entry: entry[1])
        evidence = self._evidence(history, variable.path, share)
        yield self._finding(
            history,
            [each.layer for each, _ in found],
            evidence,
            f"The vectors of {variable.layer} all start near {evidence['weight_mean']:.2g} "
            f"(standard deviation {evidence['weight_std']:.2g}): one entry looks like any other to "
            "the layers behind.",
        )

    def _evidence(self, history: History, path: str, share: float) -> dict[str, float]:
        column = history.variable_index(path)
        return {
            "common_over_own": share,
            "common_over_own_limit": self.max_share,
            "weight_mean": float(history.first(Statistic.WEIGHT_MEAN, 1)[0, column]),
            "weight_std": float(history.first(Statistic.WEIGHT_STD, 1)[0, column]),
        }

    def _finding(
        self, history: History, layers: list[str], evidence: dict[str, float], message: str
    ) -> Finding:
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=layers,
            step=history.step,
            evidence=evidence,
            message=message,
        )
