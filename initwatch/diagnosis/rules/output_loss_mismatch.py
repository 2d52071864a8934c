"""IW602 output_loss_mismatch: output layer, loss and labels that do not fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis.course import LONG, NO_BETTER, course_of, is_hurt
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.diagnosis.targets import OUT_OF_SCALE, off_target
from initwatch.records import Finding, History, Output, Statistic
from initwatch.records.finding import Severity

ALL = 100.0  # percent: what always predicting 0 is off by
_PROBABILITIES = frozenset({"sigmoid", "softmax", "hard_sigmoid"})
_CATEGORICAL = frozenset({"categorical_crossentropy", "sparse_categorical_crossentropy"})
_BINARY = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
_DIVERGENCES = frozenset({"kl_divergence", "kldivergence"})  # the function's name, the class's
_SHARES = _DIVERGENCES | {"ctc", "cosine_similarity"}
# Losses that hold each unit of a row against a label of its own.
_BY_UNIT = _DIVERGENCES | set(
    """
    mean_squared_error mean_absolute_error mean_absolute_percentage_error
    mean_squared_logarithmic_error huber log_cosh poisson hinge squared_hinge cosine_similarity
    """.split()
)
_FROM_0 = frozenset({"poisson", "mean_squared_logarithmic_error"})
_ONE_SIDED = frozenset(["relu", "relu6", "softplus", "exponential"])


@dataclass(frozen=True, slots=True)
class _Fault:
    """One way in which the three do not fit.

    Attributes:
        severity: at once.
        later: once the run is seen not to learn.
        name, value, limit: the decisive figure.
        message: one sentence.
    """

    severity: Severity
    later: Severity
    name: str
    value: float
    limit: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLossMismatch:
    """The model's output cannot be what its loss and its labels ask for.

    What it means:
        The last activation, the number of units, the loss and the coding of the labels make one
        choice; here one of them belongs to another.
    Why it hurts:
        The loss may fall while the predictions stay constant: on TensorFlow Keras hands the
        logits behind a softmax or sigmoid to the loss, so that a softmax over one unit trains as
        if it were a sigmoid. No gradient shows it.
    How it is measured:
        A look at the model (last activation, units, loss, from_logits) and at the labels of the
        sampled steps: their range, whether they are whole numbers, and which share of their
        variance lies outside what the activation can put out. What cannot work is an error at
        once; what often works all the same is mentioned, and a warning if the loss does not fall.
        Whatever the loss is: labels that the output's activation cannot reach, a softmax behind
        another, over one unit or over another axis than the classes', and labels [n] against
        outputs [n, 1], where the loss is seen to be the mean over all pairs, or nothing is learned.
        Of Keras's losses also class numbers where they hold each number against every unit, and
        labels that are no probabilities under kl_divergence.
        Under a cross-entropy also labels that are all one number, of which next to no loss is
        left: mentioned after 1000 examples, a warning after 10,000, or where the output has a unit
        for each of three classes or more.
    What it does not flag:
        Models with several outputs; labels of weight 0, masked ones and those of ``ignore_class``;
        squared error on a sigmoid with labels of 0 and 1 that learns.

    References:
        Bishop 2006, sec. 4.3.2 to 4.3.4 and 5.2 (which output belongs to which error function).
    """

    code: ClassVar[str] = "IW602"
    symptom: ClassVar[str] = "output_loss_mismatch"
    summary: ClassVar[str] = "output layer, loss and labels that do not fit each other"
    uses: ClassVar[frozenset[Statistic]] = frozenset(
        {
            Statistic.ALIGNED_ERROR,
            Statistic.CROSSED_ERROR,
            Statistic.PREDICTION_SUM_OFF,
            Statistic.PREDICTION_OUTSIDE,
        }
    )
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {
            Statistic.LABEL_MIN,
            Statistic.LABEL_MAX,
            Statistic.LABEL_MEAN,
            Statistic.LABEL_STD,
            Statistic.LABEL_WHOLE_FRACTION,
            Statistic.LABEL_OUT_OF_REACH,
            Statistic.LOSS,
        }
    )
    retracted: ClassVar[bool] = True
    persists: ClassVar[bool] = True

    out_of_reach: Threshold = threshold(
        0.5,
        unit="mean square of what cannot be predicted / variance of the labels",
        source="half of what there is to explain: the best fit has an R2 below 0.5",
    )
    partly_out_of_reach: Threshold = threshold(
        0.2,
        unit="the same",
        source="tanh under standardised normal labels, which learns, leaves 0.15 out",
    )
    one_hot_sum: Threshold = threshold(
        0.02, unit="|mean sum of a row - 1|", source="label smoothing keeps the sum at 1"
    )
    several: Threshold = threshold(
        0.1, unit="|mean sum of a row - 1|", source="labels of one class a row are at 0 exactly"
    )
    few_labels: Threshold = threshold(
        1000.0,
        unit="examples of one label",
        source="another label is rarer than 0.3 % with probability 0.95 (rule of three): mentioned",
    )
    many_labels: Threshold = threshold(
        10_000.0,
        unit="examples of one label",
        source="rarer than 0.03 %: of labels as rare as frauds one would have been seen",
    )
    nothing_left: Threshold = threshold(
        0.05,
        unit="cross-entropy, nats",
        source="less than a tenth of ln 2: only the constant is left to be learned",
    )
    scaled: Threshold = threshold(
        0.1,
        unit="mean sum of a row of labels below 1/2",
        source="rows that sum to 1/255: TensorFlow's gradient, which takes the sum for 1, drives "
        "the loss up without end",
    )
    pairs: Threshold = threshold(
        1e-3, unit="|loss / mean squared error of all pairs - 1|", source="float32 sums: 1e-5"
    )
    adds_up: Threshold = threshold(
        0.1, unit="|sum of a row - 1|", source="float16 softmax over 1000 classes: 0.01"
    )
    smoothed: Threshold = threshold(
        0.5,
        unit="label_smoothing",
        source="0.1 is customary (Szegedy et al. 2016, sec. 7); of more, most of a label is gone",
    )
    outside: Threshold = threshold(
        0.01,
        unit="share of predictions beyond 0 to 1",
        source="probabilities are there by a thousandth at most, in float16 too",
    )
    several_classes: int = 3  # units
    newest: int = 20  # losses
    long: int = LONG
    min_rows: int = 2

    def abstains(self, history: History) -> str | None:
        """What is the user's own cannot be looked at."""
        if not history.output.labels_seen:
            return "the step shows no labels to hold the output against"
        if not history.output.rank:
            return "there are several outputs"
        return None

    def check(self, history: History) -> Iterator[Finding]:
        if len(history.steps) < self.min_rows:
            return
        faults = list(self._faults(history.output, history))
        if not faults:
            return
        course = course_of(history, 50)
        hurt = is_hurt(history, course)
        fault = faults[0]
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity=fault.later if hurt else fault.severity,
            layers=[history.output.layer] if history.output.layer else [],
            step=history.step,
            evidence={
                fault.name: fault.value,
                f"{fault.name}_limit": fault.limit,
                "often_works": int(fault.severity == "info"),
                "output_activation": history.output.activation or "unknown",
                "output_units": history.output.units,
                "loss_function": history.output.loss or "unknown",
                "label_min": self._lowest(history),
                "label_max": self._highest(history),
            },
            message=fault.message,
        )

    def _lowest(self, history: History) -> float:
        return float(np.min(history.series[Statistic.LABEL_MIN]))

    def _highest(self, history: History) -> float:
        return float(np.max(history.series[Statistic.LABEL_MAX]))

    def _faults(self, output: Output, history: History) -> Iterator[_Fault]:
        """The worst first."""
        name, loss, units = output.activation, output.loss, output.units
        low, high = self._lowest(history), self._highest(history)
        if not np.isfinite([low, high]).all():
            return  # non_finite speaks of these
        if name == "softmax" and units == 1:
            yield _Fault(
                "error",
                "error",
                "output_units",
                1.0,
                2.0,
                "A softmax over one unit is 1 whatever the input: every prediction is the same.",
            )
        yield from self._across(output, history)
        yield from self._illegal_labels(output, low, high, history)
        yield from self._spread_out(output, low, high, history)
        if output.label_smoothing > self.smoothed:
            yield _Fault(
                "error" if output.label_smoothing >= 1.0 else "info",
                "error",
                "label_smoothing",
                output.label_smoothing,
                self.smoothed,
                f"label_smoothing={output.label_smoothing:g} leaves "
                f"{max(1.0 - output.label_smoothing, 0.0):.0%} of each label: the rest is the same "
                "for all examples.",
            )
        if loss in _BINARY | _CATEGORICAL:
            yield from self._one_label(low, history)
        if loss in _CATEGORICAL and units == 1 and name != "softmax":
            yield _Fault(
                "error",
                "error",
                "output_units",
                1.0,
                2.0,
                f"{loss} compares classes, one a unit, and the output has a single unit.",
            )
        if loss in _BINARY | _CATEGORICAL and not output.from_logits:
            yield from self._no_probability(output, history)
        if loss in _BINARY | _CATEGORICAL and output.from_logits and name in _ONE_SIDED:
            yield _Fault(
                "info",
                "warning",
                "output_low",
                output.low,
                -float("inf"),
                f"{loss} with from_logits=True takes logits of either sign, and {name} puts out "
                "nothing below 0.",
            )
        yield from self._softmaxes(output, history)
        if loss in _BINARY | _CATEGORICAL and output.from_logits and name in _PROBABILITIES:
            yield _Fault(
                "info" if output.logits_read else "warning",
                "warning" if output.logits_read else "error",
                "times_normalized",
                2.0,
                1.0,
                f"{loss} with from_logits=True takes logits, and the output is a {name} already.",
            )
        numbers = not output.numbered
        if loss not in _BINARY | _CATEGORICAL | _SHARES and numbers:
            yield from self._regression(output, low, high, history)

    def _across(self, output: Output, history: History) -> Iterator[_Fault]:
        """Labels [n] against predictions [n, 1], of which broadcasting makes [n, n]."""
        if output.units > 1:
            return
        share = self._crossed(history)
        same = output.label_rank == output.rank
        if share is None and (same or output.aligned):
            return
        shapes = "[n] and the outputs [n, 1]" if output.rank == 2 else "[n, 1] and the outputs [n]"
        what = "The loss compares labels and outputs of the shapes [n] and [n, 1]"
        text = (
            f"{what if same else f'The labels have the shape {shapes}'}: subtracting one from the "
            "other gives [n, n], every prediction against every label"
        )
        if share is not None:
            yield _Fault(
                "error",
                "error",
                "loss_of_all_pairs",
                share,
                self.pairs,
                f"{text}, and that is what the loss is the mean of.",
            )
            return
        course = course_of(history)
        if course is not None and course.steps >= self.long and course.no_better:
            yield _Fault(
                "warning", "warning", "label_rank", output.label_rank, output.rank, text + "."
            )

    def _crossed(self, history: History) -> float | None:
        """Loss / mean squared error of all pairs, if it is that and not the error row by row."""
        needed = (Statistic.ALIGNED_ERROR, Statistic.CROSSED_ERROR, Statistic.LOSS)
        if any(statistic not in history.series for statistic in needed):
            return None
        aligned, crossed, loss = (history.series[statistic][:, 0] for statistic in needed)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_pairs, of_rows = loss / crossed, loss / aligned
        known = np.isfinite(of_pairs) & np.isfinite(of_rows)
        if known.sum() < self.min_rows:
            return None
        same = np.abs(of_pairs[known] - 1.0) < self.pairs
        other = np.abs(of_rows[known] - 1.0) > 10.0 * self.pairs
        return float(np.median(of_pairs[known])) if same.all() and other.any() else None

    def _softmaxes(self, output: Output, history: History) -> Iterator[_Fault]:
        """A softmax behind a softmax, or over another axis than that of the classes."""
        if output.softmaxes > 1:
            yield _Fault(
                "info",
                "warning",
                "softmaxes",
                float(output.softmaxes),
                1.0,
                f"{output.softmaxes} softmaxes stand one behind the other at the output: what "
                "comes out is nearly the same for every class.",
            )
        if output.loss not in _CATEGORICAL or output.activation != "softmax":
            return
        off = _typical(history, Statistic.PREDICTION_SUM_OFF)
        if off > self.adds_up:
            yield _Fault(
                "info",
                "error",
                "prediction_sum_off",
                off,
                self.adds_up,
                "The predicted probabilities of an example do not add up to 1: the softmax "
                "goes over another axis than that of the classes.",
            )

    def _illegal_labels(
        self, output: Output, low: float, high: float, history: History
    ) -> Iterator[_Fault]:
        loss, units = output.loss, output.units
        if loss == "sparse_categorical_crossentropy" and units:
            whole = float(np.min(history.series[Statistic.LABEL_WHOLE_FRACTION]))
            if low < 0.0 or high >= units or whole < 1.0:
                yield _Fault(
                    "error",
                    "error",
                    "label_max",
                    high,
                    units - 1.0,
                    f"{loss} wants class numbers from 0 to {units - 1}; the labels go from "
                    f"{low:.4g} to {high:.4g}{'' if whole == 1.0 else ' and are not whole'}.",
                )
        if loss in (_BINARY | {"categorical_crossentropy"}) and (low < 0.0 or high > 1.0):
            yield _Fault(
                "error",
                "error",
                "label_max",
                high,
                1.0,
                f"{loss} wants labels from 0 to 1; these go from {low:.4g} to {high:.4g}.",
            )
        if loss in _DIVERGENCES and (low < 0.0 or high > 1.0) and output.label_units != 1:
            yield _Fault(
                "error",
                "error",
                "label_max",
                high,
                1.0,
                f"{loss} compares probabilities, and the labels go from {low:.4g} to {high:.4g}.",
            )
        if loss in _FROM_0 and low < 0.0:
            yield _Fault(
                "info",
                "error",
                "label_min",
                low,
                0.0,
                f"{loss} wants labels from 0 on; these go from {low:.4g} to {high:.4g}.",
            )
        if loss == "categorical_crossentropy" and units > 1 and low >= 0.0 and high <= 1.0:
            total = _row_sum(history)
            if abs(total - 1.0) > self.one_hot_sum:
                # rows that are all 0, such as padding, are another matter
                scaled = total < self.scaled and high < 0.5
                inverted = abs(total - (units - 1.0)) < self.one_hot_sum and units > 2
                wrong = scaled or inverted
                yield _Fault(
                    "warning" if wrong else "info",
                    "error" if wrong else "warning",
                    "inverted_row_sum" if inverted else "label_row_sum",
                    total,
                    1.0,
                    f"{loss} wants one class a row; the labels of a row add up to {total:.3g}"
                    + (": all classes but one." if inverted else "."),
                )

    def _spread_out(
        self, output: Output, low: float, high: float, history: History
    ) -> Iterator[_Fault]:
        """Class numbers under a loss that holds each of them against every unit of a row."""
        whole = bool(np.all(history.series[Statistic.LABEL_WHOLE_FRACTION] == 1.0))
        numbers = whole and low >= 0.0 and high == output.units - 1.0
        alone = output.label_units == 1 < output.units and not output.numbered
        if not (alone and numbers) or output.loss not in _BY_UNIT:
            return
        yield _Fault(
            "warning",
            "error",
            "label_units",
            1.0,
            float(output.units),
            f"{output.loss} holds each of the {output.units} outputs against the number of the "
            f"class, 0 to {output.units - 1}; it does not pick the output of that class.",
        )

    def _one_label(self, label: float, history: History) -> Iterator[_Fault]:
        course = course_of(history)
        examples = history.one_label or _of_one_row(history)
        if examples < self.few_labels or course is None:
            return
        # two players may be told one label each: theirs is a loss that stays
        if not course.trend.end < self.nothing_left:
            return
        # a softmax over three classes and more is no detector of something rare
        sure = history.output.units >= self.several_classes
        told: Severity = "warning" if sure or examples >= self.many_labels else "info"
        yield _Fault(
            told,
            told,
            "examples_of_one_label",
            examples,
            self.few_labels,
            f"Every label of {examples} examples is "
            f"{f'{label:.4g}' if history.one_label else 'the same class'}: there is nothing to "
            "be told apart.",
        )

    def _no_probability(self, output: Output, history: History) -> Iterator[_Fault]:
        name, loss = output.activation, output.loss
        if not name:
            share = _typical(history, Statistic.PREDICTION_OUTSIDE)
            if share > self.outside:
                yield _Fault(
                    "warning",
                    "error",
                    "prediction_outside",
                    share,
                    self.outside,
                    f"{loss} takes probabilities, and {share:.0%} of the predictions are not "
                    "between 0 and 1: they are cut off there and have no gradient.",
                )
            return
        if name not in _PROBABILITIES:
            yield _Fault(
                "warning",
                "error",
                "output_low",
                output.low,
                0.0,
                f"{loss} takes probabilities, and the output is {name}: what is not between 0 and "
                "1 is cut off and has no gradient.",
            )
        elif loss in _CATEGORICAL and name != "softmax":
            yield _Fault(
                "info",
                "warning",
                "output_units",
                float(output.units),
                1.0,
                f"{loss} takes one probability distribution, and a {name} gives each class a "
                "probability of its own.",
            )
        elif loss in _BINARY and name == "softmax" and output.units > 1:
            total = _row_sum(history)
            if abs(total - 1.0) > self.several:
                yield _Fault(
                    "warning",
                    "error",
                    "label_row_sum",
                    total,
                    1.0,
                    f"The labels of a row add up to {total:.3g}, the outputs of a softmax to 1.",
                )
            yield _Fault(
                "info",
                "warning",
                "output_units",
                float(output.units),
                1.0,
                f"{loss} takes every class by itself, and a softmax makes them share.",
            )

    def _regression(
        self, output: Output, low: float, high: float, history: History
    ) -> Iterator[_Fault]:
        if output.loss == "mean_absolute_percentage_error" and low < 0.0 < high:
            newest = history.losses[-self.newest :]
            left = float(np.median(newest)) / ALL if len(newest) else 0.0
            told = len(history.losses) >= self.newest and left >= NO_BETTER
            yield _Fault(
                "warning" if told else "info",
                "error",
                "loss_over_that_of_0",
                left,
                NO_BETTER,
                f"{output.loss} divides by the labels, which go from {low:.4g} to {high:.4g}: "
                "those near 0 outweigh all others, and the loss of always predicting 0 is 100"
                + (f"; it is {left * ALL:.3g}." if told else "."),
            )
        beyond = history.series[Statistic.LABEL_OUT_OF_REACH][:, 0]
        variance = np.square(history.series[Statistic.LABEL_STD][:, 0])
        known = variance > 0.0
        if known.any():
            share = float(np.median(beyond[known] / variance[known]))
            if share > 0.0:
                beyond_hope, hurts = share > self.out_of_reach, share > self.partly_out_of_reach
                at_once: Severity = "error" if beyond_hope else "warning" if hurts else "info"
                yield _Fault(
                    # a loss of the user's own may compare something else with the labels
                    at_once if output.loss else "info",
                    "error" if hurts else "warning",
                    "out_of_reach",
                    share,
                    self.out_of_reach,
                    f"The labels go from {low:.4g} to {high:.4g}, and {output.activation} ends at "
                    f"{output.low:.4g} and {output.high:.4g}.",
                )
        off = off_target(history)
        if off is not None:
            name, size = off
            yield _Fault(
                "info",
                "warning",
                "target_off",
                size,
                OUT_OF_SCALE,
                f"The targets' {name} is {size:.3g}, and outputs begin near 0 and of a size near "
                "1: training goes into that difference first.",
            )
        two = np.all(history.series[Statistic.LABEL_WHOLE_FRACTION] == 1.0)
        probabilities = output.activation in _PROBABILITIES and bool(output.loss)
        if two and (low, high) == (0.0, 1.0) and probabilities:
            yield _Fault(
                "info",
                "warning",
                "label_classes",
                2.0,
                2.0,
                f"The labels are 0 and 1, classes, and {output.loss} is made for quantities.",
            )


def _of_one_row(history: History) -> int:
    """Examples seen, if the labels of every sampled batch were one row, repeated; else 0.

    Data in the order of their classes has such batches too, and a high loss where one begins.
    """
    needed = (Statistic.TARGET_VARIANCE, Statistic.LABELS_COUNTED)
    if history.output.numbered or any(s not in history.series for s in needed):
        return 0
    variance, counted = (history.series[statistic][:, 0] for statistic in needed)
    losses = history.losses[len(history.losses) // 2 :]
    falls = bool((losses[np.isfinite(losses)] < 0.5 * history.losses[0]).all())
    return int(np.nansum(counted)) if (variance == 0.0).all() and falls else 0


def _typical(history: History, statistic: Statistic) -> float:
    """Median of what is known of the first output; 0 where nothing is."""
    values = history.series.get(statistic)
    known = values[:, 0][np.isfinite(values[:, 0])] if values is not None else np.zeros(0)
    return float(np.median(known)) if len(known) else 0.0


def _row_sum(history: History) -> float:
    """What the labels of a row add up to."""
    return float(np.median(history.series[Statistic.LABEL_MEAN])) * history.output.units
