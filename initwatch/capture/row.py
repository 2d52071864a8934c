"""From what a step showed to one row of sums, inside the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from initwatch.capture import labels, reductions
from initwatch.capture.backends.protocol import Backend
from initwatch.capture.observer import Applied, Call, Observer
from initwatch.capture.outputs import describe_output
from initwatch.capture.reductions import SlopeOfOutput, Sums, together
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
    y: Any = observer.labels[0] if observer.labels is not None else None
    if hasattr(y, "shape") and math.prod(d or 1 for d in y.shape) > 0:
        told = reductions.matrix(backend.of_all_examples(y))
        asked.add(Source.LABEL, 0, reductions.label_sums(output.low, output.high), told)
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
        layout=Layout(tuple(groups), tuple(activity), len(layers), len(variables), len(inputs)),
        layers=layers,
        variables=variables,
        sums=ops.concatenate([ops.stack(_header(observer, backend, output)), sums]),
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
        self._alike: dict[Sums, list[tuple[list[Group], tuple[Tensor, ...]]]] = {}

    def add(self, source: Source, subject: int, sums: Sums, *matrices: Tensor) -> None:
        self.add_together([(source, sums, matrices)], subject)

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


def _header(observer: Observer, backend: Backend, output: Output) -> list[Tensor]:
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
    trivial, errors, trivial_errors = _against_labels(observer, backend, output, unknown)
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
    observer: Observer, backend: Backend, output: Output, unknown: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of the best constant prediction, share of wrong predictions, and that constant's.

    Unknown with weights or several outputs.
    """
    name = labels.loss_name(getattr(observer.model, "loss", None))
    if name is None or observer.labels is None:
        return unknown, unknown, unknown
    y, y_pred, sample_weight = observer.labels
    if sample_weight is not None or not hasattr(y, "shape") or not hasattr(y_pred, "shape"):
        return unknown, unknown, unknown
    every_y = backend.of_all_examples(y)
    trivial = labels.trivial_loss(name, every_y, y_pred, observer.whole)
    logits = backend.logits_of(y_pred)
    if name.startswith("binary") and output.activation != "sigmoid":
        logits = None  # a softmax's say nothing of where its shares stand to 0.5
    if backend.may_be_fused(y_pred if logits is None else logits):
        return trivial, unknown, unknown
    if logits is None:
        bar = 0.0 if output.from_logits else 0.5
        errors = labels.error_rate(name, y, backend.apart(y_pred), bar)
    else:
        errors = labels.error_rate(name, y, backend.apart(logits), 0.0)
    return trivial, errors, labels.trivial_error_rate(name, every_y, y_pred)


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
        )
        for variable in variables
    )
