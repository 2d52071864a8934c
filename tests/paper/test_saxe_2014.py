"""Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning."""

import keras
import numpy as np
import pytest

from initwatch.initializers import DataDriven
from initwatch.theory.variance import moments

WIDTH = 100


def product(initializer, layers):
    """Singular values of a product of kernels, largest first."""
    matrix = np.eye(WIDTH)
    for layer in range(layers):
        initializer.seed = layer
        matrix = matrix @ np.asarray(initializer((WIDTH, WIDTH)), np.float64)
    return np.linalg.svd(matrix, compute_uv=False)


@pytest.mark.parametrize("make", [keras.initializers.Orthogonal, DataDriven])
def test_a_product_of_orthogonal_kernels_is_an_isometry(make):
    """Sec. 3: all singular values of 100 layers are 1, to 1e-3."""
    assert product(make(seed=0), 100) == pytest.approx(np.ones(WIDTH), abs=1e-3)


def test_a_product_of_gaussian_kernels_is_none():
    """Sec. 3, fig. 6: with Var 1/n most singular values go to 0, ever more with depth. Of 100
    values less than 60 are above 1 % of the largest at 10 layers, less than 15 at 100.
    """
    initializer = keras.initializers.RandomNormal(stddev=WIDTH**-0.5, seed=0)
    kept = [np.sum(s > 0.01 * s[0]) for s in (product(initializer, n) for n in (1, 10, 100))]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 90
    assert kept[1] < 60
    assert kept[2] < 15


def test_the_variance_of_an_orthogonal_kernel_is_that_of_a_critical_linear_net():
    """n Var(w) = gain^2 for a square kernel. Exact."""
    assert moments("Orthogonal", {"gain": 1.5}, (64, 64)).variance == 1.5**2 / 64
