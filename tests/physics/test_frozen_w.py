"""One block frozen: outputs obey a linear equation with a known, sampled kernel.

With the kernel of the run's own frozen block there is no error in the width: the mean
and the covariance of the outputs over the noise are known in closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.activations import Identity, Tanh
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow, State
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.networks import TwoLayer
from tests.physics.exact import FrozenFlow, run_members

MEMBERS, WIDTH, DIM, SAMPLES, ALPHA, STD = 64, 256, 3, 4, 2.0, (0.8, 1.3)
KINDS = [NoisyGD, ExponentialLangevin]


def make(trainable, temperature, key):
    """A flow, its data, a start at f = 0, and its exact outputs."""
    network = TwoLayer(
        width=WIDTH,
        alpha=ALPHA,
        activation=Tanh() if trainable == "output" else Identity(),
        trainable=trainable,
        input_std=STD[0],
        output_std=STD[1],
    )
    x_key, y_key, start_key = jax.random.split(key, 3)
    x = jax.random.normal(x_key, (SAMPLES, DIM))
    y = jax.random.normal(y_key, (SAMPLES,))
    flow = ParticleFlow(network, Digits(), temperature=temperature)
    start = flow.init(start_key, DIM)
    x_, w, u = (np.asarray(a) for a in (x, *start.params))
    h = np.tanh(x_ @ w.T)
    # Only u moves: E[h h^T]. Only w moves, h linear: E[u^2] x x^T.
    kernel = h @ h.T / WIDTH if trainable == "output" else np.mean(u**2) * x_ @ x_.T
    std = STD[1] if trainable == "output" else STD[0]
    exact = FrozenFlow(kernel, np.asarray(y), ALPHA, temperature, std)
    return flow, (x, y), start, exact


def simulate(integrator, flow, batch, start, stops, members, key):
    """Outputs at `stops`, one row a member; members differ by their noise alone."""
    starts = jax.tree.map(lambda a: jnp.broadcast_to(a, (members, *a.shape)), start)
    keys = jax.random.split(key, members)
    states = run_members(integrator, flow, batch, starts, keys, stops)
    predict = jax.jit(jax.vmap(lambda state: flow.predict(State(state), batch[0])))
    return states, [np.asarray(predict(state)) for state in states]


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["output", "input"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_descent_follows_beta(kind, trainable, key):
    flow, batch, start, exact = make(trainable, 0.0, key)
    step = 0.1 / exact.rates.max()
    stops = [1, 10, 100]
    _, outputs = simulate(kind(step), flow, batch, start, stops, 1, key)
    for k, measured in zip(stops, outputs, strict=True):
        # The discrete chain is known as well: to rounding.
        left = exact.modes @ np.diag((1 - step * exact.rates) ** k) @ exact.modes.T
        np.testing.assert_allclose(measured[0], exact.y - left @ exact.y, atol=1e-12)
        # |(1 - z)^k - e^{-kz}| <= z/4 for z <= 0.1, as s e^{-s}/2 <= 1/2e: O(step).
        error = step * exact.rates.max() / 4 * np.linalg.norm(exact.y)
        np.testing.assert_allclose(measured[0], exact.outputs(step * k), atol=error)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["output", "input"])
@pytest.mark.parametrize("kind", KINDS)
def test_noisy_outputs_have_the_exact_mean_and_covariance(kind, trainable, key):
    flow, batch, start, exact = make(trainable, 0.5, key)
    step = 0.02 / exact.rates.max()
    stops = [20, 100, 1000]
    _, outputs = simulate(kind(step), flow, batch, start, stops, MEMBERS, key)
    for k, measured in zip(stops, outputs, strict=True):
        modes = (measured - exact.outputs(step * k)) @ exact.modes
        variances = exact.variances(step * k, WIDTH)
        # Mean: 5 standard errors, and the O(step) error of the chain as above.
        error = 5 * np.sqrt(np.abs(variances) / MEMBERS)
        error += 0.02 / 4 * np.linalg.norm(exact.y)
        np.testing.assert_array_less(np.abs(modes.mean(axis=0)), error)
        # Variance: sum of squares is chi^2, relative error sqrt(2/degrees); Euler's is
        # too large by step * rate / 2 = 1 %. Modes of eigenvalue zero stay put.
        moving = exact.kappa > 1e-9 * exact.kappa.max()
        centred = (modes - modes.mean(axis=0))[:, moving]
        degrees = (MEMBERS - 1) * moving.sum()
        chi2 = np.sum(centred**2 / variances[moving])
        assert chi2 / degrees == pytest.approx(1, abs=5 * np.sqrt(2 / degrees) + 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_long_runs_end_at_kernel_ridge_regression(kind, key):
    flow, batch, start, exact = make("output", 0.5, key)
    step = 0.05 / exact.rates.max()
    # e^{-14} < 1e-6 of the slowest mode is left.
    steps = int(14 / exact.rates.min() / step)
    _, (outputs,) = simulate(kind(step), flow, batch, start, [steps], MEMBERS, key)
    variances = exact.variances(np.inf, WIDTH)
    modes = (outputs - exact.ridge()) @ exact.modes
    # The fixed point of either scheme is that of the flow: no error in the step.
    error = 5 * np.sqrt(variances / MEMBERS) + 1e-6
    np.testing.assert_array_less(np.abs(modes.mean(axis=0)), error)
    # The regression is not the interpolation that temperature 0 would give.
    assert np.abs(exact.ridge() - exact.y).max() > 0.1
    # Their variances, n lambda/2m of a stiff mode, over SAMPLES modes; the step adds
    # step * rate / 2 = 2.5 % at most.
    spread = np.sum(np.var(modes, axis=0, ddof=1) / variances)
    error = 5 * np.sqrt(2 / (MEMBERS - 1) / SAMPLES) + 0.025
    assert spread / SAMPLES == pytest.approx(1, abs=error)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["output", "input"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_frozen_block_keeps_its_bits(kind, trainable, key):
    flow, batch, start, _ = make(trainable, 0.5, key)
    (state,), _ = simulate(kind(0.01), flow, batch, start, [5], 1, key)
    frozen, moving = ("w", "u") if trainable == "output" else ("u", "w")
    start = start.params
    assert np.array_equal(getattr(state, frozen)[0], getattr(start, frozen))
    assert not np.array_equal(getattr(state, moving)[0], getattr(start, moving))
