"""Proximal steps against direct minimisation, exact laws and finite volumes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from mfsim.activations import Identity, Tanh
from mfsim.datasets import Data, Digits
from mfsim.flows import DensityFlow, State
from mfsim.integrators import FiniteVolume, Proximal, proximal
from mfsim.networks import TwoLayer
from tests.physics.exact import GaussianFlow

INPUT_STD, OUTPUT_STD = 0.8, 1.3


def make_flow(
    activation, *, alpha=1.0, temperature=0.2, cells=48, extent=6.0, **frozen
):
    network = TwoLayer(
        width=2,
        alpha=alpha,
        activation=activation,
        input_std=INPUT_STD,
        output_std=OUTPUT_STD,
        **frozen,
    )
    return DensityFlow(
        network, Digits(), temperature=temperature, cells=cells, extent=extent
    )


def start(integrator, flow, data, masses=None):
    if masses is None:
        masses = flow.init(jax.random.key(0), 1).params
    return integrator.init(flow, State(masses), data)


@eqx.filter_jit
def advance(integrator, flow, data, carry, steps):
    return integrator.advance(flow, data, carry, steps, jax.random.key(0))


def go(integrator, flow, data, carry, steps):
    return advance(integrator, flow, data, carry, jnp.asarray(steps, jnp.int32))


def samples(n=6):
    x = np.linspace(-1, 1, n)[:, None]
    return x, 1.2 * x[:, 0] + 0.2 * np.sin(7 * x[:, 0])


NOTHING = jnp.zeros((1, 1)), jnp.zeros(1)
"""An input at which every network is 0, as its label: no force."""


def entropic_cost(a, b, cost, epsilon):
    """min sum pi cost + epsilon sum pi log pi, by Sinkhorn's iteration on matrices."""
    kernel = np.exp(-cost / epsilon)
    u = np.ones_like(a)
    for _ in range(400):
        v = b / (kernel.T @ u)
        u = a / (kernel @ v)
    plan = u[:, None] * kernel * v
    return (plan * (cost + epsilon * np.log(plan))).sum(), epsilon * np.log(u)


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 2.0])
def test_a_step_on_a_tiny_grid_is_the_minimum(share):
    # On 8 x 8 cells of 0.4 and 0.65 the plan of step 2 spans at least one.
    step, temperature = 2.0, 0.3
    epsilon = share * temperature
    flow = make_flow(Tanh(), temperature=temperature, cells=8, extent=2.0)
    x, y = (jnp.asarray(a) for a in samples())
    integrator = Proximal(step=step, epsilon=epsilon)
    carry = start(integrator, flow, (x, y))
    end = go(integrator, flow, (x, y), carry, 1)
    assert end.memory.is_sound
    axes = np.meshgrid(*(np.asarray(a) for a in flow.centres(1)), indexing="ij")
    points = np.stack([a.ravel() for a in axes], 1)
    cost = np.square(points[:, None] - points).sum(2) / (2 * step)
    before = np.asarray(carry.state.params).ravel()

    def free_energy(p):
        f = (
            flow.network.alpha
            * np.tanh(np.asarray(x) * points[:, 0])
            @ (p * points[:, 1])
        )
        slopes = 2 * (f - np.asarray(y))
        tilt = np.tanh(np.asarray(x) * points[:, 0]) * points[:, 1]
        value = np.square(f - np.asarray(y)).mean()
        value += temperature * (p * np.log(p / before)).sum()
        slope = slopes @ tilt / len(y) + temperature * np.log(p / before)
        return value, slope

    def objective(logits):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        to_there, potential = entropic_cost(p, before, cost, epsilon)
        itself, own = entropic_cost(p, p, cost, epsilon)
        value, slope = free_energy(p)
        total = slope + potential - own
        return to_there - itself / 2 + value, p * (total - p @ total)

    found = np.asarray(end.state.params).ravel()
    # The entropic problem is solved to 1e-9 and its minimum is where this is 0.
    _, gradient = objective(np.log(found))
    assert np.abs(gradient).max() < 1e-8
    best = minimize(objective, np.log(before), jac=True, method="BFGS")
    assert objective(np.log(found))[0] <= best.fun + 1e-12
    p = np.exp(best.x - best.x.max())
    # BFGS stops at gradients of 1e-5.
    assert found == pytest.approx(p / p.sum(), abs=1e-4)


