"""Nearest-neighbour distances against a double loop, and laws with known entropies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, gammaln
from scipy.stats import special_ortho_group

from mfsim.divergences.nearest_neighbours import kl_terms, log_distances


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("dim", [1, 3, 4, 5, 11])
@pytest.mark.parametrize("neighbours", [1, 4])
def test_distances_against_all_pairs(dim, neighbours):
    z = normal(0, 60, dim)
    apart = np.linalg.norm(z[:, None] - z[None], axis=2)
    expected = np.log(np.sort(apart, axis=1)[:, neighbours])
    np.testing.assert_allclose(log_distances(z, neighbours), expected, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 11])
def test_small_distances_are_not_rounded_away(dim):
    """Far from the origin |x|^2 + |y|^2 - 2 x.y would be off by 1e-10, not 1e-13."""
    z = 100 + normal(1, 40, dim)
    z[1::2] = z[::2]
    z[1::2, 0] += 1e-6
    # Coordinates near 100 are rounded to 1e-14.
    np.testing.assert_allclose(log_distances(z, 1), math.log(1e-6), atol=1e-7)


@pytest.mark.parametrize("dim", [2, 11])
def test_duplicates_are_at_distance_zero(dim):
    z = np.repeat(normal(2, 30, dim), 2, axis=0)
    assert np.all(log_distances(z, 1) == -np.inf)
    assert np.all(np.isfinite(log_distances(z, 2)))
    assert np.all(kl_terms(z, normal(3, 60, dim), 1) == np.inf)
    assert np.all(np.isnan(kl_terms(z, z, 1)))


@pytest.mark.parametrize("neighbours", [0, 5])
def test_too_few_points(neighbours):
    with pytest.raises(ValueError, match="neighbours must be from 1 to 4"):
        log_distances(normal(0, 5, 2), neighbours)


@given(st.integers(0, 10**6), st.sampled_from([3, 8]))
def test_invariants_of_the_distances(seed, dim):
    z = normal(seed, 30, dim)
    distances = log_distances(z, 2)
    order = np.random.default_rng(seed).permutation(30)
    turn = special_ortho_group.rvs(dim, random_state=seed)
    np.testing.assert_array_equal(log_distances(z[order], 2), distances[order])
    # Rounding of order-one coordinates over distances above 1e-3.
    np.testing.assert_allclose(log_distances(z @ turn + 1, 2), distances, atol=1e-11)
    np.testing.assert_allclose(
        log_distances(3 * z, 2), distances + math.log(3), atol=1e-11
    )


@pytest.mark.parametrize("dim", [2, 5, 11])
@pytest.mark.parametrize("scale", [0.5, 1.3])
def test_divergence_of_a_shifted_and_scaled_normal_law(dim, scale):
    """KL(N(mu, s^2 I) || N(0, I)) = D(s^2 - 1)/2 + |mu|^2/2 - D log s."""
    s = normal(4, 3000, dim)
    mu = normal(5, dim)
    terms = kl_terms(mu + scale * s, s, 3)
    truth = dim * (scale**2 - 1) / 2 + mu @ mu / 2 - dim * math.log(scale)
    # All distances scale by s, so that only the energies fluctuate, independently.
    energies = terms + dim * math.log(scale)
    assert abs(terms.mean() - truth) < 5 * energies.std() / math.sqrt(len(s))
    moved = np.square(mu + scale * s).sum(axis=1) - np.square(s).sum(axis=1)
    np.testing.assert_allclose(energies, moved / 2, atol=1e-9)


@given(st.integers(0, 10**6))
def test_no_divergence_between_equal_populations(seed):
    s = normal(seed, 30, 3)
    np.testing.assert_array_equal(kl_terms(s, s, 3), 0)


def test_divergence_where_the_displacement_is_not_affine():
    """A map applied to each coordinate: KL from the change of variables.

    With z = T(s) coordinate by coordinate, log p(z) = log p_0(s) - sum log T'(s), so
    KL = E[(|z|^2 - |s|^2)/2 - sum log T'(s)], here by the same sample.
    """
    s = normal(6, 4000, 2)
    z = s + 0.4 * np.tanh(s)
    slope = 1 + 0.4 / np.cosh(s) ** 2
    terms = kl_terms(z, s, 3)
    truth = (np.square(z) - np.square(s)).sum(axis=1) / 2 - np.log(slope).sum(axis=1)
    # The same sample carries both, and neighbours share a distance at most a few
    # times: the remaining spread is that of the differences, enlarged by sqrt(5).
    error = math.sqrt(5) * (terms - truth).std() / math.sqrt(len(s))
    assert abs(terms.mean() - truth.mean()) < 4 * error
    assert terms.mean() > 4 * error


@pytest.mark.parametrize("dim", [1, 3])
def test_entropy_with_its_constants(dim):
    """Kozachenko and Leonenko's entropy of N(0, I) is D/2 log(2 pi e)."""
    num, neighbours = 4000, 4
    logs = log_distances(normal(7, num, dim), neighbours)
    ball = dim / 2 * math.log(math.pi) - gammaln(dim / 2 + 1)
    entropy = dim * logs.mean() + ball + digamma(num) - digamma(neighbours)
    # Variance (Var log p + trigamma)/k below (D/2 + 1)/k; the bias is of order
    # (neighbours/k)^{2/D} times a constant: 0.01 for D = 3, below the bound.
    error = 4 * math.sqrt((dim / 2 + 1) / num) + (neighbours / num) ** (2 / dim)
    assert abs(entropy - dim / 2 * math.log(2 * math.pi * math.e)) < error
