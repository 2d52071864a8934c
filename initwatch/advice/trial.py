"""The trial: candidate initializers drawn into the model and measured on a real batch.

Theory proposes, the measurement decides. Every candidate is drawn for all layers concerned, one
training step on a kept batch is measured with it, and all is put back; the one that leaves the
forward and the backward signal most even over depth is what is advised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.advice import gain, weights
from initwatch.advice.advisor import SIGNAL_CODES
from initwatch.advice.initializers import (
    initializer_for,
    initializer_text,
    moments_of,
    orthogonal_for,
    rescaled,
    seed_of,
)
from initwatch.advice.pretrained import origins_of
from initwatch.advice.reinitialize import begun_anew, owners
from initwatch.diagnosis import depth, updates
from initwatch.diagnosis.sensitivity import sensitivity
from initwatch.records import Advice, History, Kernel, LayerSpec, Statistic
from initwatch.theory.choice import MAX_MEAN_SHARE, TEXTBOOK, sigma_w2
from initwatch.theory.quadrature import expectation, mean_square


class Measure(Protocol):
    """Measures steps with the weights the model has now; None if that cannot be done."""

    def __call__(self, steps: int = 1) -> History | None: ...


Assignment = dict[str, tuple[Any, str]]  # variable -> (initializer, code to paste)

# ln of an RMS ratio. Two draws of one initializer differ by this much and less: at width 64 and
# depth 30 the log-length scatters by sqrt(5 x 30 / 64) / 2 = 0.8 (Hanin & Rolnick 2018).
MARGIN = 0.8
# A candidate beyond the depth limit twice over (e^12 in variance) mends nothing.
MOST = 2.0 * depth.LOG_LIMIT
# Of the sound networks of tests/bench/reinit.py that warn, all drawn by a textbook, a trial evened
# out the signals 82-fold at most (depthwise kernels, of which Keras counts another fan-in).
DECISIVE = 100.0
# Weights that are too small grow out of it under most optimizers; those of four times the variance
# and more never shrink: tanh and softsign nets that end at a third of what they could learn have
# gradients 18 and 41 times less even than with other weights.
DECISIVE_IF_LARGE = 10.0
FAR_OFF = 4.0  # in variance: a factor of two in standard deviation
# Mishkin & Matas 2016, alg. 1: |Var - 1| < 0.1, at most 10 tries.
LSUV = "LSUV"
LSUV_TOLERANCE = 0.1
LSUV_TRIES = 10
# Healthy networks begin with a sensitivity of 5.2 and less (tests.bench.zoo.figures).
SENSITIVE = 100.0
# Training steps that a rehearsal takes; so long weights must give a finite loss that had none.
STEPS = 8
# Weights that a few steps have made ten times what they were are the updates' doing.
RUINED = 10.0
# Kinds of advice for what is not the weights' doing.
ELSEWHERE = frozenset({"learning_rate", "data", "target_scale", "output_loss"})


@dataclass(frozen=True, slots=True)
class Signals:
    """How even the signals are over depth, as measured in one step.

    Attributes:
        forward: ln(largest / smallest) of the activations' standard deviation along the trunk, or
            along a tower where that is more.
        backward: the same of delta, the gradient of the layers' outputs.
        saturation: ln(1 / RMS slope) of the most saturated activation whose slope is known,
            against the steepest it has; 0 = none is.
        loss: the step's loss.
        excess: ln(loss / that of a constant guess), 0 below it or where that is not known.
        equal: kernels whose units are all the same, but for an output's that begins at 0.
        alike: True if the last hidden layer no longer tells examples apart.
        slope: change of ln(RMS delta) per layer towards the output; NaN where there is no trend.
        sensitivity: largest of a kernel's (``diagnosis.sensitivity``); 0 where it is not known.
    """

    forward: float
    backward: float
    saturation: float
    loss: float
    excess: float
    equal: int
    alike: bool
    slope: float
    sensitivity: float = 0.0

    @property
    def cost(self) -> float:
        """The worse of the two signals, and how wild the first guess is: ln of an RMS ratio."""
        steep = float(np.log(max(self.sensitivity / SENSITIVE, 1.0)))
        worst = max(self.forward, self.backward, self.saturation, self.excess, steep)
        return worst if np.isfinite(worst) and not self.equal and not self.alike else np.inf


def signals(history: History, row: int = -1) -> Signals:
    """What one row of a history shows of the two signals."""
    columns = depth.trunk_columns(history.layers)
    forward, backward = (
        max(
            _range(_read(history, row, path, *which))
            for path in (columns, *depth.towers(history.layers))
        )
        for which in (
            (Statistic.ACTIVATION_STD, Statistic.ACTIVATION_NON_FINITE),
            (Statistic.DELTA_NORM, Statistic.DELTA_NON_FINITE),
        )
    )
    loss, guess = float(history.losses[row]), float(history.trivial_losses[row])
    excess = np.inf if not np.isfinite(loss) else 0.0
    if np.isfinite(loss) and guess > 0.0 and loss > guess:
        excess = float(np.log(loss / guess))
    places = {variable.path: i for i, variable in enumerate(history.variables)}
    spread = history.series[Statistic.WEIGHT_UNIT_SPREAD][row]
    rms = history.series[Statistic.WEIGHT_RMS][row]
    several = [
        layer.kernel
        for layer in history.layers
        if layer.kernel is not None
        and layer.kernel.shape[-1] > 1
        and layer.kernel.variable in places
        # an output may begin at 0
        and not (layer.is_output and rms[places[layer.kernel.variable]] == 0.0)
    ]
    equal = sum(bool(spread[places[kernel.variable]] == 0.0) for kernel in several)
    return Signals(
        forward,
        backward,
        _saturation(history, row),
        loss,
        excess,
        equal,
        _alike(history, row, columns),
        gain.slope(history, row),
        _sensitivity(history, row),
    )


def _sensitivity(history: History, row: int) -> float:
    rows = slice(row, row + 1 or None)
    return float(sensitivity(history, updates.kernels(history), rows).max(initial=0.0))


def _alike(history: History, row: int, columns: list[int]) -> bool:
    if Statistic.ACTIVATION_SIMILARITY not in history.series:
        return False
    similarity = history.series[Statistic.ACTIVATION_SIMILARITY][row, columns]
    apart = 1.0 - similarity[np.isfinite(similarity)]
    # no scale of the weights brings them apart again
    return bool(
        len(apart) and apart[0] >= depth.APART_AT_FIRST and apart[-1] < depth.ALIKE * apart[0]
    )


def _saturation(history: History, row: int) -> float:
    slopes = history.series[Statistic.ACTIVATION_SLOPE][row]
    worst = 0.0
    column = {layer.path: i for i, layer in enumerate(history.layers)}
    for layer in history.layers:
        phi = layer.activation
        # a rectifier's slopes are 0 or 1 by design
        if layer.is_output or phi is None or phi.max_slope is None or phi.rectifies:
            continue
        slope = float(slopes[column[phi.layer]]) if phi.layer in column else np.nan
        if np.isfinite(slope):
            with np.errstate(divide="ignore"):
                worst = max(worst, float(-0.5 * np.log(slope / phi.max_slope)))
    return worst


def _read(
    history: History, row: int, columns: list[int], statistic: Statistic, counted: Statistic
) -> NDArray[np.float64]:
    """A statistic of the layers that were read at all: NaN elsewhere is a number that is none."""
    if counted not in history.series or statistic not in history.series:
        return np.zeros(0)  # no gradient reaches any layer's output
    seen = np.isfinite(history.series[counted][row, columns])
    found: NDArray[np.float64] = history.series[statistic][row, columns][seen]
    return found


def _range(values: NDArray[np.float64]) -> float:
    """Ln of the largest over the smallest; inf where one is 0 or not finite."""
    if len(values) < 2 and np.isfinite(values).all() and np.all(values > 0.0):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(np.log(values.max()) - np.log(values.min()))
    return found if np.isfinite(found) else np.inf


@dataclass(frozen=True, slots=True)
class Outcome:
    """A candidate and what was measured with it."""

    name: str
    assignment: Assignment
    signals: Signals
    factor: float = 1.0  # on all gains


def try_out(
    model: keras.Model,
    advice: Sequence[Advice],
    history: History,
    measure: Measure,
    spare: frozenset[str] = frozenset(),
    mends: bool = False,
    earlier: Sequence[Advice] = (),
) -> list[Advice]:
    """Advice whose initializers were measured, the best of them in place of theory's choice.

    Args:
        model: its weights are put back, bit for bit.
        advice: from ``advise``; kinds other than initializer stay as they are.
        history: what was measured so far.
        measure: measured steps.
        spare: paths of variables that are not to be drawn anew.
        mends: what is advised is applied in the middle of this training: what its steps have
            already ruined in other layers is then among it, to be drawn as it was at first.
        earlier: what an earlier trial made of advice for these weights: what helped there stands
            where another draw does not.

    Returns:
        the same advice, with ``measured`` filled in and the initializers of the best candidate;
        unchanged where nothing could be measured. Where theory has no initializer for layers
        whose weights do not suit their activation, the textbook's are tried and come first if
        they help. Where no candidate is better than what is there, no initializer is advised.
    """
    advice = [item for item in advice if item.variable not in spare]
    chosen = [item for item in advice if item.kind == "initializer"]
    proposed = not chosen
    if proposed:
        # a rate, or what is fed, is advised where the first weights are not at fault
        codes = {code for item in advice for code in item.codes} & SIGNAL_CODES
        # signals that were sound until an update or a batch ruined them do not ask for weights
        elsewhere = [item for item in advice if item.kind in ELSEWHERE or "IW601" in item.codes]
        blamed = codes & {code for item in elsewhere for code in item.codes}
        asked = codes and not blamed
        chosen = weights.textbook(history, tuple(sorted(codes))) if asked else []
        places = {variable.path: i for i, variable in enumerate(history.variables)}
        chosen = [
            replace(item, place=(places[item.variable], len(places)))
            for item in chosen
            if item.variable not in spare
        ]
    if not chosen:
        return list(advice)
    others = [item for item in advice if item.kind != "initializer"]
    before = measure()
    if before is None:
        return list(advice)
    lost = _ruined(model, history, before, spare | {item.variable for item in chosen}, chosen[0])
    with _kept(model, [*chosen, *lost]) as variables:
        now = signals(before)
        if lost:  # the step that such a gradient led to has left none
            steepest = max(now.sensitivity, _sensitivity(history, 0))
            now = replace(now, sensitivity=steepest)
        outcomes = list(_measured(variables, chosen, lost, before, measure))
        if not outcomes:
            return list(advice)
        margin = _scatter(chosen, history)
        picked = _best(outcomes, margin)
        best = _with_even_delta(picked, chosen, variables, before, measure, margin)
        helps = best.signals.cost <= min(now.cost - MARGIN, MOST)
        evens = helps
        if not helps and not proposed and "IW302" in chosen[0].codes:
            # weights that saturate are asked for slopes; signals may stay as even as they are
            steeper = [outcome for outcome in outcomes if _is_steeper(outcome.signals, now)]
            if steeper:
                helps, best, picked = True, steeper[0], steeper[0]
        lasts = True
        if helps and not np.isfinite(now.loss):
            _draw(variables, best.assignment)
            # a step that was no number is in the optimizer's momenta too
            with begun_anew(getattr(model, "optimizer", None), model.trainable_variables):
                course = measure(STEPS)
            lasts = course is None or bool(np.isfinite(course.losses).all())
    figures = figures_of(now, best.signals)
    if not (helps and lasts):
        if proposed:
            return list(advice)
        known = {item.variable: item for item in earlier if item.measured is not None}
        if lasts and all(item.variable in known for item in chosen):
            return [*(replace(known[x.variable], codes=x.codes) for x in chosen), *others]
        tried = f"Of {len(outcomes)} initializers drawn and measured on a batch of yours "
        why = "none keeps the signals more even than they are"
        if not lasts:
            why = f"the best loses its finite loss again within {STEPS} steps"
        return [*others, *_otherwise(chosen, history, tried + why, np.isfinite(now.loss))]
    tuning = ""
    if best.factor != 1.0:
        tuning = (
            f" All gains are {best.factor:.3g} times as large: with that the gradient changes by "
            f"{np.expm1(best.signals.slope):.1%} a layer, by {np.expm1(picked.signals.slope):.1%} "
            "without."
        )
    out = []
    for item in [*chosen, *(lost if mends else [])]:
        suggested, code = best.assignment[item.variable]
        reason = item.reason
        if picked.assignment[item.variable][1] != item.code:
            does = "keeps both signals most even"
            if not evens:
                does = "brings the activations out of their flat ends"
            reason = (
                f"Of {len(outcomes)} candidates drawn and measured on a batch of yours, "
                f"{best.name} {does}."
            )
        if code != picked.assignment[item.variable][1]:
            reason += tuning
        out.append(replace(item, suggested=suggested, code=code, measured=figures, reason=reason))
    return [*weights.predicted_again(out, history, _variances(out, history.layers)), *others]


def _is_steeper(after: Signals, before: Signals) -> bool:
    """True if activations leave their flat ends, and nothing else is worse than it may be."""
    even = max(after.forward, after.backward) <= depth.LOG_LIMIT and np.isfinite(after.cost)
    unsaturated = after.saturation <= before.saturation - MARGIN
    return bool(even and unsaturated and after.excess <= before.excess)


def _otherwise(advice: Sequence[Advice], history: History, why: str, finite: bool) -> list[Advice]:
    """For layers that no initializer helps; ``finite``: their network has a finite loss."""
    paths, codes = list(dict.fromkeys(item.layer for item in advice)), advice[0].codes
    keep = f"{why}; normalising each layer holds them whatever the weights are"
    kind, source = weights.normalization_for(history)
    normalized = weights.normalize(paths, codes, f"{keep} ({source}).", kind)
    if finite:
        return [normalized]
    # what overflows in its first steps whatever the weights are grows too fast itself
    names = {
        layer.path: layer.activation.name
        for layer in history.layers
        if layer.activation and not layer.activation.rectifies and not layer.is_output
    }
    reason = f"{why}; ReLU grows no faster than its input (He et al. 2015, eq. 10)."
    exchange = [
        weights.rectify(path, names[path], codes, reason)
        for path in paths
        if names.get(path, "linear") != "linear"
    ]
    return [*exchange, normalized]


def _variances(advice: Sequence[Advice], layers: Sequence[LayerSpec]) -> dict[str, float]:
    """Variable -> fan_in x Var(w) of what is suggested for it."""
    known = {kernel.variable: kernel for layer in layers for kernel in layer.kernels}
    return {
        item.variable: kernel.fan_in
        * moments_of(item.suggested, kernel.shape, kernel.keras_fans).variance
        for item in advice
        if (kernel := known.get(item.variable)) is not None
    }


def _best(outcomes: Sequence[Outcome], margin: float) -> Outcome:
    """The first that no other beats by more than draws differ: theory's choice comes first."""
    least = min(outcome.signals.cost for outcome in outcomes)
    return next(o for o in outcomes if o.signals.cost <= least + margin)


