"""Functionals of moments against NumPy, their errors against repetition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from mfsim.divergences.gaussian import (
    Pairs,
    affine_fisher,
    chi_square,
    estimate,
    gaussian_kl,
    gelbrich,
    standard_error,
)

STD = np.array([0.7, 1.6, 1.1])
LAMBDA = np.diag(STD**2)


def moments(seed, scale=0.6):
    """A mean and a covariance near those of the prior."""
    draws = np.random.default_rng(seed)
    root = np.diag(STD) @ (np.eye(3) + scale * draws.uniform(-0.5, 0.5, (3, 3)))
    return scale * draws.standard_normal(3), root @ root.T


def numbers(functional, mean, covariance):
    return float(functional(jnp.asarray(mean), jnp.asarray(covariance)))


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_the_formulas(seed):
    mu, c = moments(seed)
    inverse = np.linalg.inv(LAMBDA)
    kl = np.trace(inverse @ c) + mu @ inverse @ mu - 3
    kl = (kl - np.linalg.slogdet(inverse @ c)[1]) / 2
    assert numbers(gaussian_kl(jnp.asarray(STD)), mu, c) == pytest.approx(kl, rel=1e-12)
    root = sqrtm(np.diag(STD) @ c @ np.diag(STD)).real
    w2 = mu @ mu + np.trace(c + LAMBDA - 2 * root)
    assert numbers(gelbrich(jnp.asarray(STD)), mu, c) == pytest.approx(w2, rel=1e-9)
    z = mu / STD
    second = c / np.outer(STD, STD) + np.outer(z, z) - np.eye(3)
    chi2 = z @ z + np.sum(second**2) / 2
    assert numbers(chi_square(jnp.asarray(STD)), mu, c) == pytest.approx(
        chi2, rel=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("moves", [[1, 1, 1], [0, 0, 1], [1, 1, 0]])
def test_affine_fisher_is_the_supremum_over_affine_fields(seed, moves):
    # psi = P (A theta + b) makes 2 E[grad V_0 . psi - div psi] - E|psi|^2 a quadratic
    # in (A, b), whose maximum is a linear equation.
    mu, c = moments(seed)
    moves = np.array(moves, bool)
    second = c + np.outer(mu, mu)
    joint = np.block([[second, mu[:, None]], [mu[None, :], np.ones((1, 1))]])
    total = 0.0
    for a in np.flatnonzero(moves):
        # Row a of (A, b): E[theta_a/std^2 psi_a] - A_aa = row . v.
        v = joint[a] / STD[a] ** 2 - np.eye(4)[a]
        row = np.linalg.solve(joint, v)
        total += 2 * row @ v - row @ joint @ row
    value = numbers(affine_fisher(jnp.asarray(STD), jnp.asarray(moves)), mu, c)
    assert value == pytest.approx(total, rel=1e-9)


def test_nothing_is_bounded_where_a_covariance_is_none():
    c = np.diag([-0.1, 1.0, 1.0])
    moves = jnp.ones(3, bool)
    for functional in (
        gaussian_kl(jnp.asarray(STD)),
        gelbrich(jnp.asarray(STD)),
        affine_fisher(jnp.asarray(STD), moves),
    ):
        assert numbers(functional, np.zeros(3), c) == 0


@given(st.integers(0, 1000), st.floats(0.05, 0.9))
def test_inequalities_between_the_functionals(seed, scale):
    mu, c = moments(seed, scale)
    kl = numbers(gaussian_kl(jnp.asarray(STD)), mu, c)
    w2 = numbers(gelbrich(jnp.asarray(STD)), mu, c)
    fisher = numbers(affine_fisher(jnp.asarray(STD), jnp.ones(3, bool)), mu, c)
    slack = 1e-12
    # Talagrand, log-Sobolev, and chi^2 >= e^KL - 1 of the Gaussian of these moments.
    assert w2 <= 2 * STD.max() ** 2 * kl + slack
    assert 2 * kl / STD.max() ** 2 <= fisher + slack
    white = c / np.outer(STD, STD)
    if np.linalg.eigvalsh(white)[-1] < 2 - 1e-6:
        z = mu / STD
        inverse = np.linalg.inv(2 * np.eye(3) - white)
        log = (
            z @ inverse @ z - np.linalg.slogdet(white @ (2 * np.eye(3) - white))[1] / 2
        )
        assert log >= kl - slack
        chi2 = numbers(chi_square(jnp.asarray(STD)), mu, c)
        assert chi2 <= np.expm1(log) * (1 + 1e-9) + slack


def make_pairs(key, rows=4000):
    """Particles that follow a shadow, and the moments of their law."""
    shadow = STD[None, :] * jax.random.normal(key, (rows, 3))
    matrix = np.array([[1.1, 0.2, 0.0], [0.0, 0.9, 0.1], [0.3, 0.0, 1.2]])
    shift = np.array([0.3, 0.0, -0.2])
    particles = shadow @ matrix.T + shift[None, :]
    law = shift, matrix @ LAMBDA @ matrix.T
    return Pairs(particles, shadow, jnp.asarray(STD), False), law


def test_moments_are_corrected_by_the_shadow(key):
    pairs, (mu, c) = make_pairs(key)
    mean, covariance = pairs.moments()
    np.testing.assert_allclose(mean, (pairs.particles - pairs.shadow).mean(axis=0))
    plain = [np.cov(a.T, bias=True) for a in pairs[:2]]
    np.testing.assert_allclose(covariance, plain[0] - plain[1] + LAMBDA, atol=1e-12)
    # Closer to the law than the moments of the particles alone.
    assert np.linalg.norm(covariance - c) < 0.7 * np.linalg.norm(plain[0] - c)
    alone = Pairs(pairs.shadow, pairs.shadow, pairs.std, False)
    np.testing.assert_allclose(alone.moments()[1], LAMBDA, atol=1e-12)


@pytest.mark.parametrize("make", [gaussian_kl, chi_square, gelbrich])
def test_standard_errors_are_those_of_repetition(make, key):
    # 200 repetitions give a standard deviation to 5 %; 4 of those.
    functional = make(jnp.asarray(STD))

    def one(key):
        return estimate(functional, make_pairs(key, 2000)[0])

    found = jax.jit(jax.vmap(one))(jax.random.split(key, 200))
    value, error = map(np.asarray, found)
    assert np.mean(error) == pytest.approx(np.std(value), rel=0.2)
    law = make_pairs(key)[1]
    # Bias of second order in the noise: a few of its squares, below one error here.
    assert abs(np.mean(value) - numbers(functional, *law)) < np.mean(error)


def test_pairs_that_mirror_each_other_are_one_draw(key):
    half = jax.random.normal(key, (500,))
    both = jnp.concatenate([half, half])
    expected = np.std(half, ddof=1) / np.sqrt(500)
    assert float(standard_error(both, True)) == pytest.approx(expected)
    assert standard_error(jnp.concatenate([half, -half]), True) < 1e-15


def test_a_subset_takes_whole_antithetic_pairs():
    rows = jnp.arange(12.0)[:, None]
    chosen = Pairs(rows, -rows, jnp.ones(1), True).first(4)
    assert chosen.particles[:, 0].tolist() == [0, 1, 6, 7]
    assert chosen.shadow[:, 0].tolist() == [0, -1, -6, -7]
    assert len(Pairs(rows, -rows, jnp.ones(1), False).first(5).particles) == 5
