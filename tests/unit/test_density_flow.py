"""The density on a grid: its sums, fluxes, tridiagonal systems and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import mfsim
from mfsim.activations import Identity, Relu, Softplus, Tanh
from mfsim.datasets import ArrayFile, Data
from mfsim.divergences.masses import chi_square, kl_divergence
from mfsim.flows import DensityFlow, State
from mfsim.flows.fluxes import jump_rates, net_inflow
from mfsim.integrators.tridiagonal import factorise, solve
from mfsim.kernels import tangent_kernel
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import TwoLayer

EPS = np.finfo(float).eps


def make_flow(
    activation=None, *, alpha=2.0, temperature=0.3, loss=None, trainable="both", **grid
):
    network = TwoLayer(
        alpha=alpha,
        activation=activation or Tanh(),
        input_std=0.8,
        output_std=1.3,
        trainable=trainable,
    )
    return DensityFlow(
        network,
        ArrayFile("points.npz"),
        loss or SquaredError(),
        temperature,
        **{"cells": 24, "extent": 5.0} | grid,
    )


def make_data(dim, n=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    return jnp.asarray(x), jnp.asarray(np.sign(rng.normal(size=n)))


def make_masses(flow, dim, seed=0):
    """A law without symmetry, far from the prior."""
    noise = np.random.default_rng(seed).uniform(0.2, 2, size=(flow.cells,) * (dim + 1))
    masses = np.asarray(flow.prior_masses(dim)) * noise
    return jnp.asarray(masses / masses.sum())


each_dim = pytest.mark.parametrize("dim", [1, 2])
each_trainable = pytest.mark.parametrize("trainable", ["both", "output", "input"])


@each_dim
def test_the_start_is_the_prior_of_the_cells(dim, key):
    flow = make_flow()
    masses = np.asarray(flow.init(key, dim).params)
    axes = np.meshgrid(*flow.axes(dim).values(), indexing="ij")
    std = [0.8] * dim + [1.3]
    squares = sum((a / s) ** 2 for a, s in zip(axes, std, strict=True))
    expected = np.exp(-squares / 2)
    np.testing.assert_allclose(masses, expected / expected.sum(), rtol=1e-12)


@each_dim
def test_outputs_and_potential_are_sums_over_the_centres(dim):
    flow, (x, y) = make_flow(loss=Logistic()), make_data(dim)
    masses = make_masses(flow, dim)
    axes = np.meshgrid(*flow.axes(dim).values(), indexing="ij")
    h = np.tanh(np.tensordot(np.asarray(x), np.stack(axes[:-1]), 1))
    f = 2.0 * (np.asarray(masses) * axes[-1] * h).sum(axis=tuple(range(1, dim + 2)))
    np.testing.assert_allclose(flow.predict(State(masses), x), f, rtol=1e-12)
    slopes = -np.asarray(y) / (1 + np.exp(np.asarray(y) * f))
    tilt = 2.0 / 0.3 * np.tensordot(slopes, h, 1) / len(f) * axes[-1]
    prior = sum(a**2 / s**2 for a, s in zip(axes, [0.8] * dim + [1.3], strict=True)) / 2
    found = flow.potential(jnp.asarray(slopes), flow.features(x))
    np.testing.assert_allclose(found, prior + tilt, rtol=1e-11, atol=1e-11)


@each_dim
@each_trainable
def test_the_kernel_product_is_that_of_the_weighted_neurons(dim, trainable):
    flow, (x, _) = make_flow(trainable=trainable), make_data(dim)
    state, v = State(make_masses(flow, dim)), jnp.arange(5.0) - 1
    params, masses = flow.law(state)
    kernel = tangent_kernel(flow.network, params, x, weights=masses)
    found = flow.kernel_product(state, x, v)
    np.testing.assert_allclose(found, np.asarray(kernel) @ v, rtol=1e-11)


@each_dim
@each_trainable
@pytest.mark.parametrize("activation", [Tanh(), Softplus(), Relu()], ids=repr)
def test_a_gibbs_law_stands_still(dim, trainable, activation):
    """Its net jumps are rounding beside the jumps themselves, at any cell width."""
    flow, (x, y) = make_flow(activation, trainable=trainable), make_data(dim)
    potential = flow.potential(y, flow.features(x))
    gibbs = jax.nn.softmax(-potential.ravel()).reshape(potential.shape)
    inflow = flow.inflow(gibbs, potential)
    for axis in flow.moving_axes(dim):
        rates = flow.jump_rates(potential, axis)
        jumps = (
            rates.up * jnp.delete(gibbs, -1, axis, assume_unique_indices=True)
        ).max()
        assert float(jnp.abs(inflow).max()) <= 50 * EPS * float(jumps) * 2 * dim


def test_rates_are_those_of_scharfetter_and_gummel():
    """B(z) = z/(e^z - 1), each rate (lambda/width^2) B of the rise of V."""
    potential = jnp.asarray([0.0, 0.0, 1e-9, 2.0, -3.0, 900.0])
    rates = jump_rates(potential, 0, 0.5, 0.3)
    rise = np.diff(np.asarray(potential))
    safe = np.where(rise == 0, 1.0, rise)
    bernoulli = np.where(rise == 0, 1.0, safe / np.expm1(np.clip(safe, None, 700)))
    np.testing.assert_allclose(rates.up, 1.2 * bernoulli, rtol=1e-14, atol=1e-290)
    np.testing.assert_allclose(rates.down, 1.2 * (bernoulli + rise), rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_a_cell_gains_its_neighbours_lose(axis):
    rng = np.random.default_rng(1)
    masses = jnp.asarray(rng.uniform(size=(5, 6, 7)))
    rates = jump_rates(jnp.asarray(rng.normal(size=(5, 6, 7))), axis, 0.1, 1.0)
    gained = net_inflow(masses, rates, axis)
    # Rates are some 100 a unit of mass: sums of so many of them round.
    np.testing.assert_allclose(gained.sum(axis=axis), 0, atol=1e3 * 7 * EPS)
    one = jnp.zeros((5, 6, 7)).at[2, 3, 4].set(1.0)
    first = np.moveaxis(np.asarray(net_inflow(one, rates, axis)), axis, 0)
    place = np.delete([2, 3, 4], axis)
    line, at = first[:, *place], [2, 3, 4][axis]
    up, down = (np.moveaxis(np.asarray(r), axis, 0)[:, *place] for r in rates)
    np.testing.assert_allclose(line[at + 1], up[at], rtol=1e-12)
    np.testing.assert_allclose(line[at - 1], down[at - 1], rtol=1e-12)


def test_tridiagonal_systems_are_those_of_scipy():
    rng = np.random.default_rng(2)
    lower, upper, right = rng.uniform(-1, 0, size=(3, 9, 4))
    diagonal = 1 - lower - upper
    factors = factorise(*map(jnp.asarray, (lower, diagonal, upper)))
    found = solve(factors, jnp.asarray(right))
    for j in range(4):
        bands = np.zeros((3, 9))
        bands[0, 1:], bands[1], bands[2, :-1] = (
            upper[:-1, j],
            diagonal[:, j],
            lower[1:, j],
        )
        expected = scipy.linalg.solve_banded((1, 1), bands, right[:, j])
        np.testing.assert_allclose(found[:, j], expected, rtol=1e-13)


def gaussian(flow, dim, mean, covariance):
    axes = np.meshgrid(*flow.axes(dim).values(), indexing="ij")
    z = np.stack([a.ravel() for a in axes]) - np.asarray(mean)[:, None]
    log = -0.5 * (z * np.linalg.solve(covariance, z)).sum(axis=0)
    masses = np.exp(log - log.max()).reshape(axes[0].shape)
    return jnp.asarray(masses / masses.sum())


def test_divergences_of_gaussians_are_their_closed_forms():
    """Sums over the cells of smooth laws are trapezoid sums: the error is that of the
    box, 1e-6 of the mass beyond 5 standard deviations."""
    flow = make_flow(cells=64, extent=6.0)
    mean, covariance = np.array([0.2, -0.3]), np.array([[0.6, 0.15], [0.15, 1.4]])
    masses, prior = gaussian(flow, 1, mean, covariance), flow.prior_masses(1)
    whitening = 1 / np.array([0.8, 1.3])
    m = covariance * np.outer(whitening, whitening)
    shift = mean * whitening
    kl = 0.5 * (np.trace(m) - 2 - np.linalg.slogdet(m)[1] + shift @ shift)
    np.testing.assert_allclose(kl_divergence(masses, prior), kl, rtol=1e-6)
    np.testing.assert_allclose(flow.kl(masses), kl, rtol=1e-6)
    shifted = gaussian(flow, 1, mean, np.diag([0.8, 1.3]) ** 2)
    exact = np.exp(shift @ shift) - 1
    np.testing.assert_allclose(chi_square(shifted, prior), exact, rtol=1e-6)


def test_divergences_where_a_mass_is_nothing():
    p, q = jnp.asarray([0.5, 0.5, 0.0]), jnp.asarray([0.25, 0.5, 0.25])
    np.testing.assert_allclose(kl_divergence(p, q), 0.5 * np.log(2), rtol=1e-15)
    np.testing.assert_allclose(chi_square(p, q), 0.0625 / 0.25 + 0.25, rtol=1e-15)
    assert np.isinf(chi_square(q, p))
    assert np.isinf(kl_divergence(q, p))


@pytest.mark.parametrize("cells", [32, 64])
def test_outputs_move_at_the_rate_of_the_kernel_and_the_decay(cells):
    """df/dt = -(alpha^2/n) H phi' + alpha lambda E[A F], at a Gaussian law and h = id.

    With A F_i = -F_i (1/sigma_w^2 + 1/sigma_u^2) both are moments. The error is that of
    fluxes, of second order: below (cell/12) squared and 4 times the lesser at twice the
    cells.
    """
    flow, (x, y) = make_flow(Identity(), cells=cells, extent=6.0), make_data(1)
    covariance = np.array([[0.5, 0.2], [0.2, 1.2]])
    masses = gaussian(flow, 1, [0.0, 0.0], covariance)
    f = 2.0 * 0.2 * np.asarray(x)[:, 0]
    kernel = np.outer(x, x) * covariance.trace()
    expected = -4.0 / 5 * kernel @ (2 * (f - np.asarray(y)))
    expected -= 0.3 * f * (1 / 0.8**2 + 1 / 1.3**2)
    rate = flow.outputs(flow.velocity(State(masses), (x, y)), flow.features(x))
    width = max(map(float, flow.widths(1)))
    error = np.abs(rate - expected).max() / np.abs(expected).max()
    assert error < width**2 / 2


def test_energy_and_its_rate_of_loss_belong_together():
    """dissipation is minus the derivative of the energy along the inflow."""
    flow, batch = make_flow(), make_data(1)
    masses = make_masses(flow, 1)
    _, along = jax.jvp(
        lambda masses: flow.energy(State(masses), batch),
        (masses,),
        (flow.velocity(State(masses), batch),),
    )
    slopes = flow.loss.derivative(flow.predict(State(masses), batch[0]), batch[1])
    potential = flow.potential(slopes, flow.features(batch[0]))
    np.testing.assert_allclose(flow.dissipation(masses, potential), -along, rtol=1e-10)


def test_the_mean_potential_is_half_the_dimension_at_the_prior(key):
    # The box of 6 standard deviations leaves out 1e-8 of it.
    flow = make_flow(cells=64, extent=6.0)
    for dim in (1, 2):
        found = flow.mean_potential(flow.init(key, dim))
        np.testing.assert_allclose(found, (dim + 1) / 2, rtol=1e-6)


def test_the_export_is_a_density_over_its_axes(key):
    flow = make_flow(cells=64, extent=6.0)
    (density,) = flow.export(flow.init(key, 1)).values()
    w, u = flow.axes(1).values()
    np.testing.assert_allclose(density.sum() * (w[1] - w[0]) * (u[1] - u[0]), 1)
    peak = 1 / (2 * np.pi * 0.8 * 1.3)
    centre = np.exp(-0.5 * ((w[32] / 0.8) ** 2 + (u[32] / 1.3) ** 2))
    np.testing.assert_allclose(density[32, 32], peak * centre, rtol=1e-6)


def test_what_a_grid_cannot_be_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"temperature must be above 0 .* Particle"):
        make_flow(temperature=0.0)
    x, y = map(np.asarray, make_data(3))
    data = Data(x, y, x[:0], y[:0])
    with pytest.raises(ValueError, match=r"dimension at most 2 .* got 3; .*pca = 2"):
        make_flow().check(data)
    assert make_flow().check(Data(x[:, :2], y, x[:0, :2], y[:0])) is None
    assert mfsim.DensityFlow is DensityFlow
