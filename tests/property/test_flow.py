"""Invariants of the particle flow, its kernel, its blocks and its loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.activations import Erf, Identity, Relu, Sigmoid, Softplus, Tanh
from mfsim.blocks import block_size, map_blocks, sum_blocks
from mfsim.datasets import Data, Digits
from mfsim.flows import ParticleFlow, State
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.kernels import tangent_kernel
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import Neurons, TwoLayer

ACTIVATIONS = [Tanh(), Erf(), Softplus(2.0), Sigmoid(), Relu(), Identity()]
TRAINABLE = ["both", "output", "input"]
LOSSES = [SquaredError(), Logistic()]
KINDS = [NoisyGD, ExponentialLangevin]
M, N, DIM = 16, 7, 3

seeds = st.integers(0, 2**32 - 1)
each_trainable = pytest.mark.parametrize("trainable", TRAINABLE)
# The smooth one and the one with a kink always, the others with the slow tests.
each_activation = pytest.mark.parametrize(
    "activation",
    [
        pytest.param(a, marks=[] if type(a) in (Tanh, Relu) else pytest.mark.slow)
        for a in ACTIVATIONS
    ],
    ids=lambda a: type(a).__name__,
)
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda c: type(c).__name__)
each_kind = pytest.mark.parametrize("kind", KINDS)


def make_flow(
    activation=None, trainable="both", loss=None, temperature=0.2, alpha=2.0, **options
):
    network = TwoLayer(
        width=M,
        alpha=alpha,
        activation=activation or Tanh(),
        trainable=trainable,
        input_std=0.8,
        output_std=1.3,
    )
    return ParticleFlow(
        network, Digits(), loss or SquaredError(), temperature, **options
    )


def make_neurons(seed, m=M):
    """Neurons without any symmetry, so that outputs are not zero."""
    w_key, u_key = jax.random.split(jax.random.key(seed))
    return Neurons(
        jax.random.normal(w_key, (m, DIM)), 1.0 + jax.random.normal(u_key, (m,))
    )


def make_state(seed, m=M):
    """Such neurons, their own shadow at the start."""
    neurons = make_neurons(seed, m)
    return State(neurons, neurons)


def make_batch(seed, n=N):
    x = jax.random.normal(jax.random.fold_in(jax.random.key(seed), 1), (n, DIM))
    return x, jnp.where(jnp.arange(n) % 3 == 0, 1.0, -1.0)


def assert_close(a, b, rtol=1e-12):
    """Equal to some hundreds of roundings of the largest entry, leaf by leaf."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=rtol, atol=rtol * np.abs(b).max()
        ),
        a,
        b,
    )


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


velocity = jax.jit(lambda flow, state, batch: flow.velocity(state, batch))
predict = jax.jit(lambda flow, state, x: flow.predict(state, x))


# Symmetries


@given(seed=seeds)
def test_neurons_have_no_order(seed):
    flow, state, batch = make_flow(), make_state(seed), make_batch(seed)
    order = np.random.default_rng(seed).permutation(M)
    permuted = jax.tree.map(lambda a: a[order], state)
    moved = jax.tree.map(lambda a: a[order], velocity(flow, state, batch))
    assert_close(velocity(flow, permuted, batch), moved)
    assert_close(predict(flow, permuted, batch[0]), predict(flow, state, batch[0]))


@given(seed=seeds)
def test_samples_have_no_order(seed):
    flow, state, (x, y) = make_flow(), make_state(seed), make_batch(seed)
    order = np.random.default_rng(seed).permutation(N)
    shuffled = velocity(flow, state, (x[order], y[order]))
    assert_close(shuffled, velocity(flow, state, (x, y)))


@given(seed=seeds, scale=st.floats(0.1, 10))
def test_relu_lets_scale_pass_from_layer_to_layer(seed, scale):
    flow, (w, u), (x, _) = make_flow(Relu()), make_neurons(seed), make_batch(seed)
    states = State(Neurons(w, u)), State(Neurons(scale * w, u / scale))
    outputs, scaled = (predict(flow, state, x) for state in states)
    assert_close(scaled, outputs)


@given(seed=seeds, alpha=st.floats(0.1, 100))
def test_outputs_are_alpha_times_a_mean_over_neurons(seed, alpha):
    state, (x, _) = make_state(seed), make_batch(seed)
    w, u = state.params
    expected = alpha * np.mean(np.tanh(x @ w.T) * u[None, :], axis=1)
    assert_close(predict(make_flow(alpha=alpha), state, x), expected)


