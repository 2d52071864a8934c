"""Advice that is no initializer: what is measured, what is said, and that it leaves no trace."""

import dataclasses
import random

import keras
import numpy as np
import pytest
from keras import layers

import initwatch
from initwatch.advice import alternatives
from initwatch.advice.alternatives import STEPS, Alternatives
from initwatch.records import Advice, Statistic
from initwatch.watch import _as_history
from tests.diagnosis.histories import mlp_history, with_losses, with_series

FEATURES, CLASSES, BATCH = 12, 4, 32
BAD, GOOD = 0.02, 2.0  # fan_in x Var(w) under ReLU
AFTER = f"loss_after_{STEPS}_steps_after"
BEFORE = f"loss_after_{STEPS}_steps_before"


SOUND = mlp_history(4, "relu", GOOD, width=16, rows=1)


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """No copy is left out because the machine is slow."""
    monkeypatch.setattr(alternatives, "SECONDS", np.inf)


def measured_steps(last, sigma_w2=GOOD, first=2.3):
    """A history of as many steps as a rehearsal takes, in which the loss falls to ``last``."""
    history = mlp_history(4, "relu", sigma_w2, width=16, rows=STEPS + 1)
    return with_losses(history, [*np.linspace(first, first, STEPS), last], trivial=2.3)


def advised(kind, suggested, code="code", layer="", codes=("IW501",)):
    return Advice(
        layer=layer,
        kind=kind,
        current="",
        suggested=suggested,
        code=code,
        reason="Theory.",
        codes=codes,
    )


def small_model(optimizer="adam"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="only")], name="net")
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def drawn_anew(measured=None):
    """Advice of an initializer."""
    return Advice(
        layer="only",
        kind="initializer",
        current=None,
        suggested=keras.initializers.HeNormal(seed=0),
        code="kernel_initializer=...",
        reason="",
        codes=("IW101",),
        measured=measured,
    )


class Planned:
    """Stands in for measured steps: ``loss_of`` is asked for the loss they end with."""

    def __init__(self, loss_of, x=None):
        self.loss_of, self.asked = loss_of, []
        self.x = np.zeros((4, 3), "float32") if x is None else x

    def here(self, steps, change=None):
        assert steps == STEPS + 1
        self.asked.append("here" if change is None else "changed")
        if change is not None and self.x.dtype.kind == "f":
            self.changed = change(self.x)
        loss = self.loss_of(change)
        return None if loss is None else measured_steps(loss)

    def elsewhere(self, model, steps):
        self.asked.append(model)
        return measured_steps(self.loss_of("copy"))


# --------------------------------------------------------------------------- input scale


def test_the_batch_is_standardized_and_both_losses_are_told():
    x = np.random.default_rng(0).normal(100.0, 40.0, (64, 3)).astype("float32")
    lab = Planned(lambda change: 2.2 if change is None else 0.7, x)
    (item,) = Alternatives(small_model(), lab).measured([advised("input_scale", "")], SOUND)
    assert (item.measured[BEFORE], item.measured[AFTER]) == (2.2, 0.7)
    assert np.allclose(lab.changed.mean(axis=0), 0.0, atol=1e-6)
    assert np.allclose(lab.changed.std(axis=0), 1.0, atol=1e-5)


def test_whole_numbers_have_no_scale():
    lab = Planned(lambda change: 2.2, np.zeros((4, 3), "int32"))
    (item,) = Alternatives(small_model(), lab).measured([advised("input_scale", "")], SOUND)
    assert item.measured is None
    assert item.reason == "Theory. Not tried: the inputs are whole numbers."


