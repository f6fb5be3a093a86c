"""Momentum against NumPy, closed forms of the heavy ball, and plain descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.datasets import Digits
from mfsim.flows import LinearisedFlow, ParticleFlow, WeightFlow
from mfsim.integrators import MomentumSGD, NoisyGD
from mfsim.kernels import tangent_kernel
from mfsim.losses import Logistic, SoftmaxCrossEntropy, SquaredError
from mfsim.networks import DeepRelu, ReluClassifier, TwoLayer

M, N, DIM, CLASSES = 12, 10, 4, 3
each_way = pytest.mark.parametrize("nesterov", [False, True], ids=["heavy", "nesterov"])


def make_flow(kind=WeightFlow, bias=True):
    return kind(ReluClassifier(M, CLASSES, bias), Digits(), SoftmaxCrossEntropy())


@pytest.fixture
def points():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(N, DIM)), np.arange(float(N)) % CLASSES
    return jnp.asarray(x), jnp.asarray(y)


def advance(integrator, flow, data, key, steps, start=None):
    start = flow.init(key, DIM) if start is None else start
    carry = integrator.init(flow, start, data)
    return integrator.advance(flow, data, carry, steps, key).state


def numpy_gradient(weights, x, y):
    """The gradient of the mean cross-entropy, by hand."""
    u, v, *biases = weights
    b, e = biases or (np.zeros(len(u)), np.zeros(len(v)))
    z = x @ u.T + b
    signals = np.maximum(z, 0)
    grown = np.exp(signals @ v.T + e)
    back = grown / grown.sum(1, keepdims=True)
    back[np.arange(len(y)), y.astype(int)] -= 1
    back /= len(y)
    inner = (back @ v) * (z > 0)
    found = [inner.T @ x, back.T @ signals, inner.sum(0), back.sum(0)]
    return found[: len(weights)]


def numpy_momentum(weights, batches, step, momentum, nesterov):
    """PyTorch's rule: v <- mu v + g, W <- W - eta v, or W - eta (g + mu v)."""
    weights = [np.array(w) for w in weights]
    speeds = [np.zeros_like(w) for w in weights]
    for x, y in batches:
        gradients = numpy_gradient(weights, x, y)
        for w, v, g in zip(weights, speeds, gradients, strict=True):
            v[:] = momentum * v + g
            w -= step * (g + momentum * v if nesterov else v)
    return weights


