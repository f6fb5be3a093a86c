"""Flows of weights against NumPy, the particle system, the kernel and their own law."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.activations import Relu
from mfsim.datasets import Data, Digits
from mfsim.flows import LinearisedFlow, ParticleFlow, State, WeightFlow
from mfsim.integrators import DiffraxSolver, ExponentialLangevin, NoisyGD
from mfsim.kernels import tangent_kernel
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import DeepRelu, Neurons, TwoLayer

M, N, DIM = 12, 10, 4
LOSSES = [SquaredError(), Logistic()]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda c: type(c).__name__)
each_depth = pytest.mark.parametrize("depth", [2, 5])
each_flow = pytest.mark.parametrize("kind", [WeightFlow, LinearisedFlow])


def make_flow(kind=WeightFlow, depth=3, loss=None, temperature=0.0, **options):
    network = DeepRelu(width=M, depth=depth, scale_exponent=0.3)
    return kind(network, Digits(), loss or Logistic(), temperature, **options)


@pytest.fixture
def points():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(N, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return jnp.asarray(x), jnp.asarray(np.where(rng.random(N) < 0.5, -1.0, 1.0))


def slope(loss, f, y):
    """phi'(f, y), written out."""
    return 2 * (f - y) if isinstance(loss, SquaredError) else -y / (1 + np.exp(y * f))


def numpy_gradient(weights, x, y, scale, loss):
    """Backpropagation by hand: the gradient of the mean loss."""
    signals, kinks = [x], []
    for w in weights[:-1]:
        z = signals[-1] @ w.T
        signals.append(np.maximum(z, 0))
        kinks.append(z > 0)
    f = scale * (signals[-1] @ weights[-1].T)[:, 0]
    back = (scale * slope(loss, f, y) / len(y))[:, None]
    gradients = [back.T @ signals[-1]]
    for layer in range(len(weights) - 1, 0, -1):
        back = (back @ weights[layer]) * kinks[layer - 1]
        gradients.insert(0, back.T @ signals[layer - 1])
    return gradients


def numpy_descent(weights, batches, step, scale, loss):
    weights = [np.array(w) for w in weights]
    for x, y in batches:
        gradients = numpy_gradient(weights, x, y, scale, loss)
        weights = [w - step * g for w, g in zip(weights, gradients, strict=True)]
    return weights


def advance(integrator, flow, data, key, steps, start=None):
    start = flow.init(key, DIM) if start is None else start
    carry = integrator.init(flow, start, data)
    return integrator.advance(flow, data, carry, steps, key).state


@each_loss
@each_depth
def test_gradient_descent_is_that_of_numpy(depth, loss, points, key):
    flow, steps = make_flow(depth=depth, loss=loss), 40
    start = flow.init(key, DIM).params
    end = advance(NoisyGD(step=0.2), flow, points, key, steps).params
    x, y = map(np.asarray, points)
    replayed = numpy_descent(start, [(x, y)] * steps, 0.2, M**0.3, loss)
    for ours, theirs in zip(end, replayed, strict=True):
        # Rounding of 40 steps, of numbers of order one.
        assert np.abs(ours - theirs).max() < 1e-10
    assert max(np.abs(a - b).max() for a, b in zip(end, start, strict=True)) > 0.1


@each_loss
@pytest.mark.parametrize("batch", [1, 3])
def test_stochastic_gradient_descent_is_that_of_numpy(batch, loss, points, key):
    # Two epochs; of 10 points a batch of 3 leaves one out in each.
    flow, per_epoch = make_flow(depth=5, loss=loss), N // batch
    start = flow.init(key, DIM).params
    integrator = NoisyGD(step=0.05, batch_size=batch)
    end = advance(integrator, flow, points, key, 2 * per_epoch).params
    _, batch_key = jax.random.split(key)
    batches = []
    for epoch in range(2):
        order = jax.random.permutation(jax.random.fold_in(batch_key, epoch), N)
        rows = np.asarray(order)[: per_epoch * batch].reshape(-1, batch)
        batches += [tuple(np.asarray(a)[row] for a in points) for row in rows]
    # Each sample once an epoch, as online SGD has it.
    seen = np.concatenate([b[0][:, 0] for b in batches[:per_epoch]])
    assert len(set(seen)) == per_epoch * batch
    replayed = numpy_descent(start, batches, 0.05, M**0.3, loss)
    for ours, theirs in zip(end, replayed, strict=True):
        assert np.abs(ours - theirs).max() < 1e-10