def _with_even_delta(
    best: Outcome,
    advice: Sequence[Advice],
    variables: dict[str, Any],
    history: History,
    measure: Measure,
    margin: float,
) -> Outcome:
    """The same with its gain tuned, where delta has a slope over depth and that takes it out."""
    drawn = {item.variable for item in advice}
    arguments = {
        place.kernel.variable: place.kernel.argument for place in _places(history.layers, drawn)
    }
    if best.name == LSUV or not gain.can_be_tuned(history.layers, set(arguments)):
        return best
    tried: dict[tuple[float, int], Outcome] = {}

    def measured(log_gain: float, draw: int) -> tuple[float, float]:
        factor = float(f"{np.exp(log_gain):.4g}")
        assignment = dict(best.assignment)
        for path, argument in arguments.items():
            initializer = rescaled(best.assignment[path][0], factor, draw)
            if initializer is None:
                return np.nan, np.nan
            code = best.assignment[path][1]
            if factor != 1.0:
                code = f"{argument}={initializer_text(initializer)}"
            assignment[path] = initializer, code
        _draw(variables, assignment)
        after = measure()
        if after is None:
            return np.nan, np.nan
        found = signals(after)
        tried[log_gain, draw] = Outcome(best.name, assignment, found, factor)
        return found.slope, found.cost

    found = gain.tuned(best.signals.slope, margin, measured)
    return best if found is None else tried[found]