@pytest.mark.parametrize("antithetic", [True, False])
def test_start_does_not_depend_on_alpha_and_is_balanced_if_antithetic(antithetic, key):
    def start(alpha):
        network = TwoLayer(width=M, alpha=alpha, antithetic=antithetic)
        state = network.init(key, DIM)
        return state, network(state, make_batch(0)[0])

    (one, outputs), (other, _) = start(1.0), start(8.0)
    assert_same_bits(one, other)
    assert (np.abs(outputs).max() < 1e-15) == antithetic


# Velocity and energy


@each_activation
@each_trainable
def test_velocity_is_minus_the_gradient_of_the_energy(activation, trainable):
    for loss in LOSSES:
        flow = make_flow(activation, trainable, loss)
        state, batch = make_state(1), make_batch(1)
        gradient = jax.jit(jax.grad(flow.energy))(state, batch).params
        moved = velocity(flow, state, batch)
        for block, moves in zip(
            Neurons._fields, flow.network.trainable_mask(state.params), strict=True
        ):
            if moves:
                assert_close(getattr(moved, block), -M * getattr(gradient, block))
            else:
                assert getattr(moved, block) is None


@each_loss
def test_energy_is_risk_and_potential(loss):
    flow, (w, u), (x, y) = make_flow(loss=loss), make_neurons(2), make_batch(2)
    f = 2.0 / M * np.tanh(x @ w.T) @ u
    risks = (f - y) ** 2 if isinstance(loss, SquaredError) else np.log1p(np.exp(-y * f))
    potential = np.sum(w**2) / (2 * 0.8**2) + np.sum(u**2) / (2 * 1.3**2)
    expected = float(np.mean(risks) + 0.2 * potential / M)
    found = float(flow.energy(State(Neurons(w, u)), (x, y)))
    assert found == pytest.approx(expected, 1e-13)


# Tangent kernel


def jacobian_kernel(network, params, x, y):
    """(m/alpha^2) J(x) J(y)^T over the blocks that move, by the whole Jacobian."""

    def rows(x):
        jacobian = jax.jacrev(network)(params, x)
        mask = network.trainable_mask(params)
        moving = [a for a, moves in zip(jacobian, mask, strict=True) if moves]
        return jnp.concatenate([a.reshape(len(x), -1) for a in moving], axis=1)

    return len(params.u) / network.alpha**2 * rows(x) @ rows(y).T


@each_activation
@each_trainable
def test_tangent_kernel_is_that_of_the_jacobian(activation, trainable):
    flow, state, (x, _) = make_flow(activation, trainable), make_state(3), make_batch(3)
    other, v = make_batch(4, 4)[0], jnp.arange(1.0, N + 1)

    @jax.jit
    def both_ways(network, state):
        kernels = [tangent_kernel(network, state.params, x, y) for y in (None, other)]
        jacobians = [jacobian_kernel(network, state.params, x, y) for y in (x, other)]
        return kernels, jacobians, flow.kernel_product(state, x, v)

    (kernel, rectangle), jacobians, product = both_ways(flow.network, state)
    assert_close((kernel, rectangle), tuple(jacobians))
    kernel = np.asarray(kernel)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-14)
    assert np.linalg.eigvalsh(kernel)[0] > -1e-14 * np.abs(kernel).max() * N
    assert_close(product, kernel @ v)


# Blocks


@pytest.mark.parametrize("block", [1, 3, 7, 10, 12])
def test_blocks_of_rows_are_no_blocks(block):
    # Blocks that divide the ten rows, that leave a rest, and that hold all of them.
    x = jax.random.normal(jax.random.key(0), (10, 4))
    y = jnp.arange(10.0)

    def sums(x, y):
        return {"a": (x * y[:, None]).sum(axis=0), "b": jnp.square(y).sum()}

    def rows(x, y):
        return x[:, 0] * y

    assert_close(sum_blocks(sums, (x, y), block), sums(x, y))
    assert_close(map_blocks(rows, (x, y), block), rows(x, y))
    wide = map_blocks(lambda x: 2 * x, (x,), block)
    assert_close(wide, 2 * x)


@given(
    rows=st.integers(1, 10**7), row=st.integers(1, 10**9), budget=st.integers(1, 10**11)
)
def test_block_size_fits_its_budget(rows, row, budget):
    block = block_size(rows, row, budget)
    assert 1 <= block <= rows
    assert block == 1 or block * row <= budget


