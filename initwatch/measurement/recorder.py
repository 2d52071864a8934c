"""The run's memory: bounded however long the run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initwatch.measurement.activity import Activity
from initwatch.measurement.guess import Guess, OneLabel
from initwatch.measurement.layout import Layout
from initwatch.measurement.moments import Measurement
from initwatch.records.history import History
from initwatch.records.layer import LayerSpec, VariableSpec
from initwatch.records.output import Output
from initwatch.records.statistic import Statistic

FIRST_ROWS = 32  # kept whole: initialisation is judged on them
RECENT_ROWS = 64  # at least so many are kept whole: the present is judged on them
ROWS = FIRST_ROWS + 2 * RECENT_ROWS  # when so many are there, the older recent half is dropped
EPOCHS = 64  # means of epochs kept
LOSSES = 4096  # losses kept; when full, every other one of the older half is dropped


class Recorder:
    """Takes measurements, gives histories."""

    def __init__(
        self,
        layers: tuple[LayerSpec, ...],
        variables: tuple[VariableSpec, ...],
        output: Output,
    ) -> None:
        self.layers = layers
        self.variables = variables
        self.output = output
        self.rows_seen = 0
        self._count = 0
        self._steps = np.zeros(ROWS, dtype=np.int64)
        self._series: dict[Statistic, NDArray[np.float64]] = {}
        # step, loss without penalties, trivial loss, errors over those of a constant
        self._losses = np.zeros((LOSSES, 4))
        self._loss_count = 0
        self._activity = Activity()
        self._guess = Guess(output)
        self._labels = OneLabel()
        self._epochs: list[tuple[int, float]] = []  # last step, mean loss
        self._initial_rms: NDArray[np.float64] | None = None

    def add(
        self, measurement: Measurement, active: NDArray[np.bool_], layout: Layout
    ) -> dict[Statistic, NDArray[np.float64]]:
        """Adds one step and gives its statistics, those across steps included."""
        values = dict(measurement.values)
        values[Statistic.LOSS] = np.array([measurement.loss])
        values[Statistic.TRIVIAL_LOSS] = np.array([measurement.trivial_loss])
        values[Statistic.PENALTY] = np.array([measurement.penalty])
        values[Statistic.ERROR_RATE] = np.array([measurement.error_rate])
        values[Statistic.TRIVIAL_ERROR_RATE] = np.array([measurement.trivial_error_rate])
        values[Statistic.SKIPPED] = np.array([float(measurement.skipped)])
        self._add_update_ratio(values)
        if layout.activity:
            self._activity.add(active, measurement.examples)
            values[Statistic.DEAD_FRACTION] = self._activity.dead_fractions(layout)
        self._labels.add(measurement)
        self._append(measurement.step, values)
        self.rows_seen += 1
        if not np.isnan(measurement.loss) or not measurement.skipped:
            self._append_loss(measurement)
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

    def _append(self, step: int, values: Mapping[Statistic, NDArray[np.float64]]) -> None:
        """Writes one row behind the others. Rows once handed out in a history never change."""
        if self._count == ROWS:
            self._count = FIRST_ROWS + RECENT_ROWS
            self._steps = _without_older(self._steps)
            self._series = {name: _without_older(rows) for name, rows in self._series.items()}
        for name, value in values.items():
            if name not in self._series:
                self._series[name] = np.full((ROWS, len(value)), np.nan)
            self._series[name][self._count] = value
        self._steps[self._count] = step
        self._count += 1

    def _append_loss(self, measurement: Measurement) -> None:
        if self._loss_count == LOSSES:
            half = LOSSES // 2
            kept = np.concatenate([self._losses[:half:2], self._losses[half:]])
            self._loss_count = len(kept)
            self._losses = np.concatenate([kept, np.zeros((LOSSES - len(kept), 4))])
        penalty = 0.0 if np.isnan(measurement.penalty) else measurement.penalty
        trivial = measurement.trivial_error_rate
        errors = measurement.error_rate / trivial if trivial > 0.0 else np.nan
        loss = measurement.loss - penalty
        guess = self._guess.of(measurement)
        self._losses[self._loss_count] = measurement.step, loss, guess, errors
        self._loss_count += 1

    def add_epoch(self, loss: float) -> None:
        """An epoch has ended with this mean loss; of the newest ``EPOCHS`` it is kept."""
        self._epochs = [*self._epochs[1 - EPOCHS :], (self.last_step, loss)]

    @property
    def last_step(self) -> int:
        """The newest step measured, -1 if there is none."""
        return int(self._steps[self._count - 1]) if self._count else -1

    def history(self) -> History:
        """What rules see: the first and the newest rows, and all losses kept."""
        losses = self._losses[: self._loss_count]
        return History(
            layers=self.layers,
            variables=self.variables,
            steps=self._steps[: self._count],
            series={name: rows[: self._count] for name, rows in self._series.items()},
            loss_steps=losses[:, 0].astype(np.int64),
            losses=losses[:, 1],
            trivial_losses=losses[:, 2],
            error_shares=losses[:, 3],
            examples=self._activity.examples,
            one_label=self._labels.examples,
            epoch_steps=np.array([step for step, _ in self._epochs], dtype=np.int64),
            epoch_losses=np.array([loss for _, loss in self._epochs], dtype=np.float64),
            output=self.output,
        )


def _without_older(rows: NDArray[Any]) -> NDArray[Any]:
    """A new array with the first rows, the newest ones, and room behind them."""
    kept = np.full_like(rows, np.nan if rows.dtype.kind == "f" else 0)
    kept[:FIRST_ROWS] = rows[:FIRST_ROWS]
    kept[FIRST_ROWS : FIRST_ROWS + RECENT_ROWS] = rows[-RECENT_ROWS:]
    return kept
