"""``audit``: the first steps on one batch, and not a trace of them."""

import random

import keras
import numpy as np
import pytest
from keras import layers

import initwatch

FEATURES, CLASSES, BATCH = 12, 4, 32
SMALL = keras.initializers.RandomNormal(stddev=0.02, seed=7)


def data(n=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, n)


def build(initializer="he_normal", depth=14, seed=0, dropout=0.3, **options):
    keras.utils.set_random_seed(seed)
    hidden = [
        layers.Dense(24, "relu", kernel_initializer=initializer, name=f"h_{i}")
        for i in range(depth)
    ]
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            *hidden,
            layers.BatchNormalization(name="norm"),
            layers.Dropout(dropout),
            layers.Dense(CLASSES, "softmax", name="head"),
        ],
        name="net",
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **options,
    )
    return model


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return {v.path: keras.ops.convert_to_numpy(v).tobytes() for v in variables}


def test_nothing_is_changed():
    model = build()
    x, y = data(64)
    model.fit(x, y, batch_size=BATCH, verbose=0)  # there is momentum, and a metric's count
    before, attributes = state(model), set(vars(model))
    function = model.train_function
    report = initwatch.audit(model, *data(seed=1))
    assert report.steps_seen == 3
    assert state(model) == before
    assert set(vars(model)) == attributes
    assert model.train_function is function


def global_state_of_backend():
    """The global generator that torch's operations draw from; the other backends have none."""
    if keras.backend.backend() != "torch":
        return None
    import torch

    return torch.get_rng_state().numpy().tobytes()


def test_no_generator_moves_where_keras_makes_metrics_and_optimizer():
    model = build()
    before = global_state_of_backend(), np.random.get_state()[1].tobytes(), random.getstate()
    initwatch.audit(model, *data())
    after = global_state_of_backend(), np.random.get_state()[1].tobytes(), random.getstate()
    assert after == before


def test_training_afterwards_is_as_without_it():
    x, y = data(96)
    plain, looked_at = build(), build()
    for model in (plain, looked_at):
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)  # Keras makes metrics and slots
        model.set_weights(build().get_weights())
    initwatch.audit(looked_at, *data(seed=1))
    histories = []
    for model in (plain, looked_at):
        keras.utils.set_random_seed(1)  # on torch dropout draws from the global generator
        done = model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
        histories.append(done.history)
    assert histories[0] == histories[1]
    # paths hold numbers that Keras counts on
    assert list(state(plain).values()) == list(state(looked_at).values())


def test_it_says_what_the_first_steps_of_a_fit_say():
    model = build(SMALL, dropout=0.0)
    report = initwatch.audit(model, *data())
    assert report.findings[0].code == "IW101"
    assert report.last_step == 2
    watch = initwatch.InitWatch(console=False)
    x, y = data()
    build(SMALL, dropout=0.0).fit(
        x, y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0, callbacks=[watch]
    )
    assert report.findings[0].layers == watch.report.findings[0].layers
    found, expected = report.findings[0].evidence, watch.report.findings[0].evidence
    assert found == pytest.approx(expected, rel=1e-4)


def test_its_advice_was_measured_and_can_be_applied():
    model = build(SMALL)
    report = initwatch.audit(model, *data())
    advice = [item for item in report.advice if item.kind == "initializer"]
    assert [item.layer for item in advice] == [
        f"net/h_{i}" for i in range(13)
    ]  # the last is normalised
    assert advice[0].measured["gradient_ratio_before"] > 1e3
    assert advice[0].measured["gradient_ratio_after"] < 100.0
    initwatch.reinitialize(model, report)
    assert initwatch.audit(model, *data()).healthy


def test_a_sound_model_is_healthy():
    report = initwatch.audit(build(), *data())
    assert report.healthy, str(report)
    assert report.advice == []


def test_a_model_that_is_not_built_is_built_as_its_first_step_would():
    def made():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    x, y = data()
    plain, looked_at = made(), made()
    initwatch.audit(looked_at, x, y)
    for model in (plain, looked_at):
        model.fit(x, y, shuffle=False, verbose=0)
    for a, b in zip(plain.get_weights(), looked_at.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_several_inputs_weights_and_steps_per_execution():
    left, right = keras.Input((FEATURES,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(8, "tanh")(left), right])
    model = keras.Model([left, right], layers.Dense(1)(joined))
    model.compile("sgd", "mse", steps_per_execution=4)
    x, y = data()
    before = [np.array(w) for w in model.get_weights()]
    given = {"left": x, "right": x[:, :3]}
    report = initwatch.audit(model, given, y, np.linspace(0.0, 1.0, BATCH))
    assert report.steps_seen == 3
    assert report.healthy
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_model_that_raises_says_so_itself_and_is_left_as_it_was():
    model = build()
    x, y = data()
    before, attributes = state(model), set(vars(model))
    with pytest.raises(Exception, match=r"(?i)shape|dimension|mat1|size"):
        initwatch.audit(model, x[:, :5], y)
    after = state(model)
    assert {path: after[path] for path in before} == before
    assert set(vars(model)) == attributes
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("model", [None, keras.Sequential([layers.Dense(1)])])
def test_what_is_no_compiled_model_is_refused(model):
    with pytest.raises(initwatch.ArgumentError, match=r"audit\(model, x, y\) needs a compiled"):
        initwatch.audit(model, *data())


def test_a_frozen_model_is_refused_in_words():
    model = build()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(initwatch.NotReadyError, match="no trainable weights"):
        initwatch.audit(model, *data())


class Own(layers.Layer):
    """A layer of the user's, with an activation inside."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 96), initializer=SMALL, name="kernel")

    def call(self, x):
        return keras.ops.relu(keras.ops.matmul(x, self.kernel))


def test_a_custom_layer_gets_the_variance_that_is_promised():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(96),
            *[Own(name=f"own_{i}") for i in range(12)],
            layers.Dense(CLASSES, "softmax"),
        ],
        name="net",
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    report = initwatch.audit(model, *data())
    advice = [item for item in report.advice if item.kind == "initializer"]
    changed = initwatch.reinitialize(model, report)
    assert [item.layer for item in changed] == [f"net/own_{i}" for i in range(12)]
    for item, layer in zip(advice, model.layers[1:-1], strict=True):
        config = item.suggested.get_config()
        targets = {"VarianceScaling": config.get("scale"), "HeNormal": 2.0}
        # an orthonormal square matrix has variance 1 / fan_in
        targets["Orthogonal"] = config.get("gain", 0.0) ** 2
        weights = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        target = targets[type(item.suggested).__name__]
        assert 96 * np.mean(weights**2) == pytest.approx(target, rel=0.1)
    assert initwatch.audit(model, *data()).healthy