@pytest.mark.slow
@each_trainable
def test_a_flow_in_blocks_is_the_flow(trainable):
    # 2^14 neurons in double precision are 1/8 MiB a sample: blocks of at most 8 of 20.
    m, n = 2**14, 20
    state, (x, y) = make_state(6, m), make_batch(6, n)

    def results(block_mib):
        network = TwoLayer(width=m, alpha=2.0, trainable=trainable)
        flow = ParticleFlow(network, Digits(), temperature=0.2, block_mib=block_mib)
        plan = flow.plan(Data(x, y, x, y), jnp.float64)
        assert (plan["samples_per_block"] < n) == (block_mib == 1)
        return jax.jit(
            lambda: (
                flow.velocity(state, (x, y)),
                flow.predict(state, x),
                flow.kernel_product(state, x, y),
            )
        )()

    # Sums over 2^14 neurons in another order: some sqrt(m) roundings.
    assert_close(results(1), results(1024), rtol=1e-11)


# The loop


def advance(integrator, flow, batch, carry, steps, key):
    return integrator.advance(flow, batch, carry, steps, key)


@pytest.mark.parametrize(
    ("temperature", "batch_size"), [(0.0, None), (0.2, None), (0.2, 3)]
)
@each_kind
def test_cuts_into_calls_change_no_bit(kind, temperature, batch_size, key):
    flow, batch = make_flow(temperature=temperature), make_batch(7)
    integrator = kind(0.01, batch_size)
    start = integrator.init(flow, make_state(7))
    go = jax.jit(
        lambda carry, steps: integrator.advance(flow, batch, carry, steps, key)
    )
    whole = go(start, 11)
    assert int(whole.step) == 11
    for cuts in [(4, 7), (1, 2, 8), (0, 5, 6), (1,) * 11]:
        carry = start
        for steps in cuts:
            carry = go(carry, steps)
        assert_same_bits(carry, whole)


@each_kind
def test_a_step_without_noise_is_its_formula(kind):
    flow, state, batch = make_flow(temperature=0.0), make_state(8), make_batch(8)
    integrator = kind(0.01)
    carry = integrator.init(flow, state)
    moved = jax.jit(advance)(integrator, flow, batch, carry, 1, jax.random.key(0))
    slope = velocity(flow, state, batch)
    expected = jax.tree.map(lambda a, v: a + 0.01 * v, state.params, slope)
    assert_close(moved.state.params, expected)


@each_kind
def test_noise_changes_with_key_and_step_alone(kind, key):
    flow, batch = make_flow(), make_batch(9)
    integrator = kind(0.01)
    start = integrator.init(flow, make_state(9))
    go = jax.jit(lambda carry, key: integrator.advance(flow, batch, carry, 1, key))
    assert_same_bits(go(start, key), go(start, key))
    for other in (
        go(start, jax.random.fold_in(key, 1)),
        go(start._replace(step=start.step + 1), key),
    ):
        w, again = other.state.params.w, go(start, key).state.params.w
        assert not np.isin(w, again).any()


def test_single_precision_follows_double():
    # A step rounds parameters and force to 6e-8 of their size, about 3, some ten times;
    # the flow, below its stable step, does not amplify that: 200 steps of it are 4e-4
    # at the very worst, and their random signs leave 1/sqrt(200) of it.
    flow, batch, state = make_flow(temperature=0.0), make_batch(10), make_state(10)
    integrator = ExponentialLangevin(0.02)

    def run(dtype):
        state_, batch_ = jax.tree.map(lambda a: a.astype(dtype), (state, batch))
        carry = integrator.init(flow, state_)
        key = jax.random.key(0)
        carry = jax.jit(advance)(integrator, flow, batch_, carry, 200, key)
        return carry.state.params

    single, double = run(jnp.float32), run(jnp.float64)
    assert single.w.dtype == jnp.float32
    assert double.w.dtype == jnp.float64
    for a, b in zip(single, double, strict=True):
        assert 0 < np.abs(np.asarray(a) - np.asarray(b)).max() < 5e-5


@each_kind
def test_float32_with_noise_stays_float32(kind, key):
    flow = make_flow()
    state, batch = jax.tree.map(
        lambda a: a.astype(jnp.float32), (make_state(11), make_batch(11))
    )
    integrator = kind(0.01)
    carry = jax.jit(advance)(
        integrator, flow, batch, integrator.init(flow, state), 2, key
    )
    leaves = jax.tree.leaves(carry.state)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


@each_kind
def test_one_trace_serves_all_reals_and_step_counts(kind, key):
    batch, batch_size = make_batch(12), 3

    @eqx.debug.assert_max_traces(max_traces=1)
    def traced(reals, carry, steps):
        flow, integrator = reals
        return integrator.advance(flow, batch, carry, steps, key).state

    go = jax.jit(traced)
    for alpha, temperature, step, steps in [
        (1.0, 0.1, 0.01, 1),
        (2.0, 0.2, 0.02, 3),
        (4.0, 0.0, 0.01, 0),
    ]:
        flow = make_flow(alpha=alpha, temperature=temperature)
        reals = jax.tree.map(jnp.asarray, (flow, kind(step, batch_size)))
        carry = kind(step).init(flow, make_state(12))
        state = go(reals, carry, jnp.asarray(steps, jnp.int32))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