def _scatter(advice: Sequence[Advice], history: History) -> float:
    """By what the cost of two draws for these layers differs, ``MARGIN`` at most.

    The log-length of a signal scatters by sqrt(5 x sum of 1 / fan_in) / 2 (Hanin & Rolnick 2018).
    """
    drawn = {item.variable for item in advice}
    kernels = [x.kernel for x in history.layers if x.kernel and x.kernel.variable in drawn]
    return min(MARGIN, float(np.sqrt(2.5 * sum(1.0 / kernel.fan_in for kernel in kernels))))


def figures_of(before: Signals, after: Signals) -> dict[str, float]:
    """Before and after, as ratios of RMS; layers of equal units, where there were some.

    Where an activation works in its flat ends also the least mean of phi'(z)^2, relative to its
    maximum.
    """
    equal = {"equal_layers_before": before.equal, "equal_layers_after": after.equal}
    steep = {"sensitivity_before": before.sensitivity, "sensitivity_after": after.sensitivity}
    flat = {
        "slope_share_before": float(np.exp(-2.0 * before.saturation)),
        "slope_share_after": float(np.exp(-2.0 * after.saturation)),
    }
    return {
        "signal_ratio_before": _ratio(before.forward),
        "signal_ratio_after": _ratio(after.forward),
        "gradient_ratio_before": _ratio(before.backward),
        "gradient_ratio_after": _ratio(after.backward),
        "loss_before": before.loss,
        "loss_after": after.loss,
        **(equal if before.equal else {}),
        **(steep if max(before.sensitivity, after.sensitivity) > SENSITIVE else {}),
        **(flat if before.saturation > MARGIN else {}),
    }


