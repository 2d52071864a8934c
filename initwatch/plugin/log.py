"""What the log of a run holds for the tab, from TensorBoard's data provider or from the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from initwatch.errors import InitwatchError
from initwatch.plugin.encoding import UNKNOWN, numbers, unpack, unpack_json
from initwatch.plugin.metadata import (
    FILE_SUFFIX,
    MODEL,
    SCHEMA,
    STATE_TAG,
    STEPS,
    THEORY,
    parsed_tab_tag,
)
from initwatch.plugin.tfrecord import records
from initwatch.records import Advice, Finding, Report

Float = NDArray[np.float64]
# tag to (step, wall time, tensor as NumPy has it), in the order in which they were written
Tensors = Mapping[str, Sequence[tuple[int, float, Any]]]

# quantities that follow from what is stored: RMS x sqrt(number of elements)
DERIVED = {"delta_norm": "delta_rms", "gradient_norm": "gradient_rms"}


class NewerLogError(InitwatchError):
    """The log was written by a later initwatch than this one."""


@dataclass(frozen=True)
class Steps:
    """The logged steps of one model, oldest first.

    Attributes:
        model: its description.
        steps: the optimizer steps.
        per_step: float64[steps, quantities of a step].
        codes: uint16[steps, all numbers of a step].
    """

    model: dict[str, Any]
    steps: list[int]
    per_step: Float
    codes: NDArray[np.uint16]

    def of_step(self) -> dict[str, Float]:
        """float64[steps] of each quantity of the whole step."""
        return dict(zip(self.model["columns"]["step"], self.per_step.T, strict=True))

    @cached_property
    def names(self) -> set[str]:
        """Quantities of layers of which there is a number."""
        seen = (self.codes != UNKNOWN).any(axis=0)
        found = {name for name, part, _ in columns_of(self.model) if seen[part].any()}
        return found | {name for name, source in DERIVED.items() if source in found}

    def by_layer(self, quantity: str) -> tuple[Float, NDArray[np.bool_]]:
        """float64[steps, layers], and where there is a number: bool[steps, layers]."""
        source = DERIVED.get(quantity, quantity)
        _, part, places = next(entry for entry in columns_of(self.model) if entry[0] == source)
        layers = self.model["layers"]
        codes = np.full((len(self.steps), len(layers)), UNKNOWN, np.uint16)
        codes[:, places] = self.codes[:, part]
        values = numbers(codes)
        if quantity == "delta_norm":
            values = values * np.sqrt([layer["outputs"] for layer in layers])
        elif quantity == "gradient_norm":
            values = values * np.sqrt([np.prod(layer["shape"] or [0]) for layer in layers])
        return values, codes != UNKNOWN


def columns_of(model: dict[str, Any]) -> Iterator[tuple[str, slice, list[int]]]:
    """Of a step's numbers: (quantity, where they stand, the layers they belong to)."""
    at = 0
    everything = list(range(len(model["layers"])))
    for kind, places in (("layer", everything), ("kernel", model["kernels"])):
        for name in model["columns"][kind]:
            yield name, slice(at, at + len(places)), places
            at += len(places)


@dataclass(frozen=True)
class RunLog:
    """One run.

    Attributes:
        run: its name as TensorBoard has it.
        models: digest to description, see ``outlets.tab_log``; the newest last.
        packed: digest to the packed steps.
        theories: digest to the newest prediction.
        state: the newest report as a dictionary, empty before there is one.
        histograms: tag to (step, float64[bins, 3]).
    """

    run: str
    models: dict[str, dict[str, Any]]
    packed: dict[str, list[tuple[int, bytes]]]
    theories: dict[str, dict[str, Any]]
    state: dict[str, Any]
    histograms: dict[str, list[tuple[int, Float]]]

    @property
    def digest(self) -> str:
        """The model of the newest step."""
        return max(self.models, key=lambda name: max(self.packed.get(name, [(-1, b"")]))[0])

    @property
    def model(self) -> dict[str, Any]:
        """Its description."""
        return self.models[self.digest]

    @property
    def step_numbers(self) -> list[int]:
        """All logged steps, ascending."""
        known = [self.packed.get(name, []) for name in self.models]
        return sorted({step for steps in known for step, _ in steps})

    @property
    def ended(self) -> bool:
        """False while the run is going on, and of one that was killed."""
        return bool(self.state.get("ended", False))

    @property
    def report(self) -> Report:
        """The newest fit's report; what was drawn anew stands in ``state["changes"]`` as text.

        The report is logged when it changes: of a run that has not ended, the steps of the log
        tell how far it has come.
        """
        state, steps = self.state, self.step_numbers
        last_step = steps[-1] if steps else -1
        return Report(
            findings=[_finding(entry) for entry in state.get("findings", [])],
            advice=[item for entry in state.get("advice", []) for item in _advice(entry)],
            steps_seen=state["steps_seen"] if self.ended else len(steps),
            last_step=state["last_step"] if self.ended else last_step,
            abstained=dict(line.split(": ", 1) for line in state.get("abstained", [])),
            problems=state.get("problems", []),
        )

    @cached_property
    def decoded(self) -> dict[str, Steps]:
        """Digest to the logged steps of that model."""
        return {
            name: _decoded(model, self.packed[name])
            for name, model in self.models.items()
            if self.packed.get(name)
        }


