"""Findings to advice. Causes are answered once; the symptoms that follow share the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from initwatch.advice.initializers import initializer_for
from initwatch.diagnosis.stack import PlainStack, plain_stack
from initwatch.records import Advice, Finding, History, LayerSpec, Statistic
from initwatch.records.training import Training
from initwatch.theory.choice import TEXTBOOK, Candidate, sigma_w2
from initwatch.theory.propagation import DEPTH_SCALES
from initwatch.theory.quadrature import mean_square_slope

# Findings that a wrong scale of the weights can bring about, and what follows from them.
SIGNAL_CODES = frozenset({"IW101", "IW103", "IW104", "IW201", "IW202"})
CONSEQUENCES = frozenset({"IW203", "IW204", "IW301", "IW302", "IW501"})
EARLY = 10  # optimizer steps: later, the learning rate has had its say


def advise(findings: Sequence[Finding], history: History, training: Training) -> list[Advice]:
    """What to do about these findings, best supported first.

    Each fault of initialisation is answered with an initializer where theory says that one
    mends it, and with another kind of change where none does.
    """
    by_code = {finding.code: finding for finding in findings}
    out: list[Advice] = []
    answered: set[str] = set()

    def answer(codes: set[str], advice: list[Advice]) -> None:
        if advice:
            out.extend(advice)
            answered.update(codes)

    codes = set(by_code)
    if "IW102" in codes:
        answers = {"IW102"} | (codes & (CONSEQUENCES | SIGNAL_CODES))
        answer(answers, _break_symmetry(by_code["IW102"], history, tuple(sorted(answers))))
    signal = (codes & SIGNAL_CODES) - answered
    if signal:
        answers = signal | (codes & CONSEQUENCES)
        answer(answers, _mend_signal(history, tuple(sorted(answers))))
    single: dict[str, Callable[[Finding, History, Training], list[Advice]]] = {
        "IW302": _unsaturate,
        "IW301": _revive,
        "IW203": _keep_finite,
        "IW204": _give_gradient,
        "IW501": _start_learning,
    }
    for code, rule in single.items():
        if code in codes and code not in answered:
            answer({code}, rule(by_code[code], history, training))
    return out


def _mend_signal(history: History, codes: tuple[str, ...]) -> list[Advice]:
    """For signals that fade or grow over depth."""
    stack = plain_stack(history)
    if stack is None:
        return [_normalize("", codes, "The layers do not form a plain stack theory can follow.")]
    now = stack.theory.distortion
    best = stack.candidates()[0]
    if best.stack.distortion <= DEPTH_SCALES and now - best.stack.distortion > DEPTH_SCALES / 2:
        return _initializers(stack, best, codes)
    if best.stack.distortion > DEPTH_SCALES:
        return _change_activation(stack, best, codes)
    return [
        _normalize(
            stack.layers[0].path,
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
        target = sigma_w2(best.name, best.scale, kernel.fan_in, kernel.fan_out)
        if abs(np.log(stack.sigma_w2[i] / target)) < 0.1:
            continue  # within a tenth, as wide as a draw of a small kernel scatters
        suggested, code = initializer_for(best.name, best.scale, kernel)
        chi = min(i, len(before.chi) - 1)
        out.append(
            Advice(
                layer=layer.path,
                kind="initializer",
                current=kernel.initializer,
                suggested=suggested,
                code=code,
                predicted={
                    "sigma_w2_before": stack.sigma_w2[i],
                    "sigma_w2_after": target,
                    "chi_before": before.chi[chi],
                    "chi_after": after.chi[chi],
                    "gradient_left_before": _left(before.log_backward),
                    "gradient_left_after": _left(after.log_backward),
                    "signal_left_before": _left(before.log_forward),
                    "signal_left_after": _left(after.log_forward),
                },
                reason=(
                    f"Theory for {stack.activations[0].name} over {len(stack.layers)} layers: "
                    f"gradient left at the input {_left(before.log_backward):.1e} now, "
                    f"{_left(after.log_backward):.2g} with it; signal left at the output "
                    f"{_left(before.log_forward):.1e} now, {_left(after.log_forward):.2g} with "
                    f"it ({_SOURCES[best.name]})."
                ),
                codes=codes,
                variable=kernel.variable,
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
    """RMS ratio from ln of a variance ratio."""
    return float(np.exp(np.clip(log_variance / 2.0, -700.0, 700.0)))


def _change_activation(stack: PlainStack, best: Candidate, codes: tuple[str, ...]) -> list[Advice]:
    """For stacks that no initializer mends."""
    name = stack.activations[0].name
    chi = mean_square_slope(stack.activations[0].function, stack.theory.q[0])
    reason = (
        f"No initializer mends {len(stack.layers)} layers of {name}: with the best one the "
        f"gradient left at the input is {_left(best.stack.log_backward):.1e}; E[phi'(z)^2] is "
        f"{chi:.2g} a layer. ReLU with He weights keeps it at 1 (He et al. 2015, eq. 10)."
    )
    return [
        Advice(
            layer=stack.layers[0].path,
            kind="activation",
            current=name,
            suggested="relu",
            code='activation="relu", kernel_initializer="he_normal"',
            predicted={
                "gradient_left_before": _left(stack.theory.log_backward),
                "gradient_left_best_initializer": _left(best.stack.log_backward),
                "gradient_left_after": 1.0,
            },
            reason=reason,
            codes=codes,
        ),
        _normalize(
            stack.layers[0].path,
            codes,
            f"Or keep {name} and normalise in front of it in every layer (Ioffe & Szegedy 2015).",
        ),
    ]


def _normalize(path: str, codes: tuple[str, ...], reason: str) -> Advice:
    return Advice(
        layer=path,
        kind="normalization",
        current="none",
        suggested="BatchNormalization between each kernel and its activation",
        code="keras.layers.BatchNormalization()",
        reason=reason,
        codes=codes,
    )


def _break_symmetry(finding: Finding, history: History, codes: tuple[str, ...]) -> list[Advice]:
    """A random initializer that matches each layer's own activation."""
    out = []
    rms = history.first(Statistic.WEIGHT_RMS, 1)[0]
    columns = {variable.path: i for i, variable in enumerate(history.variables)}
    for layer in history.layers:
        if layer.path not in finding.layers or layer.kernel is None:
            continue
        kernel, name = layer.kernel, _activation_name(layer)
        family = TEXTBOOK.get(name, "glorot")
        suggested, code = initializer_for(family, 0.0, kernel)
        out.append(
            Advice(
                layer=layer.path,
                kind="initializer",
                current=kernel.initializer,
                suggested=suggested,
                code=code,
                predicted={
                    "sigma_w2_before": kernel.fan_in * float(rms[columns[kernel.variable]]) ** 2,
                    "sigma_w2_after": sigma_w2(family, 0.0, kernel.fan_in, kernel.fan_out),
                    "different_units_before": 1.0,
                    "different_units_after": float(kernel.shape[-1]),
                },
                reason=(
                    f"Random weights part the units; this variance is the match for {name} "
                    f"({_SOURCES[family]})."
                ),
                codes=codes,
                variable=kernel.variable,
            )
        )
    return out


