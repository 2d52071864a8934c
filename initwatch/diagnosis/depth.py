"""What several rules ask of a history: the signal's path through the network, and its course."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis.course import course_of, solved
from initwatch.measurement.profile import DepthFit, fit_over_depth
from initwatch.records import History, LayerSpec, Severity, Statistic
from initwatch.theory.propagation import DEPTH_SCALES

# A signal whose variance has changed by e^6 is beyond the trainable depth; in RMS that is e^3.
LOG_LIMIT = DEPTH_SCALES / 2.0
LOG_LIMIT_SOURCE = (
    "Schoenholz et al. 2017, sec. 4: nets train to about 6 depth scales, variance e^6, RMS e^3 = 20"
)
# He et al. 2015, sec. 2.2: a 22-layer ReLU net with Xavier (2^-11 = 5e-4) still converges, a
# 30-layer one (2^-15 = 3e-5) does not.
LOG_LIMIT_ERROR = float(np.log(1e4))
LOG_LIMIT_ERROR_SOURCE = (
    "He et al. 2015, sec. 2.2: ReLU with Xavier converges at 22 layers (2^-11), not at 30 (2^-15)"
)
# 1 - cosine of what the last hidden layer makes of two examples, against the first's: below, they
# are the same to it; and the first's own, below which the examples are alike to begin with.
ALIKE, APART_AT_FIRST = 1e-4, 1e-2
WINDOW = 3  # steps: a zero-initialised residual branch passes its first gradient on at step 1 or 2
MIN_POINTS = 4  # three layers of depth: fewer show no trend
# Rules on initialisation speak in the first steps, later only of a run that does not learn.
EARLY_STEPS = 10


@dataclass(frozen=True, slots=True)
class Profile:
    """A quantity along the trunk or a tower.

    Attributes:
        statistic: which.
        trunk: True if all of the signal passes here.
        layers: the layers at whose output it was read, input side first.
        values: float64[layers], median over the window.
        fit: the exponential fit.
    """

    statistic: Statistic
    trunk: bool
    layers: tuple[LayerSpec, ...]
    values: NDArray[np.float64]
    fit: DepthFit

    @property
    def total(self) -> float:
        """ln(last / first): the smaller of fit and measured ends, 0 where their signs differ.

        The fit alone would extend a local trend; the ends alone would take one pooling layer
        or one odd head for a trend.
        """
        fit = self.fit
        if fit.log_total * fit.log_ends <= 0.0:
            return 0.0
        return float(np.sign(fit.log_total) * min(abs(fit.log_total), abs(fit.log_ends)))

    def normalizations(self, layers: tuple[LayerSpec, ...]) -> int:
        """How many of the network's kernels on this way have a normalization behind them."""
        way = [x for x in layers if (x.trunk if self.trunk else x.tower == self.layers[0].tower)]
        return sum(layer.normalized for layer in way)

    def severity(self, limit_error: float) -> Severity:
        """Beyond the limit no network learns; one with other ways for the signal may."""
        return "error" if self.trunk and abs(self.total) > limit_error else "warning"

    def where(self, chosen: NDArray[np.bool_], otherwise: int) -> list[str]:
        """Paths of the chosen layers, or of the layer ``otherwise`` if none is."""
        paths = [layer.path for layer, yes in zip(self.layers, chosen, strict=True) if yes]
        return paths or [self.layers[otherwise].path]

    def evidence(
        self, name: str, measured: float, limit: float, factor: float
    ) -> dict[str, float | int]:
        """The figures behind a verdict on this profile; ratios and limits are of RMS values."""
        return {
            name: measured,
            f"{name}_limit": limit,
            "factor_per_layer": factor,
            "layers_of_depth": self.fit.depth + 1,
            f"{self.statistic}_first": float(self.values[0]),
            f"{self.statistic}_last_hidden": float(self.values[-1]),
        }


def trunk_columns(layers: tuple[LayerSpec, ...]) -> list[int]:
    """Columns of the layers where the whole signal can be read, one point a stage.

    Between a kernel and the activation that completes it the signal is half-way; the model's
    output has a scale of its own. Both are left out, as are branches of residual blocks.
    """
    heads = [i for i, layer in enumerate(layers) if layer.is_output]
    end = min(heads, default=len(layers))
    return [i for i in _stages(layers) if layers[i].trunk and i < end]


def towers(layers: tuple[LayerSpec, ...]) -> list[list[int]]:
    """Such columns of each tower that is long enough to show a trend.

    A tower leads from an input to where others join it, or from where the ways to several outputs
    have parted to one of them.
    """
    if not any(layer.tower for layer in layers):
        return []
    found: dict[int, list[int]] = {}
    for i in _stages(layers):
        if layers[i].tower and not layers[i].is_output:
            found.setdefault(layers[i].tower, []).append(i)
    return [columns for columns in found.values() if len(columns) >= MIN_POINTS]


