"""Theory's line against what fits of wide networks measure at their first step."""

import time

import keras
import numpy as np
import pytest

import initwatch
from initwatch.outlets.prediction import predicted
from initwatch.plugin.answers import run_answer, values_answer
from initwatch.plugin.log import read_logs
from tests.outlets.feed import updates

DEPTH = 8


@pytest.fixture(autouse=True)
def _same_draws():
    """An initializer takes its seed when it is made."""
    keras.utils.set_random_seed(0)


def deep(activation, initializer, apart=False, widths=(256,) * DEPTH):
    def layers():
        for i, width in enumerate(widths):
            fused = None if apart else activation
            yield keras.layers.Dense(
                width, activation=fused, kernel_initializer=initializer(), name=f"hidden_{i}"
            )
            if apart:
                yield keras.layers.Activation(activation, name=f"bent_{i}")

    head = keras.layers.Dense(10, activation="softmax", name="output")
    return keras.Sequential([keras.Input((64,)), *layers(), head], name="net")


def small():
    return keras.initializers.RandomNormal(stddev=0.02)


def profile(model, tmp_path, scale=1.0):
    """(layers, measured and predicted RMS of both signals at step 0, each relative)."""
    model.compile("sgd", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = scale * rng.standard_normal((64, *model.input_shape[1:]))
    watch = initwatch.InitWatch(tmp_path, console=False)
    model.fit(x, rng.integers(0, 10, 64), batch_size=64, verbose=0, callbacks=[watch])
    (log,) = read_logs(tmp_path)
    answer = run_answer(log)
    paths = [layer["path"].split("/")[-1] for layer in answer["layers"]]
    forward = np.array(values_answer(log, "activation_rms")["values"][0], float)
    backward = np.array(values_answer(log, "delta_rms")["values"][0], float)
    if not answer["theory"]:
        return paths, None, None
    (line,) = answer["theory"]
    told = {name: np.array(line[name], float) for name in ("forward", "backward")}
    pairs = []
    for signal, line, reference in (
        (forward, told["forward"], 0),
        (backward, told["backward"], -1),
    ):
        both = np.flatnonzero(~np.isnan(line) & ~np.isnan(signal))
        assert line[both[reference]] == 1.0
        pairs.append((signal[both] / signal[both[reference]], line[both]))
    return paths, np.flatnonzero(~np.isnan(told["forward"])), pairs


@pytest.mark.parametrize(
    ("activation", "initializer", "apart", "scale"),
    [
        ("relu", small, False, 1.0),
        ("relu", keras.initializers.HeNormal, True, 1.0),
        ("tanh", keras.initializers.GlorotUniform, False, 3.0),
        ("tanh", small, True, 1.0),
        ("gelu", keras.initializers.HeNormal, False, 1.0),
    ],
)
def test_it_is_what_a_wide_network_measures(tmp_path, activation, initializer, apart, scale):
    model = deep(activation, initializer, apart)
    paths, known, pairs = profile(model, tmp_path, scale)
    expected = [path for path in paths if path != "output"]
    assert [paths[i] for i in known] == expected
    for measured, told in pairs:
        # draws of this width scatter by sqrt(5 x 7 / 256) / 2 = 0.18 (Hanin & Rolnick 2018)
        np.testing.assert_allclose(np.log(told), np.log(measured), atol=0.5)
        assert len(told) >= DEPTH


def test_widths_that_differ_are_in_it(tmp_path):
    """The RMS of the backward signal goes by fan-out, which is not the fan-in of the next."""
    model = deep("relu", keras.initializers.HeNormal, widths=(64, 512, 128, 512, 64))
    _, known, pairs = profile(model, tmp_path)
    assert len(known) == 5
    for measured, told in pairs:
        np.testing.assert_allclose(np.log(told), np.log(measured), atol=0.3)


def test_a_convolution_with_strides(tmp_path):
    layers = [
        keras.layers.Conv2D(
            32,
            3,
            strides=stride,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"conv_{i}",
        )
        for i, stride in enumerate([1, 2, 1, 2])
    ]
    head = [keras.layers.Flatten(name="flat"), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((16, 16, 8)), *layers, *head], name="net")
    _, known, pairs = profile(model, tmp_path)
    assert len(known) == 4
    for measured, told in pairs:
        # at the borders units sum over fewer inputs than theory counts
        np.testing.assert_allclose(np.log(told), np.log(measured), atol=0.5)


def test_shortcuts_have_no_line(tmp_path):
    x = inputs = keras.Input((16,))
    for i in range(3):
        x = keras.layers.Add()([x, keras.layers.Dense(16, "relu", name=f"branch_{i}")(x)])
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax", name="output")(x))
    _, known, _ = profile(model, tmp_path)
    assert known is None


def test_a_thousand_layers_are_told_of_in_no_time():
    (update,) = updates(1, 1000)
    begun = time.perf_counter()
    line = predicted(update)
    assert time.perf_counter() - begun < 5.0
    assert len(line["forward"]) == 1000
    assert line["forward"][0] == 1.0
    assert line["backward"][998] == 1.0
    assert line["forward"][999] is None  # the output layer has no next one to hold it against
