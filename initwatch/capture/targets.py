"""What a step's predictions are held against: labels, weights, mask and loss of each output."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask

Tensor = Any


@dataclass(slots=True)
class Target:
    """One output of the model, and what it is to be.

    Attributes:
        y: labels as the loss takes them.
        prediction: the model's output.
        weight: sample weights as the loss takes them, None without any.
        mask: Keras's mask of the prediction, True where it counts; None without one.
        loss: the compiled ``keras.losses.Loss``; None where the loss is computed by the user's
            own code.
        factor: what its loss counts in the sum over all outputs.
    """

    y: Tensor
    prediction: Tensor
    weight: Tensor | None = None
    mask: Tensor | None = None
    loss: Any = None
    factor: float = 1.0

    @property
    def comparable(self) -> bool:
        """True if both labels and prediction are single tensors or arrays."""
        return hasattr(self.y, "shape") and hasattr(self.prediction, "shape")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of it, None where there is none."""
        return self.y, self.prediction, self.weight, self.mask

    def put(self, tensors: Iterable[Tensor]) -> None:
        """Takes the place of ``tensors``, in their order."""
        self.y, self.prediction, self.weight, self.mask = tensors


@dataclass(frozen=True, slots=True)
class LossFacts:
    """What is known of a loss.

    Attributes:
        name: canonical name of a loss of Keras's, such as ``binary_crossentropy``; empty for one
            of the user's own.
        from_logits: whether it applies the output's activation itself.
        ignore_class: label that counts nowhere, None without one.
        smoothing: share of each label that is spread over all classes.
        reduction: how the losses of examples become one number; empty where that is not known.
    """

    name: str = ""
    from_logits: bool = False
    ignore_class: int | None = None
    smoothing: float = 0.0
    reduction: str = ""


def facts_of(loss: Any) -> LossFacts:
    """What a loss tells about itself: as compiled, or as it is given to ``compile``."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return LossFacts()
    function = getattr(loss, "fn", None)
    wrapped = type(loss).__name__ == "LossFunctionWrapper"
    kind = function if wrapped else (type(loss) if isinstance(loss, keras.losses.Loss) else loss)
    if not getattr(kind, "__module__", "").startswith("keras."):
        return LossFacts()
    name = getattr(kind, "__name__", "")
    if isinstance(loss, keras.losses.Loss) and not wrapped:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    given = dict(getattr(loss, "_fn_kwargs", {}))

    def told(key: str, default: Any) -> Any:
        return getattr(loss, key, given.get(key, default))

    return LossFacts(
        name=name,
        from_logits=bool(told("from_logits", False)),
        ignore_class=told("ignore_class", None),
        smoothing=float(told("label_smoothing", 0.0) or 0.0),
        reduction=str(getattr(loss, "reduction", "sum_over_batch_size") or ""),
    )


def targets_of(model: keras.Model, y: Any, y_pred: Any, sample_weight: Any) -> list[Target]:
    """The outputs that have labels, in the order of the compiled losses.

    Args:
        model: in training.
        y: labels, nested as the model's outputs are, or flat.
        y_pred: what the model returns.
        sample_weight: one for all outputs, or nested as the outputs are; None without any.
    """
    if y is None or y_pred is None:
        return []
    losses = _compiled_losses(model)
    if losses is None:
        pairs = _pairs(y, y_pred)
        alone = None if keras.tree.is_nested(sample_weight) else sample_weight
        return [Target(label, p, alone, get_keras_mask(p)) for label, p in pairs]
    found = []
    for path, loss, factor in losses:
        label, prediction = _at(path, y, y_pred), _at(path, y_pred, y_pred)
        if label is None or prediction is None:
            continue
        weight = sample_weight
        if keras.tree.is_nested(sample_weight):
            weight = _at(path, sample_weight, y_pred)
        found.append(Target(label, prediction, weight, get_keras_mask(prediction), loss, factor))
    return found


def _compiled_losses(model: keras.Model) -> Iterator[tuple[Any, Any, float]] | None:
    """(path in the outputs, loss, weight) of each; None if the user's own code makes the loss."""
    if type(model).compute_loss is not keras.Model.compute_loss:
        return None
    known = getattr(getattr(model, "_compile_loss", None), "_flat_losses", None)
    if not known:
        return None
    return (
        (path, loss, 1.0 if factor is None else float(factor))
        for path, loss, factor, *_ in known
        if loss is not None
    )


def _at(path: Any, nested: Any, like: Any) -> Any:
    """The leaf of ``nested`` at a path of ``like``; by its place where containers differ."""
    try:
        found = nested
        for step in path:
            found = found[step]
        if not keras.tree.is_nested(found):
            return found
    except (KeyError, IndexError, TypeError):
        found = None
    leaves, flat = keras.tree.flatten(nested), keras.tree.flatten_with_path(like)
    paths = [tuple(each) for each, _ in flat]
    if len(leaves) == len(paths) and tuple(path) in paths:
        return leaves[paths.index(tuple(path))]
    return None


def _pairs(y: Any, y_pred: Any) -> list[tuple[Any, Any]]:
    labels, predictions = keras.tree.flatten(y), keras.tree.flatten(y_pred)
    return list(zip(labels, predictions, strict=True)) if len(labels) == len(predictions) else []


def of_own_step(data: Any, predicted: list[Any], is_tensor: Callable[[Any], bool]) -> list[Target]:
    """Labels of a batch and what the model made of it, in a ``train_step`` of the user's own.

    Args:
        data: the batch as the step is given it.
        predicted: what each call of the model returned, oldest first.
        is_tensor: True for the backend's tensors.
    """
    try:
        _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    except (ValueError, TypeError):
        return []
    if y is None:
        return []
    for y_pred in reversed(predicted):
        pairs = _pairs(y, y_pred)
        rows = all(
            is_tensor(p) and hasattr(label, "shape") and _same_rows(label, p) for label, p in pairs
        )
        if pairs and rows:
            weight = None if keras.tree.is_nested(sample_weight) else sample_weight
            return [Target(label, p, weight, get_keras_mask(p)) for label, p in pairs]
    return []


def _same_rows(a: Tensor, b: Tensor) -> bool:
    if not len(a.shape) or not len(b.shape):
        return False
    return a.shape[0] is None or b.shape[0] is None or int(a.shape[0]) == int(b.shape[0])
