"""Answers to faults of the run: learning rate, data, labels, output."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np

from initwatch.advice.weights import mend_signal, rectify, scale_input
from initwatch.diagnosis import depth
from initwatch.diagnosis.course import course_of
from initwatch.diagnosis.initial_weights import equal_at_first
from initwatch.diagnosis.stack import plain_stack
from initwatch.diagnosis.targets import OUT_OF_SCALE, off_target
from initwatch.records import Advice, Finding, History, LayerSpec, Statistic
from initwatch.records.advice import AdviceKind
from initwatch.records.training import Training

EARLY = 10  # optimizer steps: later, the learning rate has had its say
# Weights that have grown a hundredfold since the first step are the updates' doing.
DIVERGED = 100.0
# A step of a third of a kernel's size leaves little of what it was (IW402).
LARGE_UPDATES = 0.3
# Of weights that lose a hundredth in every step half is gone after 70 steps, which is an epoch.
MOST_DECAY = 0.01
# Updates of 1e-3 of the weights are customary, a tenth of that is slow (Karpathy 2015).
SLOW_UPDATES = 1e-4
# Srivastava et al. 2014, sec. A.4: hidden units are kept with a probability of 0.5 to 0.8.
MOST_DROPOUT = 0.9
# Optimizers whose customary rate is a hundred times Keras's default and more.
SLOW_BY_DEFAULT = frozenset({"Adagrad", "Adadelta"})
# A loss that has lost so much of itself and is above the baseline all the same is on its way.
STILL_FALLS = 0.2
# Share of the gradient's norm that clipping leaves in a customary step: all, or most of it.
CLIPPED_AWAY = 0.01
# The square root of the largest float32: products of two such numbers overflow.
HUGE = 1e18


def diverged(history: History) -> bool:
    """True if some variable has grown a hundredfold since the first step, or is not finite."""
    first, last = (
        rows[0]
        for rows in (history.first(Statistic.WEIGHT_RMS, 1), history.last(Statistic.WEIGHT_RMS, 1))
    )
    started = first > 0.0
    grown = last[started] > DIVERGED * first[started]
    return bool(grown.any() or np.isnan(last[np.isfinite(first)]).any())


def other_rate(finding: Finding, training: Training, reason: str, factor: float = 0.1) -> Advice:
    """The present learning rate times ``factor``, which is 0.1 or 10."""
    rate = training.learning_rate
    words = "a tenth of the present one" if factor < 1.0 else "ten times the present one"
    new = words if rate is None else f"{rate * factor:.3g}"
    code = f"# learning_rate: {words}" if rate is None else training.code(new)
    return Advice(
        layer="",
        kind="learning_rate",
        current="unknown" if rate is None else f"{rate:.3g}",
        suggested=new,
        code=code,
        reason=reason,
        codes=(finding.code,),
    )


def blame_updates(finding: Finding, history: History, training: Training) -> list[Advice]:
    """A smaller rate, for signals that were sound before the first update and are not behind it."""
    if finding.step == int(history.steps[0]) or Statistic.UPDATE_RATIO not in history.series:
        return []
    if not _began_sound(history):
        return []
    kernels = [variable.role.endswith("kernel") for variable in history.variables]
    ratios = history.first(Statistic.UPDATE_RATIO, EARLY)[:, kernels]
    largest = float(np.nanmax(ratios, initial=0.0))
    until = history.until(finding.step).series[Statistic.UPDATE_RATIO][:, kernels]
    seen = np.maximum(np.isfinite(until).sum(axis=0), 1)
    passed = finding.step - int(history.steps[0])
    together = passed * float((np.nansum(until, axis=0) / seen).max(initial=0.0))
    if largest < LARGE_UPDATES and not together > 1.0:
        return []
    changed = (
        f"one step changes kernels by up to {largest:.2g} times their size"
        if largest >= LARGE_UPDATES
        else f"{passed} steps have changed kernels by {together:.2g} times their size"
    )
    reason = (
        f"The signals were sound before the first update, and {changed}: what was made of the "
        "initial weights is at fault."
    )
    return [*_within_reach(finding, history), other_rate(finding, training, reason)]


def _began_sound(history: History) -> bool:
    """True if there was a signal in the first step, and both kept their size over depth."""
    begun = history.until(int(history.steps[0]))
    if equal_at_first(history):
        return False
    return all(
        abs(profile.total) < depth.LOG_LIMIT
        for statistic in (Statistic.ACTIVATION_STD, Statistic.DELTA_NORM)
        if statistic in history.series
        for profile in depth.profiles(begun, statistic, 1)
    )


def decay_less(codes: tuple[str, ...], training: Training) -> list[Advice]:
    """For a weight decay that takes away a good part of the weights in every step."""
    decay, rate = training.settings.get("weight_decay"), training.learning_rate
    if not decay or rate is None or decay * rate < MOST_DECAY:
        return []
    return [
        Advice(
            layer="",
            kind="regularization",
            current=f"weight_decay={decay:g}",
            suggested="a weight decay of 0.004 or none",
            code=training.code(f"{rate:.3g}", weight_decay=0.004),
            reason=(
                f"The optimizer takes weight_decay x learning_rate = {decay * rate:.2g} of every "
                "weight away in each step, whatever the gradient says; 0.004 is AdamW's default "
                "(Loshchilov & Hutter 2019)."
            ),
            codes=codes,
        )
    ]


def clip_norm(finding: Finding, training: Training) -> Advice:
    """A bound on the step, beside a smaller rate."""
    return Advice(
        layer="",
        kind="clipping",
        current="none",
        suggested="clip the global norm of the gradient",
        code=training.code_without("clipnorm", "clipvalue", global_clipnorm=1.0),
        reason="Clipping bounds the one large step that does the damage (Pascanu et al. 2013).",
        codes=(finding.code,),
    )


def revive(finding: Finding, history: History, training: Training) -> list[Advice]:
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
        other_rate(
            finding,
            training,
            "The units died after training began: an update threw their biases below every "
            "input. A smaller learning rate keeps them alive.",
        ),
        activation,
    ]


def keep_finite(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Numbers that are no longer finite, by where they begin."""
    born = finding.evidence["born_in"]
    at_first = finding.step == int(history.steps[0])
    if born == "inputs":
        return [_mend_data("x", "inputs", finding)]
    if born == "labels":
        return [_mend_data("y", "labels", finding)]
    # weights that have grown a hundredfold are what overflows, wherever it shows first
    if not (diverged(history) and not at_first):
        if born == "loss":
            return [_mend_loss(finding, "log")]
        if born == "gradient":
            return [_mend_loss(finding, "slope")]
        if born == "output":
            found = _mend_output(finding, history, at_first)
            if found:
                return found
    if born == "weights" and at_first:
        return [_load_weights(finding)]
    if born == "weights" and not history.output.loss and not _had_grown(history):
        # between two sampled steps, with weights of the size they began with: a loss of the
        # user's own that takes log(0) once is likelier than updates that run away
        return [_mend_loss(finding, "log"), *_smaller_steps(finding, history, training)]
    return _smaller_steps(finding, history, training)


