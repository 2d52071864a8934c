"""Raw sums of one row to the statistics of that step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.layout import FIELDS, HEADER, STEP_BASE, Layout, Source
from initwatch.records.statistic import Statistic, Subject

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One step's statistics.

    Attributes:
        step: the optimizer's count before the step (0 = the first).
        values: float64[subjects] of each statistic.
        loss: the step's loss, NaN if it was not seen.
        trivial_loss: loss of the best constant prediction on the batch, NaN if unknown.
        skipped: True if loss scaling made the optimizer skip the step.
        examples: number of examples in the batch.
    """

    step: int
    values: dict[Statistic, Float]
    loss: float
    trivial_loss: float
    skipped: bool
    examples: int


def merged(groups: list[dict[str, float]]) -> dict[str, float]:
    """Sums of several tensors as if they were one: scales to their maximum, sums added."""
    if len(groups) == 1:
        return groups[0]
    scale = max((g["scale"] for g in groups), key=lambda s: np.inf if np.isnan(s) else s)
    out: dict[str, float] = {"scale": scale}
    for name in groups[0]:
        if name == "scale":
            continue
        power = {"sum": 1, "square": 2}.get(name, 0)
        parts = [
            g[name] * (g["scale"] / scale) ** power if scale > 0.0 else g[name] for g in groups
        ]
        applies = name != "slope" or all(g[name] >= 0.0 for g in groups)
        out[name] = float(sum(parts)) if applies else -1.0
    return out


def mean(sums: dict[str, float]) -> float:
    """sum(x) / n."""
    return sums["scale"] * sums["sum"] / sums["size"] if sums["size"] else np.nan


def rms(sums: dict[str, float]) -> float:
    """sqrt(sum(x^2) / n)."""
    return sums["scale"] * np.sqrt(sums["square"] / sums["size"]) if sums["size"] else np.nan


def std(sums: dict[str, float]) -> float:
    """sqrt(sum(x^2)/n - (sum(x)/n)^2), not below 0."""
    if not sums["size"]:
        return np.nan
    average = sums["sum"] / sums["size"]
    return sums["scale"] * float(np.sqrt(max(sums["square"] / sums["size"] - average**2, 0.0)))


def zero_fraction(sums: dict[str, float]) -> float:
    """count(x == 0) / n."""
    return sums["zeros"] / sums["size"] if sums["size"] else np.nan


def statistics_of(
    source: Source, sums: dict[str, float], outputs: int, loss_scale: float
) -> dict[Statistic, float]:
    """The statistics that one (merged) group of sums gives.

    Args:
        source: which tensor it was.
        sums: its raw sums, see ``layout.FIELDS``.
        outputs: number of elements per example of the layer (delta only).
        loss_scale: factor on the loss that gradients and deltas still carry.
    """
    size = sums["size"]
    if source is Source.WEIGHT:
        spread = sums["spread"]
        return {
            Statistic.WEIGHT_MEAN: mean(sums),
            Statistic.WEIGHT_STD: std(sums),
            Statistic.WEIGHT_RMS: rms(sums),
            Statistic.WEIGHT_MAX_ABS: sums["scale"],
            Statistic.WEIGHT_ZERO_FRACTION: zero_fraction(sums),
            Statistic.WEIGHT_NON_FINITE: sums["non_finite"],
            Statistic.WEIGHT_UNIT_SPREAD: spread if spread >= 0.0 else np.nan,
        }
    if source is Source.GRADIENT:
        return {
            Statistic.GRADIENT_MEAN: mean(sums) / loss_scale,
            Statistic.GRADIENT_STD: std(sums) / loss_scale,
            Statistic.GRADIENT_RMS: rms(sums) / loss_scale,
            Statistic.GRADIENT_NORM: rms(sums) * np.sqrt(size) / loss_scale,
            Statistic.GRADIENT_MAX_ABS: sums["scale"] / loss_scale,
            Statistic.GRADIENT_ZERO_FRACTION: zero_fraction(sums),
            Statistic.GRADIENT_NON_FINITE: sums["non_finite"],
        }
    if source is Source.UPDATE:
        return {Statistic.UPDATE_RMS: rms(sums)}
    if source is Source.ACTIVATION:
        slope = sums["slope"]
        return {
            Statistic.ACTIVATION_MEAN: mean(sums),
            Statistic.ACTIVATION_STD: std(sums),
            Statistic.ACTIVATION_RMS: rms(sums),
            Statistic.ACTIVATION_MAX_ABS: sums["scale"],
            Statistic.ACTIVATION_ZERO_FRACTION: zero_fraction(sums),
            Statistic.ACTIVATION_NON_FINITE: sums["non_finite"],
            Statistic.ACTIVATION_SLOPE: slope / size if slope >= 0.0 and size else np.nan,
        }
    delta = rms(sums) / loss_scale
    return {
        Statistic.DELTA_RMS: delta,
        Statistic.DELTA_NORM: delta * np.sqrt(outputs),
        Statistic.DELTA_NON_FINITE: sums["non_finite"],
    }


def measure(row: NDArray[np.float32], layout: Layout, outputs: list[int]) -> Measurement:
    """One row of sums to that step's statistics.

    Args:
        row: float32[layout.width].
        layout: what stands where in it.
        outputs: elements per example of each layer's output.

    Raises:
        ValueError: if the row's length is not the layout's.
    """
    if len(row) != layout.width:
        raise ValueError(f"a row of {layout.width} sums was expected, {len(row)} came")
    numbers = row.astype(np.float64)
    head = dict(zip(HEADER, numbers[: len(HEADER)].tolist(), strict=True))
    sizes = {
        Subject.LAYER: layout.layers,
        Subject.VARIABLE: layout.variables,
    }
    collected: dict[tuple[Source, int], list[dict[str, float]]] = {}
    at = len(HEADER)
    for group in layout.groups:
        names = FIELDS[group.source]
        sums = dict(zip(names, numbers[at : at + len(names)].tolist(), strict=True))
        collected.setdefault((group.source, group.subject), []).append(sums)
        at += len(names)
    values: dict[Statistic, Float] = {}
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for (source, subject), groups in collected.items():
            per_example = outputs[subject] if source is Source.DELTA else 0
            found = statistics_of(source, merged(groups), per_example, head["loss_scale"])
            for statistic, value in found.items():
                if statistic not in values:
                    values[statistic] = np.full(sizes[statistic.subject], np.nan)
                values[statistic][subject] = value
    return Measurement(
        step=int(head["step_high"]) * STEP_BASE + int(head["step_low"]),
        values=values,
        loss=head["loss"],
        trivial_loss=head["trivial_loss"],
        skipped=bool(head["skipped"]),
        examples=int(head["examples"]),
    )
