"""IW203 non_finite: NaN or infinity in the training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from initwatch.records import Finding, History, Statistic

Born = Literal["weights", "inputs", "labels", "output", "loss", "gradient", "update"]


@dataclass(frozen=True, slots=True)
class _Step:
    """What of one step is not finite: how many numbers, and where.

    Attributes:
        inputs, labels: numbers of the batch.
        outputs, deltas: by layer, in signal order.
        weights, gradients: by variable; the weights are those before the step.
        updates: variables whose update is not finite.
        loss: True if the loss was seen and is not finite.
    """

    inputs: int
    labels: int
    outputs: NDArray[np.float64]
    deltas: NDArray[np.float64]
    weights: NDArray[np.float64]
    gradients: NDArray[np.float64]
    updates: NDArray[np.bool_]
    loss: bool

    @property
    def reaches_training(self) -> bool:
        """True if the loss, a gradient or a weight is concerned: what is cut off before is not."""
        trained = self.weights.sum() + self.gradients.sum() + self.updates.sum()
        return bool(self.loss or trained)

    @property
    def born(self) -> Born:
        """The first of the step's stages at which something is not finite."""
        if self.weights.any():
            return "weights"
        if self.inputs:
            return "inputs"
        if self.outputs.any():
            # labels cannot make an output so
            return "output"
        if self.labels:
            return "labels"
        if self.loss:
            return "loss"
        return "gradient" if self.gradients.any() or self.deltas.any() else "update"


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """A NaN or an infinity reaches the loss, a gradient or a weight.

    What it means:
        Some number of the step is no number any more. The message tells where it comes from: the
        inputs or labels of this batch, a layer's output, the loss itself, the backward pass, the
        update, or weights that were so from the start.
    Why it hurts:
        One NaN in a gradient makes every weight of its layer NaN in the same step; from then
        on nothing can be learned.
    How it is measured:
        Elements that are NaN or infinite are counted in the inputs, the labels that count, every
        output, delta, gradient and weight; one is enough. It is born at the first of these stages
        that is not finite while all before are.
    What it does not flag:
        Infinities that nothing comes of, such as -inf in front of a softmax, which masks a choice:
        loss, gradients and weights are finite. Steps that float16 loss scaling skips, unless there
        are 20 in a row: their gradients overflow by design, and the optimizer throws them away.

    References:
        IEEE 754; Micikevicius et al. 2018 (loss scaling).
    """

    code: ClassVar[str] = "IW203"
    symptom: ClassVar[str] = "non_finite"
    summary: ClassVar[str] = "NaN or infinity in the training step"
    needs: ClassVar[frozenset[Statistic]] = frozenset({Statistic.GRADIENT_NON_FINITE})
    uses: ClassVar[frozenset[Statistic]] = frozenset(
        {
            Statistic.INPUT_NON_FINITE,
            Statistic.LABEL_NON_FINITE,
            Statistic.ACTIVATION_NON_FINITE,
            Statistic.DELTA_NON_FINITE,
            Statistic.WEIGHT_NON_FINITE,
            Statistic.UPDATE_RMS,
        }
    )
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
        step = _of_newest(history)
        if not step.reaches_training:
            return
        born = step.born
        counts = {
            "input_non_finite": step.inputs,
            "label_non_finite": step.labels,
            "activation_non_finite": int(step.outputs.sum()),
            "delta_non_finite": int(step.deltas.sum()),
            "gradient_non_finite": int(step.gradients.sum()),
            "weight_non_finite": int(step.weights.sum()),
        }
        layers = _affected(history, step)
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error",
            layers=layers,
            step=history.step,
            evidence={
                "non_finite": sum(counts.values()) + int(step.loss) or int(step.updates.sum()),
                "non_finite_limit": 0,
                "born_in": born,
                **counts,
                "loss": float(history.last(Statistic.LOSS, 1)[0, 0]),
            },
            message=_message(history, step, born, layers),
        )


