"""IW101 initializer_mismatch: the weights' scale does not suit the activation at this depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from initwatch.diagnosis import depth
from initwatch.diagnosis.course import course_of
from initwatch.diagnosis.rule import Threshold, threshold
from initwatch.diagnosis.stack import PlainStack, plain_stack
from initwatch.records import Finding, History, Kernel, Statistic
from initwatch.theory.choice import sigma_w2
from initwatch.theory.propagation import DEPTH_SCALES


@dataclass(frozen=True, slots=True, kw_only=True)
class InitializerMismatch:
    """The variance of the initial weights does not suit the activation behind them.

    What it means:
        sigma_w^2 = fan_in x Var(w), as measured at the first step, is so far from what the
        layers' own activation needs that over this depth the forward or the backward signal
        changes its variance by more than e^6.
    Why it hurts:
        This is the cause behind vanishing and exploding signals and gradients.
    How it is measured:
        The mean-field maps are followed through the layers with the measured sigma_w^2 and
        sigma_b^2. Fires where they predict a change beyond e^6 in variance, the measured
        signal moves the same way by at least e^3, and another initializer would keep it. Two
        or three layers are judged only when the loss has stood at that of a constant guess for
        100 steps: under most optimizers such a network grows out of its weights.
    What it does not flag:
        A mismatch that does not matter at this depth (Glorot under ReLU in a shallow net);
        layers behind which a normalisation stands; branches of residual blocks; stacks that
        no initializer mends (deep sigmoid nets: see vanishing_gradient).

    References:
        Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5 and sec. 4.
    """

    code: ClassVar[str] = "IW101"
    symptom: ClassVar[str] = "initializer_mismatch"
    summary: ClassVar[str] = "the initial weights' scale does not suit the activation"
    needs: ClassVar[frozenset[Statistic]] = frozenset(
        {Statistic.WEIGHT_RMS, Statistic.ACTIVATION_STD, Statistic.DELTA_NORM}
    )
    retracted: ClassVar[bool] = False
    waits_for_harm: ClassVar[bool] = True

    log_limit: Threshold = threshold(
        DEPTH_SCALES,
        unit="ln(variance ratio)",
        source="Schoenholz et al. 2017, sec. 4: nets train to about 6 depth scales",
    )
    log_limit_error: Threshold = threshold(
        2.0 * depth.LOG_LIMIT_ERROR,
        unit="ln(variance ratio)",
        source=depth.LOG_LIMIT_ERROR_SOURCE,
    )
    confirmed: Threshold = threshold(
        0.5,
        unit="share of the limit",
        source="finite width: measured log-variance at width 64 scatters by 0.2 of the limit",
    )
    same: Threshold = threshold(
        0.2,
        unit="ln(sigma_w^2 ratio)",
        source="a draw of a 32 x 32 kernel scatters by 0.05; Glorot and He are 0.7 apart",
    )
    window: int = 1  # the first step shows the initialisation itself
    patience: int = 100  # steps: before, a shallow network may still grow out of its weights

    def abstains(self, history: History) -> str | None:
        """Shallow networks that learn are not judged."""
        if self._is_stuck(history):
            return None
        reason = depth.too_short(self, history)
        return f"{reason}, while the run learns or is young" if reason else None

    def check(self, history: History) -> Iterator[Finding]:
        if not depth.speaks(history) or len(history.steps) < self.window:
            return
        stack = plain_stack(history)
        if stack is None or (stack.depth < depth.MIN_POINTS and not self._is_stuck(history)):
            return
        predicted = stack.theory.distortion
        if predicted <= self.log_limit:
            return
        best = stack.candidates()[0]
        if best.stack.distortion > min(self.log_limit, predicted - self.log_limit / 2.0):
            return
        forward, backward = self._measured(history, stack)
        moves = (
            _same_way(forward, stack.theory.log_forward),
            _same_way(backward, stack.theory.log_backward),
        )
        measured = max(moves)
        if measured < self.confirmed * self.log_limit:
            return
        target = [
            sigma_w2(*member, kernel.fan_in, kernel.fan_out)
            for member, kernel in zip(best.members, stack.kernels, strict=True)
        ]
        off = np.abs(np.log(np.array(stack.sigma_w2) / np.array(target)))
        if off.max() < self.same:
            return
        # where all are off alike the fault begins at the input; else with the worst
        order = np.arange(len(off)) if np.ptp(off) < np.log(2.0) else np.argsort(-off)
        wrong = [int(i) for i in order if off[i] > min(0.5 * off.max(), 0.5)]
        activation = stack.activations[wrong[0]].name
        miscounted = [i for i in wrong if _is_miscounted(stack.kernels[i])]
        of_keras: dict[str, float | int] = {}
        why = ""
        if miscounted:
            layer, kernel = stack.layers[miscounted[0]], stack.kernels[miscounted[0]]
            of_keras = {"fan_in": kernel.fan_in, "fan_in_of_keras": kernel.keras_fans[0]}
            why = (
                f" A unit of {layer.path} ({layer.class_name}) sums over {kernel.fan_in} inputs; "
                f"Keras's initializers count {kernel.keras_fans[0]}."
            )
        yield Finding(
            code=self.code,
            symptom=self.symptom,
            severity="error" if predicted > self.log_limit_error else "warning",
            layers=list(dict.fromkeys(stack.layers[i].path for i in wrong)),
            step=history.step,
            evidence={
                "log_variance_change": measured,
                "log_variance_change_limit": self.log_limit * self.confirmed,
                "log_variance_change_predicted": predicted,
                "log_variance_change_predicted_limit": self.log_limit,
                "sigma_w2": stack.sigma_w2[wrong[0]],
                "sigma_w2_suitable": target[wrong[0]],
                "layers_of_depth": stack.depth,
                **of_keras,
            },
            message=(
                f"fan_in x Var(w) is {stack.sigma_w2[wrong[0]]:.3g} where {activation} needs "
                f"about {target[wrong[0]]:.3g}: over {stack.depth} layers "
                f"{self._what_happens((forward, backward), moves, stack)}.{why}"
            ),
        )

    def _is_stuck(self, history: History) -> bool:
        """True if the loss has been that of a known constant guess for long."""
        course = course_of(history)
        if course is None or course.guess is None:
            return False
        return course.hurt and course.steps >= self.patience

    def _what_happens(
        self, measured: tuple[float, float], moves: tuple[float, float], stack: PlainStack
    ) -> str:
        """The larger of the two changes in words, as ratios of RMS."""
        theory = (stack.theory.log_forward, stack.theory.log_backward)
        worse = int(np.argmax(moves))
        what = ("the signal", "the gradient")[worse]
        if np.isnan(measured[worse]):
            return f"{what} leaves the range of its numbers"
        verb = "shrinks" if measured[worse] < 0.0 else "grows"
        return (
            f"{what} {verb} to {power_text(measured[worse] / 2.0)} of its size "
            f"(theory {power_text(theory[worse] / 2.0)})"
        )

    def _measured(self, history: History, stack: PlainStack) -> tuple[float, float]:
        """Ln of the variance ratio along the stack: forward (last / first), backward."""
        first = history.layer_index(stack.layers[0].signal)
        last = history.layer_index(stack.layers[-1].signal)
        with np.errstate(divide="ignore", invalid="ignore"):
            std = np.median(history.first(Statistic.ACTIVATION_STD, self.window), axis=0)
            delta = np.median(history.first(Statistic.DELTA_NORM, self.window), axis=0)
            return (
                2.0 * float(np.log(std[last] / std[first])),
                2.0 * float(np.log(delta[first] / delta[last])),
            )


def _is_miscounted(kernel: Kernel) -> bool:
    """True if an initializer that goes by fan-in takes it for another one."""
    by_fans = hasattr(kernel.initializer, "mode")
    told = getattr(kernel.initializer, "input_axes", None) is not None
    return by_fans and not told and kernel.keras_fans[0] != kernel.fan_in


def _same_way(measured: float, predicted: float) -> float:
    """|measured| if it moves as predicted, else 0; a signal that overflowed has moved."""
    if np.isnan(measured):
        return 0.0 if predicted < 0.0 else np.inf
    return abs(measured) if measured * predicted > 0.0 else 0.0


def power_text(log_ratio: float) -> str:
    """e^log_ratio as people read it, also where it is beyond the range of floats."""
    power = log_ratio / np.log(10.0)
    return f"{10.0**power:.2g}" if abs(power) < 300.0 else f"10^{power:.0f}"
