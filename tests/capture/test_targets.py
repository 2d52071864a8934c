"""What predictions are held against, for models of one output and of several."""

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from initwatch.capture.targets import LossFacts, facts_of, of_own_step, targets_of

X = np.ones((4, 3), "float32")
ONE, TWO = np.zeros((4, 1), "float32"), np.zeros((4, 2), "float32")
WEIGHTS = np.arange(4.0)


def own(y, p):
    return ops.mean(ops.square(y - p))


class Own(losses.Loss):
    def call(self, y, p):
        return ops.mean(ops.square(y - p), axis=-1)


# ---------------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ("mse", "mean_squared_error"),
        ("mean_squared_error", "mean_squared_error"),
        ("MeanSquaredError", "mean_squared_error"),
        (losses.MeanSquaredError(), "mean_squared_error"),
        (losses.mean_squared_error, "mean_squared_error"),
        ("sparse_categorical_crossentropy", "sparse_categorical_crossentropy"),
        (losses.SparseCategoricalCrossentropy(), "sparse_categorical_crossentropy"),
        (losses.BinaryFocalCrossentropy(), "binary_focal_crossentropy"),
        (losses.Huber(), "huber"),
        ("hinge", "hinge"),
        (own, ""),
        (Own(), ""),
        ("no_such_loss", ""),
        (None, ""),
    ],
)
def test_a_loss_is_known_by_one_name_however_it_is_given(loss, name):
    assert facts_of(loss).name == name
    if name:
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        model.compile("sgd", loss)
        (target,) = targets_of_compiled(model, TWO, TWO)
        assert facts_of(target.loss).name == name


def test_what_a_loss_was_given_is_told():
    loss = losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255, reduction="mean_with_sample_weight"
    )
    name = "sparse_categorical_crossentropy"
    assert facts_of(loss) == LossFacts(name, True, 255, 0.0, "mean_with_sample_weight")
    smooth = losses.BinaryCrossentropy(label_smoothing=0.2)
    reduced = "sum_over_batch_size"
    assert facts_of(smooth) == LossFacts("binary_crossentropy", False, None, 0.2, reduced)
    assert facts_of("mse") == LossFacts("mean_squared_error", reduction=reduced)
    assert facts_of(losses.MeanSquaredError(reduction="sum")).reduction == "sum"
    assert facts_of(losses.MeanSquaredError(reduction=None)).reduction == ""
    assert facts_of(own) == facts_of(Own()) == LossFacts()


# ---------------------------------------------------------------------- of a compiled model


def targets_of_compiled(model, y, y_pred, weights=None):
    model._compile_loss.build(y, y_pred)
    return targets_of(model, y, y_pred, weights)


def one_output(loss="mse"):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", loss)
    return model


def several(outputs, loss, weights=None):
    """A model with outputs of one unit and of two, as a list or a dict."""
    start = keras.Input((3,))
    given = {"one": layers.Dense(1, name="one")(start), "two": layers.Dense(2, name="two")(start)}
    model = keras.Model(start, given if outputs == "dict" else list(given.values()))
    model.compile("sgd", loss, loss_weights=weights)
    return model


def test_one_output():
    (target,) = targets_of_compiled(one_output(), ONE, ONE + 1.0, WEIGHTS)
    assert target.y is ONE
    assert target.weight is WEIGHTS
    assert target.mask is None
    assert target.factor == 1.0
    assert target.comparable
    assert facts_of(target.loss).name == "mean_squared_error"


def test_without_labels_or_predictions_there_is_nothing():
    model = one_output()
    assert targets_of(model, None, ONE, None) == []
    assert targets_of(model, ONE, None, None) == []


@pytest.mark.parametrize("container", ["list", "dict"])
@pytest.mark.parametrize("given", ["list", "dict"])
@pytest.mark.parametrize("losses_as", ["list", "dict"])
def test_several_outputs_each_have_their_loss_and_factor(container, given, losses_as):
    if container == "list" and losses_as == "dict":
        losses_as = "list"  # Keras takes a dict of losses by the outputs' names, before this
    loss = {"one": "mse", "two": "categorical_crossentropy"}
    weights = {"one": 0.5, "two": 3.0}
    if losses_as == "list":
        loss, weights = list(loss.values()), list(weights.values())
    model = several(container, loss, weights)
    y = {"one": ONE, "two": TWO} if given == "dict" else [ONE, TWO]
    p = {"one": ONE + 1, "two": TWO + 1} if container == "dict" else [ONE + 1, TWO + 1]
    model._compile_loss.build(p, p)
    # labels may be nested in another way than the outputs: then their order counts
    first, second = targets_of(model, y, p, None)
    assert first.y is ONE
    assert second.y is TWO
    assert [target.prediction.shape[-1] for target in (first, second)] == [1, 2]
    assert [target.factor for target in (first, second)] == [0.5, 3.0]
    names = [facts_of(target.loss).name for target in (first, second)]
    assert names == ["mean_squared_error", "categorical_crossentropy"]


