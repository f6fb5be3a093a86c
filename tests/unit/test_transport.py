"""Transport costs against brute force, closed forms and each other."""

import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from mfsim.divergences.wasserstein import (
    _debiased,
    assignment_costs,
    line_cost,
    random_directions,
    sinkhorn_bytes,
    sinkhorn_divergence,
    sliced,
)

SEEDS = st.integers(0, 10**6)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def pair(seed, num=40, dim=3):
    return normal([seed, 0], num, dim), 1.5 * normal([seed, 1], num, dim) + 0.3


def exact(a, b):
    return assignment_costs(a, b).mean()


def coupled(a, b):
    return np.square(a - b).sum(axis=1).mean()


def test_the_best_matching_is_the_least_over_all_permutations():
    a, b = pair(0, num=6)
    least = min(coupled(a, b[list(p)]) for p in itertools.permutations(range(6)))
    assert exact(a, b) == pytest.approx(least, rel=1e-14)


def test_costs_come_in_the_order_of_the_first_set():
    a = normal(0, 30, 2)
    shifts = 1e-3 * np.arange(30)
    b = (a + shifts[:, None] * [0.6, 0.8])[::-1]
    # Cancellation of order-one coordinates: 1e-16 on displacements of 1e-3.
    np.testing.assert_allclose(assignment_costs(a, b), shifts**2, atol=1e-16)


@given(SEEDS)
def test_on_a_line_sorting_is_the_best_matching(seed):
    a, b = pair(seed, dim=1)
    assert line_cost(a[:, 0], b[:, 0]) == pytest.approx(exact(a, b), rel=1e-12)


@pytest.mark.parametrize(("shift", "scale"), [(0.7, 1.0), (0.0, 0.4), (-2.0, 3.0)])
def test_between_normal_laws_on_a_line(shift, scale):
    """N(0, 1) and N(mu, s^2): mu^2 + (1 - s)^2, by the increasing map x -> mu + s x."""
    x = normal(1, 20_000)
    cost = line_cost(x, shift + scale * x)
    each = np.square(shift + (scale - 1) * x)
    assert cost == pytest.approx(each.mean(), rel=1e-12)
    truth = shift**2 + (scale - 1) ** 2
    # Five standard errors: one false alarm in two million; rounding where s = 1.
    assert abs(cost - truth) <= 5 * each.std() / math.sqrt(len(x)) + 1e-12


@given(SEEDS)
def test_a_translation_costs_its_square(seed):
    a, v = normal(seed, 40, 3), normal([seed, 7], 3)
    np.testing.assert_allclose(exact(a, a + v), v @ v, rtol=1e-12)


@given(SEEDS)
def test_invariants_of_the_matching(seed):
    a, b = pair(seed)
    order = np.random.default_rng(seed).permutation(len(b))
    turn = special_ortho_group.rvs(3, random_state=seed)
    cost = exact(a, b)
    assert 0 <= cost <= coupled(a, b)
    # Other orders of summation: a few roundings of 1e-16 each.
    for other in (exact(b, a), exact(a, b[order]), exact(a @ turn, b @ turn)):
        assert other == pytest.approx(cost, rel=1e-12)
    assert exact(a, a[order]) == 0


@given(SEEDS)
def test_projections_lower_the_cost(seed):
    """Along any unit vectors by Cauchy-Schwarz; to 1/D along an orthonormal basis."""
    a, b = pair(seed)
    cost = exact(a, b)
    assert 0 <= sliced(a, b, random_directions(5, 3, seed)) <= cost * (1 + 1e-12)
    basis = special_ortho_group.rvs(3, random_state=seed)
    assert sliced(a, b, basis) <= cost / 3 * (1 + 1e-12)


def test_a_sliced_translation():
    v, directions = normal(2, 5), random_directions(4000, 5, seed=0)
    a = normal(3, 50, 5)
    each = np.square(directions @ v)
    value = sliced(a, a + v, directions)
    assert value == pytest.approx(each.mean(), rel=1e-12)
    # Five standard errors of the mean over directions.
    assert abs(value - v @ v / 5) < 5 * each.std() / math.sqrt(len(directions))