def _smaller_steps(finding: Finding, history: History, training: Training) -> list[Advice]:
    return [
        *_within_reach(finding, history),
        other_rate(
            finding,
            training,
            "The first steps were finite, so the updates drove the weights out of range.",
        ),
        clip_norm(finding, training),
    ]


def _had_grown(history: History) -> bool:
    """True if some variable had grown a hundredfold when all were last finite."""
    rms = history.series[Statistic.WEIGHT_RMS]
    finite = np.isfinite(rms).all(axis=1)
    if not finite.any():
        return True
    first, last = rms[0], rms[finite][-1]
    return bool((last[first > 0.0] > DIVERGED * first[first > 0.0]).any())


def _mend_output(finding: Finding, history: History, at_first: bool) -> list[Advice]:
    """A layer whose output is not finite, with finite inputs and weights."""
    path = finding.layers[0] if finding.layers else ""
    layer = next((x for x in history.layers if x.path == path), None)
    if at_first:
        stack = plain_stack(history)
        if stack is not None and not np.isfinite(stack.theory.log_forward):
            return mend_signal([finding], history, (finding.code,))  # by theory too
    if layer is not None and layer.dtype == "float16":
        return [
            _change(
                finding,
                path,
                "activation",
                "float16, which ends at 65,504",
                "float32 for this layer",
                'dtype="float32"  # of this layer',
                f"What {path} computes leaves the range of float16, and all it is computed from "
                "is finite (Micikevicius et al. 2018, sec. 3.3).",
            )
        ]
    weightless = layer is not None and not any(
        history.layers_of([variable.layer]) == [layer.path] for variable in history.variables
    )
    if layer is not None and weightless and not layer.kernels and not _overflows(history, layer):
        return [
            _change(
                finding,
                path,
                "activation",
                "as written",
                "a function that is finite for all it may be given",
                "keras.ops.log(keras.ops.maximum(x, 1e-7))  # likewise below sqrt and in x / y",
                f"{path} has no weights, and what it is given is finite: it takes the logarithm "
                "or the root of a number below 0, divides by 0, or exponentiates a large one.",
            )
        ]
    return [scale_input(finding, path)] if at_first else []


def _overflows(history: History, layer: LayerSpec) -> bool:
    """True if the layers before this one are so large already that any product overflows."""
    column = history.layer_index(layer.path)
    before = history.last(Statistic.ACTIVATION_RMS, 1)[0, :column]
    known = before[np.isfinite(before)]
    return bool(len(known) and known.max() > HUGE)


