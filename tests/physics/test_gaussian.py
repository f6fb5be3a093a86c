"""Identity activation: the law of the particles against the exact N(0, C(t)).

The block variances differ from each other and from 1, so that no power of sigma hides.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.activations import Identity
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow, State
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.kernels import tangent_kernel
from mfsim.networks import TwoLayer
from tests.physics.exact import GaussianFlow, run_members

MEMBERS, WIDTH, DIM, SAMPLES = 16, 1024, 3, 6
STOPS = [20, 60, 200]
KINDS = [NoisyGD, ExponentialLangevin]
# In kernel time alpha^2 t both end at the same place; the fastest rate, about
# 3 alpha^2, times the step is 0.05.
STEPS = {1.0: 0.016, 4.0: 0.001}


def make_problem(alpha, temperature):
    draws = np.random.default_rng(3)
    x = draws.standard_normal((SAMPLES, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = x @ np.array([1.5, -1.0, 0.5]) + 0.3 * draws.standard_normal(SAMPLES)
    return GaussianFlow(x, y, alpha, temperature, input_std=0.8, output_std=1.3)


def make_flow(exact):
    network = TwoLayer(
        width=WIDTH,
        alpha=exact.alpha,
        activation=Identity(),
        input_std=exact.input_std,
        output_std=exact.output_std,
    )
    return ParticleFlow(network, Digits(), temperature=exact.temperature)


def second_moments(states):
    theta = np.concatenate([states.w, states.u[..., None]], axis=-1)
    return np.swapaxes(theta, -1, -2) @ theta / theta.shape[-2]


def simulate(kind, exact, step, key):
    """Flow, starts and states at STOPS of an ensemble of independent members."""
    flow = make_flow(exact)
    start_keys, noise_keys = jax.random.split(key, (2, MEMBERS))
    starts = jax.vmap(lambda k: flow.init(k, DIM))(start_keys)
    batch = jnp.asarray(exact.x), jnp.asarray(exact.y)
    states = run_members(kind(step), flow, batch, starts, noise_keys, STOPS)
    return flow, starts.params, states


def first_order_error(exact, kind, step, steps, start=None):
    """O(step): three times the change on halving, itself half the error to order 1."""
    coarse, fine = (
        exact.chain(exact.coefficients(kind.__name__, s), n, start)
        for s, n in [(step, steps), (step / 2, 2 * steps)]
    )
    return 3 * np.abs(coarse - fine)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_flow_of_the_sampled_start(kind, alpha, key):
    # At temperature 0 the second moments of the particles close on themselves: from
    # the sampled ones C(t) holds without an error in the width, up to O(step); and the
    # discrete chain holds to rounding, 200 steps of a contracting map.
    exact, step = make_problem(alpha, 0.0), STEPS[alpha]
    _, starts, states = simulate(kind, exact, step, key)
    start = second_moments(starts)[0]
    solved = exact.covariance([step * k for k in STOPS], start)
    for k, state, c in zip(STOPS, states, solved, strict=True):
        measured = second_moments(state)[0]
        error = first_order_error(exact, kind, step, k, start)
        np.testing.assert_array_less(np.abs(measured - c), error + 1e-10)
        chain = exact.chain(exact.coefficients(kind.__name__, step), k, start)
        np.testing.assert_allclose(measured, chain, atol=1e-11)


def assert_mean(members, expected, bias):
    """The mean over members within 5 of its standard errors and a bias."""
    error = np.std(members, axis=0, ddof=1) / np.sqrt(len(members))
    distance = np.abs(np.mean(members, axis=0) - expected)
    np.testing.assert_array_less(distance, 5 * error + bias + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 4.0])
@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_particles_follow_the_exact_law(kind, temperature, alpha, key):
    # temperature in units of alpha^2, so that noise and data act on one time scale.
    # CLT: the members' own spread, of order 1/sqrt(width), gives the standard error of
    # their mean; 5 of those are exceeded by chance (Student t, 15 degrees of freedom)
    # once in 1e4 comparisons, and the seed is fixed. The mean itself is off by the
    # second order of those fluctuations, 1/width times an O(10) constant, and by
    # O(step).
    exact, step = make_problem(alpha, temperature * alpha**2), STEPS[alpha]
    flow, _, states = simulate(kind, exact, step, key)
    kernel = jax.jit(jax.vmap(lambda s: tangent_kernel(flow.network, s, exact.x)))
    predict = jax.jit(jax.vmap(lambda s: flow.predict(State(s), jnp.asarray(exact.x))))
    for k, state, c in zip(
        STOPS, states, exact.covariance([step * k for k in STOPS]), strict=True
    ):
        bias = first_order_error(exact, kind, step, k).max() + 10 / WIDTH
        assert_mean(second_moments(state), c, bias)
        assert_mean(kernel(state), exact.kernel(c), 2 * bias)
        outputs = np.asarray(predict(state))
        # The output is alpha times a moment, so its O(step) error is alpha times that.
        assert_mean(outputs, exact.outputs(c), alpha * bias)
        risks = np.mean((outputs - exact.y) ** 2, axis=1)
        assert_mean(risks, exact.risk(c), 2 * np.sqrt(exact.risk(c)) * alpha * bias)
