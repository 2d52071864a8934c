"""IW203 non_finite: NaN or infinity in the training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.records import Finding, History, Statistic, Subject

_COUNTS = (
    Statistic.ACTIVATION_NON_FINITE,
    Statistic.DELTA_NON_FINITE,
    Statistic.GRADIENT_NON_FINITE,
    Statistic.WEIGHT_NON_FINITE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """A NaN or an infinity in activations, gradients, weights or the loss.

    What it means:
        Some number of the step is no number any more. The layers are listed in signal order:
        the first whose output is not finite is where it starts.
    Why it hurts:
        One NaN in a gradient makes every weight of its layer NaN in the same step; from then
        on nothing can be learned.
    How it is measured:
        Elements that are NaN or infinite are counted in every output, delta, gradient and
        weight; one is enough.
    What it does not flag:
        Steps that float16 loss scaling skips, unless there are 20 in a row: their gradients
        overflow by design, and the optimizer throws them away.

    References:
        IEEE 754; Micikevicius et al. 2018 (loss scaling).
    """

    code: ClassVar[str] = "IW203"
    symptom: ClassVar[str] = "non_finite"
    summary: ClassVar[str] = "NaN or infinity in the training step"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.GRADIENT_NON_FINITE})
    retracted: ClassVar[bool] = False
    persists: ClassVar[bool] = True

    skips: int = 20  # a scale of 2^15, Keras's first, is 1/32 after so many halvings

    def check(self, history: History) -> Iterator[Finding]:
        if not len(history.steps):
            return
        skipped = history.last(Statistic.SKIPPED, self.skips)[:, 0]
        # the scale is halved at each skip: what has not passed by then is not the scale's doing
        if skipped[-1] and (len(skipped) < self.skips or not skipped.all()):
            return
        counts: dict[str, int] = {}
        affected: dict[str, None] = {}
        for statistic in _COUNTS:
            if statistic not in history.series:
                continue
            row = np.nan_to_num(history.last(statistic, 1)[0])
            counts[str(statistic)] = int(row.sum())
            names = (
                [layer.path for layer in history.layers]
                if statistic.subject is Subject.LAYER
                else [variable.layer for variable in history.variables]
            )
            for i in np.flatnonzero(row):
                affected.setdefault(names[i])
        loss = float(history.last(Statistic.LOSS, 1)[0, 0])
        # NaN stands for a loss that was not captured, too: then only with other signs is it one
        is_one = history.output.loss_seen or bool(affected)
        bad_loss = bool(np.isinf(loss) or (np.isnan(loss) and is_one))
        total = sum(counts.values()) + int(bad_loss)
        if not total:
            return
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=list(affected),
            step=history.step,
            evidence={"non_finite": total, "non_finite_limit": 0, **counts, "loss": loss},
            message=(
                f"{total} values of the step are NaN or infinite"
                + (f", first at {next(iter(affected))}." if affected else ": the loss itself.")
            ),
        )
