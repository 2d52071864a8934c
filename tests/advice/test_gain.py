"""The gain is moved until delta's slope over several draws is small, and no further than that."""

import dataclasses

import numpy as np
import pytest

from initwatch.advice.gain import DRAWS, MOST, SLOPE_LIMIT, can_be_tuned, slope, tuned
from tests.diagnosis.histories import mlp_history

MARGIN = 0.8
SCATTER = 0.04 * np.random.default_rng(0).standard_normal(DRAWS)
SCATTER -= SCATTER.mean()


class Slopes:
    """Of a network whose slope falls with the gain, each draw off by what it is off."""

    def __init__(self, mean, sensitivity=-1.0, scatter=SCATTER, cost=lambda log_gain: 0.5):
        self.mean, self.sensitivity, self.scatter, self.cost = mean, sensitivity, scatter, cost
        self.asked = []

    def __call__(self, log_gain, draw):
        self.asked.append(log_gain)
        slope = self.mean + self.sensitivity * log_gain + self.scatter[draw]
        return slope, self.cost(log_gain)


def test_slope_is_what_theory_says_of_relu():
    # half of the power is left at each layer (He et al. 2015, eq. 14 with Var(w) = 1 / n)
    assert slope(mlp_history(12, "relu", 1.0)) == pytest.approx(np.log(2.0) / 2.0, abs=0.03)
    assert slope(mlp_history(12, "relu", 2.0)) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("sensitivity", [-1.0, -0.6, -1.8])
@pytest.mark.parametrize("mean", [0.12, -0.12])
def test_the_gain_takes_the_mean_slope_out(mean, sensitivity):
    slopes = Slopes(mean, sensitivity)
    log_gain, draw = tuned(mean + SCATTER[0], MARGIN, slopes)
    assert abs(mean + sensitivity * log_gain) <= SLOPE_LIMIT / 2.0
    each = [abs(slopes(log_gain, i)[0]) for i in range(DRAWS)]
    assert each[draw] == min(each)


def test_an_even_delta_is_left_as_it_is():
    slopes = Slopes(0.04)
    assert tuned(0.04, MARGIN, slopes) is None
    assert tuned(np.nan, MARGIN, slopes) is None
    assert slopes.asked == []


def test_chance_is_not_tuned_away():
    """One draw is steep, all together are not: another draw does, the gain stays."""
    scatter = np.array([0.1, -0.02, -0.03, -0.02, -0.02, -0.01])
    assert tuned(0.1, MARGIN, Slopes(0.0, scatter=scatter)) == (0.0, 5)


def test_what_the_gain_does_not_move_stays_within_bounds():
    slopes = Slopes(0.2, sensitivity=0.0)
    found = tuned(0.3, MARGIN, slopes)
    assert found is not None
    assert max(map(abs, slopes.asked)) <= MOST
    assert found[0] == 0.0


def test_nothing_is_made_of_what_cannot_be_measured():
    assert tuned(0.2, MARGIN, lambda log_gain, draw: (np.nan, np.nan)) is None
    # none is better than what there is
    assert tuned(0.2, MARGIN, Slopes(0.3, sensitivity=0.0)) is None


@pytest.mark.parametrize(("extra", "taken"), [(0.2, True), (0.5, False)])
def test_an_even_gradient_is_not_bought_with_the_forward_signal(extra, taken):
    """Where a deviation of the gain grows over depth the signals may spread by more than before."""
    slopes = Slopes(0.12, cost=lambda log_gain: 0.5 + extra * (log_gain != 0.0))
    log_gain, _ = tuned(0.12 + SCATTER[0], MARGIN, slopes)
    assert (log_gain != 0.0) is taken


def test_only_a_plain_stack_drawn_anew_for_the_most_part_is_tuned():
    layers = mlp_history(6, "relu", 2.0, rows=1).layers
    kernels = [layer.kernel.variable for layer in layers]
    assert can_be_tuned(layers, set(kernels))
    assert can_be_tuned(layers, set(kernels[:4]))
    assert not can_be_tuned(layers, set(kernels[:3]))
    for change in ({"normalized": True}, {"trunk": False}):
        other = (*layers[:2], dataclasses.replace(layers[2], **change), *layers[3:])
        assert not can_be_tuned(other, set(kernels))
