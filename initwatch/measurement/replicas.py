"""One row for a step whose batch several replicas shared."""

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.layout import FIELDS, HEADER, Layout, Place, Source
from initwatch.measurement.moments import merged

# Weights and updates are the same in all replicas, and so is the summed gradient.
# Labels that every replica was given in whole count more often, which changes no statistic.
OF_EXAMPLES = (Source.ACTIVATION, Source.DELTA, Source.INPUT, Source.LABEL)


def whole_step(rows: NDArray[np.float32], layout: Layout, share: float) -> NDArray[np.float32]:
    """The row of the whole batch, from those of its parts.

    Args:
        rows: float32[replicas, layout.width].
        layout: what stands where in them.
        share: what a replica's loss counts in that of the step.

    Returns:
        float32[layout.width].
    """
    if len(rows) == 1:
        only: NDArray[np.float32] = rows[0]
        return only
    numbers = rows.astype(np.float64)
    whole: NDArray[np.float64] = numbers[0].copy()
    at = {name: i for i, name in enumerate(HEADER)}
    for name in ("loss", "penalty"):
        whole[at[name]] = share * numbers[:, at[name]].sum()
    for name in ("trivial_loss", "error_rate", "trivial_error_rate"):
        whole[at[name]] = numbers[:, at[name]].mean()
    whole[at["examples"]] = numbers[:, at["examples"]].sum()
    whole[at["skipped"]] = numbers[:, at["skipped"]].max()
    with np.errstate(invalid="ignore", over="ignore"):
        for source in OF_EXAMPLES:
            if source not in layout.places:
                continue
            columns = layout.places[source].columns
            groups = np.arange(len(columns))
            parts = Place(groups, np.tile(groups, len(rows)), columns)
            values = numbers[:, columns].reshape(-1, len(FIELDS[source])).T
            sums = merged(parts, dict(zip(FIELDS[source], values, strict=True)))
            if source is Source.DELTA:
                sums["scale"] = share * sums["scale"]
            whole[columns] = np.stack([sums[name] for name in FIELDS[source]], axis=1)
        _of_outputs(whole, numbers, layout)
    return whole.astype(np.float32)


def _of_outputs(whole: NDArray[np.float64], numbers: NDArray[np.float64], layout: Layout) -> None:
    """What predictions have to do with labels: means over the labels of all parts."""
    if Source.OUTPUT not in layout.places:
        return
    fields = FIELDS[Source.OUTPUT]
    for columns in layout.places[Source.OUTPUT].columns:
        values = numbers[:, columns]
        counts = values[:, fields.index("count")]
        whole[columns] = counts @ values / counts.sum()
        whole[columns[fields.index("count")]] = counts.sum()
