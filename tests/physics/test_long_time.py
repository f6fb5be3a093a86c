"""The long-time limit against flows, ridge regression and its own derivatives."""

import dataclasses

import jax
import numpy as np
import pytest

from mfsim.activations import Erf, Identity, Relu
from mfsim.datasets import ArrayFile
from mfsim.errors import ConfigError
from mfsim.flows import ParticleFlow
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import TwoLayer
from mfsim.theory import long_time_limit
from tests.physics.exact import FrozenFlow, GaussianFlow

STD_W, STD_U = 0.8, 1.3
X = np.asarray([[0.9, 0.4], [-0.3, 1.1], [0.5, -0.8]])
Y = np.asarray([1.0, -1.0, 1.0])
X_TEST = np.asarray([[0.2, 0.3], [-1.0, 0.5]])

pytestmark = pytest.mark.slow
both = pytest.mark.parametrize("loss", [SquaredError(), Logistic()], ids=repr)


@pytest.fixture
def make(tmp_path):
    """A flow on given arrays."""

    def make(x=X, y=Y, x_test=X_TEST, loss=None, temperature=0.1, **network):
        path = tmp_path / "data.npz"
        arrays = {"x_train": x, "y_train": y}
        np.savez(path, x_test=x_test, y_test=np.ones(len(x_test)), **arrays)
        network = {"input_std": STD_W, "output_std": STD_U} | network
        data = ArrayFile(path=path)
        return ParticleFlow(
            TwoLayer(width=2, **network), data, loss or SquaredError(), temperature
        )

    return make


def erf_kernel(x):
    """E[erf(w.x_i) erf(w.x_k)] over the prior of w."""
    gram = STD_W**2 * x @ x.T
    scale = np.sqrt(1 + 2 * np.diag(gram))
    return 2 / np.pi * np.arcsin(2 * gram / np.outer(scale, scale))


@both
@pytest.mark.parametrize("alpha", [1.0, 4.0, 16.0])
def test_the_duality_gap_closes(make, loss, alpha):
    limit = long_time_limit(make(loss=loss, alpha=alpha))
    assert limit.converged
    # Recomputed here: L + lambda KL - D, where rounding is 1e-16 of each.
    f = limit.predictions
    risk = np.mean((f - Y) ** 2 if loss == SquaredError() else np.log1p(np.exp(-Y * f)))
    assert limit.risk == pytest.approx(risk, abs=1e-14)
    assert abs(risk + 0.1 * limit.kl - limit.energy) < 1e-13
    assert abs(limit.gap) < 1e-13
    lower, upper = limit.energy_interval
    assert limit.energy - 2e-11 < lower <= limit.energy <= upper < limit.energy + 2e-11
    assert limit.standard_error == 0
    # Stationarity: g is phi' at the outputs, to the root of the gap.
    slope = 2 * (f - Y) if loss == SquaredError() else -Y / (1 + np.exp(Y * f))
    np.testing.assert_allclose(limit.dual, slope, atol=1e-7)


@pytest.mark.long
@both
def test_derivatives_of_the_energy_are_kl_and_output(make, loss):
    # The envelope theorem: dQ*/dlambda = KL*, dQ*/dalpha = mean(g f)/alpha, by central
    # differences with an error of order step^2.
    middle = long_time_limit(make(loss=loss, alpha=2.0))
    step = 1e-4
    up, down = (
        long_time_limit(make(loss=loss, alpha=2.0, temperature=0.1 + s)).energy
        for s in (step, -step)
    )
    assert (up - down) / (2 * step) == pytest.approx(middle.kl, rel=1e-5)
    up, down = (
        long_time_limit(make(loss=loss, alpha=2 + s)).energy for s in (1e-4, -1e-4)
    )
    slope = np.mean(middle.dual * middle.predictions) / 2
    assert (up - down) / 2e-4 == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_a_frozen_input_ends_at_kernel_ridge_regression(make, alpha):
    x = np.concatenate([X, [[0.1, 0.7]]])
    y = np.asarray([0.3, -1.2, 0.8, 2.0])
    flow = make(x, y, alpha=alpha, activation=Erf(), trainable="output")
    limit = long_time_limit(flow)
    exact = FrozenFlow(erf_kernel(x), y, alpha, 0.1, STD_U)
    # Quadrature and solves round at 1e-15 times the condition, below 1e2.
    np.testing.assert_allclose(limit.predictions, exact.ridge(), atol=1e-11)
    assert limit.kl == pytest.approx(exact.kl(np.inf), abs=1e-11)
    energy = np.mean((exact.ridge() - y) ** 2) + 0.1 * exact.kl(np.inf)
    assert limit.energy == pytest.approx(energy, abs=1e-11)
    # The regression at the test points.
    kernel = erf_kernel(np.concatenate([x, X_TEST]))
    ridge = 0.1 * len(y) / (2 * STD_U**2 * alpha**2)
    weights = np.linalg.solve(kernel[:4, :4] + ridge * np.eye(4), y)
    np.testing.assert_allclose(
        limit.test_predictions, kernel[4:, :4] @ weights, atol=1e-11
    )


