"""The tilted free energy: closed forms, scipy's integrals, derivatives, duality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from mfsim.activations import Erf, Identity, Relu, Sigmoid, Softplus, Tanh
from mfsim.divergences.nodes import MAX_RANK, growth, prior_nodes, prior_weights
from mfsim.divergences.partition import dual, maximise, project_outputs, tilt
from mfsim.losses import Logistic, SquaredError

STD_W, STD_U = 0.8, 1.3
X = jnp.asarray([[0.9, 0.4], [-0.3, 1.1], [0.5, -0.8]])
Y = jnp.asarray([1.0, -1.0, 1.0])
C = jnp.asarray([0.7, -0.5, 0.4])

both = pytest.mark.parametrize("frozen", [False, True])


def embed(x, dim, key):
    """The same points in a random plane of `dim` dimensions."""
    axes = jnp.linalg.qr(jax.random.normal(key, (dim, x.shape[1])))[0]
    return x @ axes.T


def prior_density(*w):
    return np.prod([np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi) for v in w])


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 5), (2, 7), (5, 2), (3, 9)])
def test_weights_are_normalised_with_the_prior_covariance(shape, key):
    x = jax.random.normal(key, shape)
    nodes = prior_nodes(Identity(), STD_W, x)
    weights = jnp.exp(nodes.log_weights)
    # A ball of 10 standard deviations leaves out less than 1e-17 of a second moment.
    assert float(weights.sum()) == pytest.approx(1, abs=1e-13)
    gram = nodes.features.T @ (weights[:, None] * nodes.features)
    np.testing.assert_allclose(gram, STD_W**2 * x @ x.T, atol=1e-10)
    assert not nodes.sampled


def test_draws_need_a_key(key):
    with pytest.raises(ValueError, match="^key must be given .* got None for 4"):
        prior_weights(MAX_RANK + 1)
    w, log_weights = prior_weights(MAX_RANK + 1, key=key, num_samples=50)
    assert w.shape == (50, 4)
    np.testing.assert_allclose(np.exp(log_weights), 1 / 50, rtol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (2, 6), (5, 2), (3, 9), (5, 3)])
def test_identity_has_a_closed_form(shape, key):
    x = jax.random.normal(key, shape)
    c = jnp.ones(shape[0])
    c *= jnp.sqrt(0.4) / (STD_W * STD_U * jnp.linalg.norm(x.T @ c))
    nodes = prior_nodes(Identity(), STD_W, x, radius=11.0, num_nodes=61)
    q = tilt(c, nodes, STD_U)
    # Left out, exp(-11^2 0.6/2) < 2e-16 of Z, and edge e^{-10^2 0.6/2} = 1e-13; the
    # rule's error is exp(-2 pi^2/0.37^2) = 1e-64.
    assert float(q.log_partition) == pytest.approx(-np.log(0.6) / 2, abs=1e-12)
    # E_cF = x C_wu with C_wu = -sigma_u^2 sigma_w^2 X^T c/(1 - 0.4).
    mean = -((STD_U * STD_W) ** 2) * x @ x.T @ c / 0.6
    np.testing.assert_allclose(q.mean, mean, atol=1e-11)
    # Var_c(c.F) = 2 (0.4/0.6)^2 + 0.4/0.6 of the product of two Gaussians of
    # correlation: c.F = k v w/(1 - k^2), Hessian of log Z along c at k^2 = 0.4:
    # d^2/dt^2 of -log(1 - 0.4 t^2)/2 = 0.4 (1 + 0.4)/(1 - 0.4)^2.
    assert float(c @ q.covariance @ c) == pytest.approx(0.4 * 1.4 / 0.36, abs=1e-11)
    assert float(q.standard_error) == 0


def test_a_divergent_partition_is_infinite():
    # sigma_u^2 sigma_w^2 |X^T c|^2 = 1.2; finite at 0.4, whose edge holds e^{-14}.
    nodes = prior_nodes(Identity(), STD_W, X[:, :1], radius=8.0)
    c = jnp.asarray([1.0, 0.0, 0.0]) / (STD_W * STD_U * X[0, 0])
    assert float(tilt(jnp.sqrt(1.2) * c, nodes, STD_U).log_partition) == np.inf
    assert np.isfinite(float(tilt(jnp.sqrt(0.4) * c, nodes, STD_U).log_partition))
    assert np.isfinite(float(tilt(5 * c, nodes, STD_U, True).log_partition))


def test_tanh_in_one_dimension_is_scipys_integral():
    x, c = X[:, :1], np.asarray(C)
    q = tilt(C, prior_nodes(Tanh(), STD_W, x), STD_U)

    def h(w, i):
        return np.tanh(STD_W * w * float(x[i, 0]))

    def tilted(w):
        g = sum(c[i] * h(w, i) for i in range(3))
        return prior_density(w) * np.exp(STD_U**2 * g**2 / 2)

    def mean(w):
        g = sum(c[i] * h(w, i) for i in range(3))
        return -(STD_U**2) * g * h(w, 1) * tilted(w)

    exact, _ = quad(tilted, -12, 12, epsabs=1e-13)
    first, _ = quad(mean, -12, 12, epsabs=1e-13)
    # The trapezoid rule's own error is exp(-pi^2/(0.1 * 0.72)).
    assert float(q.log_partition) == pytest.approx(np.log(exact), abs=1e-12)
    assert float(q.mean[1]) == pytest.approx(first / exact, abs=1e-12)


def test_tanh_in_two_dimensions_is_scipys_integral():
    x, c = np.asarray(X), np.asarray(C)

    def tilted(b, a, power):
        h = np.tanh(STD_W * x @ [a, b])
        weight = prior_density(a, b) * np.exp(STD_U**2 * (c @ h) ** 2 / 2)
        return weight * (-(STD_U**2) * (c @ h) * h[2]) ** power

    ball = {"epsabs": 1e-10, "epsrel": 1e-10}
    exact, first = (dblquad(tilted, -9, 9, -9, 9, (p,), **ball)[0] for p in (0, 1))
    q = tilt(C, prior_nodes(Tanh(), STD_W, X), STD_U)
    assert float(q.log_partition) == pytest.approx(np.log(exact), abs=1e-9)
    assert float(q.mean[2]) == pytest.approx(first / exact, abs=1e-9)


@both
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("activation", [Tanh(), Sigmoid(), Relu()], ids=repr)
def test_mean_and_covariance_are_derivatives_of_log_z(activation, sampled, frozen, key):
    x = embed(X, 5, key) if sampled else X
    c = 0.3 * C
    # Draws where the data, in the space of w, have rank 2 are no different.
    nodes = prior_nodes(activation, STD_W, x[jnp.array([0, 1, 2, 0])], key=key)
    assert nodes.sampled == sampled
    c = jnp.append(c, 0.1)
    q = tilt(c, nodes, STD_U, frozen)

    def log_z(c):
        return tilt(c, nodes, STD_U, frozen).log_partition

    np.testing.assert_allclose(q.mean, -jax.grad(log_z)(c), atol=1e-13)
    np.testing.assert_allclose(q.covariance, jax.hessian(log_z)(c), atol=1e-12)
    np.testing.assert_allclose(q.output_weights @ nodes.features, q.mean, atol=1e-15)


def test_a_frozen_input_gives_a_quadratic():
    # E[erf erf] in closed form, the arc-sine kernel.
    gram = STD_W**2 * np.asarray(X @ X.T)
    scale = np.sqrt(1 + 2 * np.diag(gram))
    kernel = 2 / np.pi * np.arcsin(2 * gram / np.outer(scale, scale))
    q = tilt(C, prior_nodes(Erf(), STD_W, X), STD_U, True)
    c = np.asarray(C)
    log_z = STD_U**2 * c @ kernel @ c / 2
    assert float(q.log_partition) == pytest.approx(log_z, abs=1e-12)
    np.testing.assert_allclose(q.mean, -(STD_U**2) * kernel @ c, atol=1e-12)
    np.testing.assert_allclose(q.covariance, STD_U**2 * kernel, atol=1e-12)


@both
def test_samples_agree_with_the_quadrature(frozen, key):
    exact = tilt(C, prior_nodes(Tanh(), STD_W, X), STD_U, frozen)
    keys = jax.random.split(key, 400)

    def one(key):
        x = embed(X, 5, keys[0])
        x = jnp.concatenate([x, x[:1]])
        nodes = prior_nodes(Tanh(), STD_W, x, key=key, num_samples=500)
        q = tilt(jnp.append(C, 0.0), nodes, STD_U, frozen)
        return q.log_partition, q.standard_error, q.upper_limit()

    log_z, error, upper = jax.jit(jax.vmap(one))(keys)
    # Means of 400, five standard errors; the bias of a logarithm is error^2/2.
    spread = float(log_z.std())
    away = abs(float(log_z.mean() - exact.log_partition))
    assert away < 5 * spread / 20 + spread**2
    # A standard deviation of 400 is known to 1/sqrt(800) = 3.5 %, five of them.
    assert float(error.mean()) == pytest.approx(spread, rel=0.18)
    # One in 740 of Gaussian errors is beyond three: 400 * 0.00135 = 0.5, Poisson.
    assert int((upper < exact.log_partition).sum()) <= 5


def test_no_confidence_where_few_draws_count(key):
    x = embed(X, 5, key)
    nodes = prior_nodes(Tanh(), STD_W, jnp.concatenate([x, x]), key=key, num_samples=64)
    q = tilt(20 * jnp.concatenate([C, C]), nodes, STD_U)
    assert np.isfinite(float(q.log_partition))
    assert float(q.upper_limit()) == np.inf


def test_growth_is_exact_or_an_upper_bound(key):
    x = jax.random.normal(key, (6, 3))
    c = jnp.asarray([0.5, -1.0, 0.3, 0.8, -0.2, 0.1])
    v = jax.random.normal(key, (4000, 3))
    v /= jnp.linalg.norm(v, axis=1, keepdims=True)
    assert float(growth(c, x, Tanh.end_slopes)) == 0
    linear = float(growth(c, x, Identity.end_slopes))
    assert linear == pytest.approx(float(jnp.square(x.T @ c).sum()), rel=1e-14)
    for activation in (Relu(), Softplus(3.0)):
        far = 1e3 * v @ x.T
        largest = float(jnp.square(activation(far) @ c / 1e3).max())
        assert largest * (1 - 2e-3) < float(growth(c, x, activation.end_slopes))
        # One point: c^2 |x|^2, whatever the sign of c.
        one = float(growth(-c[:1], x[:1], activation.end_slopes))
        assert one == pytest.approx(0.25 * float(jnp.square(x[0]).sum()), rel=1e-12)


def test_draws_need_a_finite_variance(key):
    x = jax.random.normal(key, (4, 6))
    nodes = prior_nodes(Identity(), STD_W, x, key=key)
    c = jnp.ones(4) / (STD_W * STD_U * jnp.linalg.norm(x.sum(axis=0)))
    for steepness, finite in [(0.45, True), (0.55, False)]:
        log_z = tilt(np.sqrt(steepness) * c, nodes, STD_U).log_partition
        assert np.isfinite(float(log_z)) == finite


def test_the_projection_of_identity_is_its_least_kl(key):
    x = jax.random.normal(key, (2, 3))
    b = jnp.asarray([0.2, -0.3]) @ x
    nodes = prior_nodes(Identity(), STD_W, x, radius=12.0, num_nodes=81)
    # Along b (w, u) are Gaussian with the precision (1, k; k, 1) in units of the
    # prior and E[u w] = k/(1 - k^2) = s; KL = s k + log(1 - k^2)/2.
    s = float(jnp.linalg.norm(b)) / (STD_W * STD_U)
    k = (np.sqrt(1 + 4 * s**2) - 1) / (2 * s)
    least = s * k + np.log(1 - k**2) / 2
    found = project_outputs(x @ b, nodes, nodes, STD_U)
    assert bool(found.converged)
    assert float(found.value) == pytest.approx(least, abs=1e-11)


@both
def test_the_projection_recovers_the_tilted_law(frozen):
    nodes = prior_nodes(Tanh(), STD_W, X)
    q = tilt(C, nodes, STD_U, frozen)
    kl = float(-C @ q.mean - q.log_partition)
    found = project_outputs(q.mean, nodes, nodes, STD_U, frozen)
    assert bool(found.converged)
    # The decrement is below 2e-13; c has its root, and the Hessian's condition 1e2.
    assert float(found.value) == pytest.approx(kl, abs=1e-12)
    np.testing.assert_allclose(found.coefficients, C, atol=1e-7)


def test_the_projection_is_below_the_kl_of_a_shifted_prior():
    shift_w, shift_u = jnp.asarray([0.6, -0.4]), 0.7
    w, log_weights = prior_weights(2)
    h = jnp.tanh((STD_W * w + shift_w[None, :]) @ X.T)
    outputs = shift_u * jnp.exp(log_weights) @ h
    kl = float(jnp.square(shift_w / STD_W).sum() + (shift_u / STD_U) ** 2) / 2
    nodes = prior_nodes(Tanh(), STD_W, X)
    found = project_outputs(outputs, nodes, nodes, STD_U)
    assert bool(found.converged)
    assert 0.01 * kl < float(found.value) < kl


@both
def test_repeated_points_do_not_break_newton(frozen):
    nodes = prior_nodes(Tanh(), STD_W, X)
    outputs = tilt(C, nodes, STD_U, frozen).mean
    once = project_outputs(outputs, nodes, nodes, STD_U, frozen)
    index = jnp.asarray([0, 1, 2, 1, 1, 0])
    # And a point at the origin, whose output is 0 in any law.
    many = prior_nodes(Tanh(), STD_W, jnp.concatenate([X[index], jnp.zeros((1, 2))]))
    repeated = jnp.append(outputs[index], 0.0)
    twice = project_outputs(repeated, many, many, STD_U, frozen)
    assert bool(twice.converged)
    assert float(twice.value) == pytest.approx(float(once.value), abs=1e-12)


def test_the_projection_on_draws_is_a_confidence_limit(key):
    exact = prior_nodes(Tanh(), STD_W, X)
    outputs = tilt(C, exact, STD_U).mean
    kl = float(project_outputs(outputs, exact, exact, STD_U).value)
    x = embed(X, 5, key)
    x = jnp.concatenate([x, x[:1]])
    repeated = jnp.append(outputs, outputs[0])

    def one(key):
        nodes, check = (
            prior_nodes(Tanh(), STD_W, x, key=k, num_samples=4000)
            for k in jax.random.split(key)
        )
        found = project_outputs(repeated, nodes, check, STD_U)
        return found.value, tilt(found.coefficients, check, STD_U).standard_error

    values, errors = jax.jit(jax.vmap(one))(jax.random.split(key, 40))
    assert float(values.max()) < kl
    # Three standard errors below, three more of scatter, and the loss of a c found on
    # draws, of order n/2q each for nodes and check.
    assert float(values.min()) > kl - 7 * float(errors.max())


def test_a_projection_outside_the_domain_stays_a_bound():
    # s = 40 wants k = 0.988; at the edge e^{-81 (1 - k^2)/2} = 0.37 of the density.
    x = X[:, :1]
    nodes = prior_nodes(Identity(), STD_W, x)
    s = 40.0
    found = project_outputs(s * STD_W * STD_U * x[:, 0], nodes, nodes, STD_U)
    k = (np.sqrt(1 + 4 * s**2) - 1) / (2 * s)
    assert not bool(found.converged)
    assert 0 < float(found.value) < s * k + np.log(1 - k**2) / 2


@both
@pytest.mark.parametrize("loss", [SquaredError(), Logistic()], ids=repr)
def test_the_dual_has_its_derivatives_and_is_below_every_energy(loss, frozen, key):
    nodes = prior_nodes(Tanh(), STD_W, X)
    alpha, temperature = 3.0, 0.2
    settings = {"alpha": alpha, "temperature": temperature, "output_std": STD_U}

    @jax.jit
    def d(g):
        return dual(g, Y, nodes, loss=loss, frozen_input=frozen, **settings)

    law = jax.jit(lambda c: tilt(c, nodes, STD_U, frozen))
    g = -Y * jnp.asarray([0.2, 0.6, 0.35])
    slope = jax.grad(lambda g: d(g).value)(g)
    np.testing.assert_allclose(d(g).gradient, slope, atol=1e-13)
    second = jax.hessian(lambda g: d(g).value)(g)
    np.testing.assert_allclose(d(g).curvature, -second, atol=1e-11)
    for other in jax.random.normal(key, (20, 3)):
        q = law(other)
        kl = -other @ q.mean - q.log_partition
        energy = loss(alpha * q.mean, Y).mean() + temperature * kl
        assert float(d(g).value) < float(energy)


def test_the_dual_on_draws_is_lowered_by_three_standard_errors(key):
    x = jax.random.normal(key, (4, 5))
    nodes = prior_nodes(Tanh(), STD_W, x, key=key, num_samples=1000)
    settings = {"loss": SquaredError(), "alpha": 2.0, "temperature": 0.3}
    at = dual(jnp.full(4, 0.1), jnp.ones(4), nodes, output_std=STD_U, **settings)
    lowered = float(at.value) - 3 * 0.3 * float(at.tilt.standard_error)
    assert float(at.lower) == pytest.approx(lowered, abs=1e-15)
    assert float(at.lower) < float(at.value)


def test_newton_finds_a_maximum_behind_a_wall():
    # log(1 - x) - 50 x^2 + 30 x has its maximum where 1/(1 - x) = 30 - 100 x.
    def objective(x):
        inside = x < 1
        value = jnp.where(inside, jnp.log1p(-x), -jnp.inf) - 50 * x**2 + 30 * x
        gradient, curvature = -1 / (1 - x) - 100 * x + 30, 1 / (1 - x) ** 2 + 100
        return value.sum(), gradient, jnp.diag(curvature)

    best = jax.jit(lambda x: maximise(objective, x))(jnp.asarray([-40.0, 1 - 1e-9]))
    # (1 - x)(30 - 100 x) = 1.
    root = (130 - np.sqrt(130**2 - 4 * 100 * 29)) / 200
    assert bool(best.converged)
    np.testing.assert_allclose(best.point, root, atol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_projections_run_under_vmap_in_their_type(dtype):
    x = X.astype(dtype)

    def one(alpha):
        nodes = prior_nodes(Tanh(), STD_W, x)
        outputs = jnp.asarray([0.1, -0.2, 0.1], dtype) / alpha
        return project_outputs(outputs, nodes, nodes, STD_U)

    alphas = jnp.asarray([1.0, 2.0, 8.0], dtype)
    found = jax.jit(jax.vmap(one))(alphas)
    assert found.value.dtype == dtype
    assert found.converged.all()
    one = jax.jit(one)
    alone = [float(one(alpha).value) for alpha in alphas]
    # Rounding, with a factor for the cancellation of c.f against log Z.
    error = 100 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found.value, alone, atol=error)
