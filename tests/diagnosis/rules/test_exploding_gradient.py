"""IW202 on real backward passes of random networks, with their healthy twins."""

import dataclasses

import keras
import numpy as np
import pytest

import initwatch
from initwatch.diagnosis.rules.exploding_gradient import ExplodingGradient
from initwatch.diagnosis.sensitivity import sensitivity
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    finding_of,
    late,
    mlp_history,
    plain,
    set_to,
    with_losses,
    with_series,
)

RULE = ExplodingGradient()
NOISE = 0.02 * np.random.default_rng(0).normal(size=130)
FLAT, FALLING = 2.3 + NOISE, np.linspace(2.3, 0.9, 130) + NOISE


@pytest.mark.parametrize("seed", range(10))
def test_deep_relu_at_twice_he_is_flagged(seed):
    """chi = 2: sqrt(2) a layer, 2.3e4 over 29 gaps; measured 1.3e4 to 2.1e4 at width 256."""
    finding = finding_of(RULE, mlp_history(30, "relu", 4.0, seed=seed))
    assert (finding.code, finding.symptom, finding.step) == ("IW202", "exploding_gradient", 2)
    assert finding.severity in ("warning", "error")
    assert finding.layers[0] == "dense_0"
    assert "dense_29" not in finding.layers
    growth = np.log(finding.evidence["gradient_growth"])
    assert growth == pytest.approx(14.5 * np.log(2), abs=2.5)  # finite width scatters
    assert finding.evidence["gradient_growth_limit"] == pytest.approx(np.exp(3.0))
    assert finding.evidence["factor_per_layer"] == pytest.approx(1.414, abs=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_net_with_he_is_not(seed):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, seed=seed)) is None


def test_chaotic_tanh_is_flagged_and_critical_tanh_is_not():
    """sigma_w^2 = 6: growth 5.6e2 at depth 30, width 256 (one seed)."""
    finding = finding_of(RULE, mlp_history(30, "tanh", 6.0))
    assert finding.severity == "warning"
    assert 1e2 < finding.evidence["gradient_growth"] < 1e4
    assert finding_of(RULE, mlp_history(30, "tanh", 1.0)) is None


def test_selu_with_he_is_flagged_and_with_lecun_is_not():
    """Gradient variance over 50 layers: 8.5e4 with He, 32 with LeCun (Klambauer et al. 2017)."""
    finding = finding_of(RULE, mlp_history(50, "selu", 2.0))
    growth = np.log(finding.evidence["gradient_growth"])
    assert growth == pytest.approx(0.5 * np.log(8.5e4), abs=2.5)
    assert finding_of(RULE, mlp_history(50, "selu", 1.0)) is None


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_factor_on_the_loss_changes_nothing(factor):
    plain = finding_of(RULE, mlp_history(20, "relu", 4.0))
    scaled = finding_of(RULE, mlp_history(20, "relu", 4.0, loss_factor=factor))
    assert (scaled.severity, scaled.layers) == (plain.severity, plain.layers)
    # large gradients as such are no explosion
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, loss_factor=factor)) is None


@pytest.mark.parametrize("factor", [1 / 255, 255.0])
def test_the_scale_of_the_input_changes_nothing(factor):
    assert finding_of(RULE, mlp_history(30, "relu", 2.0, input_scale=factor)) is None
    assert finding_of(RULE, mlp_history(30, "relu", 4.0, input_scale=factor)) is not None


def test_a_skipped_step_of_infinite_gradients_is_no_explosion():
    # float16: the scaled gradients overflow, the optimizer throws them away
    infinite = {Statistic.DELTA_NORM: set_to(np.inf, rows=2), Statistic.SKIPPED: set_to(1.0, 2)}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), infinite)) is None


def test_one_step_of_large_gradients_is_no_explosion():
    other = mlp_history(30, "relu", 4.0).series[Statistic.DELTA_NORM][1]
    odd = {Statistic.DELTA_NORM: set_to(other, rows=2)}
    assert finding_of(RULE, with_series(mlp_history(30, "relu", 2.0), odd)) is None