@each_loss
@each_flow
def test_force_is_minus_the_gradient_by_finite_differences(kind, loss, points, key):
    flow = make_flow(kind, loss=loss, depth=4, temperature=0.3)
    state = flow.init(key, DIM)
    # Away from the start, where the twin differs from the network.
    moved = tuple(
        w + 0.02 * jnp.cos(jnp.arange(w.size)).reshape(w.shape) for w in state.params
    )
    state = state._replace(params=moved)
    velocity = flow.velocity(state, points)
    for layer, w in enumerate(moved):
        direction = jax.random.normal(jax.random.fold_in(key, layer), w.shape)

        def energy(t, layer=layer, w=w, direction=direction):
            params = (*moved[:layer], w + t * direction, *moved[layer + 1 :])
            return flow.energy(state._replace(params=params), points)

        # A central difference: its error is of order t^2 between kinks.
        by_differences = (energy(1e-6) - energy(-1e-6)) / 2e-6
        along = -(velocity[layer] * direction).sum()
        np.testing.assert_allclose(along, by_differences, rtol=1e-6, atol=1e-8)


def test_network_is_homogeneous_in_every_layer_and_in_its_input(key):
    network = DeepRelu(width=M, depth=4, scale_exponent=0.2)
    params = network.init(key, DIM)
    x = jax.random.normal(key, (N, DIM))
    f = network(params, x)
    for layer, w in enumerate(params):
        scaled = (*params[:layer], 3.0 * w, *params[layer + 1 :])
        np.testing.assert_allclose(network(scaled, x), 3 * f, rtol=1e-12)
    np.testing.assert_allclose(network(params, 3 * x), 3 * f, rtol=1e-12)
    # Euler: the derivative along a layer is f itself.
    (push,) = jax.jvp(lambda p: network(p, x), (params,), (params,))[1:]
    np.testing.assert_allclose(push, 4 * f, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "temperature"),
    [(NoisyGD, 0.0), (NoisyGD, 0.2), (ExponentialLangevin, 0.2)],
)
@each_loss
def test_depth_two_is_the_particle_system(kind, loss, temperature, points, key):
    # alpha = m^a, sigma_w^2 = 2, sigma_u = 1, w = sqrt(m) W_1, u = sqrt(m) W_2.
    deep = make_flow(depth=2, loss=loss, temperature=temperature)
    network = TwoLayer(width=M, alpha=M**0.3, activation=Relu(), input_std=math.sqrt(2))
    particles = ParticleFlow(network, Digits(), loss, temperature)
    start = deep.init(key, DIM)
    root = math.sqrt(M)

    def as_neurons(weights):
        return Neurons(root * weights[0], root * weights[1][0])

    same = as_neurons(start.params)
    end = advance(kind(step=0.05), deep, points, key, 50, start)
    pair = advance(kind(step=0.05), particles, points, key, 50, State(same, same))
    for ours, theirs in zip(as_neurons(end.params), pair.params, strict=True):
        assert np.abs(ours - theirs).max() < 1e-10
    if temperature:
        for ours, theirs in zip(as_neurons(end.shadow), pair.shadow, strict=True):
            assert np.abs(ours - theirs).max() < 1e-10
    moved = jax.tree.map(jnp.subtract, end.params, start.params)
    shift = jax.tree.map(jnp.subtract, pair.params, same)
    assert deep.mean_square(moved) == pytest.approx(particles.mean_square(shift))
    assert deep.mean_potential(end) == pytest.approx(particles.mean_potential(pair))
    assert deep.sampling_noise == pytest.approx(particles.sampling_noise)
    assert deep.kernel_rate == pytest.approx(particles.kernel_rate)
    assert deep.energy(end, points) == pytest.approx(particles.energy(pair, points))


@each_depth
def test_squared_loss_twin_is_the_recursion_of_its_kernel(depth, points, key):
    flow = make_flow(LinearisedFlow, depth=depth, loss=SquaredError())
    x, y = points
    state = flow.init(key, DIM)
    kernel = tangent_kernel(flow.network, state.params, x)
    step, steps = 0.1, 60
    residual = np.asarray(flow.predict(state, x) - y)
    shrink = np.eye(N) - 2 * M**0.6 * step / N * np.asarray(kernel)
    expected = np.linalg.matrix_power(shrink, steps) @ residual
    end = advance(NoisyGD(step=step), flow, points, key, steps)
    assert np.abs(flow.predict(end, x) - y - expected).max() < 1e-10
    assert np.abs(expected - residual).max() > 0.1


@each_flow
def test_outputs_start_along_the_kernel(kind, points, key):
    flow = make_flow(kind)
    x, y = points
    state = flow.init(key, DIM)
    force, rates = flow.force_and_rates(state, points)
    (change,) = jax.jvp(
        lambda p: flow.predict(state._replace(params=p), x), (state.params,), (force,)
    )[1:]
    kernel = tangent_kernel(flow.network, state.params, x)
    f = np.asarray(flow.predict(state, x))
    pushed = -(M**0.6) / N * np.asarray(kernel) @ slope(flow.loss, f, np.asarray(y))
    np.testing.assert_allclose(change, pushed, rtol=1e-9, atol=1e-12)
    product = flow.kernel_product(state, x, rates.slopes)
    np.testing.assert_allclose(-(M**0.6) / N * product, pushed, rtol=1e-9, atol=1e-12)


