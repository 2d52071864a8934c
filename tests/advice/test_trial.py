"""The trial: what it measures, what it picks, and that it leaves no trace."""

import dataclasses
import random

import keras
import numpy as np
import pytest

from initwatch.advice.trial import MARGIN, STEPS, figures_of, is_decisive, signals, try_out
from initwatch.advice.weights import mend_signal
from initwatch.diagnosis.rules.initializer_mismatch import InitializerMismatch
from initwatch.records import Advice, Statistic
from tests.diagnosis.histories import finding_of, mlp_history, with_losses, with_series

DEPTH, WIDTH = 6, 16
BAD, GOOD = 0.02, 2.0  # fan_in x Var(w) under ReLU


def history(sigma_w2, seed=0, depth=DEPTH, width=WIDTH):
    return mlp_history(depth, "relu", sigma_w2, width=width, seed=seed, rows=1)


def test_signals_are_the_spread_over_depth():
    found = signals(history(GOOD))
    assert found.cost < 1.5
    faded = signals(history(BAD))
    # a factor sqrt(0.01) a layer, forward and backward, over five gaps
    assert faded.forward == pytest.approx(-2.5 * np.log(0.01), rel=0.2)
    assert faded.backward == pytest.approx(-2.5 * np.log(0.01), rel=0.2)
    assert faded.cost == max(faded.forward, faded.backward)


def test_a_loss_far_above_a_guess_costs():
    wild = with_losses(history(GOOD), [23.0], trivial=2.3)
    assert signals(wild).cost == pytest.approx(np.log(10.0))
    assert signals(with_losses(history(GOOD), [np.nan], trivial=2.3)).cost == np.inf


def test_equal_units_and_dead_layers_are_beyond_all_cost():
    kernels = {Statistic.WEIGHT_UNIT_SPREAD: lambda spread: np.where(np.isnan(spread), spread, 0.0)}
    assert signals(with_series(history(GOOD), kernels)).cost == np.inf
    assert signals(with_series(history(GOOD), {Statistic.ACTIVATION_STD: np.zeros_like})).cost == (
        np.inf
    )


def test_a_last_layer_that_tells_no_examples_apart_is_beyond_all_cost():
    def fading(last):
        return {
            Statistic.ACTIVATION_SIMILARITY: lambda rows: np.broadcast_to(
                1.0 - np.geomspace(0.2, last, rows.shape[1]), rows.shape
            )
        }

    assert signals(with_series(history(GOOD), fading(1e-7))).cost == np.inf
    assert signals(with_series(history(GOOD), fading(1e-2))).cost < 1.5


def test_layers_that_are_not_read_are_left_out_and_numbers_that_are_none_are_not():
    """Where TensorFlow may fuse an output it is not read: all its statistics are NaN."""

    def without_third(rows):
        return np.where(np.arange(rows.shape[1]) == 2, np.nan, rows)

    unread = (
        Statistic.ACTIVATION_STD,
        Statistic.ACTIVATION_NON_FINITE,
        Statistic.DELTA_NORM,
        Statistic.DELTA_NON_FINITE,
    )
    assert signals(with_series(history(GOOD), dict.fromkeys(unread, without_third))).cost < 1.5
    lost = {Statistic.ACTIVATION_STD: without_third}
    assert signals(with_series(history(GOOD), lost)).cost == np.inf


def test_nothing_left_of_a_signal_is_an_infinite_ratio():
    dead = with_series(history(GOOD), {Statistic.DELTA_NORM: np.zeros_like})
    figures = figures_of(signals(dead), signals(history(GOOD)))
    assert figures["gradient_ratio_before"] == np.inf
    assert 1.0 <= figures["gradient_ratio_after"] < 10.0
    assert np.isfinite(figures["signal_ratio_before"])


def test_a_candidate_that_is_lost_itself_is_not_advised():
    given = with_series(history(BAD), {Statistic.ACTIVATION_STD: np.zeros_like})
    model = model_of(given.layers)
    out = try_out(model, advice_for(given), given, Measured(model, given, given))
    assert [item.kind for item in out] == ["normalization"]


def test_saturation_costs():
    steep = mlp_history(3, "tanh", 1.0, width=WIDTH, rows=1)
    flat = {Statistic.ACTIVATION_SLOPE: lambda slope: 1e-4 * np.ones_like(slope)}
    assert signals(with_series(steep, flat)).saturation == pytest.approx(0.5 * np.log(1e4))
    # a rectifier's slopes are 0 and 1 by design
    assert signals(history(GOOD)).saturation == 0.0


