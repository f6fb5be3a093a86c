"""The brackets of KL, W2 and chi^2 around their exact values, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from mfsim.activations import Identity, Tanh
from mfsim.datasets import Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.networks import TwoLayer
from mfsim.observables import KL, ChiSquare, Wasserstein
from tests.physics.exact import GaussianFlow
from tests.physics.observing import observe

DIM, SAMPLES, WIDTH, TEMPERATURE = 3, 6, 16384, 0.1
TIMES = [0.2, 1.0, 4.0, 20.0]
"""In kernel time alpha^2 t; the fastest rate there is about 3."""
STEP = 0.02


def make_exact(alpha):
    draws = np.random.default_rng(3)
    x = draws.standard_normal((SAMPLES, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = x @ np.array([1.5, -1.0, 0.5]) + 0.3 * draws.standard_normal(SAMPLES)
    return GaussianFlow(x, y, alpha, TEMPERATURE, input_std=0.8, output_std=1.3)


def bures(exact, c):
    """W2 between N(0, C) and p_0."""
    s = np.diag(exact.std)
    return np.sqrt(np.trace(c) + np.trace(s @ s) - 2 * np.trace(sqrtm(s @ c @ s)).real)


def chi2(exact, c):
    """chi^2(N(0, C) || p_0), infinite once an eigenvalue of the whitened C is 2."""
    m = c / np.outer(exact.std, exact.std)
    if np.linalg.eigvalsh(m)[-1] >= 2:
        return np.inf
    return np.linalg.det(m @ (2 * np.eye(len(m)) - m)) ** -0.5 - 1


def gaussian_rows(alpha):
    """Measured series and exact covariances at TIMES."""
    exact = make_exact(alpha)
    network = TwoLayer(
        width=WIDTH,
        alpha=alpha,
        activation=Identity(),
        input_std=exact.input_std,
        output_std=exact.output_std,
    )
    flow = ParticleFlow(network, Digits(), temperature=TEMPERATURE)
    integrator = ExponentialLangevin(STEP / alpha**2)
    observables = KL(), Wasserstein(blocks=False), ChiSquare()
    stops = [round(t / STEP) for t in TIMES]
    rows = observe(
        flow, integrator, (exact.x, exact.y), observables, stops, jax.random.key(4)
    )
    return exact, rows, exact.covariance([t / alpha**2 for t in TIMES])


@pytest.mark.long
@pytest.mark.parametrize("alpha", [1.0, 4.0, 12.0])
def test_brackets_contain_the_exact_values(alpha):
    # A bound may be off by its sampling error, three standard errors of which are
    # exceeded by chance once in 370 comparisons, and by O(step): the chain's rates are
    # those of the flow to second order in 3 STEP, well below one per cent.
    exact, rows, covariances = gaussian_rows(alpha)
    for row, c in zip(rows, covariances, strict=True):
        for name, value in (("kl", exact.kl(c)), ("w2", bures(exact, c))):
            low, high = row[f"{name}_lower"], row[f"{name}_upper"]
            assert low <= value + 3 * row[f"{name}_lower_se"]
            assert high >= value - 3 * row[f"{name}_upper_se"]
        assert row["chi2_lower"] <= chi2(exact, c) + 3 * row["chi2_lower_se"]
        # The affine field is exact for a Gaussian law: what is left is sampling, of
        # 5 % at most at alpha^2/m below 1 %.
        assert row["kl_upper"] == pytest.approx(exact.kl(c), rel=0.05)
        # The law is Gaussian, so Gelbrich's bound and the moments are exact.
        assert (
            abs(row["kl_lower_moments"] - exact.kl(c)) < 4 * row["kl_lower_moments_se"]
        )
        assert abs(row["w2_lower"] - bures(exact, c)) < 4 * row["w2_lower_se"]


def change_of_variables(step, time=2.0):
    """kl_upper of a small run without noise, and the KL by its Jacobians."""
    width, dim, steps = 64, 2, round(time / step)
    draws = np.random.default_rng(0)
    x, y = draws.standard_normal((5, dim)), draws.standard_normal(5)
    network = TwoLayer(width=width, alpha=2.0, input_std=0.8, output_std=1.3)
    flow = ParticleFlow(network, Digits())
    key = jax.random.key(1)
    observables = (KL(max_particles=64, fisher_every=1),)
    (row,) = observe(flow, NoisyGD(step), (x, y), observables, [steps], key)
    start = flow.init(jax.random.split(key)[0], dim).params
    std = jnp.array([0.8, 0.8, 1.3])[None, :]

    def f(points):
        return 2.0 * (jnp.tanh(x @ points[:, :-1].T) @ points[:, -1]) / width

    def push(theta, slopes):
        def potential(theta):
            return slopes @ (2.0 * theta[-1] * jnp.tanh(x @ theta[:-1])) / len(y)

        return theta - step * jax.grad(potential)(theta)

    def one(carry, _):
        points, log_det = carry
        slopes = 2 * (f(points) - y)
        jacobians = jax.vmap(jax.jacfwd(push), (0, None))(points, slopes)
        log_det += jnp.linalg.slogdet(jacobians)[1]
        return (jax.vmap(push, (0, None))(points, slopes), log_det), None

    points = jnp.concatenate([start.w, start.u[:, None]], axis=1)
    begin = points, jnp.zeros(width)
    (end, log_det), _ = jax.lax.scan(one, begin, length=steps)
    energy = jnp.square(end / std) - jnp.square(points / std)
    return row, float((energy.sum(axis=1) / 2 - log_det).mean())


@pytest.mark.slow
def test_production_is_the_change_of_variables():
    # Without noise log p_t(theta_t) = log p_0(theta_0) - log|det dtheta_t/dtheta_0|
    # along the flow with given outputs, so that the KL of the sampled law is the mean
    # of V_0(theta_t) - V_0(theta_0) - log|det|. The straight steps of the chain differ
    # from the flow of the frozen force by O(step): the difference halves with it, and
    # what is left by extrapolation is of second order, a few per cent of it.
    steps = [0.01, 0.005]
    (row, exact), (finer, finer_exact) = map(change_of_variables, steps)
    assert finer["kl_upper"] == finer["kl_upper_production"] > 0.1
    difference, half = exact - row["kl_upper"], finer_exact - finer["kl_upper"]
    assert abs(half) < 2e-3 * finer_exact
    assert difference / half == pytest.approx(2, abs=0.1)


def lazy_rows():
    """Fitted networks without noise at alpha = 8 ... 64, and the constants of p_0."""
    draws = np.random.default_rng(5)
    x = draws.standard_normal((6, 10))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = 0.15 * np.sign(draws.standard_normal(6))
    alphas = [8.0, 16.0, 32.0, 64.0]
    rows = []
    for alpha in alphas:
        network = TwoLayer(width=8192, alpha=alpha, input_std=0.9, output_std=1.2)
        flow = ParticleFlow(network, Digits())
        integrator = NoisyGD(0.5 / alpha**2)
        observables = KL(), Wasserstein(blocks=False), ChiSquare()
        key = jax.random.key(6)
        rows += observe(flow, integrator, (x, y), observables, [600], key)
    return np.array(alphas), rows, limits(x, y, 0.9, 1.2)


def limits(x, y, input_std, output_std, draws=400_000):
    """alpha^2 KL, alpha W2 and alpha^2 chi^2 of the fitted network as alpha grows."""
    w = input_std * np.random.default_rng(7).standard_normal((draws, x.shape[1]))
    h, size = np.tanh(w @ x.T), np.square(x).sum(axis=1)
    slope, bend = 1 - h**2, -2 * h * (1 - h**2)
    generated = size * bend - (w @ x.T) * slope / input_std**2 - h / output_std**2
    # E u^2 = output_std^2, and F, AF are u times a function of w.
    kernel = -(output_std**2) * h.T @ generated / draws
    k_a = output_std**2 * generated.T @ generated / draws
    c = np.linalg.solve((kernel + kernel.T) / 2, y)
    return {"kl": c @ k_a @ c / 2, "w2": np.sqrt(y @ c)}


@pytest.mark.long
def test_kl_and_w2_fall_as_powers_of_alpha_to_their_limits():
    alphas, rows, limit = lazy_rows()
    slopes = {
        name: np.polyfit(np.log(alphas), np.log([row[name] for row in rows]), 1)[0]
        for name in ("kl_upper", "kl_lower", "w2_upper", "w2_lower")
    }
    # The exponents of the theory; corrections are of relative order 1/alpha^2.
    assert slopes["kl_upper"] == pytest.approx(-2, abs=0.05)
    assert slopes["w2_upper"] == pytest.approx(-1, abs=0.05)
    assert slopes["kl_lower"] == pytest.approx(-2, abs=0.05)
    assert slopes["w2_lower"] == pytest.approx(-1, abs=0.05)
    for alpha, row in zip(alphas, rows, strict=True):
        # The risk is below 1e-6 of its start, so that f = y; H of 8192 neurons is H of
        # p_0 to 1/sqrt(8192) = 1.1 %, which 5 % leaves room for.
        assert alpha**2 * row["kl_upper"] == pytest.approx(limit["kl"], rel=0.05)
        assert alpha * row["w2_upper"] == pytest.approx(limit["w2"], rel=0.05)


@pytest.mark.long
def test_bounds_along_a_few_directions_are_bounds():
    # D = 13 and 512 neurons: moments are those of u and 7 directions of w. A marginal
    # is nearer to its prior than the law, so lower bounds stay lower; less Fisher
    # information is taken from the production, so its bound stays an upper one.
    x = np.random.default_rng(1).standard_normal((8, 12))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = 2 * x[:, 0] - x[:, 1]
    exact = GaussianFlow(x, y, 2.0, 0.1, input_std=0.9, output_std=1.2)
    network = TwoLayer(
        width=512, alpha=2.0, activation=Identity(), input_std=0.9, output_std=1.2
    )
    flow = ParticleFlow(network, Digits(), temperature=0.1)
    observables = KL(), Wasserstein(blocks=False), ChiSquare()
    times = [1.0, 4.0]
    stops = [round(t / 0.01) for t in times]
    key, integrator = jax.random.key(5), ExponentialLangevin(0.01)
    rows = observe(flow, integrator, (x, y), observables, stops, key)
    for row, c in zip(rows, exact.covariance(times), strict=True):
        for name, value in (("kl", exact.kl(c)), ("w2", bures(exact, c))):
            assert row[f"{name}_lower"] <= value + 3 * row[f"{name}_lower_se"]
            assert row[f"{name}_upper"] >= value - 3 * row[f"{name}_upper_se"]
        # They do see most of it: the data move w in the span of 8 inputs.
        assert row["kl_lower_moments"] > 0.5 * exact.kl(c)
        assert row["chi2_lower"] <= chi2(exact, c) + 3 * row["chi2_lower_se"]


@pytest.mark.long
def test_the_bracket_stays_in_order_at_stationarity():
    # At lambda t = 6 the neurons have forgotten the shadow: a Fisher information at
    # its corrected moments would be D (D + 2)/m too high by now, 2 % of lambda t each.
    rows = []
    x = np.random.default_rng(1).standard_normal((20, 10))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    exact = GaussianFlow(x, 3 * x[:, 0], 2.0, 0.2, input_std=1.0, output_std=1.0)
    network = TwoLayer(width=4096, alpha=2.0, activation=Identity())
    flow = ParticleFlow(network, Digits(), temperature=0.2)
    times = [5.0, 15.0, 30.0]
    stops = [round(t / 0.02) for t in times]
    rows = observe(
        flow, ExponentialLangevin(0.02), (x, exact.y), (KL(),), stops, jax.random.key(2)
    )
    for row, c in zip(rows, exact.covariance(times), strict=True):
        kl = exact.kl(c)
        assert row["kl_upper"] >= kl - 3 * row["kl_upper_se"]
        assert row["kl_lower"] <= kl + 3 * row["kl_lower_se"]
        assert abs(row["kl_upper_production"] - kl) < 4 * row["kl_upper_production_se"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NoisyGD, ExponentialLangevin])
def test_without_a_force_nothing_is_produced(kind):
    # Labels equal to the outputs of the start, f = 0: the law stays p_0.
    flow = ParticleFlow(
        TwoLayer(width=64, alpha=1e-6, input_std=0.7, activation=Tanh()),
        Digits(),
        temperature=0.3,
    )
    x = np.random.default_rng(0).standard_normal((4, 2))
    (row,) = observe(
        flow, kind(0.01), (x, np.zeros(4)), (KL(),), [50], jax.random.key(0)
    )
    # alpha = 1e-6 leaves a force of that order and a KL of its square; NoisyGD differs
    # from the exact steps of the shadow by O(step) in the spread.
    slack = 1e-10 if kind is ExponentialLangevin else 1e-2
    for name in ("kl_upper_production", "kl_upper_path", "kl_lower_moments"):
        assert abs(row[name]) < slack