def moments(flow, masses):
    axes = jnp.meshgrid(*flow.centres(1), indexing="ij")
    mean = [float((masses * a).sum()) for a in axes]
    return np.array(mean), np.array(
        [[float((masses * a * b).sum()) for a in axes] for b in axes]
    )


@pytest.mark.long
def test_a_gaussian_law_to_first_order():
    x, y = samples()
    exact = GaussianFlow(x, y, 1.0, 0.3, INPUT_STD, OUTPUT_STD)
    (covariance,) = exact.covariance([1.0])
    flow = make_flow(Identity(), temperature=0.3, cells=48, extent=5.0)
    data = jnp.asarray(x), jnp.asarray(y)
    kls, covariances = [], []
    for steps in (3, 6, 12):
        integrator = Proximal(step=1 / steps)
        end = go(integrator, flow, data, start(integrator, flow, data), steps)
        assert end.memory.is_sound
        kls.append(float(flow.kl(end.state.params)))
        covariances.append(moments(flow, end.state.params)[1])
    fine = FiniteVolume(step=1 / 64)
    end = go(fine, flow, data, start(fine, flow, data), 64)
    reference = float(flow.kl(end.state.params))
    errors = np.abs(np.array(kls) - reference)
    orders = np.log2(errors[:-1] / errors[1:])
    assert reference == pytest.approx(exact.kl(covariance), rel=0.01)
    assert orders == pytest.approx(1, abs=0.15)
    # Extrapolated to step 0 an error of second order in the step is left: that of the
    # smallest step, 3.5 % of KL, squared.
    assert 2 * kls[-1] - kls[-2] == pytest.approx(exact.kl(covariance), rel=2e-3)
    extrapolated = 2 * covariances[-1] - covariances[-2]
    assert extrapolated == pytest.approx(covariance, rel=3e-3)


@pytest.mark.parametrize("epsilon", [None, 0.25])
def test_a_mean_decays_as_by_implicit_euler(epsilon):
    # Of a quadratic potential, a proximal step in W2 takes the mean to 1/(1 + a) of
    # it, a = step lambda/std^2; the Sinkhorn divergence has the same part by the means.
    # The box cuts e^-18 off, and 0.75 cells a 1e-3 of the plan's width: here it is 1.9.
    step, temperature = 0.5, 0.25
    flow = make_flow(Tanh(), temperature=temperature, cells=40)
    axes = [np.asarray(a) for a in flow.centres(1)]
    std, shift = np.array([INPUT_STD, OUTPUT_STD]), np.array([0.5, -0.7])
    along = [
        np.exp(-0.5 * ((a - m) / (0.8 * s)) ** 2)
        for a, m, s in zip(axes, shift, std, strict=True)
    ]
    masses = jnp.asarray(np.outer(*along) / np.outer(*along).sum())
    integrator = Proximal(step=step, epsilon=epsilon)
    carry = start(integrator, flow, NOTHING, masses)
    end = go(integrator, flow, NOTHING, carry, 3)
    assert end.memory.is_sound
    factor = (1 + step * temperature / std**2) ** -3
    found, _ = moments(flow, end.state.params)
    before, _ = moments(flow, masses)
    assert found == pytest.approx(before * factor, rel=1e-4)


