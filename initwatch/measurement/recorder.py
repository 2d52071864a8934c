"""The run's memory: bounded however long the run."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.activity import Activity
from initwatch.measurement.layout import Layout
from initwatch.measurement.moments import Measurement
from initwatch.records.history import History
from initwatch.records.layer import LayerSpec, VariableSpec
from initwatch.records.statistic import Statistic, Subject

FIRST_ROWS = 32  # kept whole: initialisation is judged on them
RECENT_ROWS = 64  # kept whole: the present is judged on them
LOSSES = 4096  # losses kept; when full, every other one of the older half is dropped


class Recorder:
    """Takes measurements, gives histories."""

    def __init__(self, layers: tuple[LayerSpec, ...], variables: tuple[VariableSpec, ...]) -> None:
        self.layers = layers
        self.variables = variables
        self.rows_seen = 0
        self._rows: list[tuple[int, dict[Statistic, NDArray[np.float64]]]] = []
        self._losses: list[tuple[int, float, float]] = []
        self._activity = Activity()
        self._initial_rms: NDArray[np.float64] | None = None

    def add(
        self, measurement: Measurement, active: NDArray[np.bool_], layout: Layout
    ) -> dict[Statistic, NDArray[np.float64]]:
        """Adds one step and gives its statistics, those across steps included."""
        values = dict(measurement.values)
        values[Statistic.LOSS] = np.array([measurement.loss])
        values[Statistic.TRIVIAL_LOSS] = np.array([measurement.trivial_loss])
        values[Statistic.SKIPPED] = np.array([float(measurement.skipped)])
        self._add_update_ratio(values)
        if layout.activity:
            self._activity.add(active, measurement.examples)
            values[Statistic.DEAD_FRACTION] = self._activity.dead_fractions(layout)
        self._rows.append((measurement.step, values))
        if len(self._rows) > FIRST_ROWS + RECENT_ROWS:
            del self._rows[FIRST_ROWS]
        self.rows_seen += 1
        if not np.isnan(measurement.loss) or not measurement.skipped:
            self._losses.append((measurement.step, measurement.loss, measurement.trivial_loss))
        if len(self._losses) > LOSSES:
            half = LOSSES // 2
            self._losses = self._losses[:half:2] + self._losses[half:]
        return values

    def _add_update_ratio(self, values: dict[Statistic, NDArray[np.float64]]) -> None:
        """RMS(update) / max(RMS(w), RMS(w) at first): zero-initialised weights have no ratio."""
        if Statistic.UPDATE_RMS not in values or Statistic.WEIGHT_RMS not in values:
            return
        weight = values[Statistic.WEIGHT_RMS]
        if self._initial_rms is None:
            self._initial_rms = weight.copy()
        floor = np.fmax(weight, self._initial_rms)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = values[Statistic.UPDATE_RMS] / floor
        values[Statistic.UPDATE_RATIO] = np.where(floor > 0.0, ratio, np.nan)

    @property
    def last_step(self) -> int:
        """The newest step measured, -1 if there is none."""
        return self._rows[-1][0] if self._rows else -1

    def history(self) -> History:
        """What rules see: the first and the newest rows, and all losses kept."""
        statistics = {statistic for _, values in self._rows for statistic in values}
        losses = np.array(self._losses, dtype=np.float64).reshape(-1, 3)
        return History(
            layers=self.layers,
            variables=self.variables,
            steps=np.array([step for step, _ in self._rows], dtype=np.int64),
            series={statistic: self._series(statistic) for statistic in statistics},
            loss_steps=losses[:, 0].astype(np.int64),
            losses=losses[:, 1],
            trivial_losses=losses[:, 2],
            examples=self._activity.examples,
        )

    def _series(self, statistic: Statistic) -> NDArray[np.float64]:
        widths: Mapping[Subject, int] = {
            Subject.LAYER: len(self.layers),
            Subject.VARIABLE: len(self.variables),
            Subject.STEP: 1,
        }
        missing = np.full(widths[statistic.subject], np.nan)
        return np.array([values.get(statistic, missing) for _, values in self._rows])
