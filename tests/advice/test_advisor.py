"""Advice on real runs: the initializer for each layer's own activation, or another kind."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import initwatch
from initwatch.advice.advisor import _once, advise
from initwatch.advice.gain import MOST
from initwatch.diagnosis.causes import GROWTH
from initwatch.records import Advice, Finding
from initwatch.records.training import Training
from tests.diagnosis.histories import mlp_history

FEATURES, CLASSES, ROWS = 32, 10, 256


def run(hidden, x=None, epochs=1, optimizer="adam", outputs=None):
    """The report of a short fit of a stack of layers."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, FEATURES)).astype("float32") if x is None else x
    y = rng.integers(0, CLASSES, len(x))
    head = outputs or layers.Dense(CLASSES, activation="softmax", name="head")
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, head], name="net")
    model.compile(optimizer, "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    return model, watch.report


def small(activation, depth=16, behind=()):
    """Layers whose weights are far too small, the activation fused or in a layer of its own."""
    found = []
    for i in range(depth):
        found.append(
            layers.Dense(
                64,
                activation=None if behind else activation,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
                name=f"hidden_{i}",
            )
        )
        found += [layer() for layer in behind]
    return found


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (small("relu"), "HeNormal"),
        (small("tanh"), "GlorotUniform"),
        (small("selu"), "LecunNormal"),
        (small(None, behind=[lambda: layers.Activation("tanh")]), "GlorotUniform"),
        (small(None, behind=[layers.ReLU]), "HeNormal"),
        (small(None, behind=[lambda: layers.LeakyReLU(negative_slope=0.2)]), "HeNormal"),
        (small("gelu", depth=30), "VarianceScaling"),
    ],
    ids=["relu", "tanh", "selu", "Activation(tanh)", "ReLU()", "LeakyReLU()", "gelu"],
)
def test_the_initializer_is_that_of_the_layers_own_activation(hidden, expected):
    model, report = run(hidden)
    assert not report.healthy
    assert report.findings[0].symptom == "initializer_mismatch"
    kernels = [layer for layer in model.layers if layer.name.startswith("hidden_")]
    advice = [item for item in report.advice if item.kind == "initializer"]
    assert [item.layer.split("/")[-1] for item in advice] == [layer.name for layer in kernels]
    family = getattr(keras.initializers, expected)()
    for item in advice:
        # the family's weights; the trial may have tuned their gain
        assert isinstance(item.suggested, keras.initializers.VarianceScaling)
        assert item.suggested.mode == family.mode
        if expected != "VarianceScaling":
            assert item.suggested.distribution == family.distribution
            assert np.exp(-2 * MOST) <= item.suggested.scale / family.scale <= np.exp(2 * MOST)
        assert isinstance(item.current, keras.initializers.RandomNormal)
        name = type(item.suggested).__name__
        assert name in (expected, "VarianceScaling")
        assert item.code.startswith(f"kernel_initializer=keras.initializers.{name}(")
        before = item.predicted["gradient_left_before"]
        after = item.predicted["gradient_left_after"]
        assert before < 1e-3 < 0.05 < after
        measured = item.measured
        assert measured["gradient_ratio_after"] < np.exp(3.0) < measured["gradient_ratio_before"]
        assert measured["signal_ratio_after"] < np.exp(3.0) < measured["signal_ratio_before"]


@pytest.mark.slow
def test_the_advice_mends_what_it_was_given_for():
    """A second run with every suggested initializer applied is healthy."""
    for activation, depth in (("relu", 16), ("tanh", 16), ("selu", 16), ("gelu", 30)):
        _, report = run(small(activation, depth))
        keras.utils.set_random_seed(0)
        hidden = small(activation, depth)
        for layer in hidden:
            layer.kernel_initializer = next(
                a.suggested for a in report.advice if a.layer.endswith(f"/{layer.name}")
            )
        _, mended = run(hidden)
        assert mended.healthy, (activation, [f.message for f in mended.findings])


def test_deep_sigmoids_get_another_activation_not_an_initializer():
    _, report = run([layers.Dense(64, activation="sigmoid", name=f"h_{i}") for i in range(12)])
    assert "vanishing_gradient" in {f.symptom for f in report.findings}
    assert "initializer_mismatch" not in {f.symptom for f in report.findings}
    assert [item.kind for item in report.advice] == 12 * ["activation"] + ["normalization"]
    assert [item.layer for item in report.advice[:12]] == [f"net/h_{i}" for i in range(12)]
    assert "No initializer mends" in report.advice[0].reason