def test_a_run_that_learns_is_left_alone():
    history = mlp_history(30, "relu", 4.0)
    assert finding_of(RULE, late(history, 2.3 * np.exp(-np.arange(200) / 100.0))) is None
    assert finding_of(RULE, late(history, np.full(200, 2.3))) is not None


# ------------------------------------------------------------------ out of proportion

KERNEL = 2  # column of dense_1's kernel


def steep(factor, rows=slice(None), history=None):
    """A sound network of which one kernel's gradient is ``factor`` times as large."""

    def grown(array):
        array[rows, KERNEL] *= factor
        return array

    sound = mlp_history(2, "tanh", 1.0, rows=6) if history is None else history
    return with_series(sound, {Statistic.GRADIENT_NORM: grown})


def test_a_gradient_out_of_proportion_to_its_weights_is_flagged():
    history = steep(1e6)
    finding = finding_of(RULE, history)
    assert (finding.code, finding.severity, finding.layers) == ("IW202", "error", ["dense_1"])
    evidence = finding.evidence
    assert next(iter(evidence)) == "sensitivity"
    row = {name: history.series[name][-1] for name in history.series}
    loss = max(row[Statistic.LOSS][0], row[Statistic.TRIVIAL_LOSS][0])
    norm, rms = row[Statistic.GRADIENT_NORM][KERNEL], row[Statistic.WEIGHT_RMS][KERNEL]
    assert evidence["gradient_norm"] == norm
    assert evidence["weight_rms"] == rms
    # 128 x 128 weights: twice rms x sqrt(128) is a random kernel's spectral norm
    last = norm * rms * np.sqrt(128) / loss
    assert evidence["sensitivity"] == pytest.approx(last, rel=0.5)  # the least of three steps
    assert 1e3 == evidence["sensitivity_limit"] < 1e5 < evidence["sensitivity"]
    assert "dense_1/kernel" in finding.message
    assert finding_of(RULE, mlp_history(2, "tanh", 1.0, rows=6)) is None


def test_between_the_limits_it_is_a_warning():
    sound = sensitivity(mlp_history(2, "tanh", 1.0, rows=6), [KERNEL])[-3:].min()
    assert sound < 10.0
    assert finding_of(RULE, steep(1e4 / sound)).severity == "warning"
    assert finding_of(RULE, steep(9e2 / sound)) is None


def test_the_first_step_alone_tells_and_later_one_does_not():
    # SGD has thrown the weights out of range behind it: there is no gradient any more
    assert finding_of(RULE, steep(1e6, 0, mlp_history(2, "tanh", 1.0, rows=2))).step == 1
    assert finding_of(RULE, steep(1e6, -1)) is None
    assert finding_of(RULE, steep(1e6, slice(-3, None))) is not None


@pytest.mark.parametrize("width", [32, 64, 256, 1024])
def test_no_width_is_out_of_proportion(width):
    history = mlp_history(2, "relu", 2.0, width=width, rows=3)
    columns = [i for i, v in enumerate(history.variables) if v.role == "kernel"]
    assert sensitivity(history, columns).max() < 10.0


def test_a_loss_whose_guess_is_not_known_is_not_judged():
    unknown = {Statistic.TRIVIAL_LOSS: set_to(np.nan)}
    history = with_series(steep(1e6), unknown)
    assert finding_of(RULE, history) is None
    assert "what a constant guess would lose is not known" in RULE.abstains(history)
    assert RULE.abstains(steep(1e6)) is None


def test_a_converged_model_is_held_against_a_guess():
    tiny = {Statistic.LOSS: set_to(1e-9)}
    assert finding_of(RULE, with_series(mlp_history(2, "tanh", 1.0, rows=6), tiny)) is None


