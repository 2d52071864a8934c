"""From what a step showed to one row of sums, inside the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from initwatch.capture import labels, predictions, reductions
from initwatch.capture.backends.protocol import Backend
from initwatch.capture.observer import Applied, Call, Observer
from initwatch.capture.outputs import describe_output
from initwatch.capture.reductions import SlopeOfOutput, Sums, together
from initwatch.capture.targets import Target, facts_of
from initwatch.capture.topology import unique_layers
from initwatch.measurement.layout import STEP_BASE, Group, Layout, Source
from initwatch.records.layer import VariableSpec
from initwatch.records.output import Output

Tensor = Any
_Part = tuple[Source, Sums, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How one layer's output is to be read.

    Attributes:
        slope: phi'(z) from the output, None where it is not known.
        rectifies: True if units can be dead.
        unit_axis: axis of the output that runs over units.
    """

    slope: SlopeOfOutput | None
    rectifies: bool
    unit_axis: int


@dataclass(slots=True)
class Row:
    """The tensors one step gives out, and what stands where in them."""

    layout: Layout
    layers: list[Any]
    variables: list[Any]
    sums: Tensor
    active: Tensor | None
    histograms: Callable[[], Tensor]
    histogram_groups: tuple[Group, ...]
    unread: list[Any]
    output: Output


def build_row(
    observer: Observer,
    backend: Backend,
    readings: dict[int, Reading],
    units: dict[int, int],
    paths: dict[int, str],
) -> Row | None:
    """Reduces all that a step showed to one vector.

    Args:
        observer: what the step showed.
        backend: how its tensors are handled.
        readings: id(layer) -> how its output is read.
        units: id(variable) -> number of units of a kernel; 1 for other variables.
        paths: id(layer) -> its path.

    Returns:
        None if no optimizer was applied: there is no step to speak of.
    """
    if not observer.applied:
        return None
    asked = _Asked()
    layers = unique_layers(observer.calls)
    activity: list[tuple[int, int]] = []
    units_outputs: list[Tensor] = []
    unread: list[Any] = []
    readable = [is_readable(backend, call) for call in observer.calls]
    for call, readable_now in zip(observer.calls, readable, strict=True):
        index = next(i for i, layer in enumerate(layers) if layer is call.layer)
        reading = readings[id(call.layer)]
        if readable_now:
            read = backend.apart(call.output)
            reduction = reductions.activation_sums(reading.slope, reading.rectifies)
            output = reductions.matrix(read)
            some = reductions.examples(read)
            asked.add(Source.ACTIVATION, index, reduction, output, some)
            asked.draw(Source.ACTIVATION, index, output)
            if reading.rectifies and call.output.shape[reading.unit_axis] is not None:
                activity.append((index, int(call.output.shape[reading.unit_axis])))
                units_outputs.append(reductions.units_last(read, reading.unit_axis))
        else:
            unread.append(call.layer)
        for gradient in call.gradients:
            delta = reductions.matrix(backend.apart(backend.dense(gradient)))
            asked.add(Source.DELTA, index, reductions.delta_sums, delta)
    variables: list[Any] = []
    inputs = [x for x in observer.inputs if _is_signal(x)]
    for i, x in enumerate(inputs):
        asked.add(Source.INPUT, i, reductions.gradient_sums, reductions.matrix(x))
    output = describe_output(observer, backend, paths)
    told = [_Told(target, observer, backend) for target in observer.targets if target.comparable]
    if len(told) == 1:
        told[0].ask_for_labels(asked, output)
    for i, each in enumerate(told):
        asked.add_as_it_is(Source.OUTPUT, i, each.compared(output))
    for applied in observer.applied:
        _add_applied(applied, variables, units, backend, asked)
    sums, groups = asked.sums(backend)
    active = None
    if units_outputs:
        order, active = backend.each(
            reductions.active_units, [(output,) for output in units_outputs]
        )
        activity = [activity[i] for i in order]
    drawn = [(tensor,) for tensor in asked.drawn]
    return Row(
        layout=Layout(
            tuple(groups), tuple(activity), len(layers), len(variables), len(inputs), len(told)
        ),
        layers=layers,
        variables=variables,
        sums=ops.concatenate([ops.stack(_header(observer, told, output)), sums]),
        active=active,
        histograms=lambda: backend.each(reductions.histogram, drawn)[1],
        histogram_groups=tuple(asked.drawn_groups[i] for i in backend.order(drawn)),
        unread=unread,
        output=output,
    )