def test_behind_batch_normalisation_small_weights_do_not_matter():
    behind = [layers.BatchNormalization, layers.ReLU]
    _, report = run(small(None, behind=behind))
    assert report.healthy, [f.message for f in report.findings]
    assert report.advice == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, ["net/h_relu", "net/h_tanh"]),
        # the random head parts the units of the layer before it, which began as one all the same
        (0.1, ["net/h_relu"]),
    ],
)
def test_constant_kernels_get_random_ones(value, expected):
    hidden = [
        layers.Dense(
            32,
            activation=activation,
            kernel_initializer=keras.initializers.Constant(value),
            name=f"h_{activation}",
        )
        for activation in ("relu", "tanh")
    ]
    _, report = run(hidden)
    found = {f.symptom: f for f in report.findings}
    assert found["symmetric_units"].layers == expected
    kinds = {
        item.layer: type(item.suggested).__name__
        for item in report.advice
        if item.kind == "initializer"
    }
    assert kinds == {"net/h_relu": "HeNormal", "net/h_tanh": "GlorotUniform"}


def test_a_row_that_is_not_finite_is_blamed_also_when_its_damage_is_seen():
    """Later the weights are NaN and gradients zero: that follows, and changes no advice."""
    x = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("float32")
    x[::40] = np.nan
    _, report = run([layers.Dense(32, activation="relu") for _ in range(2)], x=x, epochs=4)
    assert "non_finite" in {f.symptom for f in report.findings}
    assert [item.kind for item in report.advice] == ["data"]


def test_weights_below_a_normalisations_epsilon_get_an_initializer():
    behind = [layers.BatchNormalization, layers.ReLU]
    hidden = []
    for i in range(12):
        tiny = keras.initializers.RandomNormal(stddev=0.001)
        hidden.append(layers.Dense(32, kernel_initializer=tiny, name=f"hidden_{i}"))
        hidden += [layer() for layer in behind]
    _, report = run(hidden)
    assert not report.healthy
    assert [item.layer for item in report.advice] == [f"net/hidden_{i}" for i in range(12)]
    assert {type(item.suggested).__name__ for item in report.advice} == {"HeNormal"}
    assert "epsilon" in report.advice[0].reason


def test_saturation_by_large_weights_and_by_large_inputs():
    def tanh(std):
        return [
            layers.Dense(
                64,
                activation="tanh",
                kernel_initializer=keras.initializers.RandomNormal(stddev=std),
                name=f"h_{i}",
            )
            for i in range(3)
        ]

    # it is only mentioned until the run is seen to be harmed
    _, by_weights = run(tanh(5.0), epochs=8, optimizer=keras.optimizers.SGD(1e-6))
    assert "saturated_activation" in {f.symptom for f in by_weights.findings}
    assert by_weights.advice[0].kind == "initializer"
    rng = np.random.default_rng(0)
    large = (255.0 * rng.standard_normal((ROWS, FEATURES))).astype("float32")
    _, by_inputs = run(tanh(0.17), x=large, epochs=8, optimizer=keras.optimizers.SGD(1e-6))
    saturated = next(f for f in by_inputs.findings if f.symptom == "saturated_activation")
    assert saturated.layers[0] == "net/h_0"
    assert by_inputs.advice[0].kind == "input_scale"


def test_a_learning_rate_that_blows_up_is_no_matter_of_initialisation():
    hidden = [layers.Dense(32, activation="relu", kernel_initializer="he_normal") for _ in range(3)]
    with np.errstate(all="ignore"):
        _, report = run(hidden, optimizer=keras.optimizers.SGD(1e12), epochs=2)
    assert report.findings[0].symptom == "non_finite"
    assert report.findings[0].step > 0
    assert [item.kind for item in report.advice] == ["learning_rate", "clipping"]
    rate = report.advice[0]
    assert float(rate.suggested) <= 1.0
    assert rate.code == f"keras.optimizers.SGD(learning_rate={rate.suggested})"
    # from the weights a run begins with, and on one of its batches
    assert rate.measured["loss_after_8_steps_before"] == np.inf
    assert rate.measured["loss_after_8_steps_after"] < 2.3