def test_an_rnn_that_explodes_over_time_steps():
    """A gradient of norm 1e9 at the first step, on its way back through 60 of them."""
    x = np.random.default_rng(0).normal(size=(64, 60, 3)).astype("float32")
    y = (x[:, -5:].mean(axis=(1, 2)) > 0.0).astype("int32")

    def report(gain):
        keras.utils.set_random_seed(0)
        orthogonal = keras.initializers.Orthogonal(gain)
        rnn = keras.layers.SimpleRNN(24, recurrent_initializer=orthogonal, name="rnn")
        head = keras.layers.Dense(1, "sigmoid", name="head")
        model = keras.Sequential([keras.Input((60, 3)), rnn, head], name="net")
        model.compile("adam", "binary_crossentropy")
        watch = initwatch.InitWatch(console=False)
        model.fit(x, y, batch_size=32, verbose=0, callbacks=[watch])
        assert watch.report.problems == []
        return watch.report

    exploding = report(4.0)
    (finding,) = exploding.findings
    assert (finding.code, finding.severity, finding.step) == ("IW202", "error", 0)
    assert finding.layers == ["net/rnn"]
    assert finding.evidence["sensitivity"] > 1e6
    (advice,) = exploding.advice
    assert (advice.layer, advice.variable) == (
        "net/rnn",
        "net/rnn/simple_rnn_cell/recurrent_kernel",
    )
    assert advice.code == "recurrent_initializer=keras.initializers.Orthogonal()"
    assert advice.predicted["sigma_w2_before"] == pytest.approx(16.0, rel=1e-3)
    assert advice.predicted["sigma_w2_after"] == 1.0
    assert advice.measured["sensitivity_before"] > 1e6
    assert advice.measured["sensitivity_after"] < 10.0
    assert report(1.0).findings == []


