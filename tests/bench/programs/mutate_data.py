"""Inputs and labels that are not what the network was made for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tests.bench.programs.mutate import add
from tests.bench.programs.program import Run

CLASSES = ("sparse", "categorical", "binary")
TASKS = {
    "sparse_categorical_crossentropy": "sparse",
    "categorical_crossentropy": "categorical",
    "categorical_focal_crossentropy": "categorical",
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "mean_squared_error": "values",
    "mean_absolute_error": "values",
    "huber": "values",
    "log_cosh": "values",
}
Array = np.ndarray[Any, Any]
Change = Callable[[Array], Array]


def loss_name(loss: Any) -> str:
    """Name of the loss as a function; "" if it is none of Keras's or there are several."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        return str(keras.src.utils.naming.to_snake_case(type(loss).__name__))
    return getattr(loss, "__name__", "")


def task(run: Run) -> str:
    """``sparse``, ``categorical``, ``binary`` or ``values``; "" if it is not told."""
    return TASKS.get(loss_name(run.loss), "") if isinstance(run.y, np.ndarray) else ""


def logits(loss: Any) -> bool:
    """True if the loss takes logits."""
    settings = getattr(loss, "_fn_kwargs", {})
    return bool(getattr(loss, "from_logits", settings.get("from_logits", False)))


def numbers(x: Any) -> list[Array]:
    """The arrays of real numbers among the inputs."""
    if not all(isinstance(a, np.ndarray) for a in keras.tree.flatten(x)):
        return []
    return [a for a in keras.tree.flatten(x) if a.dtype.kind == "f" or a.dtype == np.uint8]


def each(x: Any, change: Change) -> Any:
    """The inputs with all arrays of real numbers changed."""

    def one(a: Any) -> Any:
        real = isinstance(a, np.ndarray) and (a.dtype.kind == "f" or a.dtype == np.uint8)
        return change(a.astype("float32")).astype("float32") if real else a

    return keras.tree.map_structure(one, x)


def of_itself(run: Run) -> bool:
    """True if the inputs are the labels, too."""
    first = keras.tree.flatten(run.x)[0]
    return isinstance(run.y, np.ndarray) and first.shape == run.y.shape and (first == run.y).all()


def inputs(
    name: str, change: Change, doc: str, symptoms: str, advice: str, test=True, rank=0
) -> None:
    """Registers a change of the inputs; ``test``: of those held out as well."""

    def changed(run: Run) -> Run | None:
        found = numbers(run.x)
        if not found or of_itself(run) or (rank and {a.ndim for a in found} != {rank}):
            return None
        if not test:
            return replace(run, x=each(run.x, change))
        if not isinstance(run.test, tuple) or len(run.test) != 2:
            return None
        fit = dict(run.fit)
        if isinstance(fit.get("validation_data"), tuple):
            x, *others = fit["validation_data"]
            fit["validation_data"] = (each(x, change), *others)
        held_out = (each(run.test[0], change), run.test[1])
        return replace(run, x=each(run.x, change), test=held_out, fit=fit)

    add(name, "inputs", doc, symptoms, advice, changed)


def rows(value: float) -> Change:
    """Puts ``value`` into one place of every hundredth row."""

    def change(a: Array) -> Array:
        a = a.copy()
        a.reshape(len(a), -1)[37::100, 0] = value
        return a

    return change


def first_column(a: Array) -> Array:
    return np.concatenate([1e5 * a[:, :1], a[:, 1:]], axis=1)


def unlike(a: Array) -> Array:
    return a * np.logspace(-3, 3, a.shape[1])


LARGE = (
    "unscaled_input exploding_signal exploding_gradient saturated_activation initial_loss "
    "update_too_large"
)
# fmt: off
inputs("inputs_x255", lambda a: 255 * a, "inputs 255 times as large", LARGE, "input_scale")
inputs("inputs_x1000", lambda a: 1000 * a + 5000, "inputs times 1000 plus 5000", LARGE,
    "input_scale")
inputs("inputs_plus_100", lambda a: a + 100, "inputs plus 100", LARGE, "input_scale")
inputs("inputs_by_255", lambda a: a / 255, "inputs divided by 255 once more",
    "unscaled_input vanishing_signal", "input_scale")
inputs("inputs_by_1e5", lambda a: a * 1e-5, "inputs a hundred thousand times too small",
    "unscaled_input vanishing_signal vanishing_gradient", "input_scale")
inputs("inputs_divided", lambda a: np.floor(a / (abs(a).max() + 1)).clip(0),
    "inputs are 0: a division of whole numbers",
    "unscaled_input zero_gradient vanishing_signal", "data input_scale")
inputs("inputs_nan", rows(np.nan), "NaN in every hundredth row", "non_finite", "data", False)
inputs("inputs_inf", rows(np.inf), "infinity in every hundredth row", "non_finite", "data", False)
inputs("inputs_outliers", rows(1e6), "a million in one place of every hundredth row",
    LARGE + " non_finite", "input_scale data clipping", False)
inputs("inputs_column", first_column, "one column is 100,000 times as large", LARGE,
    "input_scale", rank=2)