def test_a_healthy_net_gets_no_advice():
    hidden = [layers.Dense(64, activation="relu") for _ in range(5)]
    _, report = run(hidden, epochs=2)
    assert report.healthy
    assert report.findings == []
    assert report.advice == []


def test_biases_that_switch_units_off_are_named():
    def layer(i):
        return layers.Dense(
            64, activation="relu", bias_initializer=keras.initializers.Constant(-10), name=f"h_{i}"
        )

    _, report = run([layer(i) for i in range(3)])
    assert not report.healthy
    biases = [item for item in report.advice if item.code == 'bias_initializer="zeros"']
    assert [item.layer for item in biases] == ["net/h_0", "net/h_1", "net/h_2"]
    assert report.advice == biases  # the weights suit the activation
    assert biases[0].predicted["bias_over_sigma_before"] > 5.0


def images(hidden, epochs=1):
    """The report of a short fit on noise images, and the model."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 8, 8, 3)).astype("float32")
    head = [layers.Flatten(), layers.Dense(CLASSES, activation="softmax", name="head")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *hidden, *head], name="net")
    model.compile("adam", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    y = rng.integers(0, CLASSES, 64)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    return model, watch.report


def test_both_kernels_of_a_separable_convolution_are_advised():
    def separable():
        small = keras.initializers.RandomNormal(stddev=0.05)
        return [
            layers.SeparableConv2D(
                32,
                3,
                padding="same",
                activation="relu",
                depthwise_initializer=small,
                pointwise_initializer=small,
                name=f"s_{i}",
            )
            for i in range(8)
        ]

    _, report = images(separable())
    assert report.findings[0].symptom == "initializer_mismatch"
    assert report.findings[0].evidence["layers_of_depth"] == 8
    arguments = {item.code.partition("=")[0] for item in report.advice}
    assert arguments == {"depthwise_initializer", "pointwise_initializer"}
    model, _ = images(separable())
    # drawn anew, the two together keep the signal's variance: 1 x 2, halved by the ReLU
    initwatch.reinitialize(model, report)
    for layer in model.layers[1:8]:
        depthwise, pointwise = np.array(layer.depthwise_kernel), np.array(layer.pointwise_kernel)
        assert 9 * depthwise.var() == pytest.approx(1.0, rel=0.25)
        assert 32 * pointwise.var() == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(("where", "suggested"), [("x", "inputs"), ("y", "labels")])
def test_values_that_came_with_the_data_are_not_blamed_on_the_learning_rate(where, suggested):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((ROWS, 8)), "y": rng.standard_normal((ROWS, 1))}
    data[where][200, 0] = np.nan
    hidden = [layers.Dense(32, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(1)])
    model.compile("sgd", "mse")
    watch = initwatch.InitWatch(console=False)
    model.fit(**data, batch_size=16, shuffle=False, verbose=0, callbacks=[watch])
    assert [f.symptom for f in watch.report.findings] == ["non_finite"]
    (advice,) = watch.report.advice
    assert advice.kind == "data"
    assert suggested in advice.reason
    assert advice.code == f"assert np.isfinite({where}).all()"


def test_signals_that_die_of_nan_in_the_inputs_are_not_blamed_on_the_weights():
    """TensorFlow's ReLU makes 0 of NaN: what is seen from then on is dead units, no gradient."""
    hidden = [layers.Dense(24, activation="relu", name=f"hidden_{i}") for i in range(5)]
    x = np.full((ROWS, FEATURES), np.nan, "float32")
    _, report = run(hidden, x=x, optimizer="sgd")
    found = {finding.code for finding in report.findings}
    assert "IW203" in found
    (advice,) = report.advice
    assert advice.code == "assert np.isfinite(x).all()"
    assert set(advice.codes) == found


