"""Answers to faults of weights and biases: initializers first, and what helps where none does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from initwatch.advice.initializers import initializer_for, orthogonal, seed_of
from initwatch.diagnosis.initial_weights import (
    EQUAL,
    ONE_SIDED,
    equal_at_first,
    one_sided,
    one_sided_embeddings,
    oversized,
)
from initwatch.diagnosis.stack import PlainStack, plain_stack
from initwatch.records import Advice, Finding, History, Kernel, LayerSpec, Statistic
from initwatch.theory.choice import TEXTBOOK, Candidate, sigma_w2
from initwatch.theory.propagation import DEPTH_SCALES, Stack
from initwatch.theory.quadrature import mean_square_slope

# A bias beyond two standard deviations of the pre-activation leaves less than one example in
# forty on the other side of a ReLU's bend (normal distribution).
BIAS_LIMIT = 2.0
# Keras's normalisations add an epsilon of 1e-3 to the variance; an input of variance 1 has less
# than that behind such weights.
BELOW_EPSILON = 1e-3
# In variance, of recurrent weights against orthogonal ones: over 80 steps SimpleRNN with gain 1.5,
# 2.25 in variance, still learns, with gain 2 it does not.
RECURRENT_FAR_OFF = 3.0


def mend_signal(
    findings: Sequence[Finding], history: History, codes: tuple[str, ...]
) -> list[Advice]:
    """For signals that fade or grow over depth.

    Args:
        findings: those of ``SIGNAL_CODES``, causes first.
        history: what was measured.
        codes: codes of all findings that the advice answers.
    """
    equal = equal_at_first(history)
    if equal:
        return break_symmetry(equal, history, codes)
    stack = plain_stack(history)
    if stack is None:
        found = _below_epsilon(history, codes) or _tame_recurrence(history, codes)
        if found:
            return found
        kind, source = normalization_for(history)
        return [
            normalize(
                findings[0].layers,
                codes,
                "Theory follows stacks of dense and convolutional layers, which this is not; "
                "normalising each layer's output holds the signal whatever its weights do "
                f"({source}).",
                kind,
            )
        ]
    now = stack.theory.distortion
    best = stack.candidates()[0]
    if best.stack.distortion <= DEPTH_SCALES and now - best.stack.distortion > DEPTH_SCALES / 2:
        return _initializers(stack, best, codes)
    if best.stack.distortion > DEPTH_SCALES:
        return _change_activation(stack, best, codes)
    return [
        normalize(
            [layer.path for layer in stack.layers],
            codes,
            "By theory the weights' scale suits the activations, so the cause is elsewhere; "
            "normalising each layer holds the signal whatever it is (Ioffe & Szegedy 2015).",
        )
    ]


def _initializers(stack: PlainStack, best: Candidate, codes: tuple[str, ...]) -> list[Advice]:
    """One advice a layer whose weights' variance is not what the best family would give it."""
    before, after = stack.theory, best.stack
    out = []
    for i, (layer, kernel) in enumerate(zip(stack.layers, stack.kernels, strict=True)):
        family, scale = best.members[i]
        target = sigma_w2(family, scale, kernel.fan_in, kernel.fan_out)
        if abs(np.log(stack.sigma_w2[i] / target)) < 0.1:
            continue  # within a tenth, as wide as a draw of a small kernel scatters
        chosen = initializer_for(family, scale, kernel)
        out.append(
            _drawn_anew(
                layer.path,
                kernel,
                chosen,
                predicted={
                    "sigma_w2_before": stack.sigma_w2[i],
                    "sigma_w2_after": target,
                    **_course(before, i, "before"),
                    **_course(after, i, "after"),
                },
                reason=(
                    f"Theory for {stack.activation.name} over {stack.depth} layers: "
                    f"gradient left at the input {_left(before.log_backward):.1e} now, "
                    f"{_left(after.log_backward):.2g} with it; signal left at the output "
                    f"{_left(before.log_forward):.1e} now, {_left(after.log_forward):.2g} with "
                    f"it ({_SOURCES[family]})."
                ),
                codes=codes,
            )
        )
    return out