# --------------------------------------------------------------------------- the choice


def model_of(layers):
    """A model whose layers have the paths of a history's; it sets the seeds."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((WIDTH,))
    for layer in layers[:-1]:
        x = keras.layers.Dense(WIDTH, "relu", name=layer.path)(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))
    model.compile("adam", "mse")
    return model


def advice_for(given, code="kernel_initializer=keras.initializers.HeNormal()"):
    return [
        Advice(
            layer=layer.path,
            kind="initializer",
            current=None,
            suggested=keras.initializers.HeNormal(seed=i),
            code=code,
            reason="theory",
            codes=("IW101",),
            variable=f"{layer.path}/kernel",
        )
        for i, layer in enumerate(given.layers[:DEPTH])
    ]


class Measured:
    """Stands in for measured steps: notes the weights it is asked about, gives what is planned."""

    def __init__(self, model, *planned):
        self.model, self.planned, self.seen = model, list(planned), []

    def __call__(self, steps=1):
        self.asked = steps
        self.seen.append([np.array(w) for w in self.model.get_weights()])
        return self.planned.pop(0) if len(self.planned) > 1 else self.planned[0]


def test_theorys_choice_stays_where_it_is_as_good_as_any():
    given = history(BAD)
    model = model_of(given.layers)
    advice = advice_for(given)
    out = try_out(model, advice, given, Measured(model, given, history(GOOD)))
    assert [item.suggested for item in out] == [item.suggested for item in advice]
    assert [item.code for item in out] == [item.code for item in advice]
    assert out[0].measured["signal_ratio_before"] > 1e4
    assert out[0].measured["signal_ratio_after"] < 5.0
    assert out[0].reason == "theory"


def test_another_candidate_is_taken_if_it_is_clearly_better():
    given = history(BAD)
    model = model_of(given.layers)
    # before, theory's own, the computed gain (HeNormal is the textbook too), orthogonal
    planned = [given, history(0.2), history(0.2), history(GOOD)]
    out = try_out(model, advice_for(given), given, Measured(model, *planned))
    assert {type(item.suggested).__name__ for item in out} == {"Orthogonal"}
    assert out[0].code.startswith("kernel_initializer=keras.initializers.Orthogonal(gain=")
    assert "candidates drawn and measured" in out[0].reason


def test_what_does_not_help_is_not_advised():
    given = history(BAD)
    model = model_of(given.layers)
    out = try_out(model, advice_for(given), given, Measured(model, given, given))
    assert [item.kind for item in out] == ["normalization"]
    assert "none keeps the signals more even" in out[0].reason


def test_what_helped_in_an_earlier_trial_stands_where_another_draw_does_not():
    given = history(BAD)
    model = model_of(given.layers)
    earlier = try_out(model, advice_for(given), given, Measured(model, given, history(GOOD)))
    assert earlier[0].measured is not None
    bare = try_out(model, advice_for(given), given, Measured(model, given, given))
    assert {item.kind for item in bare} == {"normalization"}
    measure = Measured(model, given, given)
    again = [dataclasses.replace(x, codes=("IW101", "IW501")) for x in advice_for(given)]
    found = try_out(model, again, given, measure, earlier=earlier)
    assert [item.code for item in found] == [item.code for item in earlier]
    assert {item.codes for item in found} == {("IW101", "IW501")}


@pytest.mark.parametrize(("std", "helps"), [(1.0, True), (8.0, False)])
def test_weights_that_saturate_are_asked_for_slopes(std, helps):
    """Both losses are far above a guess, so that the signals are no more even by the worst."""

    def tanh(std):
        seen = mlp_history(2, "tanh", std**2, width=WIDTH, rows=1)
        return with_losses(seen, [100.0], trivial=2.3)

    advice = [dataclasses.replace(item, codes=("IW302",)) for item in advice_for(tanh(8.0))]
    model = model_of(tanh(8.0).layers)
    found = try_out(model, advice, tanh(8.0), Measured(model, tanh(8.0), tanh(std)))
    assert {item.kind for item in found} == {"initializer" if helps else "normalization"}
    if helps:
        figures = found[0].measured
        assert figures["slope_share_before"] < 0.2 < figures["slope_share_after"]


def with_activation(given, name):
    """The history of layers that have another activation."""
    layers = mlp_history(DEPTH, name, 1.0, width=WIDTH, rows=1).layers
    return dataclasses.replace(given, layers=layers)


@pytest.mark.parametrize("lasts", [True, False])
def test_weights_that_lose_a_finite_loss_again_are_not_advised(lasts):
    """What had no finite loss must keep it for some steps, not for one."""
    good = with_activation(history(GOOD), "softplus")
    given = with_losses(good, [np.nan], trivial=2.3)
    model = model_of(given.layers)
    course = with_losses(good, [2.0 if lasts else np.nan], trivial=2.3)

    def measure(steps=1):
        if steps == STEPS:
            return course
        # the model's own weights come first
        return given if not asked.append(steps) and len(asked) == 1 else good

    asked = []
    out = try_out(model, advice_for(given), given, measure)
    if lasts:
        assert {item.kind for item in out} == {"initializer"}
        return
    assert [item.kind for item in out] == ["activation"] * DEPTH + ["normalization"]
    assert out[0].code == 'activation="relu", kernel_initializer="he_normal"'
    assert out[0].current == "softplus"
    assert f"the best loses its finite loss again within {STEPS} steps" in out[0].reason


def test_without_a_measurement_advice_stays_as_it_is():
    given = history(BAD)
    model = model_of(given.layers)
    advice = advice_for(given)
    assert try_out(model, advice, given, lambda: None) == advice


def test_variables_can_be_spared():
    given = history(BAD)
    model = model_of(given.layers)
    spare = frozenset({"dense_0/kernel", "dense_3/kernel"})
    measure = Measured(model, given, history(GOOD))
    out = try_out(model, advice_for(given), given, measure, spare)
    assert [item.layer for item in out] == ["dense_1", "dense_2", "dense_4", "dense_5"]
    for seen in measure.seen:
        assert np.array_equal(seen[0], measure.seen[0][0])


def test_other_kinds_of_advice_stay():
    given = history(BAD)
    model = model_of(given.layers)
    other = dataclasses.replace(advice_for(given)[0], kind="clipping", variable="")
    out = try_out(model, [*advice_for(given), other], given, Measured(model, given, history(GOOD)))
    assert out[-1] == other


def test_candidates_are_really_in_the_model_and_leave_no_trace():
    given = history(BAD)
    model = model_of(given.layers)
    before = [np.array(w) for w in model.get_weights()]
    generators = np.random.get_state()[1].copy(), random.getstate()
    measure = Measured(model, given, history(0.2), history(0.2), history(GOOD))
    try_out(model, advice_for(given), given, measure)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert np.array_equal(measure.seen[0][0], before[0])
    # He's variance, then the computed one, then orthogonal rows
    he, orthogonal = measure.seen[1][0], measure.seen[3][0]
    assert WIDTH * he.var() == pytest.approx(2.0, rel=0.25)
    gram = orthogonal @ orthogonal.T
    assert np.allclose(gram, gram[0, 0] * np.eye(WIDTH), atol=1e-4)
    assert gram[0, 0] == pytest.approx(2.0, rel=1e-3)
    assert np.array_equal(generators[0], np.random.get_state()[1])
    assert generators[1] == random.getstate()
    following = keras.ops.convert_to_numpy(keras.random.normal((3,)))
    model_of(given.layers)  # sets the seeds as before, and draws as much
    assert np.array_equal(following, keras.ops.convert_to_numpy(keras.random.normal((3,))))


def test_scales_are_fitted_to_the_batch_only_where_nothing_else_helps():
    given = history(BAD)
    model = model_of(given.layers)
    measure = Measured(model, given, history(0.03), history(0.03), history(0.03), history(GOOD))
    out = try_out(model, advice_for(given), given, measure)
    assert "LSUV" in out[0].reason
    gains = {item.suggested.gain for item in out}
    assert len(gains) > 1  # each layer its own
    # before and three families: none of them is beyond a depth limit, and delta is even
    few = Measured(model, given, history(GOOD, width=128))
    assert "LSUV" not in try_out(model, advice_for(given), given, few)[0].reason
    assert len(few.seen) == 4


def follows(model, depth, width):
    """A measurement of the weights that the model has, by the tests' own forward and backward."""

    def measure():
        def as_now(kernels, biases):  # a new one each time: histories are kept by their arguments
            for i, kernel in enumerate(kernels[:depth]):
                kernel[:] = np.array(model.get_layer(f"dense_{i}").kernel)

        return mlp_history(depth, "tanh", 1.0, width=width, edit=as_now)

    return measure