@each_flow
@pytest.mark.parametrize(
    ("temperature", "integrator"),
    [(0.0, NoisyGD(step=0.1, batch_size=3)), (0.1, ExponentialLangevin(step=0.1))],
    ids=["stochastic", "noisy"],
)
def test_a_cut_of_the_steps_changes_no_bit(kind, temperature, integrator, points, key):
    flow = make_flow(kind, temperature=temperature)
    start = integrator.init(flow, flow.init(key, DIM), points)
    go = jax.jit(lambda c, k: integrator.advance(flow, points, c, k, key))
    straight = go(start, 9)
    cut = go(go(start, 4), 5)
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(cut), strict=True):
        assert np.array_equal(a, b)
    if kind is LinearisedFlow:
        origin = zip(straight.state.origin, start.state.params, strict=True)
        assert all(np.array_equal(a, b) for a, b in origin)


@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_the_shadow_keeps_the_law_of_the_start(kind, points, key):
    m, temperature, steps, step = 64, 0.5, 40, 0.1
    flow = WeightFlow(DeepRelu(width=m, depth=3), Digits(), Logistic(), temperature)
    start = flow.init(key, DIM)
    shadow = advance(kind(step=step), flow, points, key, steps, start).shadow
    for layer, (then, now) in enumerate(zip(start.params, shadow, strict=True)):
        variance = (1 if layer == 2 else 2) / m
        # A mean of k squares of normals scatters by sqrt(2/k), a product of two by
        # 1/sqrt(k) at most sqrt(2/k); five of these fail once in a million.
        slack = 5 * math.sqrt(2 / now.size)
        assert np.square(now).mean() / variance == pytest.approx(1, abs=slack)
        memory = math.exp(-temperature * steps * step / (m * variance))
        kept = (now * then).mean() / variance
        assert kept == pytest.approx(memory, abs=slack)


@each_flow
def test_diffrax_reaches_the_limit_of_small_steps(kind, points, key):
    flow, end = make_flow(kind), 1.0
    solver = DiffraxSolver(step=end, rtol=1e-8, atol=1e-8)
    exact = flow.predict(advance(solver, flow, points, key, 1), points[0])

    def miss(steps):
        state = advance(NoisyGD(step=end / steps), flow, points, key, steps)
        return np.abs(flow.predict(state, points[0]) - exact).max()

    coarse, fine = miss(50), miss(100)
    # Euler is of order one; kinks leave it some freedom.
    assert 1.7 < coarse / fine < 2.3


@each_depth
def test_padding_is_a_narrower_network(depth, points, key):
    wide = DeepRelu(width=M, depth=depth, scale_exponent=0.3, active=5)
    narrow = DeepRelu(width=5, depth=depth, scale_exponent=0.3)
    ends = []
    for network in (wide, narrow):
        flow = WeightFlow(network, Digits(), Logistic())
        end = advance(NoisyGD(step=0.3, batch_size=2), flow, points, key, 30)
        ends.append((flow, end))
    (flow, padded), (other, end) = ends
    f, g = flow.predict(padded, points[0]), other.predict(end, points[0])
    np.testing.assert_allclose(f, g, rtol=1e-12)
    for ours, theirs in zip(padded.params, end.params, strict=True):
        rows, columns = theirs.shape
        np.testing.assert_allclose(ours[:rows, :columns], theirs, rtol=1e-10)
        rest = np.array(ours)
        rest[:rows, :columns] = 0
        assert not rest.any()


@pytest.mark.parametrize("active", [5.5, M + 1, 0])
def test_padding_must_be_a_number_of_neurons(active):
    with pytest.raises(ValueError, match="active must be"):
        DeepRelu(width=M, active=active)


@each_flow
def test_padding_refuses_noise(kind):
    network = DeepRelu(width=M, active=5)
    with pytest.raises(ValueError, match=r"^temperature must be 0, got 0.1: network"):
        kind(network, Digits(), temperature=0.1)


@each_flow
@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_plan_counts_the_bytes_of_the_state(kind, temperature, key):
    flow = make_flow(kind, temperature=temperature)
    data = Data(*(np.zeros(s) for s in [(N, DIM), (N,), (0, DIM), (0,)]))
    held = jax.tree.leaves(flow.init(key, DIM, "float32"))
    planned = flow.plan(data, "float32")["state"]
    assert planned == sum(leaf.nbytes for leaf in held)
