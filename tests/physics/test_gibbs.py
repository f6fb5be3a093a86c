"""The Gibbs law on a grid against its own flow, the dual oracle and closed forms."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mfsim.activations import Erf, Identity, Relu, Softplus, Tanh
from mfsim.datasets import ArrayFile
from mfsim.flows import DensityFlow, ParticleFlow, State
from mfsim.integrators import (
    DiffraxSolver,
    ExponentialLangevin,
    FiniteVolume,
    NoisyGD,
    Proximal,
)
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import TwoLayer
from mfsim.theory import gibbs_law, long_time_limit
from tests.physics.exact import FrozenFlow, GaussianFlow
from tests.physics.grids import evolve

STD_W, STD_U = 0.8, 1.3
LINE = np.asarray([[0.9], [-0.4], [1.3]])
PLANE = np.asarray([[0.9, 0.4], [-0.3, 1.1], [0.5, -0.8]])
Y = np.asarray([1.0, -1.0, 1.0])

both = pytest.mark.parametrize("loss", [SquaredError(), Logistic()], ids=repr)


@pytest.fixture
def make(tmp_path):
    """A flow on given arrays, and these as its batch."""

    def make(x=LINE, y=Y, loss=None, temperature=0.1, cells=48, extent=9.0, **network):
        path = tmp_path / "data.npz"
        np.savez(path, x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
        network = TwoLayer(
            width=2, **({"input_std": STD_W, "output_std": STD_U} | network)
        )
        data, loss = ArrayFile(path=path), loss or SquaredError()
        return DensityFlow(network, data, loss, temperature, cells, extent)

    return make


def prior(flow, dim):
    return np.asarray(flow.init(jax.random.key(0), dim).params)


def batch(flow):
    data = flow.dataset.load()
    return jax.numpy.asarray(data.x_train), jax.numpy.asarray(data.y_train)


def energy(flow, masses):
    return float(flow.energy(State(jax.numpy.asarray(masses)), batch(flow)))


CASES = [
    (Tanh(), SquaredError(), "both", LINE),
    (Softplus(), Logistic(), "both", LINE),
    (Relu(), SquaredError(), "output", LINE),
    (Relu(), SquaredError(), "both", PLANE),
]


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "loss", "trainable", "x"), CASES)
def test_it_stands_still(make, key, activation, loss, trainable, x):
    flow = make(
        x,
        loss=loss,
        temperature=0.4,
        cells=32,
        alpha=1.5,
        activation=activation,
        trainable=trainable,
    )
    law = gibbs_law(flow, tolerance=1e-13)
    dim, data = x.shape[1], batch(flow)
    assert law.masses.shape == (32,) * (dim + 1)
    assert law.masses.sum() == pytest.approx(1, abs=1e-14)
    state = State(jax.numpy.asarray(law.masses))
    # A residual of 2e-13 moves V by (alpha/lambda) 2e-13 |u h| <= 1e-11 where there is
    # mass, and so the velocity by that share of what p_0 has.
    at_prior = np.abs(flow.velocity(flow.init(key, dim), data)).max()
    assert np.abs(flow.velocity(state, data)).max() < 1e-11 * at_prior
    for carry in evolve(flow, FiniteVolume(step=0.1), data, [1, 20], law.masses):
        moved = carry.state.params
        assert np.abs(moved - law.masses).max() < 1e-12 * law.masses.max()
    assert law.energy == pytest.approx(energy(flow, law.masses), abs=1e-14)


@both
@pytest.mark.parametrize("trainable", ["both", "output", "input"])
def test_other_laws_cost_their_divergence_from_it(make, loss, trainable):
    # L is convex in p: Q(p) >= Q* + lambda KL(p || p*) for p of the same frozen block,
    # and by Taylor at most max phi''/2 of the squared change in f more.
    temperature = 0.3
    flow = make(loss=loss, temperature=temperature, alpha=2.0, trainable=trainable)
    law = gibbs_law(flow)
    p0, axes = prior(flow, 1), tuple(flow.moving_axes(1))
    frozen = p0.sum(axis=axes, keepdims=True)
    np.testing.assert_allclose(
        law.masses.sum(axis=axes, keepdims=True), frozen, rtol=1e-13, atol=0
    )
    w, u = np.meshgrid(*flow.centres(1), indexing="ij")
    x, _ = batch(flow)
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b, c = rng.normal(size=3)
        other = law.masses * np.exp(a * np.sin(w) + b * np.cos(u) + c * np.tanh(u * w))
        other *= frozen / other.sum(axis=axes, keepdims=True)
        kl = (other * (np.log(other) - np.log(law.masses))).sum()
        change = flow.predict(State(jax.numpy.asarray(other)), x) - law.predictions
        excess = energy(flow, other) - law.energy - temperature * kl
        most = loss.max_curvature / 2 * np.mean(np.square(change))
        # Rounding, and a residual of 1e-10 at a change of order one.
        assert -1e-9 < excess < most + 1e-9
        assert kl > 1e-3


SMOOTH = [(LINE, "both", 64), (PLANE, "output", 40)]


@pytest.mark.slow
@both
@pytest.mark.parametrize(("x", "trainable", "cells"), SMOOTH)
def test_it_is_the_dual_oracles_limit(make, loss, x, trainable, cells):
    # Sums over centres are trapezoid sums, whose error is exponential for tanh: it is
    # below that of the box, which lacks 1e-8 of the mass at most: some 1e-9 in f.
    flow = make(
        x,
        loss=loss,
        temperature=0.4,
        alpha=2.0,
        cells=cells,
        extent=8.0,
        trainable=trainable,
    )
    law, limit = gibbs_law(flow), long_time_limit(flow, memory_mib=64)
    assert law.energy == pytest.approx(limit.energy, abs=1e-10)
    assert law.risk == pytest.approx(limit.risk, abs=1e-8)
    assert law.kl == pytest.approx(limit.kl, abs=1e-8)
    np.testing.assert_allclose(law.predictions, limit.predictions, atol=1e-8)


@pytest.mark.slow
def test_its_error_falls_faster_than_any_power_of_the_cell(make):
    flow = make(temperature=0.1, alpha=2.0)
    limit = long_time_limit(flow)
    errors = [
        np.abs(gibbs_law(make(alpha=2.0, cells=n)).predictions - limit.predictions)
        for n in (16, 32, 64)
    ]
    coarse, middle, fine = (e.max() for e in errors)
    # 4e-3, 4e-6 and 8e-11: of order 10, then 15, by halving the cells.
    assert middle < coarse / 2**8
    assert fine < middle / 2**12


@pytest.mark.parametrize("x", [LINE, PLANE], ids=["line", "plane"])
def test_identity_is_the_gaussian_flows_end(make, x):
    alpha, temperature, y = 1.5, 0.4, np.asarray([0.8, -1.1, 0.4])
    options = {"alpha": alpha, "activation": Identity(), "temperature": temperature}
    flow = make(x, y, extent=10.0, cells=40, **options)
    law = gibbs_law(flow)
    exact = GaussianFlow(x, y, alpha, temperature, STD_W, STD_U)
    # Rates are 0.24 or more: e^{-2 * 0.24 * 80} = 2e-17. The box lacks less than 1e-9.
    c = exact.covariance([80.0])[-1]
    points = np.stack(np.meshgrid(*flow.centres(x.shape[1]), indexing="ij"))
    flat = points.reshape(len(points), -1)
    found = (flat * law.masses.ravel()) @ flat.T
    np.testing.assert_allclose(found, c, atol=1e-8)
    np.testing.assert_allclose(law.predictions, exact.outputs(c), atol=1e-8)
    assert law.kl == pytest.approx(exact.kl(c), abs=1e-8)
    assert law.risk == pytest.approx(exact.risk(c), abs=1e-8)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_a_frozen_input_ends_at_kernel_ridge_regression(make, alpha):
    y = np.asarray([0.3, -1.2, 0.8])
    options = {"alpha": alpha, "activation": Erf(), "trainable": "output"}
    flow = make(PLANE, y, temperature=0.4, extent=8.0, **options)
    law = gibbs_law(flow)
    gram = STD_W**2 * PLANE @ PLANE.T
    scale = np.sqrt(1 + 2 * np.diag(gram))
    kernel = 2 / np.pi * np.arcsin(2 * gram / np.outer(scale, scale))
    exact = FrozenFlow(kernel, y, alpha, 0.4, STD_U)
    # The box lacks 1e-9 of the mass.
    np.testing.assert_allclose(law.predictions, exact.ridge(), atol=1e-8)
    assert law.kl == pytest.approx(exact.kl(np.inf), abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "trainable"),
    [(SquaredError(), "both"), (Logistic(), "both"), (SquaredError(), "output")],
)
def test_a_run_ends_there(make, loss, trainable):
    flow = make(loss=loss, temperature=0.4, cells=40, alpha=2.0, trainable=trainable)
    law, data = gibbs_law(flow, tolerance=1e-13), batch(flow)
    times = np.arange(1, 17) * 2.0
    stops = np.rint(times / 0.05).astype(int)
    carries = evolve(flow, FiniteVolume(step=0.05), data, stops)
    gaps = [energy(flow, carry.state.params) - law.energy for carry in carries]
    first = energy(flow, prior(flow, 1)) - law.energy
    assert first > 0.05
    assert min(gaps) > -1e-14
    if trainable == "output":
        # Given w, u is Gaussian of variance sigma_u^2 in every proximal Gibbs law,
        # whose log-Sobolev constant makes Q - Q* fall at the rate 2 lambda/sigma_u^2
        # at least (Nitanda et al. 2022, theorem 1).
        slowest = np.exp(-2 * 0.4 / STD_U**2 * times) * first
        assert (gaps < slowest + 1e-14).all()
    # Q - Q* >= lambda KL(p || p*) >= (lambda/2) |p - p*|_1^2.
    distance = np.abs(np.asarray(carries[-1].state.params) - law.masses).sum()
    assert distance < np.sqrt(2 * (max(gaps[-1], 0) + 1e-14) / 0.4)
    assert distance < 1e-4


@pytest.mark.long
@pytest.mark.parametrize(
    ("integrator", "m"),
    [
        (NoisyGD(0.05), 20_000),
        (ExponentialLangevin(0.05), 20_000),
        (DiffraxSolver(0.5, rtol=0.03, atol=0.03), 400),
    ],
    ids=lambda a: type(a).__name__,
)
def test_neurons_end_there(make, key, integrator, m):
    """Their outputs are the law's, within 4 standard errors of m neurons.

    From t = 12 on the law is 1e-3 from its end. A step of 0.05 or a tolerance of 0.03
    leaves less than a standard error.
    """
    flow = make(temperature=0.4, cells=40, alpha=2.0)
    law, (x, y) = gibbs_law(flow), batch(flow)
    network = replace(flow.network, width=m)
    neurons = ParticleFlow(network, flow.dataset, temperature=0.4, shadow=False)
    carry = integrator.init(neurons, neurons.init(key, 1))
    steps = round(12 / integrator.step)
    carry = jax.jit(
        lambda carry: integrator.advance(neurons, (x, y), carry, steps, key)
    )(carry)
    w, u = flow.axes(1).values()
    f = 2.0 * u[:, None, None] * np.tanh(w[None, :, None] * np.asarray(x)[:, 0])
    spread = np.sqrt(np.tensordot(law.masses.T, f**2, 2) - law.predictions**2)
    off = np.abs(neurons.predict(carry.state, x) - law.predictions)
    assert (off < 4 * spread / np.sqrt(m)).all()


@pytest.mark.slow
def test_proximal_steps_end_there(make):
    """A Gibbs law stands still in proximal steps of any size."""
    flow = make(temperature=0.4, cells=32, alpha=2.0, extent=8.0)
    law, data = gibbs_law(flow), batch(flow)
    (carry,) = evolve(flow, Proximal(step=1.0), data, [40])
    # The slowest mode decays by 1/(1 + 0.4/1.3^2) a step at most: 2e-4 is left.
    distance = np.abs(np.asarray(carry.state.params) - law.masses).sum()
    assert distance < 1e-3


@pytest.mark.long
@both
def test_a_strong_force_converges(make, loss):
    # alpha^2/lambda = 3200.
    flow = make(loss=loss, alpha=8.0, temperature=0.02, cells=192, extent=14.0)
    law, limit = gibbs_law(flow), long_time_limit(flow)
    assert law.iterations < 50
    assert law.residual < 1e-9
    # Tilted by exponents of some hundred, the laws round at 1e-13 of f. The box lacks
    # 1e-8, by alpha = 8.
    np.testing.assert_allclose(law.predictions, limit.predictions, atol=1e-6)
    assert law.energy == pytest.approx(limit.energy, abs=1e-8)


def test_no_force_leaves_the_prior(make):
    flow = make(y=np.zeros(3), cells=16)
    law = gibbs_law(flow)
    np.testing.assert_allclose(law.masses, prior(flow, 1), rtol=1e-12, atol=0)
    assert law.kl == pytest.approx(0, abs=1e-14)


def test_results_are_float64_whatever_jax_says(make):
    flow = make(cells=16)
    with jax.enable_x64(False):
        law = gibbs_law(flow)
    assert law.masses.dtype == law.predictions.dtype == np.float64
    np.testing.assert_array_equal(law.masses, gibbs_law(flow).masses)
    assert type(law.energy) is type(law.residual) is float


def test_what_has_no_answer_is_refused(make):
    with pytest.raises(ValueError, match="^tolerance must be within .* = 1 and"):
        gibbs_law(make(cells=16), max_iterations=1)
    with pytest.raises(ValueError, match="^tolerance must be within .*got 0e"):
        gibbs_law(make(cells=16), tolerance=0.0, max_iterations=30)
    with pytest.raises(ValueError, match="^flow.extent must leave .* got 3 with"):
        gibbs_law(make(cells=16, extent=3.0))
    with pytest.raises(ValueError, match="^flow.extent must leave .* got 9 with"):
        gibbs_law(make(loss=Logistic(), temperature=0.02, activation=Relu()))
    with pytest.raises(ValueError, match="^dataset must have inputs of dimension at"):
        gibbs_law(make(np.eye(3)))