@pytest.mark.parametrize("epsilon", [None, 0.2])
def test_the_prior_stands_still_without_force(epsilon):
    # The Sinkhorn divergence is least at equal laws; the entropy term alone would widen
    # the law by epsilon/2 lambda = 50 %.
    flow = make_flow(Tanh())
    integrator = Proximal(step=0.4, epsilon=epsilon)
    carry = start(integrator, flow, NOTHING)
    end = go(integrator, flow, NOTHING, carry, 2)
    assert end.memory.is_sound
    gap = jnp.abs(end.state.params - carry.state.params).sum()
    # An iteration that moves less than 1e-12 of the mass is the last.
    assert gap < 1e-11


@pytest.mark.parametrize(
    "frozen", [{}, {"trainable": "output"}, {"trainable": "input"}]
)
def test_energy_falls_and_mass_stays(frozen):
    flow = make_flow(Tanh(), alpha=2.0, cells=40, extent=5.0, **frozen)
    x, y = samples()
    data = jnp.asarray(x), jnp.asarray(2 * y)
    integrator = Proximal(step=0.4)
    carry = start(integrator, flow, data)
    prior, energies = carry.state.params, [float(carry.memory.energy)]
    for _ in range(4):
        carry = go(integrator, flow, data, carry, 1)
        assert carry.memory.is_sound
        energies.append(float(flow.energy(carry.state, data)))
        assert float(carry.state.params.min()) >= 0
        assert float(carry.state.params.sum()) == pytest.approx(1, abs=1e-12)
    assert np.all(np.diff(energies) < 0)
    for axis in {0, 1} - set(flow.moving_axes(1)):
        held = carry.state.params.sum(1 - axis)
        assert held == pytest.approx(np.asarray(prior.sum(1 - axis)), abs=1e-12)


def test_any_cut_into_calls_gives_one_result():
    flow = make_flow(Tanh(), cells=24, extent=4.0)
    data = tuple(jnp.asarray(a) for a in samples())
    integrator = Proximal(step=0.4)
    carry = start(integrator, flow, data)
    whole = go(integrator, flow, data, carry, 10)
    parts = go(integrator, flow, data, go(integrator, flow, data, carry, 5), 5)
    assert whole.memory.is_sound
    assert whole.step == parts.step == 10
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        assert np.array_equal(a, b)


def make_data(dim):
    x, y = np.zeros((2, dim)), np.zeros(2)
    return Data(x, y, x, y)


def test_it_refuses_three_axes_and_too_much_blur():
    flow = make_flow(Tanh(), temperature=0.2)
    Proximal(step=0.2, epsilon=0.4).check(flow, make_data(1))
    with pytest.raises(ValueError, match="^kind must .* got Proximal.*FiniteVolume"):
        Proximal(step=0.1).check(flow, make_data(2))
    with pytest.raises(ValueError, match="^epsilon must be at most .* 0.4, got 0.5"):
        Proximal(step=0.1, epsilon=0.5).check(flow, make_data(1))


def test_a_plan_narrower_than_a_cell_is_refused():
    # Cells of 0.325 along u: 0.75 of one is the width of a step of 0.15.
    flow, integrator = make_flow(Tanh()), Proximal(step=0.1)
    with pytest.raises(ValueError, match="^step must be 1.49 times .* 1.22 times as"):
        integrator.check(flow, make_data(1))
    least = integrator.least_step(flow, make_data(1))
    np.testing.assert_allclose(least, 0.1485, rtol=1e-3)
    Proximal(step=least).check(flow, make_data(1))


def test_a_step_whose_end_is_not_found_is_not_taken(monkeypatch):
    monkeypatch.setattr(proximal, "_MAX_ITERATIONS", 3)
    flow, integrator = make_flow(Tanh(), cells=24), Proximal(step=0.7)
    data = tuple(jnp.asarray(a) for a in samples())
    carry = start(integrator, flow, data)
    end = go(integrator, flow, data, carry, 2)
    assert not integrator.is_sound(end.memory)
    assert np.array_equal(end.state.params, carry.state.params)
    assert "step must be small enough" in integrator.failure(end.memory)