def _ratio(log: float) -> float:
    """Infinite where nothing is left of the signal somewhere."""
    with np.errstate(over="ignore"):
        return float(np.exp(log))


def is_decisive(item: Advice, advice: Sequence[Advice]) -> bool:
    """True if a trial shows what it was for to be at fault, be the finding a warning only.

    Many a network that only warns learns as it is, and better than with other weights: those of
    a textbook under an activation that they do not quite suit. So two things are asked for: the
    trial evens out the worse of the two signals a hundredfold, and something of what was tried
    together is far off: weights of twice or half the standard deviation or all the same, or
    biases. Tenfold is enough for weights that are too large.

    Args:
        item: an initializer's.
        advice: all there is, ``item`` among it.
    """
    if item.measured is None:
        return False
    before, after = (
        max(item.measured[f"{signal}_ratio_{when}"] for signal in ("signal", "gradient"))
        for when in ("before", "after")
    )
    together = [other.predicted for other in advice if other.measured == item.measured]
    ratios = [p["sigma_w2_before"] / p["sigma_w2_after"] for p in together if "sigma_w2_after" in p]
    if any(ratio > FAR_OFF for ratio in ratios) and after * DECISIVE_IF_LARGE <= before:
        return True
    far_off = (
        item.measured.get("equal_layers_before", 0) > 0
        or any("bias_over_sigma_before" in figures for figures in together)
        or any(not 1.0 / FAR_OFF <= ratio <= FAR_OFF for ratio in ratios)
    )
    return far_off and after * DECISIVE <= before


