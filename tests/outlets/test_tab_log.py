"""What the tab is told of layers, initializers and trials."""

import keras
import numpy as np

import initwatch
from initwatch.outlets.tab_log import (
    _COUNTS,
    OF_KERNEL,
    OF_LAYER,
    OF_STEP,
    SHOWN,
    trial_dictionaries,
)
from initwatch.plugin.log import DERIVED, read_logs
from initwatch.records import Reinitialized, Statistic
from tests.outlets.feed import feed, updates


def test_every_quantity_is_stored_or_follows_from_one_that_is():
    stored = {*OF_STEP, *OF_LAYER, *OF_KERNEL}
    assert {s.value for s in SHOWN} == {s.value for s in stored} | set(DERIVED)
    assert len(SHOWN) == len(set(SHOWN))
    assert all(statistic.subject == "layer" for statistic in OF_LAYER)
    assert all(statistic.subject == "variable" for statistic in OF_KERNEL)
    assert all(statistic.subject == "step" for statistic in OF_STEP)


def test_what_may_be_nan_has_its_count():
    assert set(_COUNTS) == {*OF_LAYER, *OF_KERNEL} - {Statistic.DEAD_FRACTION}
    assert _COUNTS[Statistic.UPDATE_RATIO] is Statistic.GRADIENT_NON_FINITE
    assert _COUNTS[Statistic.ACTIVATION_SLOPE] is Statistic.ACTIVATION_NON_FINITE


def test_a_recurrent_layer_counts_the_parameters_of_its_cell(tmp_path):
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    watch = initwatch.InitWatch(tmp_path, console=False)
    model.fit(np.ones((8, 4, 2)), np.ones((8, 1)), verbose=0, callbacks=[watch])
    (log,) = read_logs(tmp_path)
    counted = [layer["parameters"] for layer in log.model["layers"]]
    assert counted == [layer.count_params() for layer in model.layers]


def test_figures_of_trials_stand_once():
    one = {"loss_before": 2.0, "loss_after": 1.0, "alone_before": 3.0, "steps": 4.0}
    other = {"loss_before": 2.0, "loss_after": 1.5}
    assert trial_dictionaries([one, one, other]) == [
        {"name": "loss", "before": 2.0, "after": 1.0},
        {"name": "loss", "before": 2.0, "after": 1.5},
    ]


def test_weights_drawn_anew_have_another_line(tmp_path):
    first, second = updates(2, 6), updates(2, 6, first=2, seed=5)
    given = [*first, *second]
    change = Reinitialized("net/dense_0", "net/dense_0/kernel", None, keras.initializers.HeNormal())
    told = type(given[1])(
        step=1,
        layers=given[1].layers,
        variables=given[1].variables,
        values={},
        histograms=(),
        news=(),
        report=given[1].report,
        changes=(change,),
    )

    def line(log_dir, given):
        feed(log_dir, given)
        (log,) = read_logs(log_dir)
        return log.theories[log.digest]

    before = line(tmp_path / "before", given)
    after = line(tmp_path / "after", [*given[:2], told, *given[2:]])
    assert before == line(tmp_path / "alone", given[:1])
    assert after[0] == before[0]
    assert [step for step, _ in after] == [0, given[2].step]
    assert after[1] != before[0]


def test_weights_that_were_trained_before_have_none(tmp_path):
    feed(tmp_path, updates(3, 6, first=100), first=100)
    (log,) = read_logs(tmp_path)
    assert log.theories == {}