def _drawn_anew(
    path: str,
    kernel: Kernel,
    chosen: tuple[Any, str],
    predicted: Mapping[str, float],
    reason: str,
    codes: tuple[str, ...],
) -> Advice:
    """Another initializer for a kernel; ``chosen``: the object, and the code to paste."""
    suggested, code = chosen
    return Advice(
        layer=path,
        kind="initializer",
        current=kernel.initializer,
        suggested=suggested,
        code=code,
        predicted=predicted,
        reason=reason,
        codes=codes,
        variable=kernel.variable,
    )


def _course(theory: Stack, layer: int, when: str) -> dict[str, float]:
    """Theory's figures for one layer of a stack, ``before`` or ``after`` a change."""
    return {
        f"chi_{when}": theory.chi[min(layer, len(theory.chi) - 1)],
        f"gradient_left_{when}": _left(theory.log_backward),
        f"signal_left_{when}": _left(theory.log_forward),
    }


def predicted_again(
    advice: Sequence[Advice], history: History, sigma_w2: Mapping[str, float]
) -> list[Advice]:
    """The same advice with theory's figures for weights of these variances.

    Args:
        advice: some of it with theory's figures for what was suggested at first.
        history: what was measured.
        sigma_w2: variable -> fan_in x Var(w) of what is suggested now.
    """
    stack = plain_stack(history)
    after = None if stack is None else stack.with_weights(sigma_w2)
    places = {} if stack is None else {k.variable: i for i, k in enumerate(stack.kernels)}
    out = []
    for item in advice:
        predicted = dict(item.predicted)
        if "sigma_w2_after" in predicted and item.variable in sigma_w2:
            predicted["sigma_w2_after"] = sigma_w2[item.variable]
        if "chi_after" in predicted and after is not None:
            predicted |= _course(after, places[item.variable], "after")
        out.append(replace(item, predicted=predicted))
    return out


