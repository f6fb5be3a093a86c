"""What is measured on a grid: identities between the series, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from mfsim.activations import Tanh
from mfsim.datasets import Data
from mfsim.divergences import masses as divergences
from mfsim.flows import State
from mfsim.integrators import DiffraxSolver, FiniteVolume
from mfsim.losses import Logistic, SquaredError
from mfsim.observables import (
    KL,
    Certificate,
    ChiSquare,
    Displacement,
    FreeEnergy,
    GridQuality,
    KernelDrift,
    Marginals,
    NeuronMoments,
    NtkGap,
    Risk,
    Wasserstein,
    grid,
)
from mfsim.theory import gibbs_law
from tests.physics.exact import GaussianFlow
from tests.physics.grids import density_flow, evolve
from tests.physics.observing import observe

X, Y = np.array([[1.0], [-0.6], [0.3]]), np.array([0.5, -0.25, 0.1])
STD = {"input_std": 0.8, "output_std": 1.3}
KEY = jax.random.key(0)


def row_of(flow, *observables, y=Y, step=0.02, steps=25):
    (row,) = observe(flow, FiniteVolume(step), (X, y), observables, [steps], KEY)
    return row


def masses_of(flow, y=Y, step=0.02, steps=25):
    (carry,) = evolve(flow, FiniteVolume(step), (X, y), [steps])
    return np.asarray(carry.state.params)


@pytest.mark.parametrize("trainable", ["both", "input"])
def test_kl_changes_by_production_less_fisher_information(trainable):
    """d kl/dt = S - lambda I, against a central difference of twice the last step.

    Its error is (step squared/6) times the third derivative, 1e-4 of the rate here.
    """
    flow = density_flow(Tanh(), temperature=0.3, cells=48, trainable=trainable, **STD)
    stops, step = [50, 51, 52], 0.01
    series = (KL(), FreeEnergy())
    before, now, after = observe(
        flow, FiniteVolume(step), (X, 3 * Y), series, stops, KEY
    )
    rate = (after["kl"] - before["kl"]) / (2 * step)
    exact = now["entropy_production"] - 0.3 * now["fisher_information"]
    np.testing.assert_allclose(rate, exact, rtol=1e-2)
    lost = (before["free_energy"] - after["free_energy"]) / (2 * step)
    np.testing.assert_allclose(lost, now["dissipation"], rtol=1e-2)


def test_fisher_information_of_a_gaussian():
    """I = tr(L^-1 C L^-1) - 2 tr L^-1 + tr C^-1, of second order in the cells.

    At 96 cells of an eighth of a standard deviation some 1/8^2/4 off.
    """
    flow, exact = density_flow(temperature=0.5, cells=96, **STD), None
    exact = GaussianFlow(X, Y, 2.0, 0.5, 0.8, 1.3)
    (c,) = exact.covariance([0.5])
    inverse = np.diag(1 / exact.std**2)
    fisher = np.trace(inverse @ c @ inverse) - 2 * np.trace(inverse)
    fisher += np.trace(np.linalg.inv(c))
    found = row_of(flow, KL())["fisher_information"]
    np.testing.assert_allclose(found, fisher, rtol=5e-3)


def test_distances_of_the_exact_law():
    """W2 (Bures) and its parts of a Gaussian within 1 %, as its moments."""
    flow = density_flow(temperature=0.2, **STD)
    exact = GaussianFlow(X, Y, 2.0, 0.2, 0.8, 1.3)
    (c,) = exact.covariance([0.5])
    prior = np.diag(exact.std**2)
    root = np.diag(exact.std)
    values, vectors = np.linalg.eigh(root @ c @ root)
    cross = (vectors * np.sqrt(values)) @ vectors.T
    row = row_of(flow, Wasserstein(), NeuronMoments())
    bures = np.sqrt(np.trace(c + prior - 2 * cross))
    np.testing.assert_allclose(row["w2"], bures, rtol=1e-2)
    parts = np.abs(np.sqrt(np.diag(c)) - exact.std)
    # A hundredth of a standard deviation: of what the widths have changed.
    np.testing.assert_allclose([row["w2_w"], row["w2_u"]], parts, rtol=2e-2)
    np.testing.assert_allclose(row["neuron_mean"], 0, atol=1e-12)
    np.testing.assert_allclose(row["neuron_covariance"], c, rtol=5e-3)


def test_w2_without_its_parts():
    flow = density_flow(temperature=0.2, cells=32, **STD)
    assert set(row_of(flow, Wasserstein(blocks=False))) == {"w2"}


@pytest.mark.parametrize("trainable", ["both", "output"])
@pytest.mark.parametrize("loss", [SquaredError(), Logistic()], ids=repr)
def test_the_dual_at_the_outputs_and_at_its_best(monkeypatch, loss, trainable):
    """Q - D = lambda KL(p || p*) at the slopes of the outputs, at least Q - min Q."""
    y = np.array([1.0, -1.0, 1.0])
    options = {"loss": loss, "trainable": trainable, "extent": 9.0} | STD
    flow = density_flow(Tanh(), temperature=0.4, cells=40, **options)
    best = row_of(flow, Certificate(), FreeEnergy(), y=y)
    law = gibbs_law(flow, data=Data(X, y, X[:0], y[:0]))
    np.testing.assert_allclose(best["dual_energy"], law.energy, rtol=1e-12)
    total = best["dual_energy"] + best["gap_upper"]
    np.testing.assert_allclose(total, best["free_energy"], rtol=1e-12)

    monkeypatch.setattr(grid, "least_energy", lambda start: None)
    row = row_of(flow, Certificate(), y=y)
    masses = jnp.asarray(masses_of(flow, y))
    x, labels = jnp.asarray(X), jnp.asarray(y)
    slopes = loss.derivative(flow.predict(State(masses), x), labels)
    potential = flow.potential(slopes, flow.features(x))
    axes = tuple(flow.moving_axes(1))
    frozen = flow.prior_masses(1).sum(axis=axes, keepdims=True)
    gibbs = frozen * jax.nn.softmax(-potential, axis=axes)
    kl = divergences.kl_divergence(masses, gibbs)
    least = min(0.4 * kl, best["free_energy"])
    np.testing.assert_allclose(row["gap_upper"], least, rtol=1e-9)
    assert row["gap_upper"] > best["gap_upper"] > 1e-4


def test_marginals_are_sums_over_the_other_axes():
    flow = density_flow(Tanh(), temperature=0.3, cells=32, **STD)
    row, masses = row_of(flow, Marginals(), y=3 * Y), masses_of(flow, 3 * Y)
    w, u = flow.axes(1).values()
    np.testing.assert_allclose(row["marginal_w_1"] * (w[1] - w[0]), masses.sum(1))
    np.testing.assert_allclose(row["marginal_u"] * (u[1] - u[0]), masses.sum(0))


def test_the_quality_of_a_grid():
    """cell_peclet at p_0 without a force is Delta/sigma: V rises by z Delta/sigma."""
    flow = density_flow(Tanh(), temperature=0.3, cells=48, extent=3.0, **STD)
    row = row_of(flow, GridQuality(), y=0 * Y, steps=1)
    np.testing.assert_allclose(row["cell_peclet"], 0.125, rtol=0.05)
    # The outermost cell at either end of two axes: 3 - 1/8 to 3 deviations.
    outside = norm.cdf(3) - norm.cdf(3 - 0.125)
    np.testing.assert_allclose(row["boundary_mass"], 4 * outside, rtol=0.02)


def test_kernels_and_risks_are_those_of_the_law():
    """H of the Gaussian law; the prediction of the prior's kernel is the flow's own."""
    flow = density_flow(temperature=0.2, cells=96, **STD)
    exact = GaussianFlow(X, Y, 2.0, 0.2, 0.8, 1.3)
    start, c = exact.covariance([0.0, 0.5])
    row = row_of(flow, KernelDrift(), Risk(), NtkGap())
    drift = np.abs(exact.kernel(c) - exact.kernel(start)).max()
    # A difference of two kernels, a tenth of either: 0.5 % off at twice the cells.
    np.testing.assert_allclose(row["kernel_drift"], drift, rtol=3e-2)
    np.testing.assert_allclose(row["train_risk"], exact.risk(c), rtol=5e-3)
    h = exact.kernel(start)
    values, vectors = np.linalg.eigh(h)
    predicted = vectors @ ((1 - np.exp(-8 / 3 * values * 0.5)) * (vectors.T @ Y))
    gap = np.mean((exact.outputs(c) - predicted) ** 2)
    np.testing.assert_allclose(row["ntk_gap"], gap, rtol=2e-2)
    np.testing.assert_allclose(row["ntk_gap_infinite"], gap, rtol=2e-2)


def test_what_cannot_be_had_says_why():
    flow = density_flow(Tanh(), cells=16)
    data = type("Data", (), {"x_train": X, "y_train": Y, "y_test": Y[:0]})
    reasons = Displacement().declare(flow, FiniteVolume(0.1), data).values()
    assert set(reasons) == {"a density has no neurons to follow"}
    declared = ChiSquare().declare(flow, FiniteVolume(0.1), data)
    assert set(declared) == {"chi2"}
    with pytest.raises(ValueError, match="Marginals must be given a flow of kind Dens"):
        Marginals().declare(object(), FiniteVolume(0.1), data)
    assert not DiffraxSolver(0.1).freezes_force
