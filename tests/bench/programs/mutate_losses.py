"""Losses that do not fit output and labels, and own losses with a mistake in them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from tests.bench.programs.mutate import add
from tests.bench.programs.mutate_data import CLASSES, logits, loss_name, task
from tests.bench.programs.mutate_rebuild import end_activation, with_end
from tests.bench.programs.program import Run

MISFIT = "output_loss_mismatch stalled_loss initial_loss"
HEAD = "output_loss loss"


def other(name: str, tasks: str, loss: Any, doc: str, symptoms=MISFIT, advice=HEAD) -> None:
    """Registers another loss of Keras's; class numbers come in a column, as CIFAR's do."""

    def change(run: Run) -> Run | None:
        if task(run) not in tasks.split():
            return None
        flat = task(run) == "sparse" and run.y.ndim == 1
        return replace(run, loss=loss, y=run.y.reshape(-1, 1) if flat else run.y)

    add(name, "output_loss", doc, symptoms, advice, change)


# fmt: off
other("loss_mse", "sparse binary", "mse", "squared error for classes")
other("loss_mse_one_hot", "categorical", "mse", "squared error for one-hot rows")
other("loss_mae", "sparse categorical binary", "mae", "absolute error for classes")
other("loss_binary", "sparse", "binary_crossentropy", "binary crossentropy for class numbers")
other("loss_binary_one_hot", "categorical", "binary_crossentropy",
    "binary crossentropy for one-hot rows")
other("loss_categorical", "binary values", "categorical_crossentropy",
    "categorical crossentropy where there are no classes", MISFIT + " zero_gradient")
other("loss_kld", "sparse binary values", "kl_divergence", "KL divergence for what is no "
    "distribution", MISFIT + " uphill")
other("loss_poisson", "values sparse", "poisson", "Poisson loss for what is no count",
    MISFIT + " uphill non_finite")
other("loss_hinge", "binary categorical", "hinge", "hinge loss on probabilities")
other("loss_cosine", "values sparse", "cosine_similarity", "cosine similarity")
other("loss_binary_values", "values", "binary_crossentropy", "binary crossentropy for values",
    MISFIT + " uphill")
other("loss_msle", "values", "mean_squared_logarithmic_error", "squared error of logarithms")
other("loss_mape", "values", "mean_absolute_percentage_error", "percentages of values near 0")
# fmt: on


def with_settings(loss: Any, **settings: Any) -> Any:
    """Keras's loss of the same name with these settings."""
    name = loss_name(loss)
    classes = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    return classes[name](**settings) if name in classes else None


def switched(run: Run, to: bool) -> Run | None:
    """``from_logits`` the wrong way round."""
    _, activation = end_activation(run.model)
    fits = activation in ("softmax", "sigmoid") if to else activation == ""
    if not fits or logits(run.loss) == to or task(run) not in CLASSES:
        return None
    loss = with_settings(run.loss, from_logits=to)
    return None if loss is None else replace(run, loss=loss)


add("logits_twice", "output_loss", "from_logits=True on probabilities", MISFIT, HEAD,
    lambda run: switched(run, True))  # fmt: skip
add("logits_missed", "output_loss", "from_logits=False on logits", MISFIT + " non_finite", HEAD,
    lambda run: switched(run, False))  # fmt: skip


def smoothed(run: Run) -> Run | None:
    """Labels smoothed until nothing is left of them."""
    if task(run) not in ("categorical", "binary"):
        return None
    loss = with_settings(run.loss, from_logits=logits(run.loss), label_smoothing=1.0)
    return None if loss is None else replace(run, loss=loss)


add("label_smoothing_1", "loss", "label_smoothing=1.0", "stalled_loss output_loss_mismatch",
    "loss output_loss data regularization", smoothed)  # fmt: skip


# ------------------------------------------------------------------------------ own losses


def function_of(loss: Any) -> Callable[[Any, Any], Any]:
    """A loss as a function of labels and predictions."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return lambda y, p: loss.call(y, p)
    return loss


def own(
    name: str, make: Callable[[Any], Any], doc: str, symptoms: str, advice=HEAD, tasks=""
) -> None:
    """Registers a loss of the user's own; ``make`` is given the right one as a function."""

    def change(run: Run) -> Run | None:
        if task(run) not in (tasks.split() or (*CLASSES, "values")):
            return None
        right = make(function_of(run.loss))

        def own_loss(y_true, y_pred):
            return right(y_true, y_pred)

        return replace(run, loss=own_loss)

    add(name, "loss", doc, symptoms, advice, change)