def _mend_loss(finding: Finding, what: str) -> Advice:
    log = what == "log"
    return _change(
        finding,
        "",
        "output_loss",
        "a loss that is not finite" if log else "a gradient that is not finite",
        "a loss that is finite, with its slope, for all outputs",
        "keras.ops.log(keras.ops.clip(p, 1e-7, 1.0 - 1e-7))"
        if log
        else "keras.ops.sqrt(keras.ops.maximum(x, 1e-12))",
        (
            "Outputs, labels and weights are finite, so that it is the loss itself that takes "
            "log(0), divides 0 by 0 or exponentiates a large number. Keep what goes into it away "
            "from there, or use the loss of Keras's with from_logits=True."
            if log
            else "The loss is finite and its gradient is not: the slope of sqrt at 0 is infinite, "
            "so is that of a norm of 0, and `where` does not help: the branch that it hides "
            "has a gradient all the same."
        ),
    )


def _load_weights(finding: Finding) -> Advice:
    path = finding.layers[0] if finding.layers else ""
    return _change(
        finding,
        path,
        "data",
        "weights that are not finite",
        "weights that are finite",
        "assert all(np.isfinite(w).all() for w in model.get_weights())",
        "Weights are NaN or infinite before the first step: look at the file they come from, or "
        "at the initializer.",
    )


def _change(
    finding: Finding,
    layer: str,
    kind: AdviceKind,
    current: str,
    suggested: str,
    code: str,
    reason: str,
) -> Advice:
    return Advice(
        layer=layer,
        kind=kind,
        current=current,
        suggested=suggested,
        code=code,
        reason=reason,
        codes=(finding.code,),
    )


def unfreeze(finding: Finding) -> Advice:
    """For a model none of whose weights can change."""
    return _change(
        finding,
        "",
        "optimizer",
        "trainable=False in every layer",
        "trainable=True in what is to be trained",
        "layer.trainable = True  # then model.compile(...) again",
        "Without trainable weights the optimizer has nothing to update.",
    )


def mend_step(finding: Finding) -> list[Advice]:
    """For a step of the user's own: a loss scale that was forgotten, or a wrong sign."""
    if "update_ratio" in finding.evidence:
        return [
            _change(
                finding,
                "",
                "train_step",
                "gradients of the loss as it is",
                "gradients of optimizer.scale_loss(loss)",
                "loss = self.optimizer.scale_loss(loss)  # before taking gradients",
                "The optimizer divides gradients by its loss scale; scale_loss multiplies the "
                "loss by it first (Micikevicius et al. 2018, sec. 3.2).",
            )
        ]
    if "update_descent" in finding.evidence:
        return [
            _change(
                finding,
                "",
                "train_step",
                "an update along the gradient",
                "an update against the gradient",
                "variable.assign_sub(learning_rate * gradient)",
                "The loss falls against its gradient, not along it.",
            )
        ]
    return [
        _change(
            finding,
            "",
            "output_loss",
            "a loss that falls as predictions get worse",
            "the same with the other sign",
            "return -value  # of what the loss returns now",
            "What is minimised here is to be maximised.",
        )
    ]


def mend_constant_loss(finding: Finding, history: History) -> list[Advice]:
    """No gradient at the output itself: the loss does not change with it."""
    output = history.output
    square = history.series.get(Statistic.PREDICTION_SQUARE)
    off = square is not None and output.low == 0.0 and bool((square[-3:] == 0.0).all())
    counted = history.series.get(Statistic.LABELS_COUNTED)
    if output.weighted and counted is not None and bool((counted == 0.0).all()):
        return [
            _change(
                finding,
                "",
                "data",
                "sample weights that are all 0",
                "sample weights above 0 for what is to be learned",
                "assert np.any(sample_weight > 0)",
                "No label of any batch seen counts for more than nothing: look at how sample "
                "weights, class weights or masks are made.",
            )
        ]
    if off:
        return [
            _change(
                finding,
                output.layer,
                "output_loss",
                f"{output.activation} at the output, which is 0 for every example",
                "an output without activation",
                _like_head(history, max(output.units, 1)),
                f"The {output.activation} at the output is off for all examples: there it has no "
                "slope, and nothing is left for the layers before it.",
            )
        ]
    return [
        _change(
            finding,
            "",
            "output_loss",
            "a loss without a slope",
            "a loss whose slope is not 0 where the outputs are",
            "keras.losses.Huber()  # bounded slope; clipping the error has none",
            "No gradient reaches even the output layer, so that the loss does not change with "
            "the outputs: look in the loss for clip, round, argmax, stop_gradient, a mask "
            "of zeros or a factor of 0, and at sample weights that are all 0.",
        )
    ]