def _activation_name(layer: LayerSpec) -> str:
    return layer.activation.name if layer.activation is not None else "linear"


def _unsaturate(finding: Finding, history: History, training: Training) -> list[Advice]:
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
        suggested, code = initializer_for(family, 0.0, kernel)
        out.append(
            Advice(
                layer=layer.path,
                kind="initializer",
                current=kernel.initializer,
                suggested=suggested,
                code=code,
                predicted={"sigma_w2_before": now, "sigma_w2_after": target},
                reason=(
                    f"fan_in x Var(w) is {now:.3g}, {now / target:.3g} times what "
                    f"{_activation_name(layer)} is meant to have ({_SOURCES[family]})."
                ),
                codes=(finding.code,),
                variable=kernel.variable,
            )
        )
    if out:
        return out
    first = next((layer for layer in history.layers if layer.kernel is not None), None)
    if first is not None and first.signal in finding.layers:
        return [_scale_input(finding, first.path)]
    return [
        _normalize(
            finding.layers[0],
            (finding.code,),
            "The weights are not too large; normalising the pre-activation brings it back into "
            "the slope of the activation (Ioffe & Szegedy 2015).",
        )
    ]


def _scale_input(finding: Finding, path: str) -> Advice:
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


def _slower(finding: Finding, training: Training, reason: str, factor: float = 0.1) -> Advice:
    rate = training.learning_rate
    new = f"{rate * factor:.3g}" if rate is not None else "a tenth of the present one"
    code = (
        f"keras.optimizers.{training.optimizer}(learning_rate={new})"
        if rate is not None
        else "# a tenth of the present learning rate"
    )
    return Advice(
        layer="",
        kind="learning_rate",
        current="unknown" if rate is None else f"{rate:.3g}",
        suggested=new,
        code=code,
        reason=reason,
        codes=(finding.code,),
    )


