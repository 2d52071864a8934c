"""``AutoReinit``: draws anew what a trial has shown to be better, and nothing else."""

import keras
import numpy as np
import pytest
from keras import layers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import initwatch

FEATURES, CLASSES, BATCH = 12, 4, 32
SMALL = keras.initializers.RandomNormal(stddev=0.02, seed=7)


def data(n=512):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, FEATURES)).astype("float32")
    return x, (x @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)


def stack(initializer, depth=12):
    return [
        layers.Dense(32, "relu", kernel_initializer=initializer, name=f"h_{i}")
        for i in range(depth)
    ]


def build(initializer=SMALL, hidden=None, optimizer=None):
    keras.utils.set_random_seed(0)
    head = layers.Dense(CLASSES, "softmax", name="head")
    body = stack(initializer) if hidden is None else hidden
    model = keras.Sequential([keras.Input((FEATURES,)), *body, head], name="net")
    compiled(model, optimizer)
    return model


def compiled(model, optimizer=None):
    optimizer = optimizer or keras.optimizers.Adam(2e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


def fit(model, *callbacks, epochs=1):
    x, y = data()
    history = model.fit(
        x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )
    return history.history


def test_a_dead_network_learns():
    without = fit(build(), epochs=8)
    watch = initwatch.AutoReinit(console=False)
    mended = fit(build(), watch, epochs=8)
    assert without["accuracy"][-1] < 0.4
    assert mended["accuracy"][-1] > 0.7
    assert watch.report.healthy
    assert watch.report.problems == []
    assert [change.layer for change in watch.changes] == [f"net/h_{i}" for i in range(12)]
    change = watch.changes[0]
    assert change.step == 1
    assert isinstance(change.previous, keras.initializers.RandomNormal)
    assert change.measured["gradient_ratio_before"] > 1e4 > change.measured["gradient_ratio_after"]


def test_what_an_exploding_step_ruins_elsewhere_is_drawn_again():
    """Under SGD it throws the head far out of range before the first trial."""

    def exploding():
        return build(keras.initializers.Ones(), optimizer=keras.optimizers.SGD(0.05))

    without = fit(exploding(), epochs=1)
    watch = initwatch.AutoReinit(console=False)
    model = exploding()
    done = fit(model, watch, epochs=8)
    assert without["accuracy"][-1] < 0.4
    drawn = {change.layer.split("/")[-1] for change in watch.changes}
    # elsewhere the loss is of clipped probabilities: its gradient leaves the head in range
    ruined = {"head"} if keras.backend.backend() == "tensorflow" else set()
    assert drawn == {f"h_{i}" for i in range(12)} | ruined
    assert done["accuracy"][-1] > 0.45
    assert watch.report.problems == []


def test_slots_of_all_layers_begin_anew_where_the_loss_exploded():
    seen = {}

    class Looks(initwatch.AutoReinit):
        def mend(self, report, step):
            changes = super().mend(report, step)
            for v in self.model.optimizer.variables if changes else ():
                if "head" in v.path:
                    seen[v.path] = float(np.abs(keras.ops.convert_to_numpy(v)).max())
            return changes

    watch = Looks(console=False)
    fit(build(keras.initializers.Ones()), watch)
    assert watch.changes
    assert len(seen) == 4  # momentum and velocity of kernel and bias
    assert set(seen.values()) == {0.0}


def test_what_was_found_is_past_and_stands_in_the_report():
    watch = initwatch.AutoReinit(console=False)
    fit(build(), watch, epochs=2)
    past = {f.code: f for f in watch.report.findings}
    assert past["IW101"].state == "recovered"
    assert past["IW101"].severity == "info"
    assert "drawn anew after 1 step: kernel by " in str(watch.report)


def test_a_healthy_run_is_left_as_it_is():
    plain, watched = build("he_normal"), build("he_normal")
    watch = initwatch.AutoReinit(console=False)
    fit(plain, epochs=2)
    fit(watched, watch, epochs=2)
    assert watch.changes == []
    for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_what_it_did_is_said_and_logged(tmp_path, capsys):
    fit(build(), initwatch.AutoReinit(tmp_path))
    said = " ".join(capsys.readouterr().out.split())
    assert "drawn anew after 1 step: kernel by" in said
    assert "net/h_0, net/h_1 ... net/h_11 (12 layers)" in said
    log = EventAccumulator(str(tmp_path / "initwatch"), size_guidance={"tensors": 0})
    log.Reload()
    (event,) = log.Tensors("initwatch/changes")
    assert event.step == 0
    assert "drawn anew after 1 step" in event.tensor_proto.string_val[0].decode()
    advice = [e.tensor_proto.string_val[0].decode() for e in log.Tensors("initwatch/advice")]
    assert any("Measured on a batch: signal ratio" in text for text in advice)


def test_loaded_weights_are_left_alone():
    model = build()
    kept = {f"h_{i}": model.get_layer(f"h_{i}") for i in (2, 5)}
    for layer in kept.values():
        layer.set_weights([3.0 * w for w in layer.get_weights()])
    watch = initwatch.AutoReinit(console=False)
    fit(model, watch)
    changed = {change.layer.split("/")[-1] for change in watch.changes}
    assert changed == {f"h_{i}" for i in range(12)} - set(kept)


def test_layers_the_user_names_are_drawn_anew_also_if_loaded():
    model = build()
    for layer in model.layers[:-1]:
        layer.set_weights([0.5 * w for w in layer.get_weights()])
    untouched = initwatch.AutoReinit(console=False)
    fit(build_from(model), untouched)
    assert untouched.changes == []
    named = [f"net/h_{i}" for i in range(12)]
    watch = initwatch.AutoReinit(console=False, layers=named)
    fit(build_from(model), watch)
    assert [change.layer for change in watch.changes] == named


def build_from(model):
    copy = build()
    copy.set_weights(model.get_weights())
    return copy


def test_a_layer_that_is_not_there_is_said_and_training_goes_on():
    watch = initwatch.AutoReinit(console=False, layers=["net/none"])
    fit(build(), watch)
    assert watch.changes == []
    assert "names net/none; the model has net/h_0" in watch.report.problems[0]


def test_it_acts_in_the_first_steps_only():
    calls = []

    class Late(keras.callbacks.Callback):
        """The layers become bad once training goes on."""

        def on_train_batch_begin(self, batch, logs=None):
            if len(calls) == 12:
                for layer in self.model.layers[:-1]:
                    layer.set_weights([0.02 * w for w in layer.get_weights()])
            calls.append(batch)

    if keras.backend.backend() == "jax":
        pytest.skip("between the batches of an epoch JAX's variables cannot be set")
    watch = initwatch.AutoReinit(console=False, steps=5)
    fit(build("he_normal"), watch, Late(), epochs=3)
    assert watch.changes == []


def test_slots_begin_anew_and_others_stay():
    seen = {}

    class Looks(initwatch.AutoReinit):
        def mend(self, report, step):
            changes = super().mend(report, step)
            for v in self.model.optimizer.variables if changes else ():
                seen[v.path] = float(np.abs(keras.ops.convert_to_numpy(v)).max())
            return changes

    fit(build(), Looks(console=False))
    drawn = {path: v for path, v in seen.items() if "h_" in path and "kernel" in path}
    assert len(drawn) == 24  # momentum and velocity
    assert set(drawn.values()) == {0.0}
    kept = [v for path, v in seen.items() if "head" in path and "kernel" in path]
    assert min(kept) > 0.0


def test_keras_need_not_wait_for_each_batch():
    """A hook on the end of batches would make Keras fetch the logs of every one."""
    for callback in (initwatch.InitWatch(), initwatch.AutoReinit(), initwatch.StopOnFinding()):
        for name in ("on_batch_end", "on_train_batch_end"):
            assert getattr(type(callback), name) is getattr(keras.callbacks.Callback, name)


def test_nested_shared_and_frozen_layers():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FEATURES,))
    inner = keras.Sequential([keras.Input((32,)), *stack(SMALL, 5)], name="inner")
    shared = layers.Dense(32, "relu", kernel_initializer=SMALL, name="shared")
    frozen = layers.Dense(32, "relu", name="frozen", trainable=False)
    x = frozen(inputs)
    x = shared(shared(inner(x)))
    model = keras.Model(inputs, layers.Dense(CLASSES, "softmax", name="head")(x), name="net")
    compiled(model)
    before = [np.array(w) for w in frozen.get_weights()]
    watch = initwatch.AutoReinit(console=False)
    fit(model, watch)
    changed = {change.layer.split("/")[-1] for change in watch.changes}
    assert changed >= {f"h_{i}" for i in range(5)}
    assert "frozen" not in changed
    assert all(np.array_equal(a, b) for a, b in zip(before, frozen.get_weights(), strict=True))
    assert watch.report.problems == []