def test_wide_targets_are_told_from_a_learning_rate():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 8)).astype("float32")
    y = 1e5 * (x[:, :1] + 0.1 * rng.standard_normal((ROWS, 1)))
    hidden = [layers.Dense(32, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(1)])
    model.compile("adam", "mse")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=32, epochs=30, verbose=0, callbacks=[watch])
    gradient, loss = (f for f in watch.report.findings if f.severity != "info")
    assert (gradient.symptom, loss.symptom) == ("exploding_gradient", "stalled_loss")
    assert (gradient.cause, loss.cause) == ("", "IW202")
    (advice,) = watch.report.advice
    assert advice.kind == "target_scale"


def test_targets_far_smaller_than_the_outputs_are_told_too():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 8)).astype("float32")
    y = 1e-4 * x[:, :1]
    model = keras.Sequential([keras.Input((8,)), layers.Dense(32, "relu"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), "mean_squared_error")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=32, epochs=120, verbose=0, callbacks=[watch])
    (finding,) = (f for f in watch.report.findings if f.code == "IW501")
    assert finding.severity in ("warning", "error")
    (advice,) = watch.report.advice
    assert advice.kind == "target_scale"
    assert "must first shrink" in advice.reason


def test_a_learning_rate_far_too_small_is_told_by_the_updates():
    hidden = [layers.Dense(32, activation="relu") for _ in range(2)]
    _, report = run(hidden, optimizer=keras.optimizers.SGD(1e-7), epochs=30)
    assert {f.symptom for f in report.findings} == {"stalled_loss", "update_too_small"}
    (advice,) = report.advice
    assert 1e-3 <= float(advice.suggested) <= 1.0
    assert advice.measured["learning_rate_before"] == 1e-7
    losses = [advice.measured[f"loss_after_8_steps_{when}"] for when in ("before", "after")]
    assert losses[1] < 0.9 * losses[0]
    assert set(advice.codes) == {"IW401", "IW501"}


def test_an_output_of_zeros_is_drawn_too_where_the_layers_before_it_are_all_the_same():
    """It lets no gradient through: with it as it is no other layer could be told to help."""
    zeros = {"kernel_initializer": "zeros"}
    hidden = [layers.Dense(32, activation="relu", name=f"h_{i}", **zeros) for i in range(3)]
    _, report = run(hidden, outputs=layers.Dense(CLASSES, "softmax", name="head", **zeros))
    assert report.findings[0].symptom == "symmetric_units"
    given = {item.layer.split("/")[-1]: item for item in report.advice}
    assert {item.kind for item in given.values()} == {"initializer"}
    assert set(given) == {"h_0", "h_1", "h_2", "head"}
    assert given["head"].measured["gradient_ratio_after"] < 20.0


