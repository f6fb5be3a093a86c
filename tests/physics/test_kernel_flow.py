"""The tangent kernel drives the outputs, and its largest eigenvalue sets the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.activations import Erf, Identity, Relu, Sigmoid, Softplus, Tanh
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.integrators.stability import (
    auto_step,
    largest_eigenvalue,
    round_down,
    stable_step,
)
from mfsim.kernels import tangent_kernel
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import TwoLayer

ACTIVATIONS = [Tanh(), Erf(), Softplus(2.0), Sigmoid(), Relu(), Identity()]
N, DIM = 6, 3


def make(key, activation=None, trainable="both", loss=None, alpha=3.0):
    """A flow, a batch with labels -1 and 1, and a start that does not fit it."""
    network = TwoLayer(
        width=64, alpha=alpha, activation=activation or Tanh(), trainable=trainable
    )
    x_key, start_key = jax.random.split(key)
    x = jax.random.normal(x_key, (N, DIM))
    y = jnp.where(jnp.arange(N) % 2 == 0, 1.0, -1.0)
    flow = ParticleFlow(network, Digits(), loss or SquaredError())
    return flow, (x, y), flow.init(start_key, DIM)


def output_rate(integrator, flow, batch, state, key):
    """df/dt at t = 0 by one step of each of two sizes, up to O(step^2)."""

    @jax.jit
    def slope(step):
        carry = integrator(step).init(flow, state)
        after = integrator(step).advance(flow, batch, carry, 1, key).state
        x, _ = batch
        return (flow.predict(after, x) - flow.predict(state, x)) / step

    return 2 * slope(5e-6) - slope(1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["both", "output", "input"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_outputs_move_along_the_kernel(activation, trainable, key):
    # df/dt = -(2 alpha^2/n) H (f - y). Rounding 1e-16/5e-6 and (rate * step)^2, about
    # (30 * 1e-5)^2 beside 1, leave 1e-7 of the largest rate; Relu is linear near w.
    flow, (x, y), state = make(key, activation, trainable)
    kernel = np.asarray(tangent_kernel(flow.network, state.params, x))
    expected = -2 * 9.0 / N * kernel @ (flow.predict(state, x) - y)
    measured = output_rate(NoisyGD, flow, (x, y), state, key)
    np.testing.assert_allclose(measured, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_outputs_of_the_logistic_loss_move_along_the_kernel(kind, key):
    # df/dt = -(alpha^2/n) H phi' with phi' = -y/(1 + e^{yf}); bounds as above.
    flow, (x, y), state = make(key, loss=Logistic())
    neurons = state.params
    state = state._replace(params=neurons._replace(u=neurons.u + 0.5))
    f = np.asarray(flow.predict(state, x))
    kernel = np.asarray(tangent_kernel(flow.network, state.params, x))
    expected = 9.0 / N * kernel @ (y / (1 + np.exp(y * f)))
    measured = output_rate(kind, flow, (x, y), state, key)
    np.testing.assert_allclose(measured, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("trainable", ["both", "output", "input"])
def test_largest_eigenvalue(trainable, key):
    # Power iteration comes from below: |Hv| <= lambda_max; "within a few per cent".
    flow, (x, _), state = make(key, trainable=trainable)
    kernel = np.asarray(tangent_kernel(flow.network, state.params, x))
    exact = np.linalg.eigvalsh(kernel)[-1]
    measured = float(jax.jit(largest_eigenvalue)(flow, state, x))
    assert 0.97 * exact <= measured <= exact * (1 + 1e-12)
    expected = 2 * N / (2 * 9.0 * measured)
    assert float(jax.jit(stable_step)(flow, state, x)) == pytest.approx(expected)


def test_stable_step_of_the_logistic_loss_is_eight_times_larger(key):
    flow, (x, _), state = make(key)
    logistic, _, _ = make(key, loss=Logistic())
    step = jax.jit(stable_step)
    ratio = step(logistic, state, x) / step(flow, state, x)
    assert float(ratio) == pytest.approx(8)


def test_largest_eigenvalue_of_a_kernel_that_vanishes(key):
    flow, (x, _), state = make(key)
    assert float(jax.jit(largest_eigenvalue)(flow, state, jnp.zeros_like(x))) == 0


@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_stable_step_parts_convergence_from_growth(kind, key):
    # With one block frozen the residual in the leading mode takes the factor
    # 1 - 2 (step/limit): at 0.9 of the limit 0.8^200 of it is left, and the slow modes
    # shrink too; at 1.1 it has grown by 1.2^200 = 7e15, the risk by its square.
    flow, batch, state = make(key, trainable="output")
    limit = float(stable_step(flow, state, batch[0]))

    @jax.jit
    def risk_after(step):
        carry = kind(step).advance(flow, batch, kind(step).init(flow, state), 200, key)
        return flow.energy(carry.state, batch)

    start = float(flow.energy(state, batch))
    assert float(risk_after(0.9 * limit)) < start
    assert float(risk_after(1.1 * limit)) > 1e20 * start


def make_flow(alpha, temperature, input_std=1.0):
    network = TwoLayer(width=4, alpha=alpha, input_std=input_std, output_std=2.0)
    return ParticleFlow(network, Digits(), temperature=temperature)


@pytest.mark.parametrize(
    ("alpha", "temperature", "step"),
    [
        (1.0, 0.0, 0.25),  # a quarter of the limit 1
        (8.0, 0.0, 0.25),
        (0.5, 0.0, 0.125),  # times alpha below alpha = 1
        (1.0, 0.1, 0.05),  # 0.02 sigma^2/lambda with the smaller sigma^2, 0.25
        (1.0, 0.01, 0.25),  # 0.02 sigma^2/lambda = 0.5 does not bind
    ],
)
def test_auto_step(alpha, temperature, step):
    assert auto_step(make_flow(alpha, temperature, 0.5), 1.0) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (0.129, 0.12),
        (0.12, 0.12),
        (0.3, 0.3),
        (1.0, 1.0),
        (0.999, 0.99),
        (1234.0, 1200.0),
        (1e-7, 1e-7),
        (5.67e-9, 5.6e-9),
    ],
)
def test_round_down(value, rounded):
    assert round_down(value) == rounded


@given(st.floats(1e-30, 1e30))
def test_round_down_keeps_two_digits(value):
    rounded = round_down(value)
    # Two digits: the unit is at most a tenth of the value.
    assert 0.9 * value < rounded <= value * (1 + 1e-12)
    assert round_down(rounded) == rounded == float(f"{rounded:.1e}")
