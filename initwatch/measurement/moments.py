"""Raw sums of one row to the statistics of that step."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.layout import FIELDS, HEADER, STEP_BASE, Layout, Place, Source
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
        penalty: what regularizers and ``add_loss`` are of the loss, NaN if there are none.
        error_rate: share of wrong predictions, NaN if unknown.
        trivial_error_rate: that of the best constant prediction, NaN if unknown.
        skipped: True if loss scaling made the optimizer skip the step.
        examples: number of examples in the batch.
    """

    step: int
    values: dict[Statistic, Float]
    loss: float
    trivial_loss: float
    skipped: bool
    examples: int
    penalty: float = math.nan
    error_rate: float = math.nan
    trivial_error_rate: float = math.nan


_OF_OUTPUTS = {
    "count": Statistic.LABELS_COUNTED,
    "error": Statistic.PREDICTION_ERROR,
    "baseline": Statistic.BASELINE_ERROR,
    "covariance": Statistic.PREDICTION_COVARIANCE,
    "variance": Statistic.PREDICTION_VARIANCE,
    "square": Statistic.PREDICTION_SQUARE,
    "target_variance": Statistic.TARGET_VARIANCE,
    "aligned": Statistic.ALIGNED_ERROR,
    "across": Statistic.CROSSED_ERROR,
    "off": Statistic.PREDICTION_SUM_OFF,
    "outside": Statistic.PREDICTION_OUTSIDE,
}


def merged(place: Place, sums: dict[str, Float]) -> dict[str, Float]:
    """Sums of several tensors of one subject as if they were one tensor.

    Args:
        place: to which subject each group belongs.
        sums: float64[groups] of each field.

    Returns:
        float64[subjects] of each field: scales and ends are those of all, sums are added after
        being brought to that scale.
    """
    owners, n = place.owners, len(place.subjects)
    scale = np.full(n, -np.inf)
    np.maximum.at(scale, owners, sums["scale"])  # NaN wins
    out = {"scale": scale}
    for name, values in sums.items():
        if name == "scale":
            continue
        if name in ("low", "high"):
            end = np.minimum if name == "low" else np.maximum
            out[name] = np.full(n, np.inf if name == "low" else -np.inf)
            end.at(out[name], owners, values)
            continue
        power = {"sum": 1, "square": 2, "excess": 2}.get(name, 0)
        share = np.where(scale[owners] > 0.0, (sums["scale"] / scale[owners]) ** power, 1.0)
        out[name] = np.bincount(owners, values * share, minlength=n)
        if name in ("slope", "spread"):
            # -1 says that it does not apply; so it is for the whole
            lowest = np.full(n, np.inf)
            np.minimum.at(lowest, owners, values)
            out[name] = np.where(lowest < 0.0, -1.0, out[name])
    return out


def mean(sums: dict[str, Float]) -> Float:
    """sum(x) / n; NaN for no element."""
    return sums["scale"] * sums["sum"] / sums["size"]


def rms(sums: dict[str, Float]) -> Float:
    """sqrt(sum(x^2) / n); NaN for no element."""
    root: Float = sums["scale"] * np.sqrt(sums["square"] / sums["size"])
    return root


def std(sums: dict[str, Float]) -> Float:
    """sqrt(sum(x^2)/n - (sum(x)/n)^2), not below 0; NaN for no element."""
    average = sums["sum"] / sums["size"]
    variance = np.maximum(sums["square"] / sums["size"] - average**2, 0.0)
    root: Float = sums["scale"] * np.sqrt(variance)
    return root


def largest(sums: dict[str, Float]) -> Float:
    """max|x|; 0 for no element."""
    most: Float = np.maximum(np.maximum(sums["high"], -sums["low"]), 0.0)
    return most


def relative_spread(sums: dict[str, Float]) -> Float:
    """Largest difference between two units over max|w|; NaN where there are no units."""
    spread = sums["spread"]
    # an all-zero kernel has no spread
    most = largest(sums)
    found = np.where(most > 0.0, spread / most, spread)
    return np.where(spread < 0.0, np.nan, found)


