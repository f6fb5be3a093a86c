"""The shadow: the same start and noise without the force, so that its law is p_0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.networks import Neurons, TwoLayer
from mfsim.observables import KL, Audit, accounts_of

M, N, DIM, STEP = 64, 7, 3, 0.05
# Apart and off 1, so that sigma for sigma^2, or one block's for the other's, shows.
STD = Neurons(0.7, 1.5)

each_kind = pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
each_trainable = pytest.mark.parametrize("trainable", ["both", "output", "input"])


def make_flow(width=M, alpha=2.0, temperature=0.3, trainable="both", **options):
    network = TwoLayer(
        width=width,
        alpha=alpha,
        trainable=trainable,
        input_std=STD.w,
        output_std=STD.u,
    )
    return ParticleFlow(network, Digits(), temperature=temperature, **options)


def make_batch(seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    return jax.random.normal(x_key, (N, DIM)), jax.random.normal(y_key, (N,))


def run(integrator, flow, key, steps=5, batch=None, accounts=()):
    """The start, and the carry after some steps."""
    batch = batch or make_batch()
    start_key, noise_key = jax.random.split(key)
    start = flow.init(start_key, DIM)

    @jax.jit
    def advance(carry):
        return integrator.advance(flow, batch, carry, steps, noise_key, accounts)

    return start, advance(integrator.init(flow, start, batch, accounts))


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
@each_kind
def test_the_law_of_the_shadow_stays_the_prior(kind, key):
    # Of an antithetic pair, one: the first half are independent draws of p_0. One of
    # four p-values is below 1e-6 by chance in 1 of 250 000 runs, and the seed is fixed.
    # Euler steps, a = 0.3 for w, would widen it by 1/sqrt(1 - a/2), 9 %: p = 1e-10.
    width = 20_000
    _, carry = run(kind(0.5), make_flow(width), key, 40)
    neurons, shadow = (
        [
            np.asarray(b[: width // 2]).ravel() / std
            for b, std in zip(each, STD, strict=True)
        ]
        for each in carry.state[:2]
    )
    assert all(stats.kstest(block, "norm").pvalue > 1e-6 for block in shadow)
    # The force has moved the neurons far from it.
    assert stats.kstest(neurons[1], "norm").pvalue < 1e-6


@each_trainable
def test_the_shadow_is_the_run_without_a_force(trainable, key):
    # The force is of order alpha: nothing is left of 1e-200 beside the parameters.
    flow = make_flow(alpha=1e-200, trainable=trainable)
    start, carry = run(ExponentialLangevin(STEP), flow, key, 100)
    assert_same_bits(start.params, start.shadow)
    moves = flow.network.trainable_mask(start.params)
    for block, free, begun, moving in zip(
        carry.state.params, carry.state.shadow, start.params, moves, strict=True
    ):
        # 100 contracting steps of a few roundings of numbers below 10.
        np.testing.assert_allclose(block, free, rtol=0, atol=1e-12)
        assert np.array_equal(free, begun) != moving


def test_both_integrators_have_one_shadow(key):
    shadows = [
        run(kind(STEP), make_flow(), key, 100)[1].state.shadow
        for kind in (NoisyGD, ExponentialLangevin)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *shadows)


@each_kind
@pytest.mark.parametrize("zero", [0.0, jnp.asarray(0.0)], ids=["number", "array"])
def test_without_temperature_the_shadow_is_the_start(kind, zero, key):
    start, carry = run(kind(STEP), make_flow(temperature=zero), key)
    assert_same_bits(carry.state.shadow, start.params)
    assert not np.array_equal(carry.state.params.u, start.params.u)


@each_kind
@pytest.mark.parametrize(
    ("trainable", "frozen", "moving"), [("output", "w", "u"), ("input", "u", "w")]
)
def test_frozen_blocks_of_the_shadow_stand_still(kind, trainable, frozen, moving, key):
    start, carry = run(kind(STEP), make_flow(trainable=trainable), key)
    shadow = carry.state.shadow
    assert_same_bits(getattr(shadow, frozen), getattr(start.params, frozen))
    assert not np.isin(getattr(shadow, moving), getattr(start.params, moving)).any()


@each_kind
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_neurons_do_not_see_their_shadow(kind, temperature, key):
    (_, lit), (_, dark) = (
        run(kind(STEP), make_flow(temperature=temperature, shadow=on), key, 50)
        for on in (True, False)
    )
    assert dark.state.shadow is None
    assert_same_bits(lit.state.params, dark.state.params)


@each_kind
def test_the_shadow_does_not_see_the_data(kind, key):
    # Nor alpha, the size of a batch, or what is accounted for.
    _, one = run(kind(STEP), make_flow(), key)
    accounts = accounts_of((KL(), Audit()))
    others = [
        run(kind(STEP), make_flow(alpha=8.0), key),
        run(kind(STEP), make_flow(), key, batch=make_batch(1)),
        run(kind(STEP, 3), make_flow(), key),
        run(kind(STEP), make_flow(), key, accounts=accounts),
    ]
    for _, other in others:
        assert_same_bits(other.state.shadow, one.state.shadow)
    for _, other in others[:3]:
        assert not np.array_equal(other.state.params.u, one.state.params.u)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize(
    ("temperature", "batch_size"), [(0.0, None), (0.3, None), (0.3, 3)]
)
def test_cuts_into_calls_change_no_bit_of_the_accounts(
    kind, temperature, batch_size, key
):
    observables = (KL(fisher_every=3), Audit()) if batch_size is None else (KL(),)
    accounts = accounts_of(observables)
    flow, batch = make_flow(temperature=temperature), make_batch()
    integrator = kind(STEP, batch_size)
    start = integrator.init(flow, flow.init(key, DIM), batch, accounts)
    go = jax.jit(
        lambda carry, steps: integrator.advance(
            flow, batch, carry, steps, key, accounts
        )
    )
    whole = go(start, 11)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(whole.ledger))
    for cuts in [(4, 7), (1, 2, 8), (0, 5, 6), (1,) * 11]:
        carry = start
        for steps in cuts:
            carry = go(carry, steps)
        assert_same_bits(carry, whole)