def has_exploded(item: Advice) -> bool:
    """True if a trial has brought the loss down to half of what it was, or to a number.

    The first of drawn weights is about that of a guess: what was twice it had been blown up. Of
    probabilities Keras cuts a cross-entropy off at 16.
    """
    if item.measured is None:
        return False
    before, after = item.measured["loss_before"], item.measured["loss_after"]
    return not before <= 2.0 * after


# --------------------------------------------------------------------------- drawing


@contextmanager
def _kept(model: keras.Model, advice: Sequence[Advice]) -> Iterator[dict[str, Any]]:
    """The variables of the advice by path; their values are put back."""
    found = owners(model, advice)
    variables = {item.variable: v for item, (_, v) in zip(advice, found, strict=True)}
    values = {path: keras.ops.convert_to_numpy(v).copy() for path, v in variables.items()}
    try:
        yield variables
    finally:
        for path, variable in variables.items():
            variable.assign(values[path])


def _draw(variables: dict[str, Any], assignment: Assignment) -> None:
    for path, (initializer, _) in assignment.items():
        variable = variables[path]
        variable.assign(initializer(variable.shape, dtype=variable.dtype))


def _ruined(
    model: keras.Model, history: History, now: History, keep: frozenset[str], like: Advice
) -> list[Advice]:
    """Variables that the steps so far have thrown far out of range, to be drawn as at first.

    A gradient that explodes ruins at the first step of SGD the layers that are not at fault: with
    them as they are, no initializer of the others could be told to help.
    """
    origins = origins_of(model, history)
    first = history.first(Statistic.WEIGHT_RMS, 1)[0]
    rms = now.series[Statistic.WEIGHT_RMS][-1]
    places = [variable.path for variable in history.variables]
    out = []
    for i, path in enumerate(places):
        bias = history.variables[i].role == "bias"
        limit = max(float(first[i]), weights.BIAS_LIMIT) if bias else RUINED * float(first[i])
        sound = rms[i] <= limit or (first[i] == 0.0 and not bias and np.isfinite(rms[i]))
        initializer = origins[path].initializer if path in origins else None
        if sound or path in keep or not isinstance(initializer, keras.initializers.Initializer):
            continue
        config = initializer.get_config()
        seed = {"seed": seed_of(path)} if "seed" in config else {}
        out.append(
            replace(
                like,
                layer=history.variables[i].layer,
                current=initializer,
                suggested=type(initializer).from_config(config | seed),
                code=f"{path.rsplit('/', 1)[-1]}_initializer={initializer_text(initializer)}",
                predicted={},
                reason="The steps before have thrown it out of range: drawn as it was at first.",
                variable=path,
                place=(i, len(places)),
            )
        )
    return out