def _decoded(model: dict[str, Any], packed: list[tuple[int, bytes]]) -> Steps:
    packed = sorted(dict(packed).items())  # of a step that stands twice, the later one
    m, n = len(model["columns"]["step"]), max((part.stop for _, part, _ in columns_of(model)))
    per_step, codes = np.empty((len(packed), m)), np.empty((len(packed), n), np.uint16)
    for i, (_, data) in enumerate(packed):
        per_step[i], codes[i] = unpack(data, m, n)
    return Steps(model, [step for step, _ in packed], per_step, codes)


def _finding(entry: dict[str, Any]) -> Finding:
    evidence = {}
    for figure in entry["evidence"]:
        evidence[figure["name"]] = _figure(figure["value"])
        if figure["limit"] is not None:
            evidence[f"{figure['name']}_limit"] = _figure(figure["limit"])
    return Finding(**{**entry, "evidence": evidence})


def _advice(entry: dict[str, Any]) -> list[Advice]:
    """One for each of the layers that it is for."""
    given = {name: value for name, value in entry.items() if name != "layers"}
    given["codes"] = tuple(entry["codes"])
    for name in ("predicted", "measured"):
        if given[name] is not None:
            given[name] = {key: _figure(value) for key, value in given[name].items()}
    return [Advice(**{**given, "layer": layer}) for layer in entry["layers"] or [""]]


def _figure(value: Any) -> Any:
    """As it was before JSON, which has no NaN."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def assembled(run: str, tensors: Tensors) -> RunLog | None:
    """The run whose tags have these tensors; None if no model is described yet.

    Raises:
        NewerLogError: if a later initwatch wrote it.
    """
    log = RunLog(run, {}, {}, {}, {}, {})
    for tag, series in _standing(tensors):
        parsed = parsed_tab_tag(tag)
        if tag == STATE_TAG:
            log.state.update(unpack_json(_bytes(series[-1][1])))
        elif parsed is None:
            log.histograms[tag] = [(step, tensor) for step, tensor in series if tensor.ndim == 2]
        elif parsed[0] == STEPS:
            log.packed[parsed[1]] = [(step, _bytes(tensor)) for step, tensor in series]
        elif parsed[0] == THEORY:
            log.theories[parsed[1]] = unpack_json(_bytes(series[-1][1]))
        elif parsed[0] == MODEL:
            log.models[parsed[1]] = _readable(run, unpack_json(_bytes(series[-1][1])))
    return log if log.models else None


def _standing(tensors: Tensors) -> Iterator[tuple[str, list[tuple[int, Any]]]]:
    """Without what a resumed run has taken back: steps beyond the one at which it began.

    Every fit begins with the description of its model. TensorBoard's fast loading takes back
    within a tag only, and a model of other layers has tags of its own.
    """
    begins = [
        (time, step)
        for tag, series in tensors.items()
        if (parsed_tab_tag(tag) or ("",))[0] == MODEL
        for step, time, _ in series
    ]
    for tag, series in tensors.items():
        standing = [
            (step, tensor)
            for step, time, tensor in series
            if not any(later > time and begin <= step for later, begin in begins)
        ]
        if standing:
            yield tag, standing


def _readable(run: str, model: dict[str, Any]) -> dict[str, Any]:
    if model["schema"] > SCHEMA:
        raise NewerLogError(
            f"the log of {run!r} is of schema {model['schema']}, this initwatch reads up to "
            f"{SCHEMA}. Upgrade it: pip install -U initwatch"
        )
    return model


def _bytes(tensor: Any) -> bytes:
    value = tensor.item()
    return value if isinstance(value, bytes) else str(value).encode()


# ---------------------------------------------------------------------- files


def read_logs(logdir: Path) -> list[RunLog]:
    """All runs below ``logdir`` that have something for the tab, by their names.

    Raises:
        NewerLogError: if a later initwatch wrote it.
        OSError: if a file cannot be read.
    """
    folders = {path.parent for path in logdir.rglob(f"events.out.tfevents.*.{FILE_SUFFIX}")}
    named = ((folder.relative_to(logdir).as_posix(), folder) for folder in sorted(folders))
    logs = (read_run(run, folder) for run, folder in named)
    return [log for log in logs if log is not None]


def read_run(run: str, folder: Path) -> RunLog | None:
    """The run in ``folder``, also one that is still going, was killed, or was resumed.

    Returns:
        None if it has nothing for the tab.

    Raises:
        NewerLogError: if a later initwatch wrote it.
        OSError: if a file cannot be read.
    """
    tensors: dict[str, list[tuple[int, float, Any]]] = {}
    for path in sorted(folder.glob(f"events.out.tfevents.*.{FILE_SUFFIX}")):
        for event in map(Event.FromString, records(path)):
            for value in event.summary.value:
                if value.HasField("tensor") and _is_ours(value):
                    tensor = make_ndarray(value.tensor)
                    series = tensors.setdefault(value.tag, [])
                    series.append((event.step, event.wall_time, tensor))
    return assembled(run, tensors)


def _is_ours(value: Summary.Value) -> bool:
    """Not of the texts and the chart layout, which are for other dashboards."""
    of_tab = value.tag == STATE_TAG or parsed_tab_tag(value.tag) is not None
    return of_tab or not value.tensor.string_val