def test_the_gain_is_tuned_until_delta_is_even_over_depth():
    """tanh lets the variance decay at its critical weights, and delta towards the input with it."""
    depth, width = 10, 64
    x = inputs = keras.Input((width,))
    keras.utils.set_random_seed(1)
    small = keras.initializers.RandomNormal(stddev=0.01)
    for i in range(depth):
        x = keras.layers.Dense(width, "tanh", kernel_initializer=small, name=f"dense_{i}")(x)
    model = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))
    model.compile("adam", "mse")
    measure = follows(model, depth, width)
    given = measure()
    advice = mend_signal([finding_of(InitializerMismatch(), given)], given, ("IW101",))
    out = try_out(model, advice, given, measure)
    assert [item.kind for item in out] == ["initializer"] * depth
    assert {type(item.suggested).__name__ for item in out} == {"VarianceScaling"}
    for item in out:
        layer = model.get_layer(item.layer)
        layer.kernel.assign(item.suggested(layer.kernel.shape))
    tuned = signals(measure()).slope
    for item in advice:
        layer = model.get_layer(item.layer)
        layer.kernel.assign(item.suggested(layer.kernel.shape))
    assert signals(measure()).slope > 0.05 > abs(tuned)
    # what is said of it is of what is advised
    scale = out[0].suggested.scale
    assert 1.0 < scale < 1.7
    assert f"scale={scale}" in out[0].code
    assert out[0].predicted["sigma_w2_after"] == pytest.approx(scale)
    assert out[0].predicted["chi_after"] > advice[0].predicted["chi_after"]
    assert "All gains are" in out[0].reason
    assert out[0].measured["gradient_ratio_after"] < 2.0