# --------------------------------------------------------------------------- candidates


@dataclass(frozen=True, slots=True)
class _Place:
    """A kernel that is to be drawn anew, and what stands around it."""

    layer: LayerSpec
    kernel: Kernel
    last_of_branch: bool


def _measured(
    variables: dict[str, Any],
    advice: Sequence[Advice],
    lost: Sequence[Advice],
    history: History,
    measure: Measure,
) -> Iterator[Outcome]:
    """Each candidate with what was measured, theory's own choice first."""
    places = _places(history.layers, {item.variable for item in advice})
    theirs: Assignment = {item.variable: (item.suggested, item.code) for item in [*advice, *lost]}
    least = np.inf
    for name, assignment in _candidates(theirs, places, history.layers):
        _draw(variables, assignment)
        measured = measure()
        if measured is not None:
            yield (outcome := Outcome(name, assignment, signals(measured)))
            least = min(least, outcome.signals.cost)
    # What is fitted to one batch need not hold on the next: where the fixed point is unstable
    # (GELU, SiLU) a deviation of 1 % grows over depth. It is for where nothing else helps.
    if least > depth.LOG_LIMIT:
        yield from _data_driven(variables, theirs, places, measure)


def _places(layers: Sequence[LayerSpec], wanted: set[str]) -> list[_Place]:
    out = []
    for i, layer in enumerate(layers):
        for kernel in (layer.first_kernel, layer.kernel):
            if kernel is not None and kernel.variable in wanted:
                out.append(_Place(layer, kernel, _ends_branch(layers, i)))
    return out


def _ends_branch(layers: Sequence[LayerSpec], index: int) -> bool:
    """True for the last kernel before a residual branch meets the trunk again."""
    if layers[index].trunk:
        return False
    for layer in layers[index + 1 :]:
        if layer.trunk:
            return True
        if layer.kernel is not None:
            return False
    return False