def _stages(layers: tuple[LayerSpec, ...]) -> list[int]:
    """Columns at which a signal is complete."""
    half_way: set[int] = set()
    column = {layer.path: i for i, layer in enumerate(layers)}
    for i, layer in enumerate(layers):
        if layer.kernel is not None:
            half_way |= set(range(i, column[layer.signal]))
    return [
        i
        for i, layer in enumerate(layers)
        if i not in half_way and layer.class_name not in _NO_STAGE
    ]


_NO_STAGE = frozenset(
    "Dropout SpatialDropout1D SpatialDropout2D GaussianNoise Flatten Reshape Embedding "
    "Rescaling Normalization ZeroPadding2D Permute Masking".split()
)


def profile(history: History, statistic: Statistic, window: int) -> Profile | None:
    """The last ``window`` rows of a statistic along the trunk; None if it is too short."""
    return _along(history, statistic, window, trunk_columns(history.layers), trunk=True)


def profiles(history: History, statistic: Statistic, window: int) -> Iterator[Profile]:
    """Such profiles of the trunk and of every tower that is long enough, the trunk's first."""
    along = profile(history, statistic, window)
    if along is not None:
        yield along
    for columns in towers(history.layers):
        along = _along(history, statistic, window, columns, trunk=False)
        if along is not None:
            yield along


def _along(
    history: History, statistic: Statistic, window: int, columns: list[int], *, trunk: bool
) -> Profile | None:
    rows = history.last(statistic, window)[:, columns]
    finite = np.asarray(np.isfinite(rows).all(axis=0))
    columns = [column for column, usable in zip(columns, finite, strict=True) if usable]
    if len(columns) < MIN_POINTS or len(rows) < window:
        return None
    values = np.median(rows[:, finite], axis=0)
    fit = fit_over_depth(values)
    if fit is None or fit.depth < MIN_POINTS - 1:
        return None
    return Profile(statistic, trunk, tuple(history.layers[i] for i in columns), values, fit)


def too_short(_rule: object, history: History) -> str | None:
    """Why a rule on depth cannot judge this network, None if it can: its ``abstains``."""
    points = len(trunk_columns(history.layers))
    if points >= MIN_POINTS or towers(history.layers):
        return None
    return (
        f"the signal can be read at {points} places along the trunk, and a trend over depth takes "
        f"{MIN_POINTS}"
    )


def learns(history: History) -> bool:
    """True if the loss has fallen beyond its noise since the first step seen."""
    course = course_of(history, 10)
    return course is not None and course.falls


def speaks(history: History) -> bool:
    """Whether a rule on initialisation may judge now: early, or while nothing is learned."""
    if not len(history.steps):
        return False
    early = history.steps[-1] - history.steps[0] <= EARLY_STEPS
    return bool(early) or not learns(history)


def updated(history: History, rows: int) -> NDArray[np.bool_]:
    """bool[rows]: steps of the last ``rows`` in which the optimizer changed anything."""
    changes = history.last(Statistic.UPDATE_RMS, rows)
    return np.asarray(np.nanmax(np.nan_to_num(changes), axis=1, initial=0.0) > 0.0)


def _nothing_but_zeros(rows: NDArray[np.float64]) -> bool:
    """True if every gradient that there is in these rows is exactly 0."""
    present = ~np.isnan(rows).any(axis=0)
    return bool(present.any() and (rows[:, present] == 0.0).all())


def at_zero(
    history: History, statistic: Statistic, window: int
) -> tuple[NDArray[np.bool_], bool] | None:
    """Where a gradient has been exactly 0 for ``window`` rows: bool[subjects], and if everywhere.

    A zero-initialised branch or head passes none on before the optimizer has opened it: rows say
    something if the network was updated in two of them, or if no weight has a gradient at all. None
    where they say nothing, or are too few, or of skipped steps, or where a loss that was more has
    come down to exactly 0: a hinge's, with all margins met, has no gradient left to give.
    """
    rows = history.last(statistic, window)
    if len(rows) < window or history.last(Statistic.SKIPPED, window).any():
        return None
    if solved(history, window):
        return None
    zero: NDArray[np.bool_] = np.all(rows == 0.0, axis=0)  # NaN, no gradient, is not zero
    everywhere = _nothing_but_zeros(rows)
    gradients = history.series.get(Statistic.GRADIENT_MAX_ABS)
    still = everywhere or (gradients is not None and _nothing_but_zeros(gradients[-window:]))
    if not still and np.count_nonzero(updated(history, window)) < 2:
        return None
    return zero, everywhere
