"""IW601 unscaled_input: inputs far from the size that weights are drawn for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import course_of, is_hurt
from initwatch.diagnosis.inputs import brought_to_size
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class UnscaledInput:
    """What the first weights are multiplied with is far from size 1, and the run does not learn.

    What it means:
        Initializers are made for inputs of variance about 1. With inputs in the hundreds the
        first activations saturate or the loss explodes, with inputs of thousandths nothing of
        them is left. Inputs that are all 0 tell nothing at all.
    Why it hurts:
        One learning rate cannot suit weights whose gradients differ by such factors.
    How it is measured:
        RMS of the model's input over the batch in 3 sampled steps; a warning once the run is seen
        to be hurt as well (lost, or after 20 losses risen or no better than a constant guess).
        Else it is only mentioned. Of inputs of any size also whether they are all alike: the
        first layer's outputs for different examples then point the same way, to float32's last
        digits.
    What it does not flag:
        Pixels of 0 to 255 or of 0 to 1 in a run that learns; inputs that a Rescaling or
        normalisation layer brings to size; models that begin with an Embedding.

    References:
        LeCun et al. 1998, sec. 4.3.
    """

    code: ClassVar[str] = "IW601"
    symptom: ClassVar[str] = "unscaled_input"
    summary: ClassVar[str] = "inputs far from the size that weights are drawn for"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.INPUT_RMS, Statistic.INPUT_MAX_ABS, Statistic.LOSS}
    )
    uses: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.ACTIVATION_SIMILARITY, Statistic.WEIGHT_RMS}
    )
    retracted: ClassVar[bool] = True

    largest: Threshold = threshold(
        10.0,
        unit="RMS(input)",
        source="inputs of variance 1 are assumed; at 10 a tanh unit of Glorot weights is flat",
    )
    smallest: Threshold = threshold(
        0.01, unit="RMS(input)", source="the same factor of 100 in variance and more, downwards"
    )
    alike: Threshold = threshold(
        1e-6, unit="1 - cosine", source="what float32 leaves of no difference at all"
    )
    window: int = 3

    def _all_alike(self, history: History) -> Finding | None:
        """For examples that are the same one to the first layer, in a run that does not learn."""
        first = history.first_weights
        embedded = any(x.class_name == "Embedding" for x in history.layers)
        if first is None or embedded or Statistic.ACTIVATION_SIMILARITY not in history.series:
            return None
        if first.outputs == 1:
            return None  # two numbers of one sign have a cosine of 1, whatever they are
        column = history.layer_index(first.path)
        rows = history.first(Statistic.ACTIVATION_SIMILARITY, self.window)[:, column]
        if len(rows) < self.window:
            return None
        begun = history.first(Statistic.WEIGHT_RMS, 1)[0]
        biases = [v.layer == first.path and v.role == "bias" for v in history.variables]
        if (begun[biases] > 0.0).any():
            return None  # large biases make outputs alike whatever the inputs are
        apart = float(1.0 - np.min(rows))
        course = course_of(history)
        if not apart < self.alike or not is_hurt(history, course):
            return None
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=[first.path],
            step=history.step,
            evidence={
                "apart": apart,
                "apart_limit": self.alike,
                **({} if course is None else course.evidence()),
            },
            message=(
                f"All examples look the same to {first.path}, the first layer with weights: its "
                f"outputs for them differ by {max(apart, 0.0):.1g} (1 - cosine)."
            ),
        )

    def check(self, history: History) -> Iterator[Finding]:
        alike = self._all_alike(history)
        if alike is not None:
            yield alike
            return
        rows = history.last(Statistic.INPUT_RMS, self.window)
        if len(rows) < self.window or brought_to_size(history):
            return
        rms = np.median(rows, axis=0)
        distance = np.maximum(rms / self.largest, self.smallest / np.maximum(rms, 1e-300))
        # one of several may well be 0: a state that begins so, or a part that is left out
        empty = rows.shape[1] == 1 and bool((rows == 0.0).all())
        distance[~np.isfinite(rms) | ((rms == 0.0) & (not empty))] = 0.0
        if not len(distance) or distance.max() <= 1.0:
            return
        worst = int(np.argmax(distance))
        size = float(rms[worst])
        large = size > self.largest
        course = course_of(history)
        hurt = is_hurt(history, course)
        first = history.first_weights
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="info" if not hurt else "error" if empty else "warning",
            layers=[first.path] if first else [],
            step=history.step,
            evidence={
                "input_rms": size,
                "input_rms_limit": self.largest if large else self.smallest,
                "input_max_abs": float(history.last(Statistic.INPUT_MAX_ABS, 1)[0, worst]),
                **({} if course is None else course.evidence()),
            },
            message=(
                "Every number of the inputs is 0"
                if empty
                else f"The inputs have an RMS of {size:.3g}, where weights are drawn for about 1"
            )
            + ("." if not hurt else ", and the run does not learn."),
        )
