"""What was measured so far, as rules see it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from initwatch.records.layer import LayerSpec, VariableSpec
from initwatch.records.output import Output
from initwatch.records.statistic import Statistic


# compared by identity: two histories of equal arrays are of two moments
@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Measured series, oldest first. NaN means: not measured, or not a number.

    Attributes:
        layers: every layer with an output, in signal order.
        variables: every trainable variable.
        steps: int64[rows], the optimizer step of each row (0 = the first), increasing.
        series: float64[rows, subjects] of each statistic that was captured, subjects being
            ``layers``, ``variables`` or a single column, see ``Statistic.subject``.
        loss_steps: int64[n], the steps of ``losses``; reaches further back than ``steps``.
        losses: float64[n], the loss of each of these steps, without what regularizers and
            ``add_loss`` add to it.
        trivial_losses: float64[n], loss of the best constant prediction on the same batches; of
            small ones, where it can be told, on all labels seen up to them.
        error_shares: float64[n], wrong predictions over those of the best constant one.
        examples: examples seen in the rows that ``dead_fraction`` looks back on.
        one_label: examples of all sampled steps if all of their labels are one number, else 0.
        epoch_steps: int64[n], the step after which each epoch of this fit ended.
        epoch_losses: float64[n], the mean loss that Keras reports for each of them, penalties and
            batches that were not sampled included.
        output: what the model predicts with; empty where it has several outputs.
        over: True behind the last step of a fit.
    """

    layers: tuple[LayerSpec, ...]
    variables: tuple[VariableSpec, ...]
    steps: NDArray[np.int64]
    series: Mapping[Statistic, NDArray[np.float64]]
    loss_steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    trivial_losses: NDArray[np.float64]
    error_shares: NDArray[np.float64]
    examples: int = 0
    one_label: int = 0
    epoch_steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    epoch_losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    output: Output = Output()
    over: bool = False

    @property
    def step(self) -> int:
        """The newest step measured, -1 if there is none."""
        return int(self.steps[-1]) if len(self.steps) else -1

    def until(self, step: int) -> "History":
        """The same history as it was when ``step`` had been measured."""
        rows = int(np.searchsorted(self.steps, step, side="right"))
        losses = int(np.searchsorted(self.loss_steps, step, side="right"))
        epochs = int(np.searchsorted(self.epoch_steps, step, side="right"))
        return replace(
            self,
            steps=self.steps[:rows],
            series={name: values[:rows] for name, values in self.series.items()},
            loss_steps=self.loss_steps[:losses],
            losses=self.losses[:losses],
            trivial_losses=self.trivial_losses[:losses],
            error_shares=self.error_shares[:losses],
            epoch_steps=self.epoch_steps[:epochs],
            epoch_losses=self.epoch_losses[:epochs],
        )

    def last(self, statistic: Statistic, window: int) -> NDArray[np.float64]:
        """The last ``window`` rows (or fewer) of a statistic: float64[rows, subjects]."""
        return self.series[statistic][-window:]

    def first(self, statistic: Statistic, window: int) -> NDArray[np.float64]:
        """The first ``window`` rows (or fewer) of a statistic: float64[rows, subjects]."""
        return self.series[statistic][:window]

    def layers_of(self, paths: Iterable[str]) -> list[str]:
        """The layers themselves, or those they are a part of (the RNN of a cell), each once."""
        known = {layer.path for layer in self.layers}

        def owner(path: str) -> str:
            found = path
            while found and found not in known:
                found = found.rpartition("/")[0]
            return found or path

        return list(dict.fromkeys(map(owner, paths)))

    @property
    def first_weights(self) -> LayerSpec | None:
        """The first layer with a kernel, in signal order; None without any."""
        return next((layer for layer in self.layers if layer.kernel is not None), None)

    def layer_index(self, path: str) -> int:
        """Column of the layer ``path`` in statistics of layers."""
        return next(i for i, layer in enumerate(self.layers) if layer.path == path)

    def variable_index(self, path: str) -> int:
        """Column of the variable ``path`` in statistics of variables."""
        return next(i for i, variable in enumerate(self.variables) if variable.path == path)