def _candidates(
    theirs: Assignment, places: Sequence[_Place], layers: Sequence[LayerSpec]
) -> Iterator[tuple[str, Assignment]]:
    yield "the advised initializer", theirs
    made: list[tuple[str, Callable[[_Place], tuple[Any, str]]]] = [
        ("the textbook match of each activation", _textbook),
        ("VarianceScaling with the computed gain", _computed),
        ("Orthogonal with the computed gain", _orthogonal),
    ]
    branches = sum(_ends_branch(layers, i) for i, x in enumerate(layers) if x.kernel is not None)
    if branches:

        def scaled(place: _Place) -> tuple[Any, str]:
            if not place.last_of_branch:
                return _textbook(place)
            # branches of variance 1/L each add up to 1 (Zhang et al. 2019; Hanin & Rolnick 2018)
            return initializer_for("computed", _scale(place) / branches, place.kernel)

        made.append(("the textbook match, branches scaled by 1/sqrt(L)", scaled))
    seen = [_codes(theirs)]
    for name, make in made:
        assignment = theirs | {place.kernel.variable: make(place) for place in places}
        if _codes(assignment) not in seen:
            seen.append(_codes(assignment))
            yield name, assignment


def _codes(assignment: Assignment) -> list[str]:
    return [code for _, code in assignment.values()]


def _name(place: _Place) -> str:
    phi = place.layer.activation
    # a kernel with another one of its layer behind it has no activation of its own
    alone = place.kernel is place.layer.kernel
    return phi.name if phi is not None and alone else "linear"


def _textbook(place: _Place) -> tuple[Any, str]:
    return initializer_for(TEXTBOOK.get(_name(place), "glorot"), 0.0, place.kernel)


def _scale(place: _Place) -> float:
    """fan_in x Var(w) that keeps the variance, by the layer's own activation."""
    phi = place.layer.activation
    if phi is None or place.kernel is not place.layer.kernel:
        return 1.0
    forward = mean_square(phi.function, 1.0)
    if expectation(phi.function) ** 2 >= MAX_MEAN_SHARE * forward:
        # the variance that theory follows is not the signal there
        family = TEXTBOOK.get(phi.name, "glorot")
        return sigma_w2(family, 0.0, place.kernel.fan_in, place.kernel.fan_out)
    return 1.0 / forward


def _computed(place: _Place) -> tuple[Any, str]:
    return initializer_for("computed", _scale(place), place.kernel)


def _orthogonal(place: _Place) -> tuple[Any, str]:
    return orthogonal_for(float(np.sqrt(_scale(place))), place.kernel)


def _data_driven(
    variables: dict[str, Any],
    theirs: Assignment,
    places: Sequence[_Place],
    measure: Measure,
) -> Iterator[Outcome]:
    """LSUV: orthogonal weights, scaled until each layer's output has the variance it should.

    Mishkin & Matas 2016, alg. 1, all layers at a time: each by what it adds to the change of the
    layer before it, which for ReLU and its kin is the same as one after the other.
    """
    gains = {place.kernel.variable: float(np.sqrt(_scale(place))) for place in places}
    found: Outcome | None = None
    for _ in range(LSUV_TRIES):
        assignment = theirs | {
            place.kernel.variable: orthogonal_for(gains[place.kernel.variable], place.kernel)
            for place in places
        }
        _draw(variables, assignment)
        history = measure()
        if history is None:
            return
        off = _off(history, places)
        if not np.isfinite(list(off.values())).all():
            return
        found = Outcome(LSUV, assignment, signals(history))
        if max(map(abs, off.values()), default=0.0) < LSUV_TOLERANCE / 2.0:  # of the RMS
            break
        for variable, log in off.items():
            gains[variable] *= float(np.exp(-np.clip(log, -10.0, 10.0)))
    if found is not None:
        yield found


def _off(history: History, places: Sequence[_Place]) -> dict[str, float]:
    """Ln by which each kernel is too large for an even signal."""
    column = {layer.path: i for i, layer in enumerate(history.layers)}
    std = history.series[Statistic.ACTIVATION_STD][-1]
    out = {}
    before = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        for place in places:
            if place.kernel is not place.layer.kernel:
                continue  # a kernel inside a layer shows no output of its own
            now = float(np.log(std[column[place.layer.signal]] / _std_of(place)))
            out[place.kernel.variable] = now - before if place.layer.trunk else now
            before = now if place.layer.trunk else before
    return out


def _std_of(place: _Place) -> float:
    """Standard deviation of phi(z), z ~ N(0, 1)."""
    phi = place.layer.activation
    if phi is None:
        return 1.0
    return float(np.sqrt(mean_square(phi.function, 1.0) - expectation(phi.function) ** 2))