def stuck(hidden, rate=1e-4):
    """The report of a fit that stands still: labels that the inputs do not tell."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, FEATURES)).astype("float32")
    y = rng.integers(0, CLASSES, 4096)
    x = np.tile(x, (16, 1))
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, layers.Dense(CLASSES, "softmax")])
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    assert "IW501" in {f.code for f in watch.report.findings if f.state == "active"}
    return [item for item in watch.report.advice if "IW501" in item.codes]


def test_penalties_that_outweigh_the_data_are_named():
    heavy = layers.Dense(64, "relu", kernel_regularizer=keras.regularizers.L2(5.0))
    (item,) = stuck([heavy], rate=1e-5)
    assert item.kind == "regularization"
    penalty, loss = (float(x) for x in re.findall(r"[\d.]+(?= beside|$)", item.current))
    assert penalty > 2.0 * loss > 4.0


def test_dropout_that_leaves_next_to_nothing_is_named():
    hidden = [layers.Dense(64, "relu", name="h"), layers.Dropout(0.95)]
    advice = stuck(hidden)
    assert [(item.kind, item.layer.split("/")[-1]) for item in advice] == [("regularization", "h")]
    assert "0.95" in advice[0].current


def test_dropout_is_named_where_it_leaves_no_gradient():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((512, FEATURES)).astype("float32")
    y = (x.sum(axis=1) > 0).astype(int)
    hidden = [layers.Dense(8, "relu", name="h"), layers.Dropout(0.995)]
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=2, verbose=0, callbacks=[watch])
    assert "IW204" in {finding.code for finding in watch.report.findings}
    (item,) = [item for item in watch.report.advice if "IW204" in item.codes]
    assert (item.kind, item.layer.split("/")[-1]) == ("regularization", "h")


def test_hidden_sigmoids_of_a_run_that_stands_still_are_tried_as_rectifiers():
    hidden = [layers.Dense(32, "sigmoid", name=f"h_{i}") for i in range(2)]
    advice = stuck(hidden, rate=0.1)
    tried = [item for item in advice if item.kind == "activation"]
    assert [item.layer.split("/")[-1] for item in tried] == ["h_0", "h_1"]
    assert all(item.current == "sigmoid" and item.measured for item in tried)


def test_a_stack_without_activations_is_named():
    advice = stuck([layers.Dense(32, name=f"h_{i}") for i in range(2)], rate=1e-3)
    assert [item.kind for item in advice] == ["activation"] * 2
    assert all(item.code.startswith('activation="relu"') for item in advice)
    assert all(item.measured is None for item in advice)


def test_a_softmax_inside_a_network_is_named():
    softmax = [layers.Dense(10, name="own"), layers.Activation("softmax")]
    advice = stuck([layers.Dense(10, "softmax", name="within"), *softmax], rate=0.01)
    assert {item.kind for item in advice} == {"activation"}
    assert [item.layer.split("/")[-1] for item in advice] == ["within", "own"]
    assert {item.current for item in advice} == {"softmax"}


def test_targets_that_make_every_step_too_large_are_to_be_scaled():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("float32")
    hidden = layers.Dense(16, "relu")
    model = keras.Sequential([keras.Input((FEATURES,)), hidden, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, 1000.0 * x.sum(axis=1), 32, 12, verbose=0, callbacks=[watch])
    kinds = [item.kind for item in watch.report.advice]
    # whatever rate helps with these targets
    assert kinds[:2] == ["target_scale", "learning_rate"]
    assert "initializer" not in kinds


def misfit(y, activation, units, loss):
    """The code that answers IW602."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((len(y), FEATURES)).astype("float32")
    model = keras.Sequential(
        [keras.Input((FEATURES,)), layers.Dense(16, "relu"), layers.Dense(units, activation)]
    )
    model.compile(keras.optimizers.SGD(0.01), loss)
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, 32, 12, verbose=0, callbacks=[watch])
    assert "IW602" in {f.code for f in watch.report.findings}
    return next(item.code for item in watch.report.advice if "IW602" in item.codes)


def test_labels_tell_which_loss_is_meant():
    rng = np.random.default_rng(0)
    quantities = rng.standard_normal(ROWS).astype("float32")
    assert "mean_squared_error" in misfit(quantities, "sigmoid", 1, "binary_crossentropy")
    pixels = rng.integers(0, 17, (ROWS, 64)).astype("float32")
    assert misfit(pixels, "sigmoid", 64, "binary_crossentropy").startswith("y = y / 16")
    signs = np.sign(quantities)
    assert misfit(signs, "sigmoid", 1, "binary_crossentropy").startswith("y = (y > 0)")
    mask = 255.0 * (quantities > 0.0)
    assert misfit(mask, "sigmoid", 1, "binary_crossentropy").startswith("y = y / 255")
    classes = rng.integers(0, 3, ROWS)
    softmax = 'keras.layers.Dense(3, activation="softmax")'
    code = misfit(classes, "sigmoid", 1, "binary_crossentropy")
    assert code == f'{softmax}  # loss="sparse_categorical_crossentropy"'
    sigmoid = 'keras.layers.Dense(1, activation="sigmoid")'
    yes_or_no = rng.integers(0, 2, ROWS)
    assert misfit(yes_or_no, "softmax", 1, "binary_crossentropy") == sigmoid
    assert (
        misfit(yes_or_no, "softmax", 1, "mean_squared_error")
        == misfit(yes_or_no, "softmax", 1, "categorical_crossentropy")
        == f'{sigmoid}  # loss="binary_crossentropy"'
    )
    assert misfit(quantities, "softmax", 1, "mean_squared_error") == "keras.layers.Dense(1)"


def test_labels_that_were_scaled_are_to_add_up_to_one():
    y = np.eye(3)[np.arange(512) % 3] / 255
    assert misfit(y, "softmax", 3, "categorical_crossentropy") == (
        "y = y / y.sum(axis=-1, keepdims=True)"
    )