def give_inputs(finding: Finding) -> list[Advice]:
    """For inputs that are far from the size that weights are drawn for, 0, or all the same."""
    path = next(iter(finding.layers), "")
    if "apart" in finding.evidence:
        common = (
            "What differs between examples is too small beside what all have in common: float32 "
            "loses it."
        )
        same = _change(
            finding,
            path,
            "data",
            "the same for every example",
            "inputs that tell examples apart",
            "print(x.mean(axis=0), x.std(axis=0))  # as the first layer is given them",
            "To the first layer every example is the same one: look at how x is made.",
        )
        return [replace(scale_input(finding, path), reason=common), same]
    if finding.evidence.get("input_rms") == 0.0:
        empty = (
            "Every number of the inputs is 0, so that no weight of the first layer matters: "
            "look at where they are made. Whole numbers divided by 255 and cast back are 0."
        )
        wanted = "inputs that tell examples apart"
        code = "assert np.any(x)"
        return [_change(finding, path, "data", "0 everywhere", wanted, code, empty)]
    reason = (
        "Initializers assume inputs of variance 1, and one learning rate suits weights whose "
        "inputs are of one size (LeCun et al. 1998, sec. 4.3)."
    )
    return [replace(scale_input(finding, path), reason=reason)]


def _mend_data(name: str, what: str, finding: Finding) -> Advice:
    count = finding.evidence["input_non_finite" if name == "x" else "label_non_finite"]
    return Advice(
        layer="",
        kind="data",
        current="as given",
        suggested=f"{what} without NaN and infinity",
        code=f"assert np.isfinite({name}).all()",
        reason=(
            f"{count} of the {what} in the batch of step {finding.step} "
            f"{'is' if count == 1 else 'are'} not finite: np.argwhere(~np.isfinite({name})) tells "
            "which."
        ),
        codes=(finding.code,),
    )


