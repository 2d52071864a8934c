"""IW202 exploding_gradient: the gradient grows over layers or steps, or is as large as the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from initwatch.diagnosis import depth, sensitivity, updates
from initwatch.diagnosis.causes import DATA_SCALE, GROWTH
from initwatch.diagnosis.course import LONG, below_zero, course_of, does_not_learn, is_lost
from initwatch.diagnosis.inputs import brought_to_size
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.records import Finding, History, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplodingGradient:
    """Gradients out of proportion: over layers, over time, from step to step, or by the data.

    What it means:
        delta, the gradient of the loss with respect to a layer's output, is many times larger
        at the first layers than at the last hidden layer. Or, as in an RNN whose recurrent
        kernel is too large, a layer's gradient is out of all proportion to its weights. Or the
        gradient of all weights has grown from step to step until the loss was lost. Or it is
        many times as large as the weights because the inputs or the targets are.
    Why it hurts:
        A learning rate that suits the last layers throws the first ones about; one that suits
        the first leaves the last ones where they are. A gradient out of proportion holds for
        steps far smaller than any that trains.
    How it is measured:
        As in vanishing_gradient, with the sign turned: fires where the fit and the outer
        quarters both grow by more than e^3 = 20 from the last hidden layer to the first, and
        by more than what the normalisation layers on the way account for. Else by the
        sensitivity of the loss to each kernel of n weights, norm(dL/dw) x RMS(w) x n^(1/4) / L,
        in the first step, or in the last 3: by how many times its own size the loss would change
        if the kernel changed by its own size along the gradient. L is the loss with its
        penalties, or that of a constant guess if it is larger. Or, in a run whose loss is no
        number any more, is a cross-entropy below 0, or has risen to 1.5 times its start and a
        constant guess's, where the norm of all gradients has grown a hundredfold since the first
        step. Or, in a run that is lost
        or is no better than a constant guess after 100 steps, where inputs of an RMS above 10,
        or under a squared error such targets, make the norm of all kernels' gradients more than
        10 times that of the kernels.
    What it does not flag:
        Large gradients as such: a sum-reduced or scaled loss, loss scaling in float16, large
        inputs or targets of a run that learns. A single step of large gradients past the first.
        Gradients that grow in a run whose loss does not rise.

    References:
        Schoenholz et al. 2017, sec. 4; Hanin & Rolnick 2018. Over time: Bengio et al. 1994;
        Pascanu et al. 2013, sec. 2.
    """

    code: ClassVar[str] = "IW202"
    symptom: ClassVar[str] = "exploding_gradient"
    summary: ClassVar[str] = "the gradient grows over layers or steps, or is as large as the data"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.DELTA_NORM, Statistic.GRADIENT_NORM, Statistic.WEIGHT_RMS}
    )
    uses: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.INPUT_RMS, Statistic.LABEL_MEAN, Statistic.LABEL_STD}
    )
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True

    log_limit: Threshold = threshold(
        depth.LOG_LIMIT, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_SOURCE
    )
    log_limit_error: Threshold = threshold(
        depth.LOG_LIMIT_ERROR, unit="ln(RMS ratio)", source=depth.LOG_LIMIT_ERROR_SOURCE
    )
    normalized_growth: Threshold = threshold(
        0.5 * float(np.log(np.pi / (np.pi - 1.0))),
        unit="ln(RMS ratio) per normalised layer",
        source="Yang et al. 2019: batch normalisation before ReLU grows the squared gradient by "
        "pi / (pi - 1) a layer, and such nets train to about 50 layers",
    )
    max_sensitivity: Threshold = threshold(
        1e3,
        unit="norm(dL/dw) x RMS(w) x n^(1/4) / L",
        source="a customary update, 1e-3 of the weights (Karpathy 2015), would change the loss by "
        "all of it; healthy: up to 5.2 in the first 10 steps (tests.bench.zoo.figures)",
    )
    max_sensitivity_error: Threshold = threshold(
        1e5,
        unit="norm(dL/dw) x RMS(w) x n^(1/4) / L",
        source="1e-5 of the weights is past any step that trains; recurrent kernels over 80 steps: "
        "6 at gain 1.5, which trains, 1e5 at gain 2, which does not",
    )
    max_growth: Threshold = threshold(
        100.0,
        unit="norm of all gradients / that of the first step",
        source="4e3 to 7e12 in trainings whose loss runs away, 87 under a cross-entropy; healthy: "
        "up to 31, and their loss does not rise (tests.bench.zoo.figures)",
    )
    max_to_weights: Threshold = threshold(
        10.0,
        unit="norm of kernels' gradients / norm of kernels",
        source="a step of plain descent at 0.1, the largest customary rate (He et al. 2016), "
        "would be as large as all weights; healthy, with data of size 1: up to 6.9, with bytes or "
        "prices 34 and 68, which learn (tests.bench.zoo.figures)",
    )
    out_of_scale: Threshold = threshold(
        10.0, unit="RMS(inputs), RMS(targets)", source="as for inputs in unscaled_input"
    )
    window: int = depth.WINDOW
    recent: int = 3
    early: int = 10  # rows
    long: int = LONG

    def abstains(self, history: History) -> str | None:
        """Neither over depth nor by its proportion can every gradient be judged."""
        reason = depth.too_short(self, history)
        if reason is None or sensitivity.known(history).any():
            return None
        return f"{reason}; and what a constant guess would lose is not known of this loss"

    def check(self, history: History) -> Iterator[Finding]:
        if not (depth.speaks(history) or below_zero(history)):
            return
        ways = (self._over_depth, self._out_of_proportion, self._over_steps, self._of_data)
        for way in ways:
            found = way(history)
            if found is not None:
                yield found
                return

    def _over_depth(self, history: History) -> Finding | None:
        for profile in depth.profiles(history, Statistic.DELTA_NORM, self.window):
            total = -profile.total  # ln of the whole growth, positive
            limit = self.log_limit + self.normalized_growth * profile.normalizations(history.layers)
            if total > limit:
                return self._growth(history, profile, total, limit)
        return None

    def _growth(
        self, history: History, profile: depth.Profile, total: float, limit: float
    ) -> Finding:
        factor = float(np.exp(-profile.fit.log_slope))
        grown = profile.values > profile.values[-1] * np.exp(self.log_limit)
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity=profile.severity(self.log_limit_error),
            layers=profile.where(grown, otherwise=0),
            step=history.step,
            evidence=profile.evidence(
                "gradient_growth", float(np.exp(total)), float(np.exp(limit)), factor
            ),
            message=(
                f"The gradient grows {factor:.2f}-fold per layer on its way to the input: at "
                f"{profile.layers[0].path} it is {np.exp(total):.1e} times that of the last "
                "hidden layer."
            ),
        )

    def _out_of_proportion(self, history: History) -> Finding | None:
        columns = updates.kernels(history)
        # weights may be gone after the first step; later, one step says little
        begun = len(history.steps) <= self.recent
        rows = slice(0, 1) if begun else slice(-self.recent, None)
        worst = sensitivity.sensitivity(history, columns, rows).min(axis=0)
        order = [int(i) for i in np.argsort(-worst) if worst[i] > self.max_sensitivity]
        if not order:
            return None
        row, column, top = (0 if begun else -1), columns[order[0]], float(worst[order[0]])
        variable = history.variables[column]
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if top > self.max_sensitivity_error else "warning",
            layers=history.layers_of(history.variables[columns[i]].layer for i in order),
            step=history.step,
            evidence={
                "sensitivity": top,
                "sensitivity_limit": self.max_sensitivity,
                "gradient_norm": float(history.series[Statistic.GRADIENT_NORM][row, column]),
                "weight_rms": float(history.series[Statistic.WEIGHT_RMS][row, column]),
                "loss": float(history.series[Statistic.LOSS][row, 0]),
            },
            message=(
                f"The gradient of {variable.path} is out of proportion: a change of the weights by "
                f"{1.0 / top:.1e} of their size along it would change the loss by all of it."
            ),
        )

    def _over_steps(self, history: History) -> Finding | None:
        lost = is_lost(history)
        course = course_of(history, 10)
        # the losses of players against each other rise and fall, and no guess is known of them
        risen = course is not None and course.guess is not None and course.risen
        below = below_zero(history)
        if not (lost or risen or below):
            return None
        norms = history.series[Statistic.GRADIENT_NORM]
        whole = whole_norms(history)
        if not whole[0] > 0.0:
            return None
        row = int(np.nanargmax(whole))
        growth = float(whole[row] / whole[0])
        if growth <= self.max_growth:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.nan_to_num(norms[row] / norms[0], posinf=0.0)
        now = "below 0, as that of probabilities never is" if below else "far above where it began"
        grown = [int(i) for i in np.argsort(-each, kind="stable") if each[i] > self.max_growth]
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if lost else "warning",
            layers=history.layers_of(history.variables[i].layer for i in grown),
            step=history.step,
            evidence={
                GROWTH: growth,
                f"{GROWTH}_limit": self.max_growth,
                "gradient_norm_first": float(whole[0]),
                "gradient_norm_largest": float(whole[row]),
                "largest_at_step": int(history.steps[row]),
            },
            message=(
                f"The gradient has grown {growth:.1e}-fold since the first step, to a norm of "
                f"{whole[row]:.3g} at step {history.steps[row]}, and the loss is "
                f"{'no number any more' if lost else now}."
            ),
        )

    def _of_data(self, history: History) -> Finding | None:
        if not does_not_learn(history, self.long):
            return None
        sizes = {name: size for name, size in _data(history).items() if size > self.out_of_scale}
        columns = updates.kernels(history)
        if not sizes or not columns:
            return None
        ratios = to_weights(history, columns, slice(0, self.early))
        row = int(np.argmax(ratios))
        if not ratios[row] > self.max_to_weights:
            return None
        gradients = history.series[Statistic.GRADIENT_NORM][row, columns]
        norm = float(np.sqrt(np.nansum(np.square(gradients))))
        # inputs come in at the first kernel, what targets do is largest where the gradient is
        place = history.variables[columns[int(np.argmax(np.nan_to_num(gradients)))]].layer
        if "inputs" in sizes and history.first_weights is not None:
            place = history.first_weights.path
        data = " and ".join(f"{name} of an RMS of {size:.3g}" for name, size in sizes.items())
        return Finding(
            code=self.code,
            symptom=self.symptom,
            severity="warning",
            layers=history.layers_of([place]),
            step=history.step,
            evidence={
                DATA_SCALE: float(ratios[row]),
                f"{DATA_SCALE}_limit": self.max_to_weights,
                "gradient_norm": norm,
                "at_step": int(history.steps[row]),
                **{f"{name}_rms": size for name, size in sizes.items()},
            },
            message=(
                f"The kernels' gradient is {ratios[row]:.3g} times as large as the kernels (norm "
                f"{norm:.3g} at step {history.steps[row]}): it is in proportion to {data}."
            ),
        )

    def lets_go(self, finding: Finding) -> bool:
        """What the data do to the gradient hurts only a run that does not learn."""
        return DATA_SCALE in finding.evidence


def to_weights(
    history: History, columns: Sequence[int], rows: slice = slice(None)
) -> NDArray[np.float64]:
    """float64[rows]: norm of the gradients of these kernels / that of the kernels, or 0.

    Of those that have a gradient; 0 also in a step whose gradient is not finite.
    """
    size = np.sqrt([history.variables[i].size for i in columns])
    kernels = history.series[Statistic.WEIGHT_RMS][rows][:, columns] * size
    gradients = history.series[Statistic.GRADIENT_NORM][rows][:, columns]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kernels[np.isnan(gradients)] = np.nan
        whole = np.sqrt(
            np.nansum(np.square(gradients), axis=1) / np.nansum(np.square(kernels), axis=1)
        )
    return np.where(np.isfinite(whole), whole, 0.0)


def _data(history: History) -> dict[str, float]:
    """RMS of what the gradient is in proportion to: inputs, and targets of a squared error."""
    sizes = {}
    inputs = history.series.get(Statistic.INPUT_RMS)
    if inputs is not None and inputs.size and not brought_to_size(history):
        largest = np.nan_to_num(inputs[-3:], posinf=0.0).max(axis=1)
        sizes["inputs"] = float(np.median(largest))
    labels = (Statistic.LABEL_MEAN, Statistic.LABEL_STD)
    if history.output.loss == "mean_squared_error" and history.series.keys() >= set(labels):
        mean, std = (history.series[statistic][:, 0] for statistic in labels)
        squares = np.square(mean) + np.square(std)
        if np.isfinite(squares).any():
            sizes["targets"] = float(np.sqrt(np.nanmedian(squares)))
    return sizes


def whole_norms(history: History) -> NDArray[np.float64]:
    """float64[rows]: norm of all gradients of a step, NaN where none of them is a number."""
    norms = history.series[Statistic.GRADIENT_NORM]
    whole: NDArray[np.float64] = np.sqrt(np.nansum(np.square(norms), axis=1))
    whole[~np.isfinite(norms).any(axis=1)] = np.nan
    return whole
