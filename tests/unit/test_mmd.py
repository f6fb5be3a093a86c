"""The discrepancy to the normal law against sums written out, and in expectation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from mfsim.divergences.mmd import mmd_terms


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def discrepancy(z, bandwidth, **options):
    return float(jnp.mean(mmd_terms(jnp.asarray(z), bandwidth, **options)))


def kernel(x, y, bandwidth):
    return math.exp(-np.sum((x - y) ** 2) / (2 * bandwidth**2))


def written_out(z, bandwidth, left_out):
    """The U-statistic by a double loop; `left_out(i)` are the indices not paired."""
    num, dim = z.shape
    r = bandwidth**2
    pairs = [
        kernel(z[i], z[j], bandwidth)
        for i in range(num)
        for j in range(num)
        if j not in left_out(i)
    ]
    single = [(r / (r + 1)) ** (dim / 2) * math.exp(-x @ x / (2 * (r + 1))) for x in z]
    return np.mean(pairs) - 2 * np.mean(single) + (r / (r + 2)) ** (dim / 2)


@pytest.mark.parametrize("dim", [1, 4])
def test_against_the_sums_written_out(dim):
    z = 0.5 + normal(0, 12, dim)
    # Terms of order one, added in another order.
    assert discrepancy(z, 1.3) == pytest.approx(
        written_out(z, 1.3, lambda i: {i}), abs=1e-14
    )
    assert discrepancy(z, 1.3, antithetic=True) == pytest.approx(
        written_out(z, 1.3, lambda i: {i, (i + 6) % 12}), abs=1e-14
    )


@pytest.mark.parametrize("rows", [1, 7, 50, 64])
def test_the_same_in_any_blocks(rows, monkeypatch):
    z = normal(1, 50, 3)
    whole = mmd_terms(jnp.asarray(z), 2.0, antithetic=True)
    monkeypatch.setattr("mfsim.divergences.mmd._BLOCK_BYTES", rows * 8 * 50)
    blocks = mmd_terms(jnp.asarray(z), 2.0, antithetic=True)
    np.testing.assert_allclose(blocks, whole, atol=1e-14)


def test_no_array_of_all_pairs_is_held(monkeypatch):
    monkeypatch.setattr("mfsim.divergences.mmd._BLOCK_BYTES", 8 * 2000 * 10)
    z = jax.ShapeDtypeStruct((2000, 3), jnp.float64)
    compiled = jax.jit(lambda z: mmd_terms(z, 2.0)).lower(z).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 8 * 2000**2 / 10


def test_expectations_under_the_normal_law_by_monte_carlo():
    """One particle pair alone shows both: the kernel of the pair is known."""
    x, y, bandwidth, num = np.array([0.4, -1.0]), np.array([1.0, 0.2]), 1.2, 200_000
    draws, more = normal(2, num, 2), normal(3, num, 2)

    def mean_and_error(squares):
        values = np.exp(-squares / (2 * bandwidth**2))
        return values.mean(), values.std() / math.sqrt(num)

    to_x, error_x = mean_and_error(np.square(draws - x).sum(axis=1))
    to_y, error_y = mean_and_error(np.square(draws - y).sum(axis=1))
    both, error_both = mean_and_error(np.square(draws - more).sum(axis=1))
    expected = kernel(x, y, bandwidth) - to_x - to_y + both
    value = discrepancy(np.stack([x, y]), bandwidth)
    assert abs(value - expected) < 4 * (error_x + error_y + error_both)


def over_samples(sample, bandwidth, **options):
    """Mean over 200 samples, and its standard error."""
    values = jax.jit(jax.vmap(lambda z: mmd_terms(z, bandwidth, **options).mean()))
    values = np.asarray(values(jnp.asarray(sample)))
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize("dim", [1, 5])
def test_zero_in_expectation_for_the_normal_law(dim):
    mean, error = over_samples(normal(4, 200, 100, dim), math.sqrt(dim))
    assert abs(mean) < 3 * error


def test_antithetic_pairs_are_biased_unless_left_out():
    half = normal(5, 200, 20, 3)
    z = np.concatenate([half, -half], axis=1)
    mean, error = over_samples(z, 1.7, antithetic=True)
    assert abs(mean) < 3 * error
    mean, error = over_samples(z, 1.7)
    assert abs(mean) > 5 * error


def test_closed_form_for_a_shifted_normal_law():
    """N(mu, I): 2 (r/(r+2))^{D/2} (1 - exp(-|mu|^2 / 2(r+2))), r = l^2.

    z - z' and Z - Z' both are N(0, 2I), and z - Z is N(mu, 2I).
    """
    mu, r = np.array([0.5, -0.3, 0.2]), 3.0
    mean, error = over_samples(mu + normal(6, 200, 100, 3), math.sqrt(r))
    truth = 2 * (r / (r + 2)) ** 1.5 * (1 - math.exp(-mu @ mu / (2 * (r + 2))))
    assert abs(mean - truth) < 3 * error
    assert truth > 10 * error


def test_the_spread_of_the_terms_is_the_standard_error():
    z = jnp.asarray(np.array([1.0, 0.0]) + normal(7, 400, 100, 2))
    terms = jax.vmap(lambda z: mmd_terms(z, 1.5))(z)
    claimed = float(jnp.mean(jnp.std(terms, axis=1))) / 10
    # Of 400 samples the spread is known to 1/sqrt(800) = 3.5 %: four of these, and
    # the next order in 1/m = 1 %.
    assert claimed == pytest.approx(float(jnp.std(terms.mean(axis=1))), rel=0.16)


def test_maps_of_jax_agree():
    z = jnp.asarray(normal(8, 3, 20, 2))
    one_by_one = jnp.stack([mmd_terms(row, 1.0) for row in z])
    for mapped in (
        jax.vmap(lambda row: mmd_terms(row, 1.0))(z),
        jax.lax.map(lambda row: mmd_terms(row, 1.0), z),
        jax.jit(jax.vmap(mmd_terms, (0, None)))(z, 1.0),
    ):
        np.testing.assert_allclose(mapped, one_by_one, atol=1e-14)


@given(st.integers(0, 10**6))
def test_order_and_rotation_do_not_matter(seed):
    z = normal(seed, 20, 3)
    turn = special_ortho_group.rvs(3, random_state=seed)
    order = np.random.default_rng(seed).permutation(20)
    value = discrepancy(z, 1.5)
    assert discrepancy(z[order], 1.5) == pytest.approx(value, abs=1e-14)
    assert discrepancy(z @ turn, 1.5) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize(
    ("num", "antithetic", "message"),
    [(1, False, "at least 2"), (2, True, "even in number"), (5, True, "got 5")],
)
def test_too_few_particles(num, antithetic, message):
    with pytest.raises(ValueError, match=message):
        mmd_terms(jnp.zeros((num, 2)), 1.0, antithetic=antithetic)
