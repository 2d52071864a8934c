"""Applying initializer advice in place."""

import keras
import numpy as np
import pytest

import initwatch
from initwatch.advice.reinitialize import begun_anew
from initwatch.records import Report


def build(depth=14):
    keras.utils.set_random_seed(0)
    small = keras.initializers.RandomNormal(stddev=0.02)
    hidden = [
        keras.layers.Dense(48, activation="relu", kernel_initializer=small, name=f"hidden_{i}")
        for i in range(depth)
    ]
    head = keras.layers.Dense(10, activation="softmax", name="output")
    model = keras.Sequential([keras.Input((16,)), *hidden, head], name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    watch = initwatch.InitWatch(console=False)
    x, y = rng.standard_normal((96, 16)), rng.integers(0, 10, 96)
    build().fit(x, y, verbose=0, callbacks=[watch])
    return watch.report


def test_kernels_are_drawn_anew_and_the_layers_say_so(report):
    model = build()
    output = np.array(model.get_layer("output").kernel)
    changed = initwatch.reinitialize(model, report)
    assert [change.layer for change in changed] == [f"net/hidden_{i}" for i in range(14)]
    for change in changed:
        layer = model.get_layer(change.layer.split("/")[-1])
        assert layer.kernel_initializer is change.initializer
        kernel = np.array(layer.kernel)
        assert kernel.shape[0] * kernel.var() == pytest.approx(2.0, rel=0.15)
    assert np.array_equal(output, np.array(model.get_layer("output").kernel))
    first, second = (np.array(model.get_layer(f"hidden_{i}").kernel) for i in (1, 2))
    assert not np.array_equal(first, second)


def test_layers_can_be_chosen(report):
    changed = initwatch.reinitialize(build(), report, layers=["net/hidden_3"])
    assert [change.layer for change in changed] == ["net/hidden_3"]


def test_nothing_to_apply(report):
    assert initwatch.reinitialize(build(), Report()) == []


def test_an_unknown_layer_is_refused(report):
    with pytest.raises(initwatch.ArgumentError, match="no initializer advice for net/other"):
        initwatch.reinitialize(build(), report, layers=["net/other"])


def test_another_model_is_refused_and_left_as_it_was(report):
    model = build(depth=3)
    before = [np.array(v) for v in model.variables]
    with pytest.raises(initwatch.ArgumentError, match="not built like"):
        initwatch.reinitialize(model, report)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables, strict=True))


def test_a_model_built_again_with_keras_own_names():
    def automatic():
        small = keras.initializers.RandomNormal(stddev=0.02)
        hidden = [keras.layers.Dense(48, "relu", kernel_initializer=small) for _ in range(14)]
        model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(10)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    rng = np.random.default_rng(0)
    watch = initwatch.InitWatch(console=False)
    first = automatic()
    first.fit(rng.standard_normal((96, 16)), rng.integers(0, 10, 96), verbose=0, callbacks=[watch])
    again = automatic()
    assert again.layers[0].name != first.layers[0].name
    changed = initwatch.reinitialize(again, watch.report)
    assert len(changed) == 14
    for layer in again.layers[:-1]:
        kernel = np.array(layer.kernel)
        assert kernel.shape[0] * kernel.var() == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, Report()), "model must be a keras.Model"),
        ((None, None), "model must be a keras.Model"),
        (("model", initwatch.InitWatch(console=False)), "report must be an initwatch.Report"),
        (("model", None), "report must be an initwatch.Report"),
    ],
)
def test_wrong_arguments(arguments, words):
    model, report = arguments
    with pytest.raises(initwatch.ArgumentError, match=words):
        initwatch.reinitialize(build(depth=1) if model == "model" else model, report)


def test_one_layer_can_be_named_by_itself(report):
    changed = initwatch.reinitialize(build(), report, layers="net/hidden_3")
    assert [change.layer for change in changed] == ["net/hidden_3"]


def test_what_an_optimizer_keeps_begins_anew_for_a_while_only():
    model = build(2)
    rng = np.random.default_rng(0)
    model.fit(rng.standard_normal((8, 16)), rng.integers(0, 10, 8), verbose=0)
    held = [keras.ops.convert_to_numpy(v).copy() for v in model.optimizer.variables]
    with begun_anew(model.optimizer, model.trainable_variables):
        slots = [v for v in model.optimizer.variables if len(v.shape) > 0]
        assert slots
        assert all(not np.any(keras.ops.convert_to_numpy(slot)) for slot in slots)
    for before, variable in zip(held, model.optimizer.variables, strict=True):
        assert np.array_equal(before, keras.ops.convert_to_numpy(variable))