def test_textbook_initializers_are_tried_where_theory_has_none():
    """A stack that theory does not follow: its activation is not known."""
    given = history(BAD)
    model = model_of(given.layers)
    unknown = [
        Advice(
            layer="",
            kind="normalization",
            current="none",
            suggested="BatchNormalization",
            code="keras.layers.BatchNormalization()",
            reason="not followed",
            codes=("IW103",),
        )
    ]
    out = try_out(model, unknown, given, Measured(model, given, history(GOOD)))
    kinds = [item.kind for item in out]
    assert kinds == ["initializer"] * DEPTH + ["normalization"]
    assert out[0].measured is not None
    # where they do not help, nothing is said of them
    assert try_out(model, unknown, given, Measured(model, given, given)) == unknown


def test_the_margin_is_what_draws_differ_by():
    costs = [signals(history(GOOD, seed, depth=30, width=64)).cost for seed in range(12)]
    assert np.std(costs) < MARGIN


def measured_advice(before, after, sigma_w2=(16.0, 1.0), **figures):
    """Advice whose trial evened out the gradient from ``before`` to ``after``."""
    kept = {"signal_ratio_before": 1.0, "signal_ratio_after": 1.0}
    kept |= {"gradient_ratio_before": before, "gradient_ratio_after": after}
    predicted = dict(zip(("sigma_w2_before", "sigma_w2_after"), sigma_w2, strict=True))
    first = advice_for(history(GOOD))[0]
    return dataclasses.replace(first, predicted=predicted, measured=kept | figures)


@pytest.mark.parametrize(
    ("before", "sigma_w2", "figures", "decisive"),
    [
        (15.0, (16.0, 1.0), {}, True),  # too large: such weights do not shrink
        (5.0, (16.0, 1.0), {}, False),
        (90.0, (0.01, 1.0), {}, False),  # too small: a network grows out of them
        (200.0, (0.01, 1.0), {}, True),
        (np.inf, (1.0, 2.0), {}, False),  # a textbook's
        (200.0, (1.0, 2.0), {"equal_layers_before": 3}, True),
    ],
)
def test_a_warning_is_acted_on_where_the_trial_is_decisive(before, sigma_w2, figures, decisive):
    item = measured_advice(before, 1.0, sigma_w2, **figures)
    assert is_decisive(item, [item]) is decisive
    untried = dataclasses.replace(item, measured=None)
    assert not is_decisive(untried, [untried])


def test_large_biases_beside_the_weights_are_decisive():
    item = measured_advice(200.0, 1.0, (1.0, 2.0))
    bias = dataclasses.replace(item, predicted={"bias_over_sigma_before": 5.0})
    assert not is_decisive(item, [item])
    assert is_decisive(item, [item, bias])