def batches_of(data, batch, steps, key):
    """The batches of the steps, shuffled anew each epoch, the whole ones alone."""
    if batch is None:
        return [tuple(map(np.asarray, data))] * steps
    _, batch_key = jax.random.split(key)
    found, per_epoch = [], N // batch
    for epoch in range(-(-steps // per_epoch)):
        order = jax.random.permutation(jax.random.fold_in(batch_key, epoch), N)
        rows = np.asarray(order)[: per_epoch * batch].reshape(per_epoch, batch)
        found += [tuple(np.asarray(a)[row] for a in data) for row in rows]
    return found[:steps]


@pytest.mark.parametrize(
    ("bias", "nesterov", "batch"),
    [(False, False, None), (True, False, 3), (True, True, 1), (False, True, 3)],
)
def test_classifier_is_trained_as_by_numpy(bias, nesterov, batch, points, key):
    flow, steps, step = make_flow(bias=bias), 50, 0.05
    integrator = MomentumSGD(step, 0.9, nesterov, batch)
    start = flow.init(key, DIM).params
    end = advance(integrator, flow, points, key, steps).params
    batches = batches_of(points, batch, steps, key)
    replayed = numpy_momentum(start, batches, step, 0.9, nesterov)
    for ours, theirs in zip(end, replayed, strict=True):
        # Each step rounds eta v, of 0.1, to 1e-17, and momentum sums ten of them: 50
        # steps * 10 * 1e-17 and as much again for weights of order one.
        assert np.abs(ours - theirs).max() < 1e-14
    assert max(np.abs(a - b).max() for a, b in zip(end, start, strict=True)) > 0.3


@each_way
def test_a_quadratic_is_descended_at_the_rate_of_its_roots(nesterov, points, key):
    # The outputs of the twin are linear: mode h = eta lambda of its kernel goes by
    # e_{k+1} = (1 + mu - h) e_k - mu e_{k-1} from e_1 = (1 - h) e_0; Nesterov's by
    # (1 - h) ((1 + mu) e_k - mu e_{k-1}) from (1 - (1 + mu) h) e_0.
    flow = LinearisedFlow(DeepRelu(M, 2, 0.3), Digits(), SquaredError())
    (x, y), start, mu, steps = points, flow.init(key, DIM), 0.81, 60
    kernel = tangent_kernel(flow.network, start.params, x)
    rates, vectors = np.linalg.eigh(2 * M**0.6 * np.asarray(kernel) / N)
    integrator = MomentumSGD(1.2 / rates[-1], mu, nesterov)
    go = jax.jit(lambda c, k: integrator.advance(flow, points, c, k, key))
    carry, found = integrator.init(flow, start, points), []
    for count in (0, 1, 1, steps - 4, 1, 1):
        carry = go(carry, count)
        found.append(vectors.T @ np.asarray(flow.predict(carry.state, x) - y))
    h = integrator.step * rates
    first, trace, product = 1 - h, 1 + mu - h, np.full(N, mu)
    if nesterov:
        first, trace, product = 1 - (1 + mu) * h, (1 + mu) * (1 - h), mu * (1 - h)
    root = np.sqrt((trace**2 - 4 * product).astype(complex))
    one, two = (trace + root) / 2, (trace - root) / 2
    factor = ((first - two) * one**steps - (first - one) * two**steps) / (one - two)
    assert 2 <= (root.real == 0).sum() < N
    # Residuals of order one and roots of at most 1: 60 roundings of 1e-16, times the
    # ten steps that momentum sums, and as much by the rounding of the rates.
    np.testing.assert_allclose(found[-1], factor.real * found[0], rtol=0, atol=1e-12)
    # Measured: e_k^2 - e_{k+1} e_{k-1} falls by the product of the roots a step, so
    # that what swings falls by sqrt(mu), with the heavy ball at every rate.
    early, late = (b**2 - a * c for a, b, c in (found[:3], found[3:]))
    seen = np.abs(early) > 1e-2
    assert seen.sum() > 3
    fall = (late / early)[seen]
    np.testing.assert_allclose(fall, product[seen] ** (steps - 2), rtol=0, atol=1e-14)


def test_momentum_zero_is_plain_descent_of_particles(points, key):
    x, y = points
    data = x, jnp.where(y > 0, 1.0, -1.0)
    flow = ParticleFlow(TwoLayer(M, alpha=3.0), Digits(), Logistic())
    momentum = MomentumSGD(0.05, 0.0, batch_size=3)
    start = flow.init(key, DIM)
    ours, theirs = (
        advance(integrator, flow, data, key, 20, start).params
        for integrator in (momentum, NoisyGD(0.05, batch_size=3))
    )
    for a, b, at_first in zip(ours, theirs, start.params, strict=True):
        # One rounding of numbers of order one a step may differ.
        np.testing.assert_allclose(a, b, rtol=0, atol=20 * 1e-15)
        assert np.abs(a - at_first).max() > 0.1


def test_momentum_leaves_what_is_frozen(points, key):
    x, y = points
    network = TwoLayer(M, alpha=3.0, trainable="input")
    flow = ParticleFlow(network, Digits(), SquaredError())
    start = flow.init(key, DIM)
    end = advance(MomentumSGD(0.05), flow, points, key, 5, start).params
    np.testing.assert_array_equal(end.u, start.params.u)
    assert np.abs(end.w - start.params.w).max() > 0.01


def flatten(weights):
    return np.concatenate([np.ravel(block) for block in weights])


def test_twin_of_a_classifier_descends_its_linear_outputs(points, key):
    flow, (x, y) = make_flow(LinearisedFlow), points
    start = flow.init(key, DIM)
    shifts = [0.3 * np.cos(np.arange(w.size)).reshape(w.shape) for w in start.params]
    moved = tuple(w + shift for w, shift in zip(start.params, shifts, strict=True))
    parts = jax.jit(jax.jacobian(lambda p: flow.network(p, x)))(start.params)
    jacobian = np.concatenate([np.reshape(p, (N, CLASSES, -1)) for p in parts], axis=2)
    f = np.asarray(flow.network(start.params, x)) + jacobian @ flatten(shifts)
    state = start._replace(params=moved)
    np.testing.assert_allclose(flow.predict(state, x), f, rtol=0, atol=1e-13)
    grown = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    slope = (grown - np.eye(CLASSES)[np.asarray(y, int)]) / N
    wanted = -np.einsum("nc,ncp->p", slope, jacobian)
    plain = WeightFlow(flow.network, Digits(), flow.loss)
    forces = flow.force(state, points), plain.twin_force(start.params, moved, points)
    for force in forces:
        np.testing.assert_allclose(flatten(force), wanted, rtol=0, atol=1e-14)
    # At its own start the twin is the network; away from it no longer.
    at_start = flatten(plain.force(start, points))
    np.testing.assert_allclose(flatten(flow.force(start, points)), at_start, atol=1e-14)
    away = flatten(plain.force(state, points))
    assert np.abs(away - wanted).max() > 1e-3


def test_a_cut_of_the_steps_changes_no_bit(points, key):
    flow, integrator = make_flow(), MomentumSGD(0.1, batch_size=3)
    start = integrator.init(flow, flow.init(key, DIM), points)
    go = jax.jit(lambda c, k: integrator.advance(flow, points, c, k, key))
    straight, cut = go(start, 9), go(go(start, 4), 5)
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(cut), strict=True):
        assert np.array_equal(a, b)
    # Forgetting the velocity would have been another path.
    without = go(go(start, 4)._replace(memory=start.memory), 5)
    assert not np.array_equal(without.state.params[0], straight.state.params[0])