def statistics_of(
    source: Source, sums: dict[str, Float], outputs: Float, loss_scale: float
) -> dict[Statistic, Float]:
    """The statistics that (merged) groups of sums give: float64[groups] each.

    Args:
        source: which tensor it was.
        sums: its raw sums, see ``layout.FIELDS``.
        outputs: float64[groups], elements per example of the layer (delta only).
        loss_scale: factor on the loss that gradients and deltas still carry.
    """
    if source is Source.OUTPUT:
        return {statistic: sums[field] for field, statistic in _OF_OUTPUTS.items()}
    if source is Source.DESCENT:
        return {Statistic.UPDATE_DESCENT: sums["against"] / sums["signs"]}
    size = sums["size"]
    if source is Source.WEIGHT:
        return {
            Statistic.WEIGHT_MEAN: mean(sums),
            Statistic.WEIGHT_STD: std(sums),
            Statistic.WEIGHT_RMS: rms(sums),
            Statistic.WEIGHT_MAX_ABS: largest(sums),
            Statistic.WEIGHT_ZERO_FRACTION: sums["zeros"] / size,
            Statistic.WEIGHT_NON_FINITE: sums["non_finite"],
            Statistic.WEIGHT_UNIT_SPREAD: relative_spread(sums),
        }
    if source is Source.GRADIENT:
        gradient = rms(sums) / loss_scale
        return {
            Statistic.GRADIENT_MEAN: mean(sums) / loss_scale,
            Statistic.GRADIENT_STD: std(sums) / loss_scale,
            Statistic.GRADIENT_RMS: gradient,
            Statistic.GRADIENT_NORM: gradient * np.sqrt(size),
            Statistic.GRADIENT_MAX_ABS: largest(sums) / loss_scale,
            Statistic.GRADIENT_ZERO_FRACTION: sums["zeros"] / size,
            Statistic.GRADIENT_NON_FINITE: sums["non_finite"],
        }
    if source is Source.INPUT:
        return {
            Statistic.INPUT_MEAN: mean(sums),
            Statistic.INPUT_STD: std(sums),
            Statistic.INPUT_RMS: rms(sums),
            Statistic.INPUT_MAX_ABS: largest(sums),
            Statistic.INPUT_NON_FINITE: sums["non_finite"],
        }
    if source is Source.LABEL:
        return {
            Statistic.LABEL_MEAN: mean(sums),
            Statistic.LABEL_STD: std(sums),
            Statistic.LABEL_MIN: sums["low"],
            Statistic.LABEL_MAX: sums["high"],
            Statistic.LABEL_WHOLE_FRACTION: sums["whole"] / size,
            Statistic.LABEL_OUT_OF_REACH: sums["scale"] ** 2 * sums["excess"] / size,
            Statistic.LABEL_NON_FINITE: sums["non_finite"],
        }
    if source is Source.CLIPPED:
        return {Statistic.CLIPPED_NORM: rms(sums) * np.sqrt(size)}
    if source is Source.UPDATE:
        return {Statistic.UPDATE_RMS: rms(sums)}
    if source is Source.ACTIVATION:
        slope = sums["slope"]
        return {
            Statistic.ACTIVATION_MEAN: mean(sums),
            Statistic.ACTIVATION_STD: std(sums),
            Statistic.ACTIVATION_RMS: rms(sums),
            Statistic.ACTIVATION_ZERO_FRACTION: sums["zeros"] / size,
            Statistic.ACTIVATION_NON_FINITE: sums["non_finite"],
            Statistic.ACTIVATION_SLOPE: np.where(slope >= 0.0, slope / size, np.nan),
            Statistic.ACTIVATION_SIMILARITY: sums["cosines"] / sums["pairs"],
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
        Subject.INPUT: layout.inputs,
        Subject.OUTPUT: layout.outputs,
        Subject.STEP: 1,
    }
    values: dict[Statistic, Float] = {}
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for source, place in layout.places.items():
            sums = dict(zip(FIELDS[source], numbers[place.columns.T], strict=True))
            if len(place.subjects) < len(place.owners):
                sums = merged(place, sums)
            per_example = np.zeros(len(place.subjects))
            if source is Source.DELTA:
                per_example = np.array(outputs, dtype=np.float64)[place.subjects]
            found = statistics_of(source, sums, per_example, head["loss_scale"])
            for statistic, value in found.items():
                values[statistic] = value
                if len(value) < sizes[statistic.subject]:
                    values[statistic] = np.full(sizes[statistic.subject], np.nan)
                    values[statistic][place.subjects] = value
    return Measurement(
        step=int(head["step_high"]) * STEP_BASE + int(head["step_low"]),
        values=values,
        loss=head["loss"],
        trivial_loss=head["trivial_loss"],
        skipped=bool(head["skipped"]),
        examples=int(head["examples"]),
        penalty=head["penalty"],
        error_rate=head["error_rate"],
        trivial_error_rate=head["trivial_error_rate"],
    )
