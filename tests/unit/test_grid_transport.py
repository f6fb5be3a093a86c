"""W2 on a grid against closed forms."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from mfsim.divergences import grid_transport
from mfsim.divergences.grid_transport import grid_w2, marginal_w2


def centres(cells, extent=6.0):
    return extent * (2 * np.arange(cells) + 1 - cells) / cells


def gaussian(mean, covariance, axes):
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1) - mean
    inverse = np.linalg.inv(covariance)
    masses = np.exp(-np.einsum("...i,ij,...j", points, inverse, points) / 2)
    return masses / masses.sum()


def bures(mean, covariance):
    """W2 from N(0, I)."""
    root = np.trace(sqrtm(covariance).real)
    dim = len(covariance)
    return np.sqrt(np.dot(mean, mean) + np.trace(covariance) + dim - 2 * root)


def law(cells, seed, empty):
    """Random masses, a share of them zero."""
    draws = np.random.default_rng(seed)
    masses = draws.exponential(size=cells) * (draws.random(cells) > empty)
    masses[draws.integers(cells)] += 1
    return masses / masses.sum()


def quantiles(masses, axis, levels):
    """Of constant density in each cell, by interpolating the distribution function."""
    held = masses > 0
    width = axis[1] - axis[0]
    up_to = np.cumsum(masses)[held]
    starts = np.append(0.0, up_to[:-1])
    cell = np.minimum(np.searchsorted(up_to, levels), len(up_to) - 1)
    share = (levels - starts[cell]) / (up_to - starts)[cell]
    return axis[held][cell] - width / 2 + width * share


def test_two_cells_by_hand():
    # All mass moves from [0, 1] to [1, 3] by stretching: the integral of (1 + t)^2 from
    # 0 to 1 is 7/3.
    axis = np.array([0.5, 1.5, 2.5])
    stretched = np.array([0, 0.5, 0.5])
    found = marginal_w2(np.array([1.0, 0, 0]), stretched, axis)
    assert found == pytest.approx(np.sqrt(7 / 3), rel=1e-14)


@given(seed=st.integers(0, 999), cells=st.integers(3, 40), empty=st.floats(0, 0.9))
def test_on_a_line_it_is_the_integral_over_quantiles(seed, cells, empty):
    axis = centres(cells)
    a, b = law(cells, seed, empty), law(cells, seed + 1000, empty)
    levels = (np.arange(200_000) + 0.5) / 200_000
    gap = quantiles(a, axis, levels) - quantiles(b, axis, levels)
    # The midpoint rule of a function with at most 80 jumps of at most 12^2 is off by
    # 80 * 144/200000 = 0.06 at worst; random signs make that a tenth.
    assert marginal_w2(a, b, axis) ** 2 == pytest.approx(np.mean(gap**2), abs=0.006)


@given(seed=st.integers(0, 999), cells=st.integers(3, 40), by=st.integers(1, 20))
def test_on_a_line_a_translation_costs_its_length(seed, cells, by):
    axis = centres(cells + by)
    masses = law(cells, seed, 0.5)
    here, there = np.pad(masses, (0, by)), np.pad(masses, (by, 0))
    shift = by * (axis[1] - axis[0])
    assert marginal_w2(here, there, axis) == pytest.approx(shift, rel=1e-12)
    assert marginal_w2(there, here, axis) == pytest.approx(shift, rel=1e-12)
    assert marginal_w2(here, here, axis) == 0


def test_on_a_line_it_is_of_second_order_in_the_cells():
    errors = []
    for cells in (32, 64, 128):
        axis = centres(cells, 8.0)
        a, b = (gaussian([0], np.array([[s**2]]), [axis]) for s in (1.0, 1.4))
        errors.append(marginal_w2(a, b, axis) - 0.4)
    # Half the width, a quarter of the error; what both laws share cancels.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)
    assert abs(errors[-1]) < 1e-3


CASES = {
    "near": ([0, 0], [[1.0609, 0.02], [0.02, 0.9604]]),
    "correlated": ([0, 0], [[1.69, 0.273], [0.273, 0.49]]),
    "shifted": ([0.5, -0.3], [[1.44, -0.384], [-0.384, 0.64]]),
    "small shift": ([0.05, 0], [[1, 0], [0, 1]]),
    "far": ([0.8, 0.5], [[1.96, 0.504], [0.504, 0.36]]),
}


@pytest.mark.parametrize("name", CASES)
def test_gaussians_in_the_plane(name):
    mean, covariance = np.array(CASES[name][0]), np.array(CASES[name][1])
    axes = [centres(64), centres(64)]
    prior, other = gaussian(0 * mean, np.eye(2), axes), gaussian(mean, covariance, axes)
    found, exact = grid_w2(prior, other, axes), bures(mean, covariance)
    # epsilon = 8 * 0.1875^2 = 0.28: (epsilon/(4 variance))^2 is 3.8 % at the variance
    # 0.36 along one axis, which makes up less than half of W2^2.
    assert found == pytest.approx(exact, rel=0.01)
    assert grid_w2(other, prior, axes) == pytest.approx(found, rel=1e-6)


def test_gaussians_on_a_box_of_other_widths():
    # Cells of 0.3 times the standard deviations 1, 0.5 and 1: epsilon = 0.72, whose
    # (epsilon/(4 variance))^2 is 3 % for W2^2 where only the wide axes change.
    axes = [centres(40), centres(40) / 2, centres(40)]
    spreads = np.diag([1.0, 0.25, 1.0]), np.diag([1.44, 0.25, 1.0])
    a, b = (gaussian(np.zeros(3), spread, axes) for spread in spreads)
    assert grid_w2(a, b, axes) == pytest.approx(0.2, rel=0.02)


def test_equal_laws():
    axes = [centres(64), centres(64)]
    a = gaussian([0.3, -0.2], np.eye(2), axes)
    # The root of the rounding of sums of order 1.
    assert grid_w2(a, a, axes) < 1e-6
    assert marginal_w2(a.sum(1), a.sum(1), axes[0]) == 0


def test_a_kernel_too_narrow_for_double_precision_gives_way(monkeypatch):
    axes = [centres(64), centres(64)]
    mean, covariance = np.array([1.5, -1.0]), np.array([[2.25, 0.18], [0.18, 0.16]])
    a, b = gaussian(0 * mean, np.eye(2), axes), gaussian(mean, covariance, axes)
    monkeypatch.setattr(grid_transport, "_BLURS", (1.0, 2.0))
    assert grid_w2(a, b, axes) == pytest.approx(bures(mean, covariance), rel=0.01)
    monkeypatch.setattr(grid_transport, "_BLURS", (1.0,))
    with pytest.raises(ValueError, match="masses must .* did not converge; take"):
        grid_w2(a, b, axes)


def test_settings_of_the_caller_do_not_matter():
    axes = [centres(64), centres(64)]
    a, b = gaussian([0, 0], np.eye(2), axes), gaussian([0.5, 0], np.eye(2), axes)
    expected = grid_w2(a, b, axes)
    assert expected == pytest.approx(0.5, rel=1e-4)
    with jax.enable_x64(False):
        assert grid_w2(a, b, axes) == expected