@pytest.mark.parametrize("shape", [(3, 2), (2, 5), (4, 1)])
def test_identity_ends_where_the_gaussian_flow_does(make, shape):
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=shape), rng.normal(size=shape[0])
    alpha, temperature = 1.5, 0.4
    flow = make(
        x, y, x[:0], alpha=alpha, temperature=temperature, activation=Identity()
    )
    limit = long_time_limit(flow)
    gaussian = GaussianFlow(x, y, alpha, temperature, STD_W, STD_U)
    # Rates are of order lambda/sigma^2 = 0.24 or more: e^{-2 * 0.24 * 80} = 2e-17.
    c = gaussian.covariance([80.0])[-1]
    np.testing.assert_allclose(limit.predictions, gaussian.outputs(c), atol=1e-8)
    assert limit.kl == pytest.approx(gaussian.kl(c), abs=1e-8)
    assert limit.risk == pytest.approx(gaussian.risk(c), abs=1e-8)


def test_large_alpha_is_the_least_norm_of_the_kernel(make):
    # alpha^2 KL -> y K_u^{-1} y/2; the ridge lambda n/(2 alpha^2 sigma_u^2) changes it
    # by 2 ridge |H^{-1}| <= 2 (0.1 * 3/(2 * 1e6 * 1.69))/0.05 = 4e-6, and the tilt of
    # w by O(alpha^-2) = 1e-6 times |c|^2 alpha^2 = 1e2.
    limit = long_time_limit(make(activation=Erf(), alpha=1000.0))
    kernel = STD_U**2 * erf_kernel(X)
    least = Y @ np.linalg.solve(kernel, Y) / 2
    assert 1e6 * limit.kl == pytest.approx(least, rel=3e-4)


@pytest.mark.long
def test_repeated_points_and_the_span_of_the_data_change_nothing(make):
    # Two points in four dimensions are integrated in their plane; each twice, in the
    # three dimensions of the data as given.
    rng = np.random.default_rng(3)
    x, x_test, y = (
        rng.normal(size=(2, 3)),
        rng.normal(size=(5, 3)),
        np.array([1.0, -0.6]),
    )
    twice = np.concatenate([x, x])
    plane = long_time_limit(make(x, y, x_test, alpha=2.0))
    space = long_time_limit(make(twice, np.tile(y, 2), x_test, alpha=2.0))
    assert plane.converged
    assert space.converged
    # The grid in three dimensions knows its own error.
    error = 1e-10 + 10 * (space.energy_interval[1] - space.energy)
    assert space.energy == pytest.approx(plane.energy, abs=error)
    error = 10 * np.sqrt(error)
    np.testing.assert_allclose(space.predictions[:2], plane.predictions, atol=error)
    np.testing.assert_allclose(
        space.test_predictions, plane.test_predictions, atol=error
    )


def test_test_predictions_at_training_points_are_the_training_ones(make):
    limit = long_time_limit(make(x_test=X, alpha=3.0))
    np.testing.assert_allclose(limit.test_predictions, limit.predictions, atol=1e-13)


@both
def test_draws_agree_with_the_quadrature(make, loss):
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 2)))[0]
    x, y = np.concatenate([X, X[:1]]), np.append(Y, Y[0])
    exact = long_time_limit(make(x, y, loss=loss, alpha=4.0))
    x, x_test = x @ axes.T, X_TEST @ axes.T
    drawn = long_time_limit(make(x, y, x_test, loss=loss, alpha=4.0), num_samples=8192)
    assert drawn.converged
    assert abs(drawn.gap) < 1e-12
    lower, upper = drawn.energy_interval
    assert lower < exact.energy < upper
    assert drawn.standard_error > 0
    # Six standard errors below and as many above, and a gap on fresh draws of that
    # order.
    assert upper - lower < 20 * drawn.standard_error
    # Strongly convex in f: |f - f*|^2/n is of the order of the error in energy.
    error = 3 * np.sqrt(len(y) * (upper - lower))
    np.testing.assert_allclose(drawn.predictions, exact.predictions, atol=error)
    np.testing.assert_allclose(
        drawn.test_predictions, exact.test_predictions, atol=error
    )


@pytest.mark.long
def test_a_kinked_activation_says_its_error(make):
    limit = long_time_limit(make(activation=Relu(), alpha=2.0), memory_mib=32)
    assert limit.converged
    assert abs(limit.gap) < 1e-13
    assert 0 < limit.energy_interval[1] - limit.energy < 1e-5


def test_results_are_float64_whatever_jax_says(make):
    flow = make(alpha=2.0)
    with jax.enable_x64(True):
        double = long_time_limit(flow)
    with jax.enable_x64(False):
        single = long_time_limit(flow)
    assert single.energy == double.energy
    assert single.predictions.dtype == single.dual.dtype == np.float64
    np.testing.assert_array_equal(single.predictions, double.predictions)
    assert type(single.energy) is type(single.kl) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        single.energy = 0.0


def test_what_has_no_limit_is_refused(make):
    with pytest.raises(ConfigError, match="^flow.temperature must be above 0 .* 0.0;"):
        long_time_limit(make(temperature=0.0))
    with pytest.raises(ConfigError, match="^flow.network.trainable must be 'both'"):
        long_time_limit(make(trainable="input"))