def test_sliced_is_the_same_in_one_block_or_many(monkeypatch):
    (a, b), directions = pair(4), random_directions(11, 3, seed=1)
    loop = np.mean([line_cost(a @ u, b @ u) for u in directions])
    whole = sliced(a, b, directions)
    monkeypatch.setattr("mfsim.divergences.wasserstein._SORT_BYTES", 3 * 16 * 40)
    assert sliced(a, b, directions) == pytest.approx(whole, rel=1e-14)
    assert whole == pytest.approx(loop, rel=1e-12)


def test_directions_are_uniform_unit_vectors():
    u = random_directions(4000, 3, seed=5)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(u, random_directions(4000, 3, seed=5))
    assert not np.array_equal(u, random_directions(4000, 3, seed=6))
    # E u u^T = I/3; an entry of u u^T has variance at most E u_1^4 - 1/9 = 4/45.
    error = 5 * math.sqrt(4 / 45 / 4000)
    np.testing.assert_allclose(u.T @ u / 4000, np.eye(3) / 3, atol=error)


@pytest.mark.parametrize("dim", [3, 11])
@pytest.mark.parametrize("size", [0.3, 1e-3])
def test_entropic_cost_of_a_smooth_displacement(dim, size):
    b = normal(0, 300, dim)
    a = b + size * np.tanh(b) + 0.1
    value, converged = sinkhorn_divergence(a, b)
    assert converged
    # Measured within 1 % at 1000 points; the bound leaves a factor of two.
    assert value == pytest.approx(exact(a, b), rel=0.02)


@pytest.mark.parametrize("dim", [3, 11])
def test_entropic_cost_of_unrelated_sets(dim):
    a, b = pair(1, num=300, dim=dim)
    value, converged = sinkhorn_divergence(a, b)
    assert converged
    # Blurring by eps lowers it: measured 2.4 % (D = 3) and 0.6 % (D = 11) low.
    assert 0.95 * exact(a, b) < value < 1.005 * exact(a, b)


@pytest.mark.filterwarnings("ignore:JAXopt:DeprecationWarning")
def test_entropic_cost_against_the_debiased_one_of_ott():
    from ott.tools.sinkhorn_divergence import sinkdiv

    a, b = pair(2, num=30)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    epsilon = 0.005 * float(np.square(a).sum(axis=1).mean())
    epsilon += 0.005 * float(np.square(b).sum(axis=1).mean())
    mean_cost = np.square(a[:, None] - b[None]).sum(axis=2).mean()
    assert epsilon == pytest.approx(0.005 * mean_cost)
    options = {"threshold": 1e-5, "max_iterations": 5000}
    value, _ = sinkhorn_divergence(a, b, **options)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = jax.jit(
            lambda a, b: sinkdiv(a, b, epsilon=epsilon, solve_kwargs=options)[0]
        )(a, b)
    # Potentials are of order 10 and marginals within 1e-5 of theirs.
    assert value == pytest.approx(float(theirs), abs=1e-4)


def test_entropic_cost_of_equal_sets_and_of_a_translation():
    a = normal(3, 200, 3)
    # The start is within 1e-3 of the marginals and its error enters squared, times
    # eps = 0.03; single points make the cost and its mean zero.
    assert sinkhorn_divergence(a, a) == (pytest.approx(0, abs=1e-7), True)
    v = np.array([0.3, 0.0, -0.4])
    assert sinkhorn_divergence(a + v, a) == (pytest.approx(0.25, abs=1e-7), True)
    same = np.ones((5, 3))
    assert sinkhorn_divergence(same + v, same) == (pytest.approx(0.25), True)


def test_entropic_cost_tells_that_it_did_not_converge():
    a, b = pair(4, num=200)
    _, converged = sinkhorn_divergence(a, b, max_iterations=10, threshold=1e-9)
    assert not converged
    a[0, 0] = np.nan
    value, converged = sinkhorn_divergence(a, b)
    assert math.isnan(value)
    assert not converged


def test_entropic_cost_is_in_double_precision_whatever_the_flags():
    a, b = pair(5, num=60)
    expected = sinkhorn_divergence(a, b)
    with jax.enable_x64(False):
        assert sinkhorn_divergence(a, b) == expected


def test_entropic_cost_compiles_once_a_shape():
    (a, b), before = pair(6, num=61), _debiased._cache_size()
    for shift in (0, 1, 2):
        sinkhorn_divergence(a + shift, b, threshold=10.0 ** -(2 + shift))
    assert _debiased._cache_size() == before + 1


def test_entropic_memory():
    assert sinkhorn_bytes(4000) == 10 * 8 * 4000**2