@pytest.mark.parametrize("value", [1e9, np.nan], ids=["seen", "behind_the_history"])
def test_where_the_inputs_ruined_the_weights_it_is_tried_from_the_start(monkeypatch, value):
    model = small_model()
    kernel = model.get_layer("only").kernel
    drawn, ruined = np.full((3, 2), 0.5, "float32"), np.full((3, 2), value, "float32")
    kernel.assign(ruined)
    monkeypatch.setattr(alternatives, "not_as_drawn", lambda model, history: set())
    monkeypatch.setattr(alternatives, "drawn_anew", lambda model, history: [(kernel, drawn)])
    history = mlp_history(4, "relu", GOOD, width=16, rows=2)
    if np.isfinite(value):  # NaN of the newest step has not arrived in the history
        history = with_series(history, {Statistic.WEIGHT_RMS: lambda rms: rms * [[1.0], [value]]})
    met = []

    def loss_of(change):
        met.append(np.array(kernel))
        return 2.2 if change is None else 0.7

    lab = Planned(loss_of, np.random.default_rng(0).normal(100.0, 40.0, (64, 3)))
    (item,) = Alternatives(model, lab).measured([advised("input_scale", "")], history)
    assert (item.measured[BEFORE], item.measured[AFTER]) == (2.2, 0.7)
    assert all(np.array_equal(weights, drawn) for weights in met)
    assert np.array_equal(np.array(kernel), ruined, equal_nan=True)


# --------------------------------------------------------------------------- learning rate


def rated(monkeypatch, losses, codes=("IW501",), present=1e-3):
    """What a range test makes of the advice, if each rate ends with the loss planned for it."""
    model = small_model(keras.optimizers.SGD(present))
    history = mlp_history(4, "relu", GOOD, width=16, rows=1)
    # that the weights are loaded is what this test is not about
    monkeypatch.setattr(alternatives, "not_as_drawn", lambda model, history: {"only/kernel"})

    def loss_of(_):
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        return next((loss for r, loss in losses.items() if np.isclose(r, rate, rtol=1e-4)), 2.3)

    advice = advised("learning_rate", "0.0001", codes=codes)
    # the line has what else the optimizer was given
    line = "keras.optimizers.SGD(learning_rate=0.0001, momentum=0.9)"
    advice = dataclasses.replace(advice, code=line)
    *_, item = Alternatives(model, Planned(loss_of)).measured([advice], history)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(present)
    return item


def test_the_smallest_rate_that_does_is_advised(monkeypatch):
    item = rated(monkeypatch, {1e-3: 2.29, 1e-2: 1.25, 1e-1: 1.2, 1.0: np.nan})
    assert item.suggested == "0.01"
    assert item.code == "keras.optimizers.SGD(learning_rate=0.01, momentum=0.9)"
    assert item.measured == {
        "learning_rate_before": 1e-3,
        "learning_rate_after": 1e-2,
        BEFORE: 2.29,
        AFTER: 1.25,
    }
    assert "0.001: 2.29, 0.01: 1.25, 0.1: 1.2, 1: inf." in item.reason
    assert "Smith 2017, sec. 3.3" in item.reason


def test_a_rate_goes_where_the_finding_points(monkeypatch):
    assert rated(monkeypatch, {1e-2: 1.0, 1e-4: 1.5}, codes=("IW502",)).suggested == "0.0001"
    # units that died of an update are kept alive by a smaller one
    assert rated(monkeypatch, {1e-2: 1.0, 1e-4: 1.5}, codes=("IW301",)).suggested == "0.0001"
    assert rated(monkeypatch, {1e-2: 1.5, 1e-4: 1.0}, codes=("IW401",)).suggested == "0.01"


def test_where_the_present_rate_does_as_well_this_is_said(monkeypatch):
    item = rated(monkeypatch, {1e-3: 1.0, 1e-2: 0.9})
    assert (item.suggested, item.measured) == ("the present one", None)
    assert item.code == "# the learning rate may stay at 0.001"
    # what a finding of its own speaks for stays
    assert rated(monkeypatch, {1e-3: 1.0}, codes=("IW402",)).suggested == "0.0001"
    assert item.reason.endswith("In so few steps none tells itself apart.")
    assert rated(monkeypatch, {}).reason.endswith("In so few steps none tells itself apart.")


def test_a_schedule_is_not_tried():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = small_model(keras.optimizers.SGD(schedule))
    lab = Planned(lambda change: 2.0)
    advice = advised("learning_rate", "a tenth of the present one")
    (item,) = Alternatives(model, lab).measured([advice], SOUND)
    assert item.reason.endswith("Not tried: the learning rate follows a schedule.")
    assert lab.asked == []


# --------------------------------------------------------------------------- order and bounds


