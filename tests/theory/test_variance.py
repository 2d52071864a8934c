"""Moments of every Keras initializer against its own draws, and against the literature."""

import math

import keras
import numpy as np
import pytest

from initwatch.theory.variance import moments

init = keras.initializers
SHAPES = [(300, 200), (200, 300), (3, 3, 48, 64), (5, 96, 128)]
SCALES = [
    init.VarianceScaling(scale, mode, distribution, seed=7)
    for scale, mode in ((0.3, "fan_in"), (1.7, "fan_out"), (2.5, "fan_avg"))
    for distribution in ("truncated_normal", "untruncated_normal", "uniform")
]
INITIALIZERS = [
    init.Zeros(),
    init.Ones(),
    init.Constant(-0.25),
    init.RandomNormal(0.1, 0.3, seed=1),
    init.TruncatedNormal(-0.2, 0.3, seed=2),
    init.RandomUniform(-0.1, 0.4, seed=3),
    init.GlorotUniform(seed=4),
    init.GlorotNormal(seed=4),
    init.HeUniform(seed=5),
    init.HeNormal(seed=5),
    init.LecunUniform(seed=6),
    init.LecunNormal(seed=6),
    init.Orthogonal(gain=1.3, seed=8),
    *SCALES,
]


def name(initializer):
    config = initializer.get_config()
    return f"{type(initializer).__name__}-{config.get('mode', '')}-{config.get('distribution', '')}"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("initializer", INITIALIZERS, ids=name)
def test_moments_are_those_of_a_draw(initializer, shape):
    """Within 6 standard errors of a draw: 1.6 % of a variance over 27,648 weights at least."""
    drawn = np.asarray(keras.ops.convert_to_numpy(initializer(shape)), np.float64)
    known = moments(type(initializer).__name__, initializer.get_config(), shape)
    error = 6.0 / math.sqrt(drawn.size)
    assert np.mean(drawn) == pytest.approx(known.mean, abs=error * np.std(drawn) + 1e-7)
    assert np.var(drawn) == pytest.approx(known.variance, rel=1.5 * error, abs=1e-12)
    assert np.mean(drawn**2) == pytest.approx(known.mean_square, rel=2.0 * error, abs=1e-12)


@pytest.mark.parametrize("shape", [(5, 5), (4, 10), (12, 3)])
def test_moments_of_an_identity_are_those_of_its_elements(shape):
    drawn = np.asarray(init.Identity(gain=0.7)(shape), np.float64)
    known = moments("Identity", {"gain": 0.7}, shape)
    assert known.mean == pytest.approx(np.mean(drawn))
    assert known.variance == pytest.approx(np.var(drawn))


def test_the_cut_of_a_truncated_normal_is_the_one_in_kerass_source():
    known = moments("TruncatedNormal", {"mean": 0.0, "stddev": 1.0}, (3,))
    assert math.sqrt(known.variance) == pytest.approx(0.87962566103423978, abs=1e-15)


def test_families_have_their_published_variances():
    """Glorot & Bengio 2010, eq. 12 and 16; He et al. 2015, eq. 10; LeCun et al. 1998."""
    shape = (300, 100)
    for kind in ("Normal", "Uniform"):
        assert moments(f"Glorot{kind}", {}, shape).variance == pytest.approx(2.0 / 400)
        assert moments(f"He{kind}", {}, shape).variance == pytest.approx(2.0 / 300)
        assert moments(f"Lecun{kind}", {}, shape).variance == pytest.approx(1.0 / 300)


def test_axes_of_an_einsum_are_counted_where_they_are_told():
    shape, axes = (512, 8, 64), {"input_axes": [0], "output_axes": [1, 2]}
    assert moments("HeNormal", axes, shape).variance == 2.0 / 512
    assert moments("HeNormal", {}, shape).variance == 2.0 / (512 * 8)
    assert moments("HeNormal", {}, shape, fans=(512, 512)).variance == 2.0 / 512


def test_what_has_no_closed_form_is_not_guessed():
    assert moments("STFT", init.STFT(window=None).get_config(), (16, 1, 9)) is None
    assert moments("MyInitializer", {"scale": 2.0}, (3, 4)) is None
    assert moments("Constant", {"value": {"class_name": "__tensor__"}}, (3, 4)) is None