inputs("inputs_columns", unlike, "columns of sizes from 0.001 to 1000", LARGE, "input_scale",
    rank=2)
inputs("inputs_one_row", lambda a: np.repeat(a[:1], len(a), 0), "every row is the first one",
    "stalled_loss unscaled_input", "data", False)
inputs("inputs_noise", lambda a: np.random.default_rng(1).standard_normal(a.shape),
    "noise instead of the inputs", "stalled_loss", "data", False)
# fmt: on


def unknown_tokens(run: Run) -> Run | None:
    """Every token is unknown: the vocabulary was forgotten."""
    x = run.x
    if not isinstance(x, np.ndarray) or x.dtype.kind != "i" or not isinstance(run.test, tuple):
        return None
    return replace(run, x=np.minimum(x, 1), test=(np.minimum(run.test[0], 1), *run.test[1:]))


add("tokens_unknown", "inputs", "every token is the same", "stalled_loss unscaled_input", "data",
    unknown_tokens)  # fmt: skip


# ------------------------------------------------------------------------------ labels


def labels(
    name: str,
    tasks: str,
    change: Change,
    doc: str,
    symptoms: str,
    advice: str,
    test: bool = False,
) -> None:
    """Registers a change of the labels; ``test``: of those held out as well."""

    def changed(run: Run) -> Run | None:
        if task(run) not in tasks.split():
            return None
        if not test:
            return replace(run, y=change(run.y))
        if not isinstance(run.test, tuple) or len(run.test) != 2:
            return None
        held_out = (run.test[0], change(np.asarray(run.test[1])))
        return replace(run, y=change(run.y), test=held_out)

    add(name, "labels", doc, symptoms, advice, changed)


def shuffled(y: Array) -> Array:
    return y[np.random.default_rng(1).permutation(len(y))]


def one_class(y: Array) -> Array:
    return np.repeat(y[:1], len(y), axis=0)


def nan_label(y: Array) -> Array:
    y = y.astype("float32")
    y.reshape(len(y), -1)[37::100, 0] = np.nan
    return y


ALL = "sparse categorical binary values"
MISFIT, CODED = "output_loss_mismatch", "output_loss data loss"
FAR = "stalled_loss exploding_gradient initial_loss output_loss_mismatch update_too_small"
# fmt: off
labels("labels_shuffled", ALL, shuffled, "labels in another order than inputs", "stalled_loss",
    "data")
labels("labels_rolled", ALL, lambda y: np.roll(y, 7, axis=0), "labels seven rows too late",
    "stalled_loss", "data")
labels("labels_one_class", "sparse categorical binary", one_class, "one class for all",
    MISFIT + " stalled_loss", "data")
labels("labels_from_1", "sparse", lambda y: y + 1, "class numbers from 1",
    MISFIT + " non_finite initial_loss", CODED, test=True)
labels("labels_x10", "sparse", lambda y: 10 * y, "class numbers ten times as large",
    MISFIT + " non_finite initial_loss", CODED)
labels("labels_negative", "sparse", lambda y: y.astype("int32") - 1, "class numbers from -1",
    MISFIT + " non_finite initial_loss", CODED)
labels("labels_signs", "binary", lambda y: 2.0 * y - 1, "labels of -1 and 1",
    MISFIT + " uphill", CODED)
labels("labels_255", "binary", lambda y: 255.0 * y, "labels of 0 and 255", MISFIT + " uphill",
    CODED)
labels("labels_1_and_2", "binary", lambda y: y + 1.0, "labels of 1 and 2", MISFIT + " uphill",
    CODED)
labels("one_hot_x10", "categorical", lambda y: 10 * y, "one-hot rows times 10", MISFIT, CODED)
labels("one_hot_plus_1", "categorical", lambda y: y + 1, "one-hot rows plus 1", MISFIT, CODED)
labels("one_hot_inverted", "categorical", lambda y: 1 - y, "0 for the right class, 1 for others",
    MISFIT + " stalled_loss", CODED)
labels("labels_nan", "binary values categorical", nan_label, "NaN in every hundredth label",
    "non_finite", "data")
labels("targets_x1000", "values", lambda y: 1000 * y, "targets 1000 times as large", FAR,
    "target_scale learning_rate", test=True)
labels("targets_plus_1000", "values", lambda y: y + 1000, "targets plus 1000", FAR,
    "target_scale learning_rate", test=True)
labels("targets_by_1000", "values", lambda y: y / 1000, "targets a thousandth as large",
    "initial_loss stalled_loss output_loss_mismatch", "target_scale initializer", test=True)
# fmt: on


def weighted(name: str, weight: float, doc: str, symptoms: str) -> None:
    """Registers sample weights that are all the same."""

    def change(run: Run) -> Run | None:
        if not task(run) or "class_weight" in run.fit or run.sample_weight is not None:
            return None
        return replace(run, sample_weight=np.full(len(run.y), weight, "float32"))

    add(name, "labels", doc, symptoms, "data loss output_loss", change)


weighted("row_weights_0", 0.0, "sample weights of 0",
    "zero_gradient unchanged_weights stalled_loss update_too_small")  # fmt: skip
weighted("row_weights_negative", -1.0, "sample weights of -1", "uphill diverging_loss non_finite")