def _below_epsilon(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """For weights in front of a normalisation that are too small even for it.

    A normalisation divides by sqrt(variance + epsilon): what lies below epsilon it does not
    bring back to 1.
    """
    out = []
    for layer, advice, before, after in _by_textbook(history, codes):
        if layer.normalized and before < BELOW_EPSILON:
            reason = (
                f"fan_in x Var(w) is {before:.3g} where {after:.3g} suits: so small a variance "
                "lies below the epsilon of the normalisation behind it, which therefore does "
                "not bring it back to 1 (Ioffe & Szegedy 2015, alg. 1)."
            )
            out.append(replace(advice, reason=reason))
    return out


def _tame_recurrence(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """For recurrent kernels whose weights are far from those of an orthogonal matrix.

    Back through T time steps a gradient is multiplied T times with the recurrent kernel: it grows
    or fades exponentially unless its singular values are 1 (Pascanu et al. 2013, sec. 2; Saxe et
    al. 2014). Gates stand side by side: of one orthogonal matrix each weight's variance is one
    over its longer side.
    """
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    out = []
    for layer in history.layers:
        kernel = layer.recurrent_kernel
        if kernel is None or kernel.variable not in columns:
            continue
        chosen = orthogonal(kernel)
        before = kernel.fan_in * float(rms[columns[kernel.variable]]) ** 2
        after = kernel.fan_in / max(kernel.shape[-2:])
        if before <= RECURRENT_FAR_OFF * after:
            continue
        out.append(
            _drawn_anew(
                layer.path,
                kernel,
                chosen,
                predicted={"sigma_w2_before": before, "sigma_w2_after": after},
                reason=(
                    f"fan_in x Var(w) of the recurrent kernel is {before:.3g}; a gradient is "
                    f"multiplied with it once a time step, and keeps its size with an orthogonal "
                    f"one, {after:.3g} (Pascanu et al. 2013, sec. 2; Saxe et al. 2014)."
                ),
                codes=codes,
            )
        )
    return out


_SOURCES = {
    "he": "He et al. 2015, eq. 10",
    "glorot": "Glorot & Bengio 2010, eq. 12",
    "lecun": "LeCun et al. 1998; Klambauer et al. 2017",
    "computed": "variance-preserving gain, Poole et al. 2016, eq. 3",
}


def _left(log_variance: float) -> float:
    """RMS ratio from ln of a variance ratio; 0 or infinite beyond the range of floats."""
    with np.errstate(over="ignore"):
        return float(np.exp(log_variance / 2.0))


def _change_activation(stack: PlainStack, best: Candidate, codes: tuple[str, ...]) -> list[Advice]:
    """For stacks that no initializer mends: every layer needs the change."""
    name = stack.activation.name
    chi = mean_square_slope(stack.activation.function, stack.theory.q[0])
    left = _left(best.stack.log_backward)
    what = f"with the best one the gradient left at the input is {left:.1e}"
    if not np.isfinite(best.stack.log_forward):
        what = "with each the signal grows beyond all numbers"
    reason = (
        f"No initializer mends {stack.depth} layers of {name}: {what}; E[phi'(z)^2] is "
        f"{chi:.2g} a layer. ReLU with He weights keeps it at 1 (He et al. 2015, eq. 10)."
    )
    paths = list(dict.fromkeys(layer.path for layer in stack.layers))
    predicted = {
        "gradient_left_before": _left(stack.theory.log_backward),
        "gradient_left_best_initializer": left,
        "gradient_left_after": 1.0,
    }
    keep = f"Or keep {name} and normalise in front of it in every layer (Ioffe & Szegedy 2015)."
    exchange = [replace(rectify(path, name, codes, reason), predicted=predicted) for path in paths]
    return [*exchange, normalize(paths, codes, keep)]


def rectify(path: str, name: str, codes: tuple[str, ...], reason: str) -> Advice:
    """ReLU in place of the activation ``name`` of one layer."""
    return Advice(
        layer=path,
        kind="activation",
        current=name,
        suggested="relu",
        code='activation="relu", kernel_initializer="he_normal"',
        reason=reason,
        codes=codes,
    )


_RECURRENT = frozenset(["RNN", "SimpleRNN", "LSTM", "GRU", "Bidirectional"])


def normalization_for(history: History) -> tuple[str, str]:
    """(layer, source): batches are normalised, or, where there is a recurrent layer, states."""
    if any(layer.class_name in _RECURRENT for layer in history.layers):
        return "LayerNormalization", "Ba et al. 2016"
    return "BatchNormalization", "Ioffe & Szegedy 2015"


def normalize(
    paths: Sequence[str], codes: tuple[str, ...], reason: str, kind: str = "BatchNormalization"
) -> Advice:
    """One for all: a layer to put in, not a line to change."""
    where = "between each kernel and its activation"
    if kind == "LayerNormalization":
        where = "behind each layer"
    return Advice(
        layer=paths[0] if len(set(paths)) == 1 else "",
        kind="normalization",
        current="none",
        suggested=f"{kind} {where}",
        code=f"keras.layers.{kind}()  # {where}",
        reason=reason,
        codes=codes,
    )


def break_symmetry(paths: Sequence[str], history: History, codes: tuple[str, ...]) -> list[Advice]:
    """A random initializer that matches the activation of each of these layers.

    Outputs in front of them, and other layers that began as constants, are answered with them.
    """
    out = []
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    spread = history.first(Statistic.WEIGHT_UNIT_SPREAD, 1)[0]

    def began_as_one(kernel: Kernel) -> bool:
        return bool(spread[columns[kernel.variable]] <= EQUAL)

    for layer in history.layers:
        if layer.kernel is None and layer.path in paths:
            out += _of_cells(layer, history, codes)
        if layer.kernel is None or layer.kernel.variable not in columns:
            continue
        # an output may begin at 0; in front of equal layers it lets no gradient through to any,
        # and one whose units are all equal gives them all the same
        alone = layer.kernel.shape[-1] == 1
        parted = alone or not began_as_one(layer.kernel)
        if layer.is_output and parted and rms[columns[layer.kernel.variable]] > 0.0:
            continue
        # units that a random layer behind them has parted since are no better for it
        constant = began_as_one(layer.kernel) and (
            rms[columns[layer.kernel.variable]] > 0.0 or layer.is_output
        )
        if layer.path not in paths and not constant:
            continue
        first = layer.first_kernel
        if first is not None and began_as_one(first):
            out.append(_random(first, "linear", layer.path, rms[columns[first.variable]], codes))
        name = _activation_name(layer)
        now = rms[columns[layer.kernel.variable]]
        out.append(_random(layer.kernel, name, layer.path, now, codes))
    return out


def _of_cells(layer: LayerSpec, history: History, codes: tuple[str, ...]) -> list[Advice]:
    """What Keras draws for the cells of a recurrent layer, kernel and recurrent kernel."""
    out = []
    for variable in history.variables:
        if not variable.layer.startswith(f"{layer.path}/"):
            continue
        recurrent = layer.recurrent_kernel
        chosen, code = None, ""
        if recurrent is not None and variable.path == recurrent.variable:
            chosen, code = orthogonal(recurrent)
        elif variable.role == "kernel":
            chosen = keras.initializers.GlorotUniform(seed=seed_of(variable.path))
            code = 'kernel_initializer="glorot_uniform"'
        if chosen is not None:
            out.append(
                Advice(
                    layer=layer.path,
                    kind="initializer",
                    current="one value for all weights",
                    suggested=chosen,
                    code=code,
                    reason="Random weights part the units of a recurrent layer's gates (Glorot & "
                    "Bengio 2010; Saxe et al. 2014 for the recurrent kernel).",
                    codes=codes,
                    variable=variable.path,
                )
            )
    return out


def resize(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """The textbook match for kernels that begin too large or with a mean, and small embeddings."""
    large = {each.variable: each for each in oversized(history)}
    aside = {kernel.variable for _, kernel, share in one_sided(history) if share > ONE_SIDED}
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    out = []
    for layer in history.layers:
        for kernel in layer.kernels:
            if kernel.variable not in large.keys() | aside:
                continue
            name = _activation_name(layer) if kernel is layer.kernel else "linear"
            now = float(rms[columns[kernel.variable]])
            advice = _random(kernel, name, layer.path, now, codes)
            reason = (
                f"{large[kernel.variable].text}."
                if kernel.variable in large
                else f"The weights of {layer.path} do not start around 0, so that all of its units "
                "begin by adding up their inputs alike."
            )
            figures = {k: v for k, v in advice.predicted.items() if k.startswith("sigma_w2")}
            out.append(replace(advice, reason=reason, predicted=figures))
    alike = {variable.path for variable, _ in one_sided_embeddings(history)}
    for i, variable in enumerate(history.variables):
        if variable.role == "embeddings" and variable.path in large.keys() | alike:
            out.append(
                Advice(
                    layer=variable.layer,
                    kind="initializer",
                    current=f"vectors of RMS {rms[i]:.3g}",
                    suggested=keras.initializers.RandomUniform(seed=seed_of(variable.path)),
                    code='embeddings_initializer="uniform"',
                    reason=f"{large[variable.path].text}."
                    if variable.path in large
                    else f"All vectors of {variable.layer} begin alike: what tells entries apart "
                    "is what the initializer draws around 0.",
                    codes=codes,
                    variable=variable.path,
                )
            )
    return out


def textbook(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """The textbook match for each kernel whose variance is more than twice off it.

    For networks that theory does not follow: what it comes to is for a trial to say.
    """
    out = []
    for layer, advice, before, after in _by_textbook(history, codes):
        if before / after < 0.5 or before / after > 2.0:
            name = _activation_name(layer)
            reason = f"fan_in x Var(w) is {before:.3g} where {after:.3g} suits {name}."
            out.append(replace(advice, reason=reason))
    return out


def _by_textbook(
    history: History, codes: tuple[str, ...]
) -> Iterator[tuple[LayerSpec, Advice, float, float]]:
    """Each layer with a trained kernel, the match for it, and fan_in x Var(w) before and after."""
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    for layer in history.layers:
        kernel = layer.kernel
        if kernel is None or kernel.variable not in columns:
            continue
        now = rms[columns[kernel.variable]]
        advice = _random(kernel, _activation_name(layer), layer.path, now, codes)
        before, after = (advice.predicted[f"sigma_w2_{when}"] for when in ("before", "after"))
        predicted = {"sigma_w2_before": before, "sigma_w2_after": after}
        yield layer, replace(advice, predicted=predicted), before, after


def _random(kernel: Kernel, name: str, path: str, rms: float, codes: tuple[str, ...]) -> Advice:
    """Random weights of the variance that suits activation ``name``."""
    family = TEXTBOOK.get(name, "glorot")
    chosen = initializer_for(family, 0.0, kernel)
    return _drawn_anew(
        path,
        kernel,
        chosen,
        predicted={
            "sigma_w2_before": kernel.fan_in * float(rms) ** 2,
            "sigma_w2_after": sigma_w2(family, 0.0, kernel.fan_in, kernel.fan_out),
            "different_units_before": 1.0,
            "different_units_after": float(kernel.shape[-1]),
        },
        reason=(
            f"Random weights part the units; this variance is the match for {name} "
            f"({_SOURCES[family]})."
        ),
        codes=codes,
    )


def centre_biases(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """For layers whose biases outweigh what their weights make of an input of variance 1.

    Judged at the first step, so that it is the initializer and not training that is to blame.
    The output's bias may well be set to a prior and is left alone.
    """
    rms, mean = (
        history.first(statistic, 1)[0]
        for statistic in (Statistic.WEIGHT_RMS, Statistic.WEIGHT_MEAN)
    )
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    biases = {v.layer: i for i, v in enumerate(history.variables) if v.role == "bias"}
    out = []
    for layer in history.layers:
        kernel = layer.kernel
        if kernel is None or layer.is_output or layer.path not in biases:
            continue
        if kernel.variable not in columns:
            continue
        name = _activation_name(layer)
        family = TEXTBOOK.get(name, "glorot")
        now = kernel.fan_in * float(rms[columns[kernel.variable]]) ** 2
        suitable = sigma_w2(family, 0.0, kernel.fan_in, kernel.fan_out)
        sigma = float(np.sqrt(max(now, suitable)))
        bias = float(rms[biases[layer.path]])
        if bias < BIAS_LIMIT * sigma:
            continue
        out.append(
            Advice(
                layer=layer.path,
                kind="initializer",
                current=f"biases of mean {float(mean[biases[layer.path]]):.3g}",
                suggested=keras.initializers.Zeros(),
                code='bias_initializer="zeros"',
                predicted={"bias_over_sigma_before": bias / sigma, "bias_over_sigma_after": 0.0},
                reason=(
                    f"The biases are {bias:.3g} at the first step, {bias / sigma:.2g} times what "
                    "the weights make of an input of variance 1: they decide for every example "
                    f"where {name} stands (Lu et al. 2019)."
                ),
                codes=codes,
                variable=history.variables[biases[layer.path]].path,
            )
        )
    return out


def _activation_name(layer: LayerSpec) -> str:
    return layer.activation.name if layer.activation is not None else "linear"


def unsaturate(finding: Finding, history: History) -> list[Advice]:
    """Too large weights, too large inputs, or both."""
    out = []
    rms = history.last(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    for layer in history.layers:
        kernel = layer.kernel
        if kernel is None or kernel.variable not in columns or layer.signal not in finding.layers:
            continue
        now = kernel.fan_in * float(rms[columns[kernel.variable]]) ** 2
        family = TEXTBOOK.get(_activation_name(layer), "glorot")
        target = sigma_w2(family, 0.0, kernel.fan_in, kernel.fan_out)
        if now < 4.0 * target:  # twice the intended standard deviation
            continue
        chosen = initializer_for(family, 0.0, kernel)
        out.append(
            _drawn_anew(
                layer.path,
                kernel,
                chosen,
                predicted={"sigma_w2_before": now, "sigma_w2_after": target},
                reason=(
                    f"fan_in x Var(w) is {now:.3g}, {now / target:.3g} times what "
                    f"{_activation_name(layer)} is meant to have ({_SOURCES[family]})."
                ),
                codes=(finding.code,),
            )
        )
    if out:
        return out
    first = history.first_weights
    if first is not None and first.signal in finding.layers:
        return [scale_input(finding, first.path)]
    return [
        normalize(
            finding.layers,
            (finding.code,),
            "The weights are not too large; normalising the pre-activation brings it back into "
            "the slope of the activation (Ioffe & Szegedy 2015).",
        )
    ]


def scale_input(finding: Finding, path: str) -> Advice:
    """For inputs that are too large for weights that suit the activation."""
    return Advice(
        layer=path,
        kind="input_scale",
        current="as given",
        suggested="mean 0, standard deviation 1 per feature",
        code="x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-7)",
        reason=(
            "The weights suit the activation, so the first layer's input is what is too large; "
            "initializers assume inputs of variance 1 (LeCun et al. 1998, sec. 4.3)."
        ),
        codes=(finding.code,),
    )