def swapped(right):
    return lambda y, p: right(p, ops.cast(y, p.dtype))


def signed(_):
    return lambda y, p: ops.mean(p - ops.cast(y, p.dtype))


def broadcast(_):
    """(n,) minus (n, 1) is (n, n)."""

    def loss(y, p):
        y = ops.reshape(ops.cast(y, p.dtype), (-1,))
        return ops.mean(ops.square(y - ops.reshape(p, (-1, 1))))

    return loss


def logarithm(_):
    """Crossentropy without an epsilon, for one-hot rows or 0 and 1."""

    def loss(y, p):
        y = ops.cast(y, p.dtype)
        if p.shape[-1] == 1:
            y = ops.reshape(y, ops.shape(p))
            return -ops.mean(y * ops.log(p) + (1 - y) * ops.log(1 - p))
        return -ops.mean(ops.sum(y * ops.log(p), axis=-1))

    return loss


def log_ratio(_):
    return lambda y, p: ops.mean(ops.square(ops.log(p) - ops.log(ops.cast(y, p.dtype))))


NONE = "zero_gradient unchanged_weights stalled_loss update_too_small"
# fmt: off
own("loss_negated", lambda right: lambda y, p: -right(y, p), "the loss is negated",
    "uphill diverging_loss non_finite output_loss_mismatch", HEAD)
own("loss_swapped", swapped, "labels and predictions are exchanged",
    "uphill diverging_loss non_finite output_loss_mismatch zero_gradient", HEAD,
    "categorical binary")
own("loss_x0", lambda right: lambda y, p: 0.0 * right(y, p), "the loss is multiplied by 0", NONE)
own("loss_clipped", lambda right: lambda y, p: ops.minimum(right(y, p), 0.01),
    "the loss is cut off at 0.01", NONE)
own("loss_signed", signed, "the mean of differences that are not squared",
    "uphill diverging_loss non_finite output_loss_mismatch", HEAD, "values binary")
own("loss_broadcast", broadcast, "labels of shape (n,) against predictions of (n, 1)",
    "stalled_loss output_loss_mismatch", HEAD + " data", "values binary")
own("loss_log", logarithm, "crossentropy without an epsilon", "non_finite output_loss_mismatch",
    HEAD, "categorical binary")
own("loss_log_values", log_ratio, "logarithms of values below 0", "non_finite", HEAD, "values")
# fmt: on


def rectified_log(run: Run) -> Run | None:
    """Crossentropy without an epsilon on outputs of relu."""
    if task(run) not in ("categorical", "binary") or logits(run.loss):
        return None
    model = with_end(run.model, "relu")
    right = logarithm(None)

    def own_loss(y_true, y_pred):
        return right(y_true, y_pred)

    return None if model is None else replace(run, model=model, loss=own_loss)


add("loss_log_relu", "loss", "crossentropy without an epsilon on outputs of relu",
    "non_finite output_loss_mismatch dead_relu zero_gradient", HEAD + " activation",
    rectified_log)  # fmt: skip


def times(name: str, factor: float, doc: str, symptoms: str, advice: str) -> None:
    """Registers a loss of another size under plain gradient descent."""

    def change(run: Run) -> Run | None:
        if not task(run):
            return None
        right = function_of(run.loss)

        def own_loss(y_true, y_pred):
            return factor * right(y_true, y_pred)

        return replace(run, loss=own_loss, optimizer=keras.optimizers.SGD(0.05))

    add(name, "loss", doc, symptoms, advice, change)


times("loss_x10000_sgd", 1e4, "the loss times 10,000 under SGD",
    "exploding_gradient update_too_large diverging_loss oscillating_loss non_finite dead_relu",
    "loss learning_rate clipping optimizer")  # fmt: skip
times("loss_by_1e6_sgd", 1e-6, "the loss divided by a million under SGD",
    "update_too_small unchanged_weights vanishing_gradient zero_gradient stalled_loss",
    "loss learning_rate optimizer")  # fmt: skip
