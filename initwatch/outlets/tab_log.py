"""What the initwatch tab reads: the model, each logged step, theory's line and the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary

from initwatch.advice.initializers import initializer_text
from initwatch.outlets.event_file import string_tensor
from initwatch.outlets.prediction import predicted
from initwatch.plugin.encoding import pack, pack_json
from initwatch.plugin.metadata import (
    MODEL,
    SCHEMA,
    STATE_TAG,
    STEPS,
    THEORY,
    digest_of,
    tab_metadata,
    tab_tag,
)
from initwatch.records import Advice, Finding, LayerSpec, Report, Statistic
from initwatch.records.report import changes_lines, in_order
from initwatch.records.update import Update

# In this order in a step. ``delta_norm`` and ``gradient_norm`` follow from these, see
# ``plugin.log``.
OF_STEP = (
    Statistic.LOSS,
    Statistic.TRIVIAL_LOSS,
    Statistic.PENALTY,
    Statistic.ERROR_RATE,
    Statistic.TRIVIAL_ERROR_RATE,
    Statistic.SKIPPED,
)
OF_LAYER = (
    Statistic.ACTIVATION_RMS,
    Statistic.ACTIVATION_STD,
    Statistic.DELTA_RMS,
    Statistic.ACTIVATION_ZERO_FRACTION,
    Statistic.DEAD_FRACTION,
    Statistic.ACTIVATION_SLOPE,
    Statistic.ACTIVATION_SIMILARITY,
    Statistic.ACTIVATION_NON_FINITE,
    Statistic.DELTA_NON_FINITE,
)
OF_KERNEL = (
    Statistic.GRADIENT_RMS,
    Statistic.UPDATE_RATIO,
    Statistic.WEIGHT_STD,
    Statistic.GRADIENT_MAX_ABS,
    Statistic.GRADIENT_ZERO_FRACTION,
    Statistic.CLIPPED_NORM,
    Statistic.GRADIENT_NON_FINITE,
    Statistic.WEIGHT_NON_FINITE,
)
SHOWN = (  # in the order in which the tab offers them
    Statistic.DELTA_RMS,
    Statistic.ACTIVATION_RMS,
    Statistic.GRADIENT_RMS,
    Statistic.UPDATE_RATIO,
    Statistic.WEIGHT_STD,
    Statistic.DEAD_FRACTION,
    Statistic.ACTIVATION_SLOPE,
    Statistic.ACTIVATION_SIMILARITY,
    Statistic.ACTIVATION_STD,
    Statistic.ACTIVATION_ZERO_FRACTION,
    Statistic.DELTA_NORM,
    Statistic.GRADIENT_NORM,
    Statistic.CLIPPED_NORM,
    Statistic.GRADIENT_MAX_ABS,
    Statistic.GRADIENT_ZERO_FRACTION,
    Statistic.ACTIVATION_NON_FINITE,
    Statistic.DELTA_NON_FINITE,
    Statistic.GRADIENT_NON_FINITE,
    Statistic.WEIGHT_NON_FINITE,
    *OF_STEP,
)
# shares and counts; the others run over many powers of ten
_LINEAR = frozenset(
    s
    for s in SHOWN
    if s.value.endswith(("_fraction", "_non_finite", "_similarity", "_rate"))
    or s is Statistic.SKIPPED
)


# what counts the elements that are not finite, of the tensor that a statistic is of
_COUNTS = {
    statistic: Statistic(f"{tensor}_non_finite")
    for prefix, tensor in (
        ("activation", "activation"),
        ("delta", "delta"),
        ("weight", "weight"),
        ("gradient", "gradient"),
        ("clipped", "gradient"),
        ("update", "gradient"),
    )
    for statistic in (*OF_LAYER, *OF_KERNEL)
    if statistic.value.startswith(f"{prefix}_")
}


class TabLog:
    """Makes the tab's tensors of updates. One a fit.

    Args:
        step: the optimizer step at which the fit begins.
    """

    def __init__(self, step: int) -> None:
        # of weights that have been trained before, theory says nothing
        self._fresh = step == 0
        self._layers: tuple[LayerSpec, ...] | None = None
        self._digest = ""
        self._kernels = np.zeros((2, 0), np.intp)  # places of layers, and of their kernels
        self._told: object = None
        self._described: set[str] = set()

    def values(self, update: Update, thinned: bool = False) -> list[Summary.Value]:
        """The tensors of one update.

        Args:
            update: what is told.
            thinned: True leaves the step's numbers out.
        """
        out = []
        if self._layers is not update.layers:
            self._layers = update.layers
            out.append(self._describe(update))
        if update.values and self._fresh:
            self._fresh = False
            line = predicted(update)
            if line is not None:
                out.append(self._value(tab_tag(THEORY, self._digest), pack_json(line)))
        if update.changes:
            self._fresh = True  # what is drawn anew has another course
        if update.values and not thinned:
            out.append(self._value(tab_tag(STEPS, self._digest), self._packed(update)))
        told = _gist(update.report)
        if told != self._told:
            self._told = told
            out.append(self.state(update.report))
        return out

    def state(self, report: Report, ended: bool = False) -> Summary.Value:
        """The whole report, as the tab shows it."""
        return self._value(STATE_TAG, pack_json({**report_dictionary(report), "ended": ended}))

    def _describe(self, update: Update) -> Summary.Value:
        columns = {variable.path: i for i, variable in enumerate(update.variables)}
        kernels = [
            (i, columns[layer.kernel.variable])
            for i, layer in enumerate(update.layers)
            if layer.kernel is not None and layer.kernel.variable in columns
        ]
        self._kernels = np.array(kernels, np.intp).reshape(-1, 2).T
        sizes = {layer.path: 0 for layer in update.layers}
        for variable in update.variables:
            owner = variable.layer
            while owner and owner not in sizes:  # a cell's are its layer's
                owner = owner.rpartition("/")[0]
            sizes[owner] = sizes.get(owner, 0) + variable.size
        description = {
            "schema": SCHEMA,
            "layers": [layer_dictionary(layer, sizes[layer.path]) for layer in update.layers],
            "quantities": [
                {
                    "name": statistic.value,
                    "subject": statistic.subject.value,
                    "definition": statistic.definition,
                    "scale": "linear" if statistic in _LINEAR else "log",
                }
                for statistic in SHOWN
            ],
            "columns": {"step": OF_STEP, "layer": OF_LAYER, "kernel": OF_KERNEL},
            "kernels": self._kernels[0].tolist(),
        }
        self._digest = digest_of(description)
        return self._value(tab_tag(MODEL, self._digest), pack_json(description))

    def _packed(self, update: Update) -> bytes:
        values = update.values
        exact = np.array([values[s][0] if s in values else math.nan for s in OF_STEP])
        found = self._column(update, lambda s: s)
        known = ~np.isnan(found)
        # NaN is a figure where the tensor it is of held elements that are not finite; elsewhere it
        # says that nothing was measured
        if any(values[s].any() for s in set(_COUNTS.values()) if s in values):
            known |= self._column(update, _COUNTS.get) > 0.0
        return pack(exact, found, known)

    def _column(
        self, update: Update, which: Callable[[Statistic], Statistic | None]
    ) -> NDArray[np.float64]:
        """The numbers of a step in order; of another statistic in place of each, if so told."""
        layers, variables = len(update.layers), len(update.variables)
        parts = [_found(update.values, which(s), layers) for s in OF_LAYER]
        parts += [_found(update.values, which(s), variables)[self._kernels[1]] for s in OF_KERNEL]
        return np.concatenate(parts)

    def _value(self, tag: str, data: bytes) -> Summary.Value:
        value = Summary.Value(tag=tag, tensor=string_tensor(data))
        if tag not in self._described:
            self._described.add(tag)
            value.metadata.CopyFrom(tab_metadata())
        return value


def _found(
    values: Mapping[Statistic, NDArray[np.float64]], statistic: Statistic | None, length: int
) -> NDArray[np.float64]:
    found = values.get(statistic) if statistic is not None else None
    return np.full(length, math.nan) if found is None else found


def _gist(report: Report) -> object:
    """What makes a report another one to read; how long a finding has been there does not.

    Lists of the same objects are equal at a glance, also of a thousand layers' advice.
    """
    return (
        [(f.code, f.severity, f.state, f.cause, f.step, len(f.layers)) for f in report.findings],
        report.advice,
        len(report.changes),
        len(report.problems),
        len(report.abstained),
    )


# ---------------------------------------------------------------------- dictionaries


def layer_dictionary(layer: LayerSpec, parameters: int) -> dict[str, Any]:
    """A layer as the tab is told of it; ``parameters``: elements of its trainable variables."""
    kernel, activation = layer.kernel, layer.activation
    return {
        "path": layer.path,
        "class_name": layer.class_name,
        "activation": activation.name if activation is not None else None,
        "initializer": None if kernel is None else initializer_text(kernel.initializer),
        "argument": kernel.argument if kernel is not None else None,
        "trunk": layer.trunk,
        "is_output": layer.is_output,
        "frozen": layer.frozen,
        "normalized": layer.normalized,
        "outputs": layer.outputs,
        "shape": list(kernel.shape) if kernel is not None else None,
        "fan_in": kernel.fan_in if kernel is not None else None,
        "fan_out": kernel.fan_out if kernel is not None else None,
        "kernel": kernel.variable if kernel is not None else None,
        "parameters": parameters,
    }


def report_dictionary(report: Report) -> dict[str, Any]:
    """A report as the log has it; ``plugin.log`` makes one of it again."""
    measured = [advice.measured for advice in report.advice if advice.measured is not None]
    return {
        "findings": [finding_dictionary(finding) for finding in in_order(report.findings)],
        "advice": advice_dictionaries(report.advice),
        "trials": trial_dictionaries(measured),
        "changes": changes_lines(report.changes),
        "abstained": [f"{code}: {reason}" for code, reason in report.abstained.items()],
        "problems": list(report.problems),
        "steps_seen": report.steps_seen,
        "last_step": report.last_step,
    }


def finding_dictionary(finding: Finding) -> dict[str, Any]:
    """A finding; each figure of its evidence with the limit it is held against."""
    evidence = finding.evidence
    return {
        "code": finding.code,
        "symptom": finding.symptom,
        "severity": finding.severity,
        "state": finding.state,
        "layers": list(finding.layers),
        "step": finding.step,
        "last_step": finding.last_step,
        "cause": finding.cause,
        "message": finding.message,
        "evidence": [
            {"name": name, "value": value, "limit": evidence.get(f"{name}_limit")}
            for name, value in evidence.items()
            if not (name.endswith("_limit") and name.removesuffix("_limit") in evidence)
        ],
    }


def advice_dictionaries(advice: Sequence[Advice]) -> list[dict[str, Any]]:
    """Advice, that of several layers with the same code to paste as one."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for item in advice:
        current, suggested = _thing_text(item.current), _thing_text(item.suggested)
        measured = None if item.measured is None else dict(item.measured)
        key = (item.kind, item.code, item.reason, current, str(measured), item.codes)
        entry = groups.setdefault(
            key,
            {
                "layer": item.layer,
                "layers": [],
                "kind": item.kind,
                "current": current,
                "suggested": suggested,
                "code": item.code,
                "reason": item.reason,
                "codes": list(item.codes),
                "predicted": dict(item.predicted),
                "measured": measured,
            },
        )
        if item.layer:
            entry["layers"].append(item.layer)
    return list(groups.values())


def _thing_text(thing: Any) -> str:
    return thing if isinstance(thing, str) else initializer_text(thing) or ""


def trial_dictionaries(measured: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The trials' figures, each before and after, every one of them once."""
    found: list[dict[str, Any]] = []
    for figures in measured:
        for key, before in figures.items():
            name = key.removesuffix("_before")
            if name != key and f"{name}_after" in figures:
                entry = {
                    "name": name.replace("_", " "),
                    "before": before,
                    "after": figures[f"{name}_after"],
                }
                if entry not in found:
                    found.append(entry)
    return found