def test_what_helps_comes_first_and_what_does_not_last():
    advice = [
        advised("input_scale", "no use"),
        advised("clipping", "not tried"),
        advised("activation", "relu", layer="only"),
    ]
    lab = Planned(lambda change: 0.5 if change == "copy" else 2.2)
    found = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert [item.kind for item in found] == ["activation", "clipping", "input_scale"]
    assert found[2].measured[AFTER] == 2.2


def test_where_nothing_that_was_tried_helps_a_stalled_loss_the_data_come_first():
    lab = Planned(lambda change: 2.2)
    found = Alternatives(small_model(), lab).measured([advised("input_scale", "")], SOUND)
    assert [item.kind for item in found] == ["data", "input_scale"]
    assert found[0].reason.startswith("Nothing that was tried helps.")
    # of another finding it is not asked
    other = advised("input_scale", "", codes=("IW202",))
    assert [x.kind for x in Alternatives(small_model(), lab).measured([other], SOUND)] == [
        "input_scale"
    ]


def test_what_does_not_fit_is_answered_before_what_lowers_its_loss():
    """Labels of -1 and 1 under a cross-entropy: its loss has no bottom."""
    advice = [
        advised("activation", "relu", layer="only"),
        advised("output_loss", "labels of 0 and 1", codes=("IW602",)),
    ]
    lab = Planned(lambda change: -1e9 if change == "copy" else 2.2)
    found = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert [item.kind for item in found] == ["output_loss", "activation"]
    assert found[1].measured[AFTER] == -1e9


@pytest.mark.parametrize(("after", "first"), [(0.5, "input_scale"), (2.2, "initializer")])
def test_inputs_out_of_scale_come_before_weights_where_scaling_helps(after, first):
    initializer = drawn_anew()
    advice = [initializer, advised("input_scale", "", codes=("IW601",))]
    lab = Planned(lambda change: 2.3 if change is None else after)
    found = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert found[0].kind == first
    assert len(found) == 2


def test_dropout_that_leaves_nothing_comes_before_weights():
    advice = [drawn_anew(), advised("regularization", "dropout of 0.5 or less")]
    found = Alternatives(small_model(), Planned(lambda change: 2.2)).measured(advice, SOUND)
    assert [item.kind for item in found] == ["regularization", "initializer"]


def test_normalizing_which_helps_against_much_does_not_come_before_a_rate():
    """Eight steps on one batch show no rate to be better; the run was ruined by its updates."""
    rate = advised("learning_rate", "0.01", codes=("IW104", "IW402"))
    lab = Planned(lambda change: 0.5 if change == "copy" else 2.2)
    advice = [rate, advised("normalization", "BatchNormalization"), advised("clipping", "")]
    found = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert [item.kind for item in found] == ["learning_rate", "normalization", "clipping"]


def test_each_thing_is_tried_once():
    lab = Planned(lambda change: 2.2)
    tries = Alternatives(small_model(), lab)
    first = tries.measured([advised("input_scale", "")], SOUND)
    assert tries.measured([advised("input_scale", "")], SOUND) == first
    assert len(lab.asked) == 2


def test_no_copy_is_made_where_an_initializer_helps():
    lab = Planned(lambda change: 0.5)
    initializer = drawn_anew({"loss_before": 2.0, "loss_after": 1.0})
    advice = [initializer, advised("normalization", "BatchNormalization")]
    found = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert found == advice
    assert lab.asked == []


def test_where_steps_cannot_be_taken_again_it_says_so():
    lab = Planned(lambda change: None)
    (item,) = Alternatives(small_model(), lab).measured([advised("input_scale", "")], SOUND)
    assert item.measured is None
    assert item.reason.endswith("Not tried: this training's step cannot be taken again.")


def test_no_copy_is_begun_late(monkeypatch):
    monkeypatch.setattr(alternatives, "SECONDS", -1.0)
    lab = Planned(lambda change: 0.5)
    advice = [advised("activation", "relu", layer="only")]
    (item,) = Alternatives(small_model(), lab).measured(advice, measured_steps(2.3))
    assert item.reason.startswith("Theory. Not tried: others took")
    assert lab.asked == []


class OwnStep(keras.Sequential):
    def train_step(self, *args):
        return super().train_step(*args)


