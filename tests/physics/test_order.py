"""Both integrators are of weak order 1, measured without the noise of a sample.

`update` is affine in the parameters, the force and the noise, so that on the identity
activation its chain of second moments is known exactly; where temperature is 0 the
whole loop is compared with a solved ODE.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mfsim.activations import Tanh
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.networks import TwoLayer
from tests.physics.exact import GaussianFlow

KINDS = [NoisyGD, ExponentialLangevin]
HORIZON, CUTS = 1.0, np.array([64, 128, 256, 512])


def orders(errors):
    """Measured order between successive halvings of the step."""
    return np.log2(errors[:-1] / errors[1:])


def assert_first_order(errors):
    # error = c step + c' step^2: the measured order is off 1 by O(step), at most a
    # quarter at the coarsest of these steps and halved with each. Order 0 or 2, and
    # a limit that is not the exact one (whose errors stop falling), are far outside.
    measured = orders(np.asarray(errors))
    assert measured == pytest.approx([1, 1, 1], abs=0.25)
    assert measured[-1] == pytest.approx(1, abs=0.05)


def update_coefficients(integrator, exact):
    """(decay, gain, spread) of every coordinate, read off the integrator's update."""

    def parts(std):
        return [
            integrator.update(
                *map(jnp.asarray, unit), integrator.step, exact.temperature, std
            )
            for unit in np.eye(3)
        ]

    return np.array([parts(float(std)) for std in exact.std]).T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_weak_order_of_the_moments(kind, temperature):
    draws = np.random.default_rng(5)
    x, y = draws.standard_normal((5, 3)) / 2, draws.standard_normal(5)
    exact = GaussianFlow(x, y, 1.5, temperature, input_std=0.8, output_std=1.3)
    (limit,) = exact.covariance([HORIZON])
    steps = [update_coefficients(kind(HORIZON / cut), exact) for cut in CUTS]
    chains = [exact.chain(*pair) for pair in zip(steps, CUTS, strict=True)]
    assert_first_order([np.abs(c - limit).max() for c in chains])
    outputs = exact.outputs(limit)
    assert_first_order([np.abs(exact.outputs(c) - outputs).max() for c in chains])


@pytest.mark.parametrize("temperature", [0.0, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_update_is_the_scheme_it_says(kind, temperature):
    # The coefficients, from their formulas: a few roundings.
    exact = GaussianFlow(np.eye(3), np.ones(3), 1.0, temperature, 0.8, 1.3)
    np.testing.assert_allclose(
        update_coefficients(kind(0.3), exact),
        exact.coefficients(kind.__name__, 0.3),
        rtol=1e-14,
        atol=1e-16,
    )


def gradient_flow(network, x, y, start, horizon):
    """The particles at `horizon`, from the equations of motion written out for tanh."""
    m, d = start.w.shape

    def rate(_, flat):
        w, u = flat[: m * d].reshape(m, d), flat[m * d :]
        h = np.tanh(x @ w.T)
        residual = 2 * (network.alpha / m * h @ u - y) / len(y)
        by_output = -network.alpha * residual @ h
        back = (residual[:, None] * (1 - h**2)).T @ x
        by_input = -network.alpha * u[:, None] * back
        return np.concatenate([by_input.ravel(), by_output])

    flat = np.concatenate([np.ravel(start.w), start.u])
    solution = solve_ivp(rate, (0, horizon), flat, "DOP853", rtol=1e-11, atol=1e-12)
    return solution.y[:, -1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_loop_at_temperature_zero(kind, key):
    network = TwoLayer(width=32, alpha=2.0, activation=Tanh())
    flow = ParticleFlow(network, Digits())
    x_key, y_key, start_key = jax.random.split(key, 3)
    batch = jax.random.normal(x_key, (6, 3)), jax.random.normal(y_key, (6,))
    start = flow.init(start_key, 3)
    exact = gradient_flow(network, *map(np.asarray, batch), start.params, HORIZON)

    @jax.jit
    def run(step, cut):
        integrator = kind(step)
        return integrator.advance(flow, batch, integrator.init(flow, start), cut, key)

    errors = []
    for cut in CUTS:
        w, u = run(HORIZON / cut, int(cut)).state.params
        errors.append(np.abs(np.concatenate([np.ravel(w), u]) - exact).max())
    assert_first_order(errors)
