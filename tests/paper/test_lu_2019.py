"""Lu et al. 2019, Dying ReLU and initialization: networks that are born dead."""

import numpy as np
import pytest

DRAWS = 6001
# width, layers -> share of networks dead for all inputs on the line, simulated once by other
# code with 6001 draws (standard error up to 0.007)
TABLE = [
    (2, 5, 0.508),
    (2, 10, 0.879),
    (3, 10, 0.570),
    (4, 10, 0.284),
    (5, 20, 0.352),
    (8, 50, 0.133),
]


def dead(width, layers, draws=DRAWS):
    """bool[draws, 2]: whether ReLU nets of one input are 0 at x = 1 and at x = -1.

    Symmetric weights, no biases. A net without biases scales with |x|: these two inputs speak
    for all. ``layers`` counts the linear output, which kills nothing.
    """
    random = np.random.default_rng(width * 1000 + layers)
    signal = np.maximum(np.array([[1.0], [-1.0]]) * random.normal(size=(draws, 1, width)), 0.0)
    for _ in range(layers - 2):
        weight = random.normal(size=(draws, width, width)) * np.sqrt(2.0 / width)
        signal = np.maximum(signal @ weight, 0.0)
    return ~np.any(signal > 0.0, axis=2)


@pytest.mark.parametrize(("width", "layers", "share"), TABLE)
def test_shares_of_networks_born_dead(width, layers, share):
    """Within 3 standard errors of two simulations of 6001 draws each; for one input exactly
    1 - (1 - 2^-N)^(L - 1) (a layer of N symmetric units dies with 2^-N), which bounds the
    network's from above.
    """
    found = dead(width, layers)
    error = np.sqrt(2.0 * share * (1.0 - share) / DRAWS)
    assert np.mean(np.all(found, axis=1)) == pytest.approx(share, abs=3.0 * error + 5e-4)
    bound = 1.0 - (1.0 - 2.0**-width) ** (layers - 1)
    single = np.sqrt(bound * (1.0 - bound) / DRAWS)
    for x in range(2):
        assert np.mean(found[:, x]) == pytest.approx(bound, abs=3.0 * single)
    assert np.mean(np.all(found, axis=1)) < bound


def test_deep_enough_all_networks_die_and_width_protects():
    """Sec. 3: the probability goes to 1 with depth and to 0 with width."""
    shares = [np.mean(np.all(dead(2, n, 1000), axis=1)) for n in (3, 10, 40)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.99
    assert np.mean(np.all(dead(16, 10, 1000), axis=1)) < 0.01