def test_a_model_that_cannot_be_copied_is_told():
    keras.utils.set_random_seed(0)
    model = OwnStep([keras.Input((3,)), layers.Dense(2, name="only")], name="net")
    model.compile("adam", "mse")
    lab = Planned(lambda change: 2.2)
    advice = [advised("activation", "relu", layer="only")]
    (item,) = Alternatives(model, lab).measured(advice, measured_steps(2.3))
    assert item.reason.endswith("Not tried: the model has a train_step of its own.")


# --------------------------------------------------------------------------- real trainings


def data(scale=1.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, FEATURES)).astype("float32")
    return scale * x, (x @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)


def build(activation, depth=8, optimizer="adam", separate=False):
    keras.utils.set_random_seed(0)
    hidden = []
    for i in range(depth):
        hidden.append(layers.Dense(24, None if separate else activation, name=f"h_{i}"))
        if separate:
            hidden.append(layers.Activation(activation, name=f"act_{i}"))
    head = layers.Dense(CLASSES, "softmax", name="head")
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, head], name="net")
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def everything(model):
    generator = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    return (
        [keras.ops.convert_to_numpy(v).tobytes() for v in model.variables],
        [keras.ops.convert_to_numpy(v).tobytes() for v in model.optimizer.variables],
        [layer.get_config() for layer in model.layers],
        random.getstate(),
        np.random.get_state()[1].tobytes(),
        generator if generator is None else np.array(generator.state).tobytes(),
        keras.backend.get_uid("of_this_test"),
    )


@pytest.mark.parametrize("separate", [False, True], ids=["fused", "separate"])
def test_deep_sigmoids_are_tried_with_another_activation_and_normalized(separate):
    model = build("sigmoid", separate=separate)
    model.optimizer.build(model.trainable_variables)
    before = everything(model)
    report = initwatch.audit(model, *data())
    after = everything(model)
    assert after[:-1] == before[:-1]
    assert after[-1] == before[-1] + 1  # no name was given in between but the one asked for
    assert report.problems == []
    kinds = [item.kind for item in report.advice]
    assert kinds == ["activation"] * 8 + ["normalization"]
    exchange, norm = report.advice[0], report.advice[-1]
    for item in (exchange, norm):
        assert item.measured["gradient_ratio_before"] > 1e3
        assert item.measured["gradient_ratio_after"] < 30.0
        assert item.measured[AFTER] < item.measured[BEFORE]
    assert f"loss after {STEPS} steps" in str(report)
    assert "keras.initializers" not in exchange.code


def test_a_rate_far_too_large_is_measured_from_a_fresh_start():
    if keras.backend.backend() == "jax":
        pytest.skip("compiles for too long")
    model = build("relu", depth=4, optimizer=keras.optimizers.SGD(50.0))
    x, y = data()
    watch = initwatch.InitWatch(console=False)
    model.fit(x, y, batch_size=BATCH, epochs=6, verbose=0, callbacks=[watch])
    item = next(a for a in watch.report.advice if a.kind == "learning_rate")
    assert watch.report.problems == []
    assert item.measured["learning_rate_before"] == 50.0
    assert item.measured["learning_rate_after"] <= 1.0
    assert item.measured[AFTER] < 1.4
    again = build("relu", depth=4, optimizer=keras.optimizers.SGD(50.0))
    again.fit(x, y, batch_size=BATCH, epochs=6, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_step_on_a_changed_batch_is_that_of_a_model_given_it():
    model = build("tanh", depth=2)
    x, y = data(scale=100.0)
    watch = initwatch.InitWatch(console=False)
    with watch.watching(model):
        model.train_on_batch(x, y)
        session = watch._watch._session
        changed, as_it_was = (
            session.probe(2, change) for change in (lambda x: (x - x.mean(0)) / x.std(0), None)
        )
        assert np.array_equal(session.newest_batch()[0], x)
        before = everything(model)
    standardized = (x - x.mean(axis=0)) / x.std(axis=0)
    for samples, given in ((changed, standardized), (as_it_was, x)):
        column = samples[0].structure.layout.width
        assert len(samples) == 2
        assert samples[0].rows.shape == (1, column)
        loss = _as_history(samples).losses[0]
        assert loss == pytest.approx(model.test_on_batch(given, y)[0], rel=1e-4)
    assert everything(model)[0] == before[0]
