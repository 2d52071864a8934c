"""The dictionaries that the tab is served and ``initwatch report`` writes; see http_api.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initwatch.plugin.encoding import portable
from initwatch.plugin.log import RunLog
from initwatch.plugin.metadata import SCHEMA, histogram_tag
from initwatch.records.report import closing_lines, finding_lines

Float = NDArray[np.float64]
DIGITS = 4  # significant ones; what is stored is told to 0.35 %


class UnknownNameError(LookupError):
    """A run, quantity or layer that is not there; the message says which there are."""


def run_summary(log: RunLog) -> dict[str, Any]:
    """One entry of ``runs``."""
    steps = log.step_numbers
    severities = [finding["severity"] for finding in log.state.get("findings", [])]
    return {
        "run": log.run,
        "layers": len(log.model["layers"]),
        "steps": len(steps),
        "last_step": steps[-1] if steps else -1,
        "ended": log.ended,
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
    }


def run_answer(log: RunLog) -> dict[str, Any]:
    """Everything of a run but the numbers by layer."""
    state = log.state
    return {
        "schema": SCHEMA,
        "run": log.run,
        "ended": log.ended,
        "layers": log.model["layers"],
        "quantities": quantities(log),
        "steps": log.step_numbers,
        "per_step": _per_step(log),
        "theory": log.theories.get(log.digest),
        **{
            name: state.get(name, [])
            for name in ("findings", "advice", "trials", "changes", "abstained", "problems")
        },
        "text": "\n".join(text_lines(log)),
    }


def text_lines(log: RunLog) -> list[str]:
    """The report as it is printed."""
    report = log.report
    return [*finding_lines(report), *log.state.get("changes", []), *closing_lines(report)]


def quantities(log: RunLog) -> list[dict[str, Any]]:
    """Those of which the log holds a number."""
    present = set().union(*(steps.names for steps in log.decoded.values()))
    present |= set(_per_step(log))
    return [entry for entry in log.model["quantities"] if entry["name"] in present]


def values_answer(log: RunLog, quantity: str) -> dict[str, Any]:
    """A quantity of every layer at every logged step.

    Raises:
        UnknownNameError: if the log has no such quantity.
    """
    by_layer = [e["name"] for e in quantities(log) if e["subject"] != "step"]
    if quantity not in by_layer:
        raise UnknownNameError(
            f"the run {log.run!r} has no quantity {quantity!r}; it has {', '.join(by_layer)}"
        )
    paths = [layer["path"] for layer in log.model["layers"]]
    rows: dict[int, list[Any]] = {}
    for digest, steps in log.decoded.items():
        if quantity not in steps.names:
            continue
        values = _shown(*steps.by_layer(quantity))
        if digest != log.digest:
            values = _moved(values, [x["path"] for x in log.models[digest]["layers"]], paths)
        rows.update(zip(steps.steps, values.tolist(), strict=True))
    nothing = [None] * len(paths)
    numbers = log.step_numbers
    return {
        "run": log.run,
        "quantity": quantity,
        "steps": numbers,
        "values": [rows.get(step, nothing) for step in numbers],
    }


def histograms_answer(log: RunLog, layer: str) -> dict[str, Any]:
    """The histograms of a layer's output and of its variables.

    Raises:
        UnknownNameError: if the run has no such layer.
    """
    paths = [entry["path"] for entry in log.model["layers"]]
    if layer not in paths:
        shown = ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
        raise UnknownNameError(f"the run {log.run!r} has no layer {layer!r}; it has {shown}")
    found = []
    for tag, quantity, variable in histogram_tags(log.histograms, layer):
        for step, buckets in log.histograms[tag]:
            found.append(
                {
                    "quantity": quantity,
                    "variable": variable,
                    "step": step,
                    "low": float(buckets[0, 0]),
                    "high": float(buckets[-1, 1]),
                    "counts": buckets[:, 2].tolist(),
                }
            )
    return {"run": log.run, "layer": layer, "histograms": portable(found)}


def histogram_tags(tags: Iterable[str], layer: str) -> list[tuple[str, str, str | None]]:
    """Those of ``tags`` that are of a layer: (tag, quantity, role of the variable or None)."""
    found: list[tuple[str, str, str | None]] = []
    output = histogram_tag("activation", layer)
    for tag in sorted(tags):
        if tag == output:
            found.append((tag, "activation", None))
        for quantity in ("weight", "gradient"):
            role = tag.removeprefix(histogram_tag(quantity, f"{layer}/"))
            # what has a slash left is of a layer inside this one
            if role != tag and "/" not in role:
                found.append((tag, quantity, role))
    return found


def gathered(logs: Sequence[RunLog], most_steps: int | None = None) -> dict[str, Any]:
    """All answers at once, for a file that stands by itself.

    Args:
        logs: the runs.
        most_steps: of longer runs about so many steps are given: the first, the last, those of
            findings, and others evenly between; None: all.

    Returns:
        ``runs``: the list of summaries; ``run``: the answer by run; ``values``: the answers by run
        and quantity; ``histograms``: lists by run and layer path, of layers that have some.
    """
    out: dict[str, Any] = {"runs": [], "run": {}, "values": {}, "histograms": {}}
    for log in logs:
        answer = run_answer(log)
        chosen = _chosen(answer, most_steps)
        kept = answer["steps"] = [answer["steps"][i] for i in chosen]
        for name, series in answer["per_step"].items():
            answer["per_step"][name] = [series[i] for i in chosen]
        values = {}
        for name in (entry["name"] for entry in answer["quantities"] if entry["subject"] != "step"):
            rows = values_answer(log, name)["values"]
            values[name] = {
                "run": log.run,
                "quantity": name,
                "steps": kept,
                "values": [rows[i] for i in chosen],
            }
        histograms = {
            layer["path"]: found
            for layer in answer["layers"]
            if (found := histograms_answer(log, layer["path"])["histograms"])
        }
        out["runs"].append(run_summary(log))
        out["run"][log.run], out["values"][log.run] = answer, values
        out["histograms"][log.run] = histograms
    return out


def _chosen(answer: dict[str, Any], most_steps: int | None) -> list[int]:
    """Places of the steps that are given."""
    steps = answer["steps"]
    if most_steps is None or len(steps) <= most_steps:
        return list(range(len(steps)))
    told = {finding["step"] for finding in answer["findings"]}
    even = np.linspace(0, len(steps) - 1, most_steps).astype(int).tolist()
    return sorted({*even, *(i for i, step in enumerate(steps) if step in told)})


def _per_step(log: RunLog) -> dict[str, list[Any]]:
    numbers = log.step_numbers
    found: dict[str, dict[int, float]] = {}
    for steps in log.decoded.values():
        for name, values in steps.of_step().items():
            found.setdefault(name, {}).update(zip(steps.steps, values.tolist(), strict=True))
    out: dict[str, list[Any]] = {}
    for name, by_step in found.items():
        series = [by_step.get(step) for step in numbers]
        if name != "loss":  # of which NaN is a figure; of the others it says: not measured
            series = [None if value is None or value != value else value for value in series]
        if any(value is not None for value in series):
            out[name] = portable(series)
    return out


def _shown(values: Float, known: NDArray[np.bool_]) -> NDArray[np.object_]:
    """As JSON has them: rounded, None where not measured, words where not finite."""
    shown = rounded(values).astype(object)
    shown[~known] = None
    for word, which in (
        ("NaN", np.isnan(values)),
        ("Infinity", values == np.inf),
        ("-Infinity", values == -np.inf),
    ):
        shown[which & known] = word
    return shown


def rounded(values: Float) -> Float:
    """To ``DIGITS`` significant digits, so that their text is short."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = np.floor(np.log10(np.abs(values))) - (DIGITS - 1)
        exponent = np.where(np.isfinite(exponent), exponent, 0.0)
        # a quotient of whole numbers is the double next to the decimal: its text is short
        small = np.power(10.0, np.maximum(-exponent, 0.0))
        large = np.power(10.0, np.maximum(exponent, 0.0))
        return np.asarray(np.rint(values * small / large) / small * large)


def _moved(values: NDArray[np.object_], here: list[str], there: list[str]) -> NDArray[np.object_]:
    """Columns of the layers ``here`` under those of the same path ``there``."""
    column = {path: i for i, path in enumerate(here)}
    out = np.full((len(values), len(there)), None, dtype=object)
    for i, path in enumerate(there):
        if path in column:
            out[:, i] = values[:, column[path]]
    return out