def test_two_of_them_draw_once():
    first, second = (initwatch.AutoReinit(console=False) for _ in range(2))
    fit(build(), first, second)
    assert len(first.changes) == 12
    assert second.changes == first.changes
    assert first.report.problems == []


def test_a_saved_model_tells_how_its_weights_were_drawn(tmp_path):
    model = build()
    watch = initwatch.AutoReinit(console=False)
    fit(model, watch)
    model.save(tmp_path / "mended.keras")
    loaded = keras.models.load_model(tmp_path / "mended.keras")
    kinds = {type(loaded.get_layer(f"h_{i}").kernel_initializer).__name__ for i in range(12)}
    assert kinds == {type(watch.changes[0].initializer).__name__}


def test_deep_sigmoids_keep_their_weights_and_get_other_advice():
    model = build(hidden=[layers.Dense(32, "sigmoid", name=f"h_{i}") for i in range(12)])
    watch = initwatch.AutoReinit(console=False)
    fit(model, watch)
    assert watch.changes == []
    assert watch.report.advice[0].kind == "activation"


def test_in_a_loop_of_train_on_batch():
    model = build()
    x, y = data()
    watch = initwatch.AutoReinit(console=False)
    with watch.watching(model):
        for i in range(0, 256, BATCH):
            model.train_on_batch(x[i : i + BATCH], y[i : i + BATCH])
    assert len(watch.changes) == 12
    assert watch.report.problems == []


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere it can be undone")
def test_where_nothing_can_be_measured_nothing_is_changed():
    keras.utils.set_random_seed(0)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    watch = initwatch.AutoReinit(console=False)
    x, y = data(64)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert watch.changes == []
    assert watch.report.advice[0].measured is None
    assert "cannot be measured again, so AutoReinit draws nothing anew" in watch.report.problems[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more. Received: 0"),
        ({"steps": True}, "Received: True"),
        ({"steps": 2.5}, "Received: 2.5"),
        ({"layers": "net/h_0"}, "layers must be a list of layer paths"),
        ({"layers": 3}, "Received: 3"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(initwatch.ArgumentError, match=words):
        initwatch.AutoReinit(**arguments)


def test_momenta_that_a_lost_step_made_nan_do_not_speak_against_other_weights():
    """Adam keeps the NaN of the first step: with it no weights would keep a finite loss."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("elsewhere the first loss is of clipped probabilities, and finite")
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((FEATURES,))
    for i in range(22):
        branch = layers.Dense(32, "relu", kernel_initializer="ones", name=f"in_{i}")(x)
        branch = layers.Dense(32, kernel_initializer="ones", name=f"out_{i}")(branch)
        x = layers.Add()([layers.Dense(32, name="stem")(x) if i == 0 else x, branch])
    model = keras.Model(inputs, layers.Dense(CLASSES, "softmax", name="head")(x), name="net")
    compiled(model)
    watch = initwatch.AutoReinit(console=False)
    done = fit(model, watch, epochs=6)
    assert len(watch.changes) >= 44
    assert np.isfinite(done["loss"][1:]).all()
    assert done["accuracy"][-1] > 0.6


def test_a_recurrent_kernel_that_explodes_over_time_is_drawn_anew():
    """Behind the first step of SGD nothing is left to explode: the first step's figures count."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 60, 3)).astype("float32")
    y = (x[:, -5:].mean(axis=(1, 2)) > 0.0).astype("int32")

    def trained(*callbacks):
        keras.utils.set_random_seed(0)
        orthogonal = keras.initializers.Orthogonal(gain=4.0)
        rnn = layers.SimpleRNN(24, recurrent_initializer=orthogonal, name="rnn")
        model = keras.Sequential([keras.Input((60, 3)), rnn, layers.Dense(2, "softmax")])
        compiled(model, keras.optimizers.SGD(0.1))
        done = model.fit(x, y, BATCH, 12, shuffle=False, verbose=0, callbacks=list(callbacks))
        return model, done.history["accuracy"][-1]

    watch = initwatch.AutoReinit(console=False)
    model, accuracy = trained(watch)
    assert accuracy > max(0.85, trained()[1] + 0.1)
    drawn = {change.variable.split("/")[-1] for change in watch.changes}
    assert "recurrent_kernel" in drawn
    change = next(c for c in watch.changes if c.variable.endswith("recurrent_kernel"))
    assert change.measured["sensitivity_before"] > 1e6 > change.measured["sensitivity_after"]
    assert model.layers[0].cell.recurrent_initializer is change.initializer
    assert watch.report.problems == []