def _of_newest(history: History) -> _Step:
    def counts(statistic: Statistic) -> NDArray[np.float64]:
        if statistic not in history.series:
            return np.zeros(0)
        return np.asarray(np.nan_to_num(history.last(statistic, 1)[0]))

    loss = float(history.last(Statistic.LOSS, 1)[0, 0])
    weights, gradients = counts(Statistic.WEIGHT_NON_FINITE), counts(Statistic.GRADIENT_NON_FINITE)
    # NaN stands for a loss that was not captured, too: then only with other signs is it one
    is_one = history.output.loss_seen or bool(gradients.any() or weights.any())
    moved = np.zeros(0, dtype=np.bool_)
    if Statistic.UPDATE_RMS in history.series and len(gradients):
        update = history.last(Statistic.UPDATE_RMS, 1)[0]
        moved = np.isinf(update) | (np.isnan(update) & (weights == 0.0))
    return _Step(
        inputs=int(counts(Statistic.INPUT_NON_FINITE).sum()),
        labels=int(counts(Statistic.LABEL_NON_FINITE).sum()),
        outputs=counts(Statistic.ACTIVATION_NON_FINITE),
        deltas=counts(Statistic.DELTA_NON_FINITE),
        weights=weights,
        gradients=gradients,
        updates=moved,
        loss=bool(np.isinf(loss) or (np.isnan(loss) and is_one)),
    )


def _affected(history: History, step: _Step) -> list[str]:
    """Layers with something that is not finite, in signal order; that of its birth first."""
    found: dict[str, None] = {}
    if step.born == "gradient" and step.deltas.any():
        # the backward pass comes from the output's side
        found[history.layers[int(np.flatnonzero(step.deltas)[-1])].path] = None
    for i in np.flatnonzero(step.outputs):
        found.setdefault(history.layers[i].path)
    for values in (step.weights, step.gradients, step.updates):
        for path in history.layers_of(history.variables[i].layer for i in np.flatnonzero(values)):
            found.setdefault(path)
    for i in np.flatnonzero(step.deltas):
        found.setdefault(history.layers[i].path)
    return [path for path in found if path]


def _message(history: History, step: _Step, born: Born, layers: list[str]) -> str:
    at = f"in the batch at step {history.step}"
    first = layers[0] if layers else "a layer"
    if born == "inputs":
        numbers = (
            "1 number of the inputs is"
            if step.inputs == 1
            else (f"{step.inputs} numbers of the inputs are")
        )
        return f"{numbers} NaN or infinite {at}."
    if born == "labels":
        one = step.labels == 1
        return f"{step.labels} label{' is' if one else 's are'} NaN or infinite {at}."
    if born == "weights":
        when = (
            "from the start" if history.step == int(history.steps[0]) else f"at step {history.step}"
        )
        return (
            f"{_weights(step)} NaN or infinite {when}, first at {first}: "
            "an update before made them so, or they were loaded or drawn like that."
        )
    if born == "output":
        layer = next((x for x in history.layers if x.path == first), None)
        half = layer is not None and layer.dtype == "float16"
        why = " (float16 ends at 65,504)" if half else ""
        return (
            f"The output of {first} is NaN or infinite{why} {at}, while the inputs and all "
            "weights are finite."
        )
    if born == "loss":
        return (
            f"The loss is {'infinite' if np.isinf(_loss(history)) else 'NaN'} {at}, while the "
            "model's outputs, the labels and all weights are finite: it becomes so inside the "
            "loss, as by log(0), 0/0, or the exponential of a large number."
        )
    if born == "gradient":
        return (
            f"The gradient is NaN or infinite {at}, first at {first}, while the loss and all "
            "outputs are finite: something has no slope there, as sqrt(0), a norm of 0, or a "
            "division that `where` hides."
        )
    return f"The update of {first} is NaN or infinite {at}, while its gradient is finite."


def _weights(step: _Step) -> str:
    count = int(step.weights.sum())
    return "1 weight is" if count == 1 else f"{count} weights are"


def _loss(history: History) -> float:
    return float(history.last(Statistic.LOSS, 1)[0, 0])