# Mini-batches


def batches_of(kind, n, batch_size, steps, key):
    """The points that each step uses, in the order of the steps.

    Point i is the i-th unit vector and only the input weights move, so that a step
    moves the i-th column of the weights if and only if it uses point i.
    """
    network = TwoLayer(width=4, activation=Identity(), trainable="input")
    flow = ParticleFlow(network, Digits())
    integrator = kind(0.1, batch_size)
    batch = jnp.eye(n), jnp.arange(1.0, n + 1)
    carry = integrator.init(flow, flow.init(jax.random.key(0), n))
    go = jax.jit(lambda carry: integrator.advance(flow, batch, carry, 1, key))
    used = []
    for _ in range(steps):
        after = go(carry)
        before, now = carry.state.params.w, after.state.params.w
        moved = np.any(np.asarray(now != before), axis=0)
        used.append(frozenset(np.flatnonzero(moved)))
        carry = after
    return used


@each_kind
def test_epochs_use_no_point_twice_and_differ(kind, key):
    n, size, epochs = 7, 2, 20
    used = batches_of(kind, n, size, 3 * epochs, key)
    assert all(len(points) == size for points in used)
    orders = [tuple(used[i : i + 3]) for i in range(0, len(used), 3)]
    for order in orders:
        assert len(frozenset.union(*order)) == 3 * size
    # 7!/2^3 = 630 orders are possible: twenty draws repeat one of the neighbours' with
    # chance 3 %; all alike only if the order never changes. The seed is fixed.
    assert len(set(orders)) > epochs // 2
    # The point that waits is one of the seven, not always the last.
    assert len({frozenset(range(n)) - frozenset.union(*o) for o in orders}) > 3


@each_kind
def test_a_batch_of_all_points_is_the_full_batch(kind, key):
    used = batches_of(kind, 4, 4, 3, key)
    assert used == [frozenset(range(4))] * 3


def test_the_force_of_a_batch_is_a_mean_over_the_batch(key):
    # n = 4 equal points in batches of 2: the same step as the full batch.
    flow, state = make_flow(temperature=0.0), make_state(13)
    x, y = (jnp.repeat(a[:1], 4, axis=0) for a in make_batch(13))
    carry = NoisyGD(0.01).init(flow, state)
    full, half = (
        jax.jit(advance)(NoisyGD(0.01, size), flow, (x, y), carry, 3, key)
        for size in (None, 2)
    )
    assert_close(half.state, full.state)


def test_single_precision_keeps_a_decay_below_its_rounding():
    # a = 2e-8 is less than half a unit of float32 at 1, so that e^{-a} would be 1. With
    # the noise beside it the rounding averages out: over 2e6 antithetic draws the mean
    # is known to 6e-8/sqrt(12)/sqrt(2e6) = 1e-11, a thousandth of a.
    a, theta = 2e-8, jnp.full(10**6, 1.5, jnp.float32)
    z = jax.random.normal(jax.random.key(0), theta.shape, jnp.float32)
    update = ExponentialLangevin(step=1.0).update
    ends = [update(theta, jnp.zeros_like(z), s * z, 1.0, a, 1.0) for s in (1.0, -1.0)]
    change = np.mean([np.mean(np.asarray(e, np.float64) - 1.5) for e in ends])
    assert change == pytest.approx(-1.5 * a, rel=0.01)


def test_a_trajectory_is_differentiable_in_its_start(key):
    flow = ParticleFlow(TwoLayer(width=4), Digits(), temperature=0.1)
    start = flow.init(key, 2).params
    x = jax.random.normal(key, (5, 2))
    integrator = NoisyGD(step=0.1)

    def end(u):
        neurons = start._replace(u=u)
        carry = integrator.init(flow, State(neurons, neurons))
        data = (x, jnp.ones(5))
        return integrator.advance(flow, data, carry, 3, key).state.params.u

    jacobian = jax.jit(jax.jacfwd(end))(start.u)
    # Central differences of a smooth map: error 1e-10 from the step, 1e-11 rounding.
    shift = 1e-5 * jnp.eye(4)
    columns = [(end(start.u + s) - end(start.u - s)) / 2e-5 for s in shift]
    np.testing.assert_allclose(jacobian, jnp.stack(columns, axis=1), atol=1e-8)
