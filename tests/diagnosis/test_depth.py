"""The signal's path through a network, and whether a run learns."""

import dataclasses

import numpy as np
import pytest

from initwatch.diagnosis import depth
from initwatch.records import Statistic
from tests.diagnosis.histories import (
    dense,
    history_of,
    mlp_history,
    plain,
    set_to,
    with_layers,
    with_losses,
    with_series,
)


def paths(layers):
    return [layers[i].path for i in depth.trunk_columns(tuple(layers))]


def test_fused_layers_are_read_and_the_output_is_not():
    layers = [*(dense(f"d{i}", 8, 8) for i in range(3)), dense("out", 8, 2, is_output=True)]
    assert paths(layers) == ["d0", "d1", "d2"]


def test_between_kernel_and_activation_the_signal_is_half_way():
    layers = [
        dense("d0", 8, 8, "linear", signal="relu0"),
        plain("bn0", "BatchNormalization"),
        plain("relu0", "ReLU"),
        dense("d1", 8, 8, "tanh"),
        dense("d2", 8, 8, "linear", signal="act2"),
        plain("act2", "Activation"),
        dense("out", 8, 2, is_output=True),
    ]
    assert paths(layers) == ["relu0", "d1", "act2"]


def test_branches_of_residual_blocks_are_left_out():
    layers = [
        dense("stem", 8, 8),
        dense("branch", 8, 8, trunk=False),
        plain("add", "Add"),
        dense("out", 8, 2, is_output=True),
    ]
    assert paths(layers) == ["stem", "add"]


def test_nothing_from_the_first_head_on_is_read():
    layers = [
        dense("d0", 8, 8),
        dense("head_a", 8, 2, is_output=True),
        dense("d1", 8, 8),
        dense("head_b", 8, 2, is_output=True),
    ]
    assert paths(layers) == ["d0"]


def test_layers_that_only_reshape_or_drop_are_no_stages():
    layers = [plain("flat", "Flatten"), dense("d0", 8, 8), plain("drop", "Dropout")]
    assert paths(layers) == ["d0"]
    assert paths([]) == []


def in_tower(history, number=1):
    """All layers but the output are one of two towers."""
    return with_layers(
        history,
        lambda layer: (
            layer if layer.is_output else dataclasses.replace(layer, trunk=False, tower=number)
        ),
    )


def test_a_tower_has_a_profile_of_its_own():
    history = in_tower(mlp_history(6, "relu", 1.0, rows=5))
    assert depth.profile(history, Statistic.DELTA_NORM, 3) is None
    (profile,) = depth.profiles(history, Statistic.DELTA_NORM, 3)
    assert not profile.trunk
    assert [layer.path for layer in profile.layers] == [f"dense_{i}" for i in range(6)]
    assert depth.too_short(None, history) is None
    assert depth.too_short(None, in_tower(mlp_history(3))) is not None
    assert depth.towers(in_tower(mlp_history(3)).layers) == []


def test_what_fades_in_a_tower_alone_is_a_warning_at_most():
    history = mlp_history(20, "tanh", 0.1)
    (along,) = depth.profiles(history, Statistic.DELTA_NORM, 3)
    (tower,) = depth.profiles(in_tower(history), Statistic.DELTA_NORM, 3)
    assert abs(along.total) == abs(tower.total) > depth.LOG_LIMIT_ERROR
    assert along.severity(depth.LOG_LIMIT_ERROR) == "error"
    assert tower.severity(depth.LOG_LIMIT_ERROR) == "warning"
    assert along.severity(2.0 * abs(along.total)) == "warning"


def test_normalizations_are_counted_on_the_profiles_own_way():
    history = with_layers(
        mlp_history(6), lambda layer: dataclasses.replace(layer, normalized=layer.path == "dense_1")
    )
    (along,) = depth.profiles(history, Statistic.DELTA_NORM, 3)
    (tower,) = depth.profiles(in_tower(history), Statistic.DELTA_NORM, 3)
    assert along.normalizations(history.layers) == 1
    assert tower.normalizations(in_tower(history).layers) == 1
    assert along.normalizations(in_tower(history).layers) == 0


def test_a_profile_is_the_median_of_its_window_along_the_trunk():
    history = mlp_history(6, "relu", 1.0, rows=5)
    profile = depth.profile(history, Statistic.DELTA_NORM, 3)
    assert [layer.path for layer in profile.layers] == [f"dense_{i}" for i in range(6)]
    expected = np.median(history.series[Statistic.DELTA_NORM][2:, :6], axis=0)
    assert profile.values == pytest.approx(expected)