class _Asked:
    """The sums that a row is to hold, and the tensors that histograms are drawn of."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []
        self.drawn_groups: list[Group] = []
        # what is reduced alike
        self._alike: dict[reductions.Reduction, list[tuple[list[Group], tuple[Tensor, ...]]]] = {}

    def add(self, source: Source, subject: int, sums: Sums, *matrices: Tensor) -> None:
        self.add_together([(source, sums, matrices)], subject)

    def add_as_it_is(self, source: Source, subject: int, fields: Tensor) -> None:
        """A group whose fields were worked out before: float32[fields]."""
        groups = [Group(source, subject)]
        self._alike.setdefault(reductions.as_they_are, []).append((groups, (fields[None],)))

    def add_together(self, parts: list[_Part], subject: int) -> None:
        """Several groups of one subject, summed in one call."""
        groups = [Group(source, subject) for source, _, _ in parts]
        sums = parts[0][1] if len(parts) == 1 else together(*(each for _, each, _ in parts))
        matrices = tuple(matrix for _, _, its in parts for matrix in its)
        self._alike.setdefault(sums, []).append((groups, matrices))

    def draw(self, source: Source, subject: int, matrix: Tensor) -> None:
        self.drawn_groups.append(Group(source, subject))
        self.drawn.append(matrix)

    def sums(self, backend: Backend) -> tuple[Tensor, list[Group]]:
        """All sums one behind the other, and whose they are."""
        parts: list[Tensor] = []
        groups: list[Group] = []
        for reduction, asked in self._alike.items():
            order, sums = backend.each(reduction, [matrices for _, matrices in asked])
            groups += [group for i in order for group in asked[i][0]]
            parts.append(sums)
        return ops.concatenate(parts), groups


def _is_signal(x: Any) -> bool:
    """True for numbers that a layer computes with; rows of indices are names, not sizes."""
    kind = keras.backend.standardize_dtype(x.dtype)
    return "float" in kind or ("int" in kind and len(x.shape) > 2)


def is_readable(backend: Backend, call: Call) -> bool:
    """Whether reading the output leaves the compiled step's arithmetic as it is.

    A tensor with a single reader may be fused into it by the graph optimizer, and a second
    reader undoes that, with another rounding (see the README).
    """
    return not backend.may_be_fused(call.output)


def _header(observer: Observer, told: list[_Told], output: Output) -> list[Tensor]:
    """The fields of ``measurement.layout.HEADER``."""
    applied = observer.applied[0]
    unknown = ops.convert_to_tensor(float("nan"), "float32")
    scale = applied.loss_scale
    step = applied.iterations
    loss = unknown if observer.loss is None else reductions.as_float32(observer.loss)
    skipped = ops.zeros((), "float32")
    if scale is not None:
        # the loss scaler's own test: it skips the step if any gradient is not finite
        finite = [ops.all(ops.isfinite(g)) for g in applied.gradients if g is not None]
        skipped = 1.0 - ops.cast(ops.all(ops.stack(finite)), "float32")
    penalty = sum((reductions.as_float32(x) for x in observer.penalties), ops.zeros_like(skipped))
    # without a compiled loss, what was added is all there is
    has_penalty = bool(observer.penalties) and getattr(observer.model, "loss", None) is not None
    trivial, errors, trivial_errors = _against_labels(observer, told, output, unknown)
    return [
        ops.cast(step // STEP_BASE, "float32"),
        ops.cast(step % STEP_BASE, "float32"),
        loss,
        trivial,
        ops.ones((), "float32") if scale is None else ops.cast(scale, "float32"),
        _examples(observer),
        skipped,
        penalty if has_penalty else unknown,
        errors,
        trivial_errors,
    ]


def _examples(observer: Observer) -> Tensor:
    """Number of examples in the batch."""
    for tensor in [call.output for call in observer.calls][:1]:
        return ops.cast(ops.shape(tensor)[0], "float32")
    return ops.zeros((), "float32")


def _against_labels(
    observer: Observer, told: list[_Told], output: Output, unknown: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of the best constant prediction, share of wrong predictions, and that constant's.

    Of several outputs the loss alone, the sum over all; unknown where one of theirs is.
    """
    if not told or len(told) < len(observer.targets):
        return unknown, unknown, unknown
    trivial = sum((each.trivial_loss(unknown) for each in told), ops.zeros((), "float32"))
    if len(told) > 1:
        return trivial, unknown, unknown
    return trivial, *told[0].errors(output, unknown)