def test_labels_of_all_classes_but_one_are_turned_over():
    y = 1.0 - np.eye(4)[np.arange(512) % 4]
    assert misfit(y, "softmax", 4, "categorical_crossentropy") == "y = 1 - y"
    # most labels of a row, though not all but one, are several classes a row
    several = np.tile([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0]], (256, 1))
    code = misfit(several, "softmax", 5, "binary_crossentropy")
    assert 'activation="sigmoid"' in code


def test_the_output_of_a_convolution_stays_one():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((96, 6, 6, 1)).astype("float32")
    hidden = layers.Conv2D(8, 3, padding="same", activation="relu")
    head = layers.Conv2D(1, 1, activation="softmax")
    model = keras.Sequential([keras.Input((6, 6, 1)), hidden, head])
    model.compile("adam", "binary_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, (x > 0.0).astype("float32"), 16, 4, verbose=0, callbacks=[watch])
    (advice,) = (item for item in watch.report.advice if "IW602" in item.codes)
    assert advice.code == 'keras.layers.Conv2D(1, 1, activation="sigmoid")'


def test_what_two_findings_ask_for_stands_once():
    advice = [change_rate_of("IW402"), change_rate_of("IW502"), change_rate_of("IW402", "0.1")]
    assert [(item.suggested, item.codes) for item in _once(advice)] == [
        ("0.01", ("IW402", "IW502")),
        ("0.1", ("IW402",)),
    ]


def change_rate_of(code, rate="0.01"):
    return Advice(
        layer="",
        kind="learning_rate",
        current="1",
        suggested=rate,
        code=f"keras.optimizers.SGD(learning_rate={rate})",
        reason=code,
        codes=(code,),
    )


@pytest.mark.parametrize("width", [5, 24])
def test_an_activation_that_overflows_whatever_the_weights_is_exchanged(width):
    """Data and weights are sound, and so is the first layer's output."""
    hidden = [layers.Dense(width, activation="exponential", name=f"hidden_{i}") for i in range(9)]
    _, report = run(hidden)
    assert "IW203" in {finding.code for finding in report.findings}
    first = report.advice[0]
    assert (first.kind, first.current, first.suggested) == ("activation", "exponential", "relu")
    assert first.measured["loss_after_8_steps_before"] == np.inf
    assert first.measured["loss_after_8_steps_after"] < np.log(CLASSES)
    assert all(item.kind not in ("data", "initializer") for item in report.advice)


def test_an_rnn_that_overflows_on_finite_inputs_does_not_blame_them():
    """Its first layer's output is where NaN begins: what the batch held is counted, too."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(64, 120, 2)).astype("float32")
    rnn = layers.SimpleRNN(
        32, "relu", recurrent_initializer="glorot_normal", kernel_initializer="he_normal"
    )
    model = keras.Sequential([keras.Input((120, 2)), rnn, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    watch = initwatch.InitWatch(console=False)
    y = x.sum(axis=(1, 2))[:, None]
    model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=[watch])
    assert "IW203" in {finding.code for finding in watch.report.findings}
    kinds = [item.kind for item in watch.report.advice]
    assert "data" not in kinds
    assert "learning_rate" in kinds
    assert not any("isfinite" in item.reason for item in watch.report.advice)


def test_inputs_of_nothing_but_zeros_are_to_be_looked_at():
    hidden = [layers.Dense(16, activation="relu", name=f"hidden_{i}") for i in range(2)]
    _, report = run(hidden, x=np.zeros((ROWS, FEATURES), "float32"), epochs=40)
    assert report.findings[0].code == "IW601"
    (advice,) = report.advice
    assert (advice.kind, advice.code) == ("data", "assert np.any(x)")
    active = {finding.code for finding in report.findings if finding.severity != "info"}
    assert active <= set(advice.codes)


@pytest.mark.parametrize("labels", [np.zeros, lambda n: (np.arange(n) == 77).astype(float)])
def test_labels_that_are_all_alike_are_to_be_looked_at(labels):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((800, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, labels(800), batch_size=200, epochs=80, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    if labels(800).any():  # one in 800 is enough
        assert watch.report.findings == []
        return
    (finding,) = watch.report.findings
    assert (finding.code, finding.severity) == ("IW602", "warning")
    (advice,) = watch.report.advice
    assert (advice.kind, advice.code) == ("data", "assert np.unique(y).size > 1")


def test_what_is_only_mentioned_does_not_answer_for_others():
    def found(code, symptom, severity, **evidence):
        return Finding(
            code=code,
            symptom=symptom,
            severity=severity,
            layers=["dense_0"],
            step=3,
            evidence=evidence,
            message=".",
        )

    growing = found("IW202", "exploding_gradient", "warning", **{GROWTH: 200.0})
    mentioned = found("IW602", "output_loss_mismatch", "info", out_of_reach=0.1, often_works=1)
    rising = found("IW502", "diverging_loss", "error", loss_rise=3.0)
    training = Training(optimizer="SGD", learning_rate=0.1, loss="mean_squared_error")
    advice = advise([rising, growing, mentioned], mlp_history(4, rows=4), training)
    assert {item.kind for item in advice} == {"learning_rate", "clipping"}
    assert {code for item in advice for code in item.codes} == {"IW202", "IW502"}


def test_a_constraint_that_holds_kernels_near_0_is_to_be_taken_away():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((640, 8)).astype("float32")
    y = (x[:, 0] > 0.0).astype("float32")

    def held(units):
        tight = keras.constraints.MaxNorm(0.01)
        return layers.Dense(units, activation="relu", kernel_constraint=tight)

    model = keras.Sequential([keras.Input((8,)), held(16), held(16), layers.Dense(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, 32, 5, verbose=0, callbacks=[watch])
    first = watch.report.advice[0]
    assert (first.kind, first.code) == ("regularization", "kernel_constraint=None")
    assert "IW504" in first.codes


def test_a_recurrent_layer_of_constants_is_drawn_before_inputs_are_scaled():
    keras.utils.set_random_seed(0)
    x = 30.0 + np.random.default_rng(0).standard_normal((320, 12, 4)).astype("float32")
    y = (x[:, -1, 0] > 30.0).astype("int32")
    rnn = layers.GRU(16, kernel_initializer="zeros", recurrent_initializer="zeros")
    head = layers.Dense(2, "softmax", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((12, 4)), rnn, head])
    model.compile("adam", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, 32, 12, verbose=0, callbacks=[watch])
    drawn = [item for item in watch.report.advice if item.kind == "initializer"]
    assert watch.report.advice[0] is drawn[0]
    assert [item.code for item in drawn[:2]] == [
        'kernel_initializer="glorot_uniform"',
        "recurrent_initializer=keras.initializers.Orthogonal()",
    ]
    assert {"IW102"} <= set(drawn[0].codes)
    assert watch.report.problems == []


def test_a_hidden_softmax_under_which_gradients_fade_is_named():
    hidden = [layers.Dense(24, "softmax", name=f"h_{i}") for i in range(6)]
    _, report = run(hidden, optimizer="adam", epochs=8)
    assert "IW201" in {finding.code for finding in report.findings}
    first = report.advice[0]
    assert (first.kind, first.current) == ("activation", "softmax")


def test_sample_weights_of_0_are_named_where_the_loss_has_no_slope():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((320, 8)).astype("float32")
    hidden = layers.Dense(16, "relu")
    model = keras.Sequential([keras.Input((8,)), hidden, layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    watch = initwatch.InitWatch(console=False)
    nothing = np.zeros(320)
    model.fit(x, np.arange(320) % 3, 32, 4, verbose=0, sample_weight=nothing, callbacks=[watch])
    first = watch.report.advice[0]
    assert (first.kind, first.code) == ("data", "assert np.any(sample_weight > 0)")


def test_labels_of_1_and_2_are_brought_to_0_and_1():
    assert misfit(1 + np.arange(512) % 2, "sigmoid", 1, "binary_crossentropy") == (
        "y = y - 1  # labels of 0 and 1"
    )


def test_frozen_layers_whose_signal_fades_are_to_be_trained():
    tiny = keras.initializers.RandomNormal(stddev=1e-3, seed=1)
    hidden = [
        layers.Dense(24, "relu", kernel_initializer=tiny, trainable=False, name=f"h_{i}")
        for i in range(5)
    ]
    _, report = run(hidden, optimizer="adam", epochs=12)
    first = report.advice[0]
    assert (first.kind, first.current) == ("optimizer", "trainable=False")
