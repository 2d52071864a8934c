"""What a model predicts with, and what it is told by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """The model's one output and its loss, as far as they could be told.

    Attributes:
        layer: path of the layer whose output is the prediction, empty if it is no single layer's.
        activation: name of the activation applied last, such as ``softmax``; empty if unknown.
        units: size of the prediction's last axis, 0 if unknown.
        low, high: the range of that activation; infinite where it has no bound, or is unknown.
        loss: canonical name of the compiled loss, such as ``binary_crossentropy``; empty if it is
            a function of the user's own.
        from_logits: whether the loss applies the output's activation itself.
        logits_read: whether the backend hands the loss what stands before that activation, as
            Keras does on TensorFlow.
        loss_seen: whether the step's loss was captured, of one output or of several: a loss that
            is NaN is then one.
        labels_seen: whether predictions can be held against labels, of one output or of several.
        weighted: whether some labels count more than others, or not at all.
        own_step: whether ``train_step`` is the user's own.
        loss_scale_forgotten: whether the optimizer divides gradients by a loss scale that the
            loss was never multiplied by.
        aligned: whether Keras gives labels and prediction the same axes before it compares them.
        numbered: whether labels are taken for class numbers: one for several units.
        label_units: size of the labels' last axis, 1 where they have an axis less than the
            prediction; 0 if unknown.
        label_rank, rank: number of axes of labels and prediction, 0 if unknown.
        label_smoothing: share of each label that the loss spreads over all classes.
        softmaxes: how many softmaxes stand one behind the other at the end.
    """

    layer: str = ""
    activation: str = ""
    units: int = 0
    low: float = -float("inf")
    high: float = float("inf")
    loss: str = ""
    from_logits: bool = False
    logits_read: bool = False
    loss_seen: bool = False
    labels_seen: bool = False
    weighted: bool = False
    own_step: bool = False
    loss_scale_forgotten: bool = False
    aligned: bool = False
    numbered: bool = False
    label_rank: int = 0
    rank: int = 0
    softmaxes: int = 0
    label_units: int = 0
    label_smoothing: float = 0.0