class _Told:
    """One output of the model held against its labels."""

    def __init__(self, target: Target, observer: Observer, backend: Backend) -> None:
        self._target = target
        self._backend = backend
        self._whole = observer.whole
        self.facts = facts_of(target.loss)
        self.weights: Tensor | None = None
        self._factor: Tensor | None = None
        whole = target.weight is None or predictions.fits(target.weight, target.prediction)
        masked = target.mask is None or predictions.fits(target.mask, target.prediction)
        self._comparable = whole and masked
        if self._comparable:
            self.weights, self._factor = labels.weights_of(target, self.facts)
        logits = backend.logits_of(target.prediction)
        self._from_logits = logits is not None and not backend.may_be_fused(logits)
        self._read = logits if self._from_logits else target.prediction
        self._readable = not backend.may_be_fused(self._read)

    def _is_known(self) -> bool:
        known = self.facts.name in labels.KNOWN and self.facts.reduction in labels.MEANS
        return known and self._comparable

    def trivial_loss(self, unknown: Tensor) -> Tensor:
        """What this output's share of the loss is for the best constant prediction."""
        if not self._is_known():
            return unknown
        y, weights = self._target.y, self.weights
        y = self._backend.of_all_examples(y)
        if weights is not None:
            weights = self._backend.of_all_examples(weights)
        found = labels.trivial_loss(
            self.facts.name,
            y,
            self._target.prediction,
            self._whole,
            weights,
            self.facts.smoothing,
        )
        if weights is not None:
            # of labels that count for less than nothing there is no best prediction
            found = ops.where(ops.sum(weights) > 0.0, found, unknown)
        if self._factor is not None:
            found = found * self._factor
        return found * self._target.factor

    def errors(self, output: Output, unknown: Tensor) -> tuple[Tensor, Tensor]:
        """Share of wrong predictions, and of those of the best constant."""
        name = self.facts.name
        if not self._is_known():
            return unknown, unknown
        read, from_logits = self._read, self._from_logits
        if name.startswith("binary") and output.activation != "sigmoid":
            # a softmax's say nothing of where its shares stand to 0.5
            read, from_logits = self._target.prediction, False
        if self._backend.may_be_fused(read):
            return unknown, unknown
        bar = 0.0 if from_logits or self.facts.from_logits else 0.5
        y, p = self._target.y, self._target.prediction
        return (
            labels.error_rate(name, y, self._backend.apart(read), bar, self.weights),
            labels.trivial_error_rate(
                name,
                self._backend.of_all_examples(y),
                p,
                None if self.weights is None else self._backend.of_all_examples(self.weights),
            ),
        )

    def ask_for_labels(self, asked: _Asked, output: Output) -> None:
        """The sums of the labels, of those that count."""
        y = self._target.y
        if math.prod(d or 1 for d in y.shape) == 0:
            return
        every = reductions.matrix(self._backend.of_all_examples(y))
        if self.weights is None:
            asked.add(Source.LABEL, 0, reductions.label_sums(output.low, output.high), every)
            return
        counts = labels.spread_to(ops.cast(self.weights > 0.0, "float32"), y)
        counts = reductions.matrix(self._backend.of_all_examples(counts))
        sums = reductions.label_sums(output.low, output.high, True)
        asked.add(Source.LABEL, 0, sums, every, counts)

    def compared(self, output: Output) -> Tensor:
        """See ``predictions.compared``."""
        target, facts = self._target, self.facts
        numbered = predictions.is_class_numbers(target.y, target.prediction, facts.name)
        if numbered is None or not self._readable or not self._comparable:
            return predictions.nothing()
        bounded = output.low >= 0.0 and output.high <= 1.0
        bar = None
        if facts.name.startswith("binary"):
            bar = 0.0 if self._from_logits or facts.from_logits else 0.5
        elif not facts.name:
            bar = 0.0 if self._from_logits or not bounded else 0.5
        elif facts.name in ("hinge", "squared_hinge"):
            bar = 0.0
        shares = None
        whole = facts.name.startswith(("categorical", "sparse_categorical"))
        if (whole or facts.name.startswith("binary")) and not facts.from_logits:
            fused = self._backend.may_be_fused(target.prediction)
            shares = None if fused else self._backend.apart(target.prediction)
        read = self._backend.apart(self._read)
        return predictions.compared(
            target.y, read, self.weights, bar, numbered, shares, whole, sure=bool(facts.name)
        )