def give_gradient(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Layers without a gradient, with no cause found before them."""
    blamed = blame_updates(finding, history, training)
    if blamed:
        return blamed
    if diverged(history):
        return [
            other_rate(
                finding,
                training,
                "Weights have grown a hundredfold since the first step: the updates drove the "
                "network to where nothing has a slope any more.",
            )
        ]
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


def change_rate(finding: Finding, history: History, training: Training) -> list[Advice]:
    """Updates of the wrong size, and a loss that they throw about."""
    ratio = finding.evidence.get("update_ratio")
    loosened = _loosen_clip(finding, history, training)
    if loosened and finding.code in ("IW401", "IW403"):
        return loosened
    if finding.code == "IW401":
        reason = (
            f"No kernel moves by more than {ratio:.1e} of its size a step (customary: 1e-3; "
            "Karpathy 2015). Where gradients are clipped, the clip may be what is too small."
        )
        return [other_rate(finding, training, reason, factor=10.0)]
    if "batches_seen" in finding.evidence:
        steps = training.settings.get("gradient_accumulation_steps")
        return [
            _change(
                finding,
                "",
                "optimizer",
                f"gradient_accumulation_steps={steps}",
                "an update after every batch, or every few",
                training.code_without("gradient_accumulation_steps"),
                "An update is made when the gradients of so many batches have been added up; this "
                "fit has fewer.",
            )
        ]
    if finding.code == "IW403":
        if training.learning_rate != 0.0:
            reason = "The update is below the last digit of the weights."
            return [other_rate(finding, training, reason, factor=10.0)]
        code = training.code("0.001")
        advice = other_rate(finding, training, "The learning rate is 0.")
        return [replace(advice, suggested="0.001", code=code)]
    largest = ratio if ratio is not None else _largest_update(history)
    size = "" if largest is None else f" One step changes kernels by {largest:.2g} of their size."
    reason = f"The steps throw the loss about instead of lowering it.{size}"
    return [
        *_within_reach(finding, history),
        other_rate(finding, training, reason),
        clip_norm(finding, training),
    ]


def _loosen_clip(finding: Finding, history: History, training: Training) -> list[Advice]:
    """For clipping that leaves next to nothing of the gradient."""
    clips = [
        name for name in ("clipnorm", "global_clipnorm", "clipvalue") if name in training.settings
    ]
    if not clips or Statistic.CLIPPED_NORM not in history.series:
        return []
    clipped, whole = (
        np.sqrt(np.nansum(np.square(history.last(statistic, 20)), axis=1))
        for statistic in (Statistic.CLIPPED_NORM, Statistic.GRADIENT_NORM)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        left = float(np.nanmedian(clipped / whole))
    if not left < CLIPPED_AWAY:
        return []
    given = ", ".join(f"{name}={training.settings[name]}" for name in clips)
    return [
        _change(
            finding,
            "",
            "clipping",
            given,
            "a bound near the gradient's own size, or none",
            training.code_without(*clips),
            f"Clipping ({given}) leaves {left:.1g} of the gradient, whose norm is "
            f"{float(np.nanmedian(whole)):.3g}: a bound is for the rare large step "
            "(Pascanu et al. 2013).",
        )
    ]


# Loss -> the output that belongs to it (Bishop 2006, sec. 4.3 and 5.2).
_OUTPUTS = {
    "binary_crossentropy": "sigmoid",
    "binary_focal_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
}


def fit_output(finding: Finding, history: History) -> list[Advice]:
    """Output, loss and labels that belong together."""
    output = history.output
    if "target_off" in finding.evidence:
        return bring_targets_near(finding, history)
    if "examples_of_one_label" in finding.evidence:
        return [
            Advice(
                layer="",
                kind="data",
                current="as given",
                suggested="labels of more than one class",
                code="assert np.unique(y).size > 1",
                reason=(
                    "Under one label for all, a constant is the whole of what can be learned: look "
                    "at where the labels are read or made."
                ),
                codes=(finding.code,),
            )
        ]
    whole = bool(np.all(history.series[Statistic.LABEL_WHOLE_FRACTION] == 1.0))
    low, high = (finding.evidence[f"label_{end}"] for end in ("min", "max"))
    units, name = max(output.units, 1), output.activation
    loss = output.loss
    decisive = next(iter(finding.evidence))
    head = partial(_like_head, history)
    if name == "softmax" and units == 1:
        yes_or_no = loss in _OUTPUTS or (whole and low >= 0.0 and high <= 1.0)
        suggested = "sigmoid on one unit" if yes_or_no else "no activation"
        code = head(1, "sigmoid" if yes_or_no else "")
        if yes_or_no and _OUTPUTS.get(loss) != "sigmoid":
            code += '  # loss="binary_crossentropy"'
    elif decisive == "label_max" and loss == "sparse_categorical_crossentropy":
        classes = int(finding.evidence["label_max"]) + 1
        suggested = f"labels from 0, or {classes} units"
        code = "y = np.unique(y, return_inverse=True)[1]  # class numbers from 0"
    elif decisive == "label_max" and loss in _OUTPUTS and units > 1 and low >= 0.0:
        suggested = "labels from 0 to 1"
        code = f"y = y / {high:.4g}  # from 0 to 1"
    elif decisive == "label_max" and (loss not in _OUTPUTS or not whole or low < -1.0):
        suggested = "an output without activation and mean_squared_error"
        code = f'{head(units)}  # loss="mean_squared_error"'
    elif decisive == "label_max" and loss in _OUTPUTS and low == -1.0:
        suggested = "labels of 0 and 1"
        code = "y = (y > 0).astype(int)  # labels of 0 and 1"
    elif decisive == "label_max" and units == 1 and whole and 0.0 < low == high - 1.0:
        suggested = "labels of 0 and 1"
        code = f"y = y - {low:g}  # labels of 0 and 1"
    elif decisive == "label_max" and loss in _OUTPUTS and _are_two_values(history, high):
        suggested = "labels of 0 and 1"
        code = f"y = y / {high:.4g}  # from 0 to 1"
    elif decisive == "label_max" and loss in _OUTPUTS and units == 1:
        suggested = "a softmax over the classes"
        code = f'{head(int(high) + 1, "softmax")}  # loss="sparse_categorical_crossentropy"'
    elif decisive == "label_max" and loss in _OUTPUTS:
        suggested = "sparse_categorical_crossentropy, or labels of 0 and 1"
        code = 'loss="sparse_categorical_crossentropy"  # for class numbers'
    elif decisive in ("loss_of_all_pairs", "label_rank"):
        suggested = "labels of the same shape as the outputs"
        code = "y = y.reshape(-1, 1)" if output.rank == 2 else "y = y.reshape(-1)"
    elif decisive == "softmaxes":
        suggested = "one softmax"
        code = head(units, "softmax")
    elif decisive == "prediction_sum_off":
        suggested = "a softmax over the classes"
        code = "keras.layers.Softmax(axis=-1)"
    elif decisive == "output_low" and output.from_logits:
        suggested = "an output without activation"
        code = f"{head(units)}  # from_logits=True stays"
    elif decisive == "label_units":
        suggested = "sparse_categorical_crossentropy, which takes class numbers"
        code = f'{head(units, "softmax")}  # loss="sparse_categorical_crossentropy"'
    elif decisive == "label_min":
        suggested = "mean_squared_error, which takes labels of either sign"
        code = f'{head(units)}  # loss="mean_squared_error"'
    elif decisive == "inverted_row_sum":
        suggested = "1 for the class of the row, 0 for the others"
        code = "y = 1 - y"
    elif decisive == "label_row_sum" and high < 0.5:  # scaled, not of several classes
        suggested = "labels that add up to 1"
        code = "y = y / y.sum(axis=-1, keepdims=True)"
    elif decisive == "label_row_sum":
        suggested = "binary_crossentropy and sigmoid"
        code = f'{head(units, "sigmoid")}  # loss="binary_crossentropy"'
    elif decisive == "times_normalized":
        suggested = "an output without activation"
        code = f"{head(units)}  # from_logits=True stays"
    elif decisive == "output_units" and units == 1:
        suggested = "binary_crossentropy and sigmoid"
        code = f'{head(1, "sigmoid")}  # loss="binary_crossentropy"'
    elif decisive == "loss_over_that_of_0":
        suggested = "mean_squared_error, which takes labels of either sign and 0"
        code = 'loss="mean_squared_error"'
    elif decisive == "label_smoothing":
        suggested = "label_smoothing of 0.1, or none"
        code = "label_smoothing=0.1  # of the loss"
    elif decisive == "prediction_outside":
        suggested = f"{_OUTPUTS[loss]} behind the output, or from_logits=True in the loss"
        code = f"keras.ops.{_OUTPUTS[loss]}(outputs)  # or from_logits=True"
    elif decisive in ("output_low", "output_units"):
        suggested = _OUTPUTS[loss]
        code = head(units, _OUTPUTS[loss])
    elif decisive == "label_classes":
        suggested = f"{'categorical' if name == 'softmax' else 'binary'}_crossentropy"
        code = f'loss="{suggested}"'
    else:
        suggested = "an output without bounds"
        code = head(units)
    return [
        Advice(
            layer=output.layer,
            kind="output_loss",
            current=f"{name or 'unknown'} on {units}, {loss or 'unknown loss'}",
            suggested=suggested,
            code=code,
            reason="Output, loss and labels make one choice (Bishop 2006, sec. 4.3 and 5.2).",
            codes=(finding.code,),
        )
    ]


def _like_head(history: History, units: int, activation: str = "") -> str:
    """The line of an output layer of the kind there is: a Conv2D's prediction is of pixels."""
    end = f', activation="{activation}"' if activation else ""
    layer = next((x for x in history.layers if x.path == history.output.layer), None)
    if layer is None or layer.kernel is None or not re.fullmatch(r"Conv[123]D", layer.class_name):
        return f"keras.layers.Dense({units}{end})"
    field = layer.kernel.shape[:-2]
    size = field[0] if len(set(field)) == 1 else tuple(field)
    return f"keras.layers.{layer.class_name}({units}, {size}{end})"


def _are_two_values(history: History, high: float) -> bool:
    """True if all labels of the newest batch are 0 or ``high``: then their variance is known."""
    mean, std = (
        float(history.last(statistic, 1)[0, 0])
        for statistic in (Statistic.LABEL_MEAN, Statistic.LABEL_STD)
    )
    return bool(abs(std**2 - mean * (high - mean)) < 1e-3 * high**2)


def start_learning(
    finding: Finding, history: History, training: Training, alone: bool
) -> list[Advice]:
    """A loss that does not move.

    Args:
        finding: that of IW501.
        history: what was measured.
        training: how the model is trained.
        alone: True if no other rule has found anything.
    """
    thawed = thaw(finding, history)
    if thawed and alone:
        return thawed
    clip = _loosen_clip(finding, history, training)
    seen = [*_hold_less_back(finding, history), *clip, *_bend(finding, history)]
    if seen:
        return seen
    largest = _largest_update(history)
    if largest is None:
        return []
    sound = "Signals and gradients are sound, and" if alone else "Besides what else was found,"
    moved = f"{sound} the largest update is {largest:.1e} of its weights a step"
    slow = _is_slow(history, training)
    if slow:
        return [other_rate(finding, training, slow, factor=10.0)]
    if largest < SLOW_UPDATES:
        reason = f"{moved}: too little to get anywhere (about 1e-3 is customary)."
        return [other_rate(finding, training, reason, factor=10.0)]
    if diverged(history):
        reason = f"{moved}, and weights have grown a hundredfold: the learning rate is too large."
        return [other_rate(finding, training, reason)]
    reason = f"{moved}, neither too little nor evidently too much."
    rate = other_rate(finding, training, reason)
    if not alone:
        return [rate]
    return [*_rectify(finding, history), look_at_labels(reason), rate]


def thaw(finding: Finding, history: History) -> list[Advice]:
    """For layers that are frozen as they are."""
    return [
        _change(
            finding,
            layer.path,
            "optimizer",
            "trainable=False",
            "trainable=True, or weights that were trained before",
            "layer.trainable = True  # then model.compile(...) again",
            "The layer is frozen: what it makes of the inputs stays what its weights make of them "
            "now. Weights that were never trained tell the layers behind it little.",
        )
        for layer in history.layers
        if layer.frozen and layer.kernel is not None
    ]


def _is_slow(history: History, training: Training) -> str:
    """Why the rate is too small though the weights move; empty if it is not seen to be."""
    if training.optimizer in SLOW_BY_DEFAULT and (training.learning_rate or 1.0) <= 0.001:
        return (
            f"{training.optimizer} with Keras's default rate of 0.001 is slow: its step shrinks "
            "with all gradients so far, and 0.1 to 1 is customary (Duchi et al. 2011, Zeiler 2012)."
        )
    course = course_of(history)
    if course is None or not (course.above_guess and course.trend.fall > STILL_FALLS):
        return ""
    return (
        f"The loss has fallen from {course.trend.start:.3g} and is still above the baseline at "
        f"{course.trend.end:.3g}."
    )


def look_at_labels(why: str) -> Advice:
    """For a network that learns nothing of these labels, and nothing about it is at fault."""
    return Advice(
        layer="",
        kind="data",
        current="as given",
        suggested="labels that go with their inputs",
        code="print(x[:5], y[:5])  # does each label belong to its row?",
        reason=(
            f"{why} A network whose weights move and which is no better than always the same "
            "prediction may be told nothing by its labels: look for rows that were shuffled apart, "
            "a wrong column, labels of another coding, or inputs without what they are to be told "
            "by. A few rows that it can learn by heart (fit(x[:32], y[:32], epochs=100)) tell that "
            "it is not the network."
        ),
        codes=("IW501",),
    )


def hold_less_back(finding: Finding, history: History) -> list[Advice]:
    """For a penalty that outweighs the data's loss, now or at first, or a tight constraint."""
    if "constraint" in finding.evidence:
        name, left = finding.evidence["constraint"], finding.evidence["kernel_left_by_constraint"]
        return [
            _change(
                finding,
                path,
                "regularization",
                f"{name} that leaves {left:.2g} of the kernel",
                "no constraint, or one near the size that the initializer gives",
                "kernel_constraint=None",
                "After each update the constraint takes back what the step has done and more: "
                "the layer passes on next to nothing. Largest norms of 3 to 4 a unit are customary "
                "(Srivastava et al. 2014, sec. A.3).",
            )
            for path in finding.layers
        ]
    penalty, first = finding.evidence["penalty_now"], finding.evidence["penalty_first"]
    return [_weaker_penalty(finding, max(penalty, first), float(np.median(history.losses[-20:])))]


def _weaker_penalty(finding: Finding, penalty: float, loss: float) -> Advice:
    return Advice(
        layer="",
        kind="regularization",
        current=f"penalties of {penalty:.4g} beside a loss of {loss:.4g}",
        suggested="regularizers a hundred times weaker",
        code="kernel_regularizer=None  # or a factor a hundred times smaller",
        reason=(
            f"Regularizers and add_loss put {penalty:.4g} on top of the data's loss of "
            f"{loss:.4g}: the steps go into smaller weights before they go into the data "
            "(Goodfellow et al. 2016, sec. 7.1)."
        ),
        codes=(finding.code,),
    )


def _rectify(finding: Finding, history: History) -> list[Advice]:
    """Rectifiers in place of hidden sigmoids, which pass on a quarter of the gradient at most."""
    reason = (
        "A sigmoid's slope is 1/4 at most and its outputs are not centred, so that few layers of "
        "them already learn slowly (LeCun et al. 1998, sec. 4.4)."
    )
    found = [
        layer.path
        for layer in history.layers
        if layer.kernel is not None
        and layer.trunk  # a gate is to stay between 0 and 1
        and not layer.is_output
        and layer.activation is not None
        and layer.activation.name == "sigmoid"
    ]
    # one of them alone trains well
    several = found if len(found) > 1 else []
    return [rectify(path, "sigmoid", (finding.code,), reason) for path in several]


def _hold_less_back(finding: Finding, history: History) -> list[Advice]:
    """Penalties that outweigh the data's loss, and dropout that leaves next to nothing."""
    out = _add_less_noise(finding, history)
    penalty = float(np.median(history.last(Statistic.PENALTY, 20)))
    loss = float(np.median(history.losses[-20:]))
    if np.isfinite(loss) and penalty > loss > 0.0:
        out.append(_weaker_penalty(finding, penalty, loss))
    return [*out, *drop_less(finding, history)]


def _add_less_noise(finding: Finding, history: History) -> list[Advice]:
    """Less noise, where it is larger than the signal that it is added to."""
    if Statistic.ACTIVATION_STD not in history.series:
        return []
    out, stds = [], history.last(Statistic.ACTIVATION_STD, 20)
    for i, layer in enumerate(history.layers[1:], 1):
        if layer.class_name != "GaussianNoise":
            continue
        around = stds[:, [i - 1, i]]
        if np.isnan(around).all(axis=0).any():
            continue
        before, after = np.nanmedian(around, axis=0).tolist()
        if not after**2 > 2.0 * before**2:
            continue
        out.append(
            _change(
                finding,
                layer.path,
                "regularization",
                f"noise of {np.sqrt(after**2 - before**2):.2g} on a signal of {before:.2g}",
                "noise smaller than the signal",
                f"keras.layers.GaussianNoise({0.1 * before:.2g})",
                f"What {layer.path} adds is larger than what it is added to, so that little of "
                "the signal is left behind it.",
            )
        )
    return out


def drop_less(finding: Finding, history: History) -> list[Advice]:
    """Less dropout, where there is so much that next to nothing passes."""
    return [
        Advice(
            layer=layer.path,
            kind="regularization",
            current=f"dropout of {layer.dropout:.4g} behind it",
            suggested="dropout of 0.5 or less",
            code="keras.layers.Dropout(0.5)",
            reason=(
                f"Only {1.0 - layer.dropout:.2g} of its outputs reach the next layer; of hidden "
                "units 0.5 to 0.8 are kept (Srivastava et al. 2014, sec. A.4)."
            ),
            codes=(finding.code,),
        )
        for layer in history.layers
        if layer.dropout >= MOST_DROPOUT
    ]


def _bend(finding: Finding, history: History) -> list[Advice]:
    """Activations, where no hidden layer has one, and others for those that are an output's."""
    hidden = [x for x in history.layers if x.kernel is not None and not x.is_output]
    shared = share_no_more(finding, history)
    if shared:
        return shared
    if not hidden or any(x.activation is None or x.activation.name != "linear" for x in hidden):
        return []
    return [
        Advice(
            layer=layer.path,
            kind="activation",
            current="linear",
            suggested="relu",
            code='activation="relu", kernel_initializer="he_normal"',
            reason=(
                "No hidden layer has an activation: however many there are, they make one linear "
                "map (Goodfellow et al. 2016, sec. 6.1)."
            ),
            codes=(finding.code,),
        )
        for layer in hidden
    ]


def share_no_more(finding: Finding, history: History) -> list[Advice]:
    """Rectifiers in place of hidden softmaxes."""
    reason = (
        "A softmax shares out 1 among all of its units: inside a network little of what tells "
        "examples apart passes, and less of the gradient. It is made for an output (Bishop 2006, "
        "sec. 4.3.4)."
    )
    return [
        rectify(layer.path, "softmax", (finding.code,), reason)
        for layer in history.layers
        if layer.kernel is not None and not layer.is_output and _shares_out(layer, history)
    ]


def _shares_out(layer: LayerSpec, history: History) -> bool:
    """True for a softmax: whatever it is given, the mean of n outputs is 1/n."""
    if layer.activation is not None or layer.kernel is None:
        return False
    column = history.layer_index(layer.signal)
    means = history.last(Statistic.ACTIVATION_MEAN, 5)[:, column]
    return bool(np.allclose(means * layer.kernel.shape[-1], 1.0, rtol=0.0, atol=1e-4))


def _within_reach(finding: Finding, history: History) -> list[Advice]:
    """Targets so wide that their squared error makes every step too large."""
    if history.output.loss != "mean_squared_error" or Statistic.LABEL_STD not in history.series:
        return []
    wide = float(np.nanmedian(history.series[Statistic.LABEL_STD]))
    return [_scale_targets(finding, wide)] if wide > OUT_OF_SCALE else []


def bring_targets_near(finding: Finding, history: History) -> list[Advice]:
    """For targets that lie far from where outputs begin."""
    off = off_target(history)
    if off is None:
        return []
    advice = _scale_targets(finding, off[1], off[0])
    if history.output.low >= 0.0:  # standardised, half of them would be out of its reach
        advice = replace(advice, suggested="from 0 to 1", code="y = y / y.max()")
    return [advice]


def scale_data(finding: Finding) -> list[Advice]:
    """For a gradient that is as large as it is because inputs or targets are."""
    out = []
    if "inputs_rms" in finding.evidence:
        out += give_inputs(finding)
    if "targets_rms" in finding.evidence:
        out.append(_scale_targets(finding, finding.evidence["targets_rms"], "RMS"))
    return out


def _scale_targets(finding: Finding, wide: float, what: str = "standard deviation") -> Advice:
    why = "outputs begin near 0: the output layer must first grow to that size"
    if 0.0 < wide < 1.0:
        why = "outputs begin near 1: the output layer must first shrink to that size"
    return Advice(
        layer="",
        kind="target_scale",
        current=f"{what} {wide:.3g}",
        suggested="mean 0, standard deviation 1",
        code="y = (y - y.mean(axis=0)) / y.std(axis=0)",
        reason=f"The targets' {what} is {wide:.3g}, and {why}.",
        codes=(finding.code,),
    )


def _largest_update(history: History) -> float | None:
    """Median over the last 20 rows of the largest kernel's update ratio; None if unknown.

    Kernels only: a bias that starts at zero is as large as its updates, at any learning rate.
    """
    kernels = [variable.role.endswith("kernel") for variable in history.variables]
    if Statistic.UPDATE_RATIO not in history.series:
        return None
    ratios = history.last(Statistic.UPDATE_RATIO, 20)[:, kernels]
    known = ratios[:, np.isfinite(ratios).all(axis=0)]
    return float(np.median(known, axis=0).max()) if known.size else None