def _revive(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Dead units that are not explained by the weights' scale."""
    early = finding.step - int(history.steps[0]) <= EARLY
    activation = Advice(
        layer=finding.layers[0],
        kind="activation",
        current="relu",
        suggested="leaky_relu",
        code='activation="leaky_relu"',
        reason="A slope below zero lets a dead unit learn its way back (Maas et al. 2013).",
        codes=(finding.code,),
    )
    if early:
        return [activation]
    return [
        _slower(
            finding,
            training,
            "The units died after training began: an update threw their biases below every "
            "input. A smaller learning rate keeps them alive.",
        ),
        activation,
    ]


def _keep_finite(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Numbers that overflow, with signals that are sound over depth."""
    if finding.step == int(history.steps[0]):
        path = finding.layers[0] if finding.layers else ""
        return [_scale_input(finding, path)]
    return [
        _slower(
            finding,
            training,
            "The first steps were finite, so the updates drove the weights out of range.",
        ),
        Advice(
            layer="",
            kind="clipping",
            current="none",
            suggested="clip the global norm of the gradient",
            code=f"keras.optimizers.{training.optimizer}(global_clipnorm=1.0)",
            reason="Clipping bounds the one large step that does the damage (Pascanu et al. 2013).",
            codes=(finding.code,),
        ),
    ]


def _give_gradient(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Layers without a gradient, with no cause found before them."""
    head = next((layer for layer in history.layers if layer.is_output), None)
    if head is not None and finding.severity == "error":
        return [
            Advice(
                layer=head.path,
                kind="output_loss",
                current=head.class_name,
                suggested="an output that depends on its input",
                code='keras.layers.Dense(1, activation="sigmoid")'
                if head.outputs == 1
                else "# check the output activation against the loss",
                reason=(
                    "No gradient leaves the output: softmax over one unit is constant, and a "
                    "ReLU at the output can be off for all examples."
                ),
                codes=(finding.code,),
            )
        ]
    return [
        Advice(
            layer=finding.layers[0],
            kind="activation",
            current="as built",
            suggested="a path from this layer to the loss",
            code="# set trainable=False if this layer is not meant to learn",
            reason="Everything behind this layer multiplies its gradient by exactly 0.",
            codes=(finding.code,),
        )
    ]


def _start_learning(finding: Finding, history: History, training: Training) -> list[Advice]:
    """A loss that does not move while signals and gradients are sound."""
    ratios = history.last(Statistic.UPDATE_RATIO, 20) if _has_updates(history) else None
    largest = float(np.nanmax(np.nanmedian(ratios, axis=0))) if ratios is not None else np.nan
    faster = largest < 1e-4
    return [
        _slower(
            finding,
            training,
            f"Signals and gradients are sound, and the largest update is {largest:.1e} of its "
            f"weights a step: the learning rate is too {'small' if faster else 'large'} for "
            "this loss, or the labels do not depend on the inputs.",
            factor=10.0 if faster else 0.1,
        )
    ]


def _has_updates(history: History) -> bool:
    ratios = history.series.get(Statistic.UPDATE_RATIO)
    return ratios is not None and bool(np.isfinite(ratios).any())