def _add_applied(
    applied: Applied,
    variables: list[Any],
    units: dict[int, int],
    backend: Backend,
    asked: _Asked,
) -> None:
    gradients = backend.of_all_replicas(applied.gradients)
    clipped = backend.of_all_replicas(_clipped(applied, backend))
    for variable, gradient, kept, before, after in zip(
        applied.variables, gradients, clipped, applied.before, applied.after, strict=True
    ):
        if any(variable is known for known in variables):
            continue  # applied twice in one step: the first application is the step's
        index = len(variables)
        variables.append(variable)
        columns = units.get(id(variable), 1)
        is_kernel = columns > 1
        weights, moved = (reductions.matrix(value, columns) for value in (before, after))
        parts: list[_Part] = [(Source.WEIGHT, reductions.weight_sums, (weights,))]
        if is_kernel:
            asked.draw(Source.WEIGHT, index, weights)
        if gradient is not None:
            slopes = reductions.matrix(backend.apart(backend.dense(gradient)), columns)
            parts.append((Source.GRADIENT, reductions.gradient_sums, (slopes,)))
            if is_kernel:
                asked.draw(Source.GRADIENT, index, slopes)
        if kept is not None:
            clipped_slopes = reductions.matrix(kept, columns)
            parts.append((Source.CLIPPED, reductions.square_sums, (clipped_slopes,)))
        parts.append((Source.UPDATE, reductions.update_sums, (weights, moved)))
        if gradient is not None and is_kernel:
            some = tuple(reductions.some_rows(x, columns) for x in (weights, moved, slopes))
            parts.append((Source.DESCENT, reductions.descent_sums, some))
        asked.add_together(parts, index)


def _clipped(applied: Applied, backend: Backend) -> list[Tensor]:
    """What the optimizer's clipping leaves of each gradient, None where it does not clip.

    Accumulated gradients are clipped as a sum that is not seen.
    """
    inner = getattr(applied.optimizer, "inner_optimizer", applied.optimizer)
    clips = inner.clipnorm or inner.global_clipnorm or inner.clipvalue
    if not clips or inner.gradient_accumulation_steps:
        return [None] * len(applied.gradients)
    scale = applied.loss_scale
    gradients = [None if g is None else backend.apart(backend.dense(g)) for g in applied.gradients]
    if scale is not None:
        gradients = [None if g is None else g / ops.cast(scale, g.dtype) for g in gradients]
    clipped: list[Tensor] = inner._clip_gradients(gradients)
    return clipped


def variable_specs(
    variables: list[Any], owners: dict[int, tuple[str, str]]
) -> tuple[VariableSpec, ...]:
    """Specs of the variables of a row; ``owners``: id(variable) -> (layer path, role)."""
    return tuple(
        VariableSpec(
            path=variable.path,
            layer=owners.get(id(variable), ("", ""))[0],
            role=owners.get(id(variable), ("", variable.name))[1],
            size=math.prod(int(d) for d in variable.shape),
            constraint=_constraint_of(variable),
        )
        for variable in variables
    )


def _constraint_of(variable: Any) -> str:
    constraint = getattr(variable, "constraint", None)
    return "" if constraint is None else type(constraint).__name__
