"""Without a data force the particles are free: Ornstein-Uhlenbeck, with law p_0.

Inputs at the origin and an odd activation make every h and every force zero. Seeds are
fixed; 5 sigma bounds and p > 1e-6 would fail by chance once in about a million.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mfsim.activations import Tanh
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.networks import Neurons, TwoLayer
from tests.physics.exact import euler_variance, ornstein_uhlenbeck, run_members

WIDTH, DIM, STEP, TEMPERATURE = 20_000, 3, 0.5, 0.3
# Apart and off 1, so that sigma for sigma^2, or one block's for the other's, shows.
STD = Neurons(0.7, 1.5)


def free_flow(temperature=TEMPERATURE, antithetic=False):
    network = TwoLayer(
        width=WIDTH,
        activation=Tanh(),
        input_std=STD.w,
        output_std=STD.u,
        antithetic=antithetic,
    )
    return ParticleFlow(network, Digits(), temperature=temperature)


def run(integrator, stops, key, flow=None):
    """The start and the states at `stops`."""
    flow = flow or free_flow()
    start_key, noise_key = jax.random.split(key)
    start = jax.vmap(lambda k: flow.init(k, DIM))(start_key[None])
    batch = jnp.zeros((1, DIM)), jnp.ones(1)
    states = run_members(integrator, flow, batch, start, noise_key[None], stops)
    reached = [start.params, *states]
    return [jax.tree.map(lambda a: np.asarray(a[0]), s) for s in reached]


def assert_variance(sample, variance):
    """Within 5 standard errors sqrt(2/N) of the variance of a centred normal sample."""
    error = 5 * np.sqrt(2 / sample.size)
    assert np.mean(np.square(sample)) / variance == pytest.approx(1, abs=error)


def assert_uncorrelated(a, b):
    """Within 5 standard errors 1/sqrt(N) of correlation zero."""
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 40])
def test_exponential_langevin_keeps_the_prior(steps, key):
    _, state = run(ExponentialLangevin(STEP), [steps], key)
    for block, std in zip(state, STD, strict=True):
        sample = block.ravel() / std
        assert stats.kstest(sample, "norm").pvalue > 1e-6
        assert abs(sample.mean()) < 5 / np.sqrt(sample.size)
        assert_variance(sample, 1.0)


@pytest.mark.slow
def test_exponential_langevin_forgets_its_start_at_the_exact_rate(key):
    steps = 3
    start, state = run(ExponentialLangevin(STEP), [steps], key)
    for then, now, std in zip(start, state, STD, strict=True):
        decay, _ = ornstein_uhlenbeck(TEMPERATURE, std, steps * STEP, std**2)
        # Given the start, the rest is normal of variance std^2 (1 - decay^2).
        assert_variance(now - decay * then, std**2 * (1 - decay**2))
        assert_uncorrelated(now - decay * then, then)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3, 60])
def test_noisy_gd_has_the_variance_of_the_euler_chain(steps, key):
    # After 60 steps (1 - a)^120 < 1e-8 is left: the stationary 1/(1 - a/2), which is
    # 1.18 for w and 1.03 for u, against standard errors of 0.006 and 0.01.
    start, state = run(NoisyGD(STEP), [steps], key)
    for then, now, std in zip(start, state, STD, strict=True):
        decay, variance = euler_variance(TEMPERATURE, std, STEP, steps, std**2)
        assert_variance(now, variance)
        _, spread = euler_variance(TEMPERATURE, std, STEP, steps, 0.0)
        assert_variance(now - decay * then, spread)
        assert_uncorrelated(now - decay * then, then)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_noise_is_independent_across_steps_blocks_and_neurons(kind, key):
    states = run(kind(STEP), [1, 2], key, free_flow(antithetic=True))
    decay = {
        NoisyGD: lambda a: 1 - a,
        ExponentialLangevin: lambda a: np.exp(-a),
    }[kind]
    factors = [decay(TEMPERATURE * STEP / std**2) for std in STD]
    first, second = (
        [b - f * a for a, b, f in zip(old, new, factors, strict=True)]
        for old, new in zip(states[:-1], states[1:], strict=True)
    )
    half = WIDTH // 2
    for one, two in zip(first, second, strict=True):
        assert_uncorrelated(one, two)
        assert_uncorrelated(one[:half], one[half:])
        assert_uncorrelated(one[1:], one[:-1])
    w, u = first
    # Neither neuron by neuron nor number by number in the order they are drawn.
    assert_uncorrelated(w.ravel()[:WIDTH], u)
    for i in range(DIM):
        assert_uncorrelated(w[:, i], u)
        assert_uncorrelated(w[:, i], w[:, i - 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_without_force_and_temperature_nothing_moves(kind, key):
    start, state = run(kind(STEP), [5], key, free_flow(temperature=0.0))
    assert all(np.array_equal(a, b) for a, b in zip(start, state, strict=True))