def test_a_profile_needs_four_layers_and_a_full_window():
    assert depth.profile(mlp_history(3), Statistic.DELTA_NORM, 3) is None
    assert depth.profile(mlp_history(4), Statistic.DELTA_NORM, 3) is not None
    assert depth.profile(mlp_history(4), Statistic.DELTA_NORM, 4) is None


def test_layers_that_are_not_finite_are_left_out_of_a_profile():
    history = with_series(mlp_history(6), {Statistic.DELTA_NORM: set_to(np.nan, rows=1, columns=2)})
    profile = depth.profile(history, Statistic.DELTA_NORM, 3)
    assert [layer.path for layer in profile.layers] == [f"dense_{i}" for i in (0, 1, 3, 4, 5)]
    assert profile.fit.depth == 4


def profile_of(values):
    layers = [dense(f"d{i}", 8, 8) for i in range(len(values))]
    return depth.profile(
        history_of(layers, series={Statistic.DELTA_NORM: [values]}), Statistic.DELTA_NORM, 1
    )


def test_the_total_is_what_fit_and_ends_agree_on():
    assert profile_of([1.0, 2.0, 4.0, 8.0, 16.0]).total == pytest.approx(np.log(16.0))
    # one head far off: the ends see it, the fit does not
    assert profile_of([1.0, 1.0, 1.0, 1.0, 1.0, 1e6]).total == pytest.approx(0.0, abs=1e-9)
    # a local slope that the ends do not confirm
    falling_back = profile_of([1.0, 10.0, 100.0, 1e3, 1e4, 1.0])
    assert falling_back.fit.log_total > 3.0
    assert abs(falling_back.total) < 1e-9


def falling(n, noise=0.0):
    random = np.random.default_rng(0)
    return 2.3 * np.exp(-np.arange(n) / n) + noise * random.normal(size=n)


@pytest.mark.parametrize(
    ("losses", "answer"),
    [
        (falling(50), True),
        (falling(50, noise=0.3), True),
        (falling(9), False),  # too few to tell
        (np.append(falling(9), [np.nan] * 5), False),
        (np.append(falling(50), [np.nan, np.inf]), True),
        (2.3 + 0.1 * np.random.default_rng(1).normal(size=50), False),
        (falling(50)[::-1], False),
        (2.3 - 0.0001 * np.arange(50), False),  # by 0.2 %
    ],
)
def test_a_run_learns_if_its_loss_falls_beyond_its_noise(losses, answer):
    assert depth.learns(with_losses(history_of(), losses)) == answer


def at_steps(*steps, losses):
    history = history_of(series={Statistic.LOSS: [[1.0]] * len(steps)}, steps=steps)
    return with_losses(history, losses)


@pytest.mark.parametrize(
    ("steps", "losses", "answer"),
    [
        ((0, 5, 10), falling(50), True),  # early: whether it learns is not asked
        ((0, 5, 11), falling(50), False),
        ((0, 5, 11), np.full(50, 2.3), True),
        ((1000, 1005, 1010), falling(50), True),  # training was resumed: these are its first
        ((), falling(50), False),
    ],
)
def test_rules_on_initialisation_speak_early_or_while_nothing_is_learned(steps, losses, answer):
    assert depth.speaks(at_steps(*steps, losses=losses)) is answer


def test_a_step_counts_as_update_if_anything_moved():
    updates = [[0.0, 0.0], [0.0, 1e-30], [np.nan, 0.0], [np.nan, 1.0]]
    history = history_of(series={Statistic.UPDATE_RMS: updates})
    assert depth.updated(history, 4).tolist() == [False, True, False, True]
    assert depth.updated(history, 2).tolist() == [False, True]


def test_without_trainable_variables_nothing_moves():
    history = history_of(series={Statistic.UPDATE_RMS: np.zeros((3, 0))})
    assert depth.updated(history, 3).tolist() == [False] * 3


def test_half_way_layers_do_not_enter_a_profile():
    history = with_layers(
        mlp_history(6),
        lambda layer: (
            dataclasses.replace(layer, signal="dense_1") if layer.path == "dense_0" else layer
        ),
    )
    profile = depth.profile(history, Statistic.DELTA_NORM, 3)
    assert [layer.path for layer in profile.layers] == [f"dense_{i}" for i in range(1, 6)]