@pytest.mark.parametrize(("rate", "grows"), [(1e-2, False), (10.0, True)])
def test_a_gradient_that_grows_from_step_to_step(rate, grows):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    hidden = [keras.layers.Dense(16, "relu", name=f"hidden_{i}") for i in range(2)]
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1)], name="net")
    model.compile(keras.optimizers.SGD(rate), "mean_squared_error")
    watch = initwatch.InitWatch(console=False)
    model.fit(x, x.sum(axis=1), batch_size=32, epochs=4, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    found = {finding.code: finding for finding in watch.report.findings}
    if not grows:
        assert not found
        return
    finding = found["IW202"]
    assert finding.severity == "error"
    assert finding.evidence["gradient_growth_over_steps"] > 1e3
    first, largest = (finding.evidence[f"gradient_norm_{when}"] for when in ("first", "largest"))
    assert largest / first == pytest.approx(finding.evidence["gradient_growth_over_steps"])
    # what the updates did is not answered with other weights
    assert watch.report.advice[0].kind == "learning_rate"
    assert not [item for item in watch.report.advice if item.kind == "initializer"]


def test_a_loss_that_is_lost_at_once_is_no_growth():
    """NaN in the data: the gradients before it were what they had always been."""
    history = mlp_history(4, "relu", 2.0, rows=6)
    losses = np.where(np.arange(6) < 5, 1.0, np.nan)

    def lost(factor):
        norms = history.series[Statistic.GRADIENT_NORM].copy()
        norms[4] = factor * norms[0]
        norms[5] = np.nan
        grown = with_series(history, {Statistic.GRADIENT_NORM: norms})
        seen = dataclasses.replace(history.output, loss_seen=True)
        return dataclasses.replace(grown, losses=losses, loss_steps=history.steps, output=seen)

    assert finding_of(RULE, lost(90.0)) is None
    finding = finding_of(RULE, lost(110.0))
    assert finding.severity == "error"
    assert finding.evidence["gradient_growth_over_steps"] == pytest.approx(110.0)
    assert finding.evidence["largest_at_step"] == 4


@pytest.mark.parametrize(("loss", "below"), [("binary_crossentropy", True), ("hinge", False)])
def test_a_cross_entropy_that_falls_below_zero_for_ever(loss, below):
    """Labels of 0 to 255: there is no least loss, and the gradient grows on the way down."""
    history = mlp_history(4, "relu", 2.0, rows=40)
    grown = {Statistic.GRADIENT_NORM: lambda norms: norms * np.geomspace(1.0, 500.0, 40)[:, None]}
    output = dataclasses.replace(history.output, loss=loss)
    history = dataclasses.replace(with_series(history, grown), output=output)
    finding = finding_of(RULE, with_losses(history, -np.geomspace(1.0, 1e6, 40), 0.69))
    # examples with weights below 0: the guess is not known
    assert finding_of(RULE, with_losses(history, -np.geomspace(1.0, 1e6, 40))) is None
    # rounding
    assert finding_of(RULE, with_losses(history, np.full(40, -1e-7), 0.69)) is None
    assert (finding is not None) == below
    if below:
        assert finding.severity == "warning"
        assert finding.message.endswith("below 0, as that of probabilities never is.")


def regression(targets, inputs=1.0, *, rate=1e-3, epochs=40, loss="mean_squared_error"):
    """The report of a small regression under Adam."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    y = targets * (3.0 + x.sum(axis=1))
    hidden = [keras.layers.Dense(16, "relu", name=f"hidden_{i}") for i in range(2)]
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1)], name="net")
    model.compile(keras.optimizers.Adam(rate), loss)
    watch = initwatch.InitWatch(console=False)
    model.fit(inputs * x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[watch])
    assert watch.report.problems == []
    return watch.report


def test_a_gradient_that_is_large_because_targets_are():
    report = regression(1e5)
    found = {finding.code: finding for finding in report.findings}
    finding = found["IW202"]
    assert (finding.severity, finding.cause) == ("error", "")
    assert finding.evidence["gradient_to_weights"] > 1e3
    assert finding.evidence["targets_rms"] == pytest.approx(1e5 * np.sqrt(9 + 8), rel=0.2)
    assert "inputs_rms" not in finding.evidence
    assert found["IW501"].cause == "IW202"
    first = report.advice[0]
    assert (first.kind, set(first.codes)) == ("target_scale", {"IW202", "IW501"})


def test_large_targets_that_are_learned_are_no_matter():
    found = [finding for finding in regression(1e5, rate=10.0).findings if finding.code == "IW202"]
    assert not found or found[0].state == "recovered"


def test_an_absolute_error_has_gradients_of_one_size():
    found = regression(1e5, loss="mean_absolute_error").findings
    assert "IW202" not in {finding.code for finding in found}


def test_a_gradient_of_inputs_and_targets_out_of_scale_follows_from_the_inputs():
    report = regression(1e5, 1e3, rate=1e-7)
    found = {finding.code: finding for finding in report.findings}
    assert found["IW202"].cause == "IW601"
    assert found["IW202"].evidence.keys() >= {"inputs_rms", "targets_rms"}
    told = [item for item in report.advice if "IW202" in item.codes]
    assert {item.kind for item in told} >= {"input_scale", "target_scale"}


@pytest.mark.parametrize(("losses", "found"), [(FLAT, True), (FALLING, False), (FLAT[:60], False)])
def test_only_a_run_that_is_seen_to_stand_still_is_hurt_by_its_inputs(losses, found):
    """100 inputs of 1e3: the first kernel's gradient is 1e3 times that of inputs of 1."""
    history = with_losses(mlp_history(4, rows=10, input_scale=1e3), losses, 2.3)
    finding = finding_of(RULE, history)
    if not found:
        assert finding is None
        return
    assert (finding.severity, finding.layers) == ("warning", ["dense_0"])
    assert finding.evidence["inputs_rms"] == pytest.approx(1e3, rel=0.05)
    layers = (plain("first", "Rescaling", 128), *history.layers)
    assert finding_of(RULE, dataclasses.replace(history, layers=layers)) is None
    # a frozen kernel has no gradient
    frozen = with_series(history, {Statistic.GRADIENT_NORM: set_to(np.nan, columns=2)})
    assert finding_of(RULE, frozen) is not None
    # of a loss whose guess is not known nobody can tell whether it learns
    assert finding_of(RULE, with_losses(history, losses)) is None


def test_it_is_taken_back_once_the_run_learns():
    stands = finding_of(RULE, with_losses(mlp_history(4, rows=10, input_scale=1e3), FLAT, 2.3))
    assert RULE.lets_go(stands)
    assert not RULE.lets_go(finding_of(RULE, mlp_history(30, "relu", 4.0)))