def test_an_output_without_a_loss_has_no_target():
    model = several("dict", {"two": "mse"})
    p = {"one": ONE, "two": TWO}
    (target,) = targets_of_compiled(model, {"two": TWO}, p)
    assert target.y is TWO


@pytest.mark.parametrize("nested", [True, False])
def test_sample_weights_of_several_outputs(nested):
    model = several("dict", {"one": "mse", "two": "mse"})
    y, p = {"one": ONE, "two": TWO}, {"one": ONE, "two": TWO}
    weights = {"one": WEIGHTS, "two": 2.0 * WEIGHTS} if nested else WEIGHTS
    first, second = targets_of_compiled(model, y, p, weights)
    assert first.weight is WEIGHTS
    assert second.weight[-1] == (6.0 if nested else 3.0)


def test_a_compute_loss_of_ones_own_takes_labels_as_it_likes():
    class Mine(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ops.mean(y - y_pred)

    start = keras.Input((3,))
    model = Mine(start, layers.Dense(1)(start))
    model.compile("sgd", "mse")  # not the loss that is minimised
    (target,) = targets_of(model, ONE, ONE, WEIGHTS)
    assert target.loss is None
    assert target.weight is WEIGHTS
    # labels and predictions that do not go one to one
    assert targets_of(model, [ONE, TWO], ONE, None) == []


def test_the_mask_of_a_prediction_comes_with_it():
    prediction = ops.convert_to_tensor(ONE)
    mask = ops.convert_to_tensor(np.array([True, False, True, True]))
    prediction._keras_mask = mask
    model = one_output()
    model._compile_loss.build(ONE, ONE)
    (target,) = targets_of(model, ONE, prediction, None)
    assert target.mask is mask


def test_what_is_no_tensor_cannot_be_compared():
    (target,) = targets_of_compiled(one_output(), ONE, ONE)
    target.y = 3.0
    assert not target.comparable


def test_tensors_are_put_back_in_their_order():
    (target,) = targets_of_compiled(one_output(), ONE, ONE + 1, WEIGHTS)
    before = target.tensors
    target.put([None if tensor is None else 2.0 * tensor for tensor in before])
    assert target.mask is None
    assert target.weight[-1] == 6.0
    assert target.prediction[0, 0] == 2.0


# ---------------------------------------------------------------------- a step of one's own


def numbers(x):
    return hasattr(x, "shape")


def test_the_newest_call_whose_rows_are_those_of_the_labels_is_the_prediction():
    first, newest, other = ONE + 1.0, ONE + 2.0, np.zeros((8, 1))
    (target,) = of_own_step((X, ONE), [first, newest], numbers)
    assert target.prediction is newest
    (target,) = of_own_step((X, ONE), [first, other], numbers)
    assert target.prediction is first
    assert of_own_step((X, ONE), [other], numbers) == []
    assert of_own_step((X, ONE), [], numbers) == []


def test_a_batch_without_labels_or_of_another_kind_says_nothing():
    assert of_own_step(X, [ONE], numbers) == []
    assert of_own_step((X,), [ONE], numbers) == []
    assert of_own_step((X, ONE, WEIGHTS, X), [ONE], numbers) == []
    assert of_own_step({"x": X}, [ONE], numbers) == []


def test_weights_of_the_batch_count_where_they_are_one_for_all():
    (target,) = of_own_step((X, ONE, WEIGHTS), [ONE], numbers)
    assert target.weight is WEIGHTS
    assert target.loss is None
    first, second = of_own_step((X, [ONE, TWO], [WEIGHTS, WEIGHTS]), [[ONE, TWO]], numbers)
    assert first.weight is second.weight is None
    assert second.y is TWO


def test_calls_that_return_something_else_than_tensors_are_passed_over():
    (target,) = of_own_step((X, ONE), [ONE, [ONE, TWO], "text"], numbers)
    assert target.prediction is ONE
    scalar = np.float32(1.0)
    assert of_own_step((X, ONE), [scalar], numbers) == []
