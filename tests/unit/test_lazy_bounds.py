"""Bounds on the lazy regime: numbers by hand, exponents, conditions, and true limits.

What is proved and what is true are both compared with the exactly solvable networks:
the identity activation, whose law is Gaussian, and frozen input weights.
"""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm, sqrtm
from scipy.optimize import root

from mfsim.activations import Erf, Identity, Relu, Sigmoid, Softplus, Tanh
from mfsim.datasets import SphereTeacher
from mfsim.flows import ParticleFlow
from mfsim.losses import Logistic
from mfsim.networks import TwoLayer
from mfsim.theory import (
    ALPHA_EXPONENTS,
    LazySetting,
    bounded_class_gap_bound,
    chi2_error_bound,
    class_gap_bound,
    early_limits,
    kernel_drift_bound,
    kl_bound,
    kl_error_bound,
    ntk_gap_bound,
    prior_kernels,
    risk_bound,
    risk_plateau,
    stationary_kl,
    w2_bound,
)
from tests.physics.exact import FrozenFlow, GaussianFlow

GAUSSIAN = LazySetting(
    Identity(),
    dim=3,
    num_train=10,
    alpha=50.0,
    temperature=0.2,
    initial_risk=0.5,
    lambda_min=0.1,
    largest_entry=2.0,
)
"""Of G_1 ... G_6 = 1, 0, 1, 0, 1, 0 and sigma_w^2 d + sigma_u^2 = 4."""
TANH = replace(GAUSSIAN, activation=Tanh())
SMOOTH = [Tanh(), Erf(), Softplus(2.0), Sigmoid(), Identity()]


def powers(function, name, setting, values):
    """The log-log slope of a bound in a field of the setting."""
    bounds = [function(replace(setting, **{name: v})).value for v in values]
    return np.polyfit(np.log(values), np.log(bounds), 1)[0]


def test_constants_by_hand():
    # 2 (1 + 1) 4; 2 (2 (2 + 2) 2); the radius 0.01/(8 sqrt 34 + 16 * 2).
    assert (GAUSSIAN.a_1, GAUSSIAN.a_2) == (16, 32)
    slope = 8 * math.sqrt(34) + 32
    assert GAUSSIAN.radius == pytest.approx(0.01 / slope, rel=1e-14)
    # 8 sqrt(32^2/2 + 16^2/5)/(0.01 R).
    least = 8 * math.sqrt(512 + 51.2) * 100 * 100 * slope
    assert GAUSSIAN.least_alpha == pytest.approx(least, rel=1e-13)
    # 4 sqrt(2 3) + 2 sqrt 2 + 8 sqrt(log 10); 40 where h'' = 0.
    assert GAUSSIAN.b_1 == pytest.approx(9.797959 + 2.828427 + 12.139414)
    assert GAUSSIAN.b_2(0.01) == 40
    # G_4 = 4/(3 sqrt 3) = 0.769800, log(8 10/0.1) = 6.684612, log(80/8) = 2.302585.
    assert TANH.a_1 == pytest.approx(2 * 4 + 2 * 1.769800 * 2)
    assert TANH.a_2 == pytest.approx(2 * (2 * (1 + 2 + 2) * 2 + 1.769800))
    slope = 8 * math.sqrt(34) + 64 * 0.769800 * 6.684612 + 8
    assert TANH.radius == pytest.approx(0.01 / slope)
    assert TANH.b_1 == pytest.approx(4 + 2.828427 + 12.139414)
    assert TANH.b_2(1 / 80) == pytest.approx(40 + 16 * 0.769800 * math.sqrt(2.302585))


def test_the_radius_is_at_most_that_of_a_neuron():
    # sqrt(sigma_w^2 d + sigma_u^2) = 2 once the kernel is large enough.
    assert replace(GAUSSIAN, lambda_min=1e6).radius == 2
    # With 8 n G_3^2 sigma_u^2 below lambda_min the logarithm counts as 0.
    large = replace(TANH, lambda_min=100.0)
    assert large.radius == pytest.approx(10 / (8 * math.sqrt(34) + 8 + 0))


@pytest.mark.parametrize("activation", SMOOTH, ids=repr)
def test_constants_are_their_formulas(activation):
    # Term by term, with widths that tell the two blocks apart.
    w, u, d, n, kernel = 0.7, 1.6, 5, 12, 0.3
    setting = replace(
        GAUSSIAN,
        activation=activation,
        dim=d,
        num_train=n,
        lambda_min=kernel,
        input_std=w,
        output_std=u,
    )
    g1, g2, g3, g4, g5, g6, _ = activation.constants
    size = np.linalg.norm([w] * d + [u])
    a_1 = np.dot([2 * g1 / u**2, 2 * g3 / w**2], [size**2] * 2)
    a_1 += np.dot([2 * g2 / u**2, 2 * g4], [size] * 2)
    assert setting.a_1 == pytest.approx(a_1, rel=1e-13)
    by_size = 4 * u * size * np.dot([g1 + g3, g3 + g5, g6], [u**-2, w**-2, 1])
    a_2 = by_size + 2 * u * g2 / u**2 + 2 * u * g4
    assert setting.a_2 == pytest.approx(a_2, rel=1e-13)
    terms = [
        g3 * g3 * np.linalg.norm([w] * 8 * d + [u] * 10),
        8 * u * u * g3 * g4 * (np.log(8 * n) + np.log(g3**2 * u**2) - np.log(kernel)),
        2 * g1 * g3 * size,
        g2 * g3,
    ]
    assert setting.radius == pytest.approx(kernel / n / 8 / np.sum(terms), rel=1e-13)
    b_1 = 4 * u * np.linalg.norm([w * g1] * 2 * d + [g2])
    b_1 += g3 * u * u * (np.sqrt(8) + np.sqrt(64 * np.log(n)))
    assert setting.b_1 == pytest.approx(b_1, rel=1e-13)
    log = np.log(u) - np.log(8 * u**2 * 0.05)
    b_2 = 8 * u**2 * (5 * g3 + 2 * g4 * u * np.sqrt(log))
    assert setting.b_2(0.05) == pytest.approx(b_2, rel=1e-13)


@given(st.floats(0.1, 10))
def test_constants_scale_with_the_unit_of_the_parameters(c):
    # theta -> c theta with h_c(z) = c h(z/c), which is Softplus at beta/c, leaves the
    # network as it was at alpha/c^2 and t c^2; lambda_min goes with c^2.
    one = replace(GAUSSIAN, activation=Softplus(2.0), input_std=0.6, output_std=1.3)
    other = replace(
        one,
        activation=Softplus(2.0 / c),
        alpha=one.alpha / c**2,
        lambda_min=c**2 * one.lambda_min,
        input_std=0.6 * c,
        output_std=1.3 * c,
    )
    assert (other.a_1, other.a_2) == pytest.approx((one.a_1, one.a_2))
    assert other.radius == pytest.approx(c * one.radius)
    assert other.least_alpha == pytest.approx(one.least_alpha / c**2)
    assert other.b_1 == pytest.approx(c**2 * one.b_1)
    assert kl_bound(other).value == pytest.approx(kl_bound(one).value)
    assert w2_bound(other).value == pytest.approx(c * w2_bound(one).value)
    late = risk_bound(one, 0.01).value
    assert risk_bound(other, c**2 * 0.01).value == pytest.approx(late)


def test_training_bounds_by_hand():
    # alpha = 50, lambda_min/n = 0.01, A_1 = 16, A_2 = 32, lambda = 0.2, L(p_0) = 0.5:
    # (alpha lambda_min/n)^2 = 1/4.
    assert kl_bound(GAUSSIAN).value == pytest.approx(4 * (512 + 51.2) * 4)
    assert w2_bound(GAUSSIAN).value == pytest.approx(math.sqrt(2 * 9011.2))
    # 2 exp(-2 2500 0.01 0.02) 0.5 + 2 256 0.04 4.
    assert risk_bound(GAUSSIAN, 0.02).value == pytest.approx(math.exp(-1) + 81.92)
    assert risk_bound(GAUSSIAN, math.inf).value == pytest.approx(81.92)
    assert kernel_drift_bound(GAUSSIAN).value == pytest.approx(2)
    assert ntk_gap_bound(GAUSSIAN).value == pytest.approx(1 / 2500)
    constants = kl_bound(GAUSSIAN).constants
    assert (constants["A_1"], constants["A_2"]) == (16, 32)
    assert constants["lambda_min/n"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("function", "alpha", "lambda_min"),
    [
        (kl_bound, ALPHA_EXPONENTS["kl"].theorem, -2),
        (w2_bound, ALPHA_EXPONENTS["w2"].theorem, -1),
        (kernel_drift_bound, ALPHA_EXPONENTS["kernel_drift"].theorem, -1),
        (ntk_gap_bound, ALPHA_EXPONENTS["ntk_gap"].theorem, 0),
        (
            lambda s: risk_bound(s, math.inf),
            ALPHA_EXPONENTS["risk_plateau"].theorem,
            -2,
        ),
    ],
)
def test_exponents_of_the_theorems(function, alpha, lambda_min):
    values = [2.0, 20.0, 200.0]
    assert powers(function, "alpha", TANH, values) == pytest.approx(alpha)
    assert powers(function, "lambda_min", TANH, values) == pytest.approx(lambda_min)
    # Of H_ii fixed, n enters as the n of lambda_min/n.
    assert powers(function, "num_train", TANH, [2, 20, 200]) == (
        pytest.approx(-lambda_min)
    )


def test_exponents_in_the_noise():
    def plateau(s):
        return risk_bound(s, math.inf)

    assert powers(plateau, "temperature", TANH, [0.1, 1.0, 10.0]) == pytest.approx(2)
    no_signal = replace(TANH, initial_risk=0.0)
    assert powers(
        kl_bound, "temperature", no_signal, [0.1, 1.0, 10.0]
    ) == pytest.approx(1)
    no_noise = replace(TANH, temperature=0.0)
    assert powers(
        kl_bound, "initial_risk", no_noise, [0.1, 1.0, 10.0]
    ) == pytest.approx(1)


def test_generalisation_bounds_by_hand():
    deviation = math.sqrt(math.log(40) / 20)
    # B_1 50 sqrt(0.001) + 40 50 0.01, with B_1 = 24.765800.
    bound = class_gap_bound(GAUSSIAN, 0.01)
    expected = 24.765800 * 50 * math.sqrt(0.001) + 20 + 3 * deviation
    assert bound.value == pytest.approx(expected)
    assert (bound.constants["B_2"], bound.constants["M"]) == (40, 0.01)
    # 4 50 1 1 sqrt(0.001).
    bound = bounded_class_gap_bound(TANH, 0.01)
    assert bound.value == pytest.approx(200 * math.sqrt(0.001) + 3 * deviation)
    # chi^2 = 4: M = 4/2500, 2 (B_1 + 40) sqrt(4/10).
    bound = chi2_error_bound(GAUSSIAN, 4.0, delta=0.1)
    deviation = math.sqrt(math.log(20) / 20)
    expected = 2 * 64.765800 * math.sqrt(0.4) + 6 * deviation
    assert bound.value == pytest.approx(expected)
    assert bound.constants["M"] == pytest.approx(4 / 2500)
    # 8 sqrt(50 0.2/10).
    bound = kl_error_bound(TANH, 0.2, delta=0.1)
    assert bound.value == pytest.approx(8 + 6 * deviation)
    # G_7 sigma_u once, not squared.
    wide = replace(TANH, output_std=3.0)
    assert kl_error_bound(wide, 0.2, delta=0.1).value == (
        pytest.approx(24 + 6 * deviation)
    )


def test_bounds_without_outputs_are_the_deviation():
    # What remains as M -> 0 is the sampling of n points.
    for function, factor in [
        (class_gap_bound, 3),
        (bounded_class_gap_bound, 3),
        (chi2_error_bound, 6),
        (kl_error_bound, 6),
    ]:
        rest = function(TANH, 1e-300, delta=0.01).value
        assert rest == pytest.approx(factor * math.sqrt(math.log(200) / 20))


def test_training_theorems_want_a_large_alpha_and_small_inputs():
    lazy = replace(TANH, alpha=1.01 * TANH.least_alpha)
    eager = replace(TANH, alpha=0.99 * TANH.least_alpha)
    late = 20 / (lazy.alpha**2 * 0.01)
    for function in (
        kl_bound,
        w2_bound,
        kernel_drift_bound,
        ntk_gap_bound,
        lambda setting: risk_bound(setting, late),
    ):
        assert function(lazy).applies
        # An order of magnitude grants nothing.
        assert function(lazy).vacuous == function(lazy).is_order
        early = function(eager)
        assert not early.applies
        assert early.vacuous
        assert early.unmet[0].startswith("alpha must be at least")
        assert function(replace(lazy, input_norm=1 + 1e-12)).applies
        outside = function(replace(lazy, input_norm=1.01))
        assert outside.unmet == ("max |x| must be at most 1, got 1.01",)


def test_bounds_above_what_is_known_are_vacuous():
    lazy = replace(TANH, alpha=2 * TANH.least_alpha)
    # 2 L(p_0) at the start, and L(p_0) after log(2)/2 of its time.
    rate = 2 * lazy.alpha**2 * 0.01
    for time, vacuous in [(0.0, True), (0.69 / rate, True), (0.70 / rate, False)]:
        bound = risk_bound(lazy, time)
        assert bound.applies
        assert bound.vacuous == vacuous
    # Q = L + lambda KL falls, from L(p_0) = 1/2 at lambda = 1/5.
    assert kl_bound(lazy).trivial_from == pytest.approx(2.5)
    assert w2_bound(lazy).trivial_from == pytest.approx(math.sqrt(5))
    assert math.isinf(kl_bound(replace(lazy, temperature=0.0)).trivial_from)
    # f and f_NTK are both within sqrt(L(p_0)) of y, in the mean square.
    assert ntk_gap_bound(lazy).trivial_from == pytest.approx(2)
    assert kernel_drift_bound(lazy).trivial_from == lazy.largest_entry


def test_hidden_constants_are_told():
    for function in (kernel_drift_bound, ntk_gap_bound):
        assert "constant in O set to 1" in function(TANH).statement
        assert function(TANH).is_order
    for bound in (kl_bound(TANH), risk_bound(TANH, 1.0)):
        assert "O(" not in bound.statement


def test_a_negative_logarithm_is_no_bound():
    # sigma_u/(8 max sigma^2) = 1/8.
    assert class_gap_bound(GAUSSIAN, 0.125).applies
    bound = class_gap_bound(GAUSSIAN, 0.126)
    assert math.isinf(bound.value)
    assert bound.vacuous
    assert bound.unmet == ("M must be at most 0.125, got 0.126",)
    # chi^2/alpha^2 = M.
    bound = chi2_error_bound(replace(GAUSSIAN, alpha=10.0), 12.6)
    assert math.isinf(bound.value)
    assert "M must be at most 0.125, got 0.126" in bound.unmet


def test_conditions_of_the_generalisation_bounds():
    assert bounded_class_gap_bound(TANH, 0.5).applies
    assert bounded_class_gap_bound(TANH, 0.51).unmet == (
        "M must be at most 0.5, got 0.51",
    )
    for function in (bounded_class_gap_bound, kl_error_bound):
        bound = function(GAUSSIAN, 0.1)
        assert math.isinf(bound.value)
        assert "h must be bounded, got Identity" in bound.unmet
    # alpha >= sqrt(10 4) max(2 sqrt lambda, 1), that is 6.3246 until lambda = 1/4.
    for temperature, least in [(0.0, 40**0.5), (0.25, 40**0.5), (4.0, 4 * 40**0.5)]:
        setting = replace(TANH, temperature=temperature, alpha=1.001 * least)
        conditions = chi2_error_bound(setting, 4.0).unmet
        assert not any(text.startswith("alpha") for text in conditions)
        setting = replace(setting, alpha=0.999 * least)
        assert chi2_error_bound(setting, 4.0).unmet[0].startswith("alpha must be")
    # lambda <= 50/(4 10 0.5) = 2.5.
    assert kl_error_bound(replace(TANH, temperature=2.49), 0.5).applies
    bound = kl_error_bound(replace(TANH, temperature=2.51), 0.5)
    assert bound.unmet == ("lambda must be at most 2.5, got 2.51",)
    # A mixture (1 - 1/alpha) p_0 + p_true/alpha wants alpha >= 1, M = KL/alpha <= 1/2.
    cold = replace(TANH, temperature=0.0)
    assert not kl_error_bound(replace(cold, alpha=0.9), 0.1).applies
    assert not kl_error_bound(replace(cold, alpha=1.9), 1.0).applies
    assert kl_error_bound(replace(cold, alpha=2.1), 1.0).applies


def test_errors_below_one_say_something():
    many = replace(TANH, num_train=10**7, alpha=1e4)
    assert not chi2_error_bound(many, 1.0).vacuous
    assert chi2_error_bound(replace(many, num_train=10**3), 1.0).value > 1
    assert chi2_error_bound(replace(many, num_train=10**3), 1.0).vacuous
    assert not kl_error_bound(replace(many, temperature=0.0), 0.01).vacuous


@pytest.mark.parametrize(
    "function",
    [class_gap_bound, bounded_class_gap_bound, chi2_error_bound, kl_error_bound],
)
def test_bad_arguments_are_named(function):
    with pytest.raises(ValueError, match="^(kl|chi2) must be positive .* got 0"):
        function(TANH, 0.0)
    with pytest.raises(ValueError, match=r"^delta must be within \(0, 1\), got 1"):
        function(TANH, 0.1, delta=1.0)


def test_a_setting_of_a_flow():
    data = SphereTeacher(dim=6, num_train=4, num_test=0, teacher_activation="Tanh")
    network = TwoLayer(
        width=2, alpha=7.0, activation=Identity(), input_std=0.8, output_std=1.3
    )
    flow = ParticleFlow(network, data, temperature=0.3)
    x, y = data.load()[:2]
    kernel = (0.8**2 + 1.3**2) * x @ x.T
    setting = LazySetting.of(flow)
    assert (setting.dim, setting.num_train) == (6, 4)
    assert (setting.alpha, setting.temperature) == (7, 0.3)
    assert (setting.input_std, setting.output_std) == (0.8, 1.3)
    assert setting.initial_risk == pytest.approx(np.mean(y**2))
    assert setting.lambda_min == pytest.approx(np.linalg.eigvalsh(kernel)[0])
    assert setting.largest_entry == pytest.approx(0.8**2 + 1.3**2)
    assert setting.input_norm == pytest.approx(1)
    assert setting.smoothness == Identity().constants
    assert LazySetting.of(flow, 2 * kernel).lambda_min == (
        pytest.approx(2 * setting.lambda_min)
    )
    with pytest.raises(ValueError, match="^loss must be SquaredError .* got Logistic"):
        LazySetting.of(ParticleFlow(network, data, Logistic()))
    frozen = ParticleFlow(replace(network, trainable="output"), data)
    with pytest.raises(ValueError, match="^trainable must be 'both' .* got 'output'"):
        LazySetting.of(frozen)
    with pytest.raises(ValueError, match="^activation must have .* got Relu"):
        LazySetting.of(ParticleFlow(replace(network, activation=Relu()), data))


@pytest.mark.parametrize("name", ["alpha", "lambda_min", "input_std", "output_std"])
def test_a_setting_has_positive_numbers(name):
    with pytest.raises(ValueError, match=f"^{name} must be positive .* got 0"):
        replace(GAUSSIAN, **{name: 0.0})


# Against the Gaussian law of the identity activation.


def gaussian(alpha, temperature=0.0):
    draws = np.random.default_rng(11)
    x = draws.standard_normal((3, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.array([0.8, -1.1, 0.5])
    return GaussianFlow(x, y, alpha, temperature, input_std=0.8, output_std=1.3)


def network_of(exact, **options):
    return TwoLayer(
        width=2,
        activation=Identity(),
        input_std=exact.input_std,
        output_std=exact.output_std,
        **options,
    )


def chi2(exact, c):
    m = c / np.outer(exact.std, exact.std)
    return np.linalg.det(m @ (2 * np.eye(len(m)) - m)) ** -0.5 - 1


def w2(exact, c):
    s = np.diag(exact.std)
    squared = np.trace(c) + np.trace(s @ s) - 2 * np.trace(sqrtm(s @ c @ s)).real
    return np.sqrt(squared)


def stationary(exact):
    """C at t = infinity, where p ~ p_0 exp(-u s.w) with s = alpha E phi' x/lambda."""

    def law(s):
        precision = np.diag(exact.std**-2.0)
        precision[:-1, -1] = precision[-1, :-1] = s
        return np.linalg.inv(precision)

    def rest(s):
        slopes = 2 * (exact.outputs(law(s)) - exact.y)
        pull = exact.alpha / exact.temperature * slopes @ exact.x / len(exact.y)
        return s - pull

    found = root(rest, np.zeros(exact.x.shape[1]), tol=1e-14)
    c = law(found.x)
    drift = exact.force(c) - np.diag(exact.temperature / exact.std**2)
    balance = drift @ c + c @ drift.T + 2 * exact.temperature * np.eye(len(c))
    np.testing.assert_allclose(balance, 0, atol=1e-10)
    return c


def test_the_theorem_holds_where_the_flow_is_solved():
    exact = gaussian(1.0, temperature=0.1)
    kernel = exact.kernel(np.diag(exact.std**2))
    setting = LazySetting(
        Identity(),
        dim=4,
        num_train=3,
        alpha=1.0,
        temperature=0.1,
        initial_risk=float(np.mean(exact.y**2)),
        lambda_min=float(np.linalg.eigvalsh(kernel)[0]),
        largest_entry=float(kernel.max()),
        input_std=0.8,
        output_std=1.3,
    )
    alpha = 1.01 * setting.least_alpha
    setting, exact = replace(setting, alpha=alpha), gaussian(alpha, temperature=0.1)
    times = [t / alpha**2 for t in (0.3, 1.0, 3.0)]
    for t, c in zip(times, exact.covariance(times), strict=True):
        bound = risk_bound(setting, t)
        assert bound.applies
        assert exact.risk(c) <= bound.value
        assert exact.kl(c) <= kl_bound(setting).value
        assert w2(exact, c) <= w2_bound(setting).value


def test_prior_kernels_of_the_identity():
    # AF_i = -(1/sigma_w^2 + 1/sigma_u^2) F_i, and E F_i F_k = sigma_w^2 sigma_u^2 x.x.
    exact = gaussian(1.0)
    gram, w, u = exact.x @ exact.x.T, 0.8**2, 1.3**2
    kernels = prior_kernels(network_of(exact), exact.x)
    np.testing.assert_allclose(kernels.tangent, (w + u) * gram, rtol=1e-12)
    np.testing.assert_allclose(kernels.output, w * u * gram, rtol=1e-12)
    squares = w * u * (1 / w + 1 / u) ** 2 * gram
    np.testing.assert_allclose(kernels.generator, squares, rtol=1e-12)
    # Frozen, w leaves its term out of A and of H.
    frozen = prior_kernels(network_of(exact, trainable="output"), exact.x)
    np.testing.assert_allclose(frozen.tangent, w * gram, rtol=1e-12)
    np.testing.assert_allclose(frozen.generator, w / u * gram, rtol=1e-12)
    np.testing.assert_allclose(frozen.output, w * u * gram, rtol=1e-12)


@pytest.mark.slow
def test_prior_kernels_are_integrals_over_the_prior():
    # tanh in the plane by a Gauss-Hermite rule: |x| sigma_w = 0.7 keeps its poles at
    # pi/2 more than two standard deviations away, and 60 nodes an axis give 1e-7.
    network = TwoLayer(width=2, input_std=0.7, output_std=1.2)
    angles = np.array([0.1, 0.9, 2.0, 4.0])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1], [0.8], [0.9], [1]]
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    w = 0.7 * np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)
    z = w @ x.T
    h = np.tanh(z)
    slope, bend = 1 - h**2, -2 * h * (1 - h**2)
    f_a = np.sum(x**2, axis=1) * bend - z * slope / 0.49 - h / 1.44
    kernels = prior_kernels(network, x)
    for found, left, right in [
        (kernels.tangent, -h, f_a),
        (kernels.generator, f_a, f_a),
        (kernels.output, h, h),
    ]:
        integral = 1.44 * left.T @ (weights[:, None] * right)
        np.testing.assert_allclose(found, integral, atol=1e-6)
    # The plane may lie anywhere: only the products of the inputs count.
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 2)))[0]
    few = prior_kernels(network, x[:2] @ axes.T)
    for one, other in zip(few, kernels, strict=True):
        np.testing.assert_allclose(one, other[:2, :2], atol=1e-9)


def test_prior_kernels_by_draws(key):
    # In four dimensions K_A takes draws of w, with errors of order (w.w - E)/sqrt(q).
    draws = np.random.default_rng(2)
    x = draws.standard_normal((5, 4)) / 2
    network = TwoLayer(width=2, activation=Identity(), input_std=0.8, output_std=1.3)
    kernels = prior_kernels(network, x, key=key, num_samples=4096)
    w, u = 0.64, 1.69
    exact = w * u * (1 / w + 1 / u) ** 2 * x @ x.T
    spread = np.outer(*[np.sqrt(np.diag(exact))] * 2) * np.sqrt(2 / 4096)
    assert np.all(np.abs(kernels.generator - exact) < 5 * spread)
    assert np.abs(kernels.generator - exact).max() > 1e-6
    with pytest.raises(ValueError, match="^key must be given"):
        prior_kernels(network, x)


def test_a_kink_has_no_generator():
    network = TwoLayer(width=2, activation=Relu())
    with pytest.raises(ValueError, match="^activation must have a second .* got Relu"):
        prior_kernels(network, np.eye(2))
    frozen = prior_kernels(replace(network, trainable="output"), np.eye(2))
    # E relu^2 = 1/2; AF = -F.
    np.testing.assert_allclose(np.diag(frozen.generator), 0.5, rtol=1e-3)


@pytest.mark.parametrize("time", [0.3, 30.0])
def test_early_limits_in_the_gaussian_model(time):
    # f is that of the run itself; what is left falls as alpha^-2, by 4 when it doubles.
    left = {"kl": [], "chi2": [], "w2": []}
    for alpha in (20.0, 40.0):
        exact = gaussian(alpha)
        (c,) = exact.covariance([time / alpha**2])
        kernels = prior_kernels(network_of(exact), exact.x)
        limit = early_limits(exact.outputs(c), kernels.tangent, kernels.generator)
        measured = {
            "kl": alpha**2 * exact.kl(c),
            "chi2": alpha**2 * chi2(exact, c),
            "w2": alpha * w2(exact, c),
        }
        for name, value in measured.items():
            left[name].append(value / getattr(limit, name) - 1)
    for first, second in left.values():
        assert 1e-7 < abs(second) < 0.01
        assert first / second == pytest.approx(4, rel=0.1)


def test_early_limits_by_hand():
    # c = (1, 2)/2 and (1, 2)/4: KL = c K_A c/2.
    f = np.array([1.0, 2.0])
    limit = early_limits(f, 2 * np.eye(2), np.diag([3.0, 1.0]))
    assert limit == pytest.approx((0.875, 1.75, math.sqrt(2.5)))
    assert early_limits(f, 4 * np.eye(2), np.eye(2)) == (
        pytest.approx((5 / 32, 5 / 16, math.sqrt(1.25)))
    )


def test_stationary_limits_in_the_gaussian_model():
    left = {"kl": [], "plateau": []}
    for alpha in (10.0, 20.0):
        exact = gaussian(alpha, temperature=0.5)
        c = stationary(exact)
        output = prior_kernels(network_of(exact), exact.x).output
        limit = stationary_kl(exact.y, output)
        plateau = risk_plateau(exact.y, output, alpha=alpha, temperature=0.5)
        left["kl"].append(alpha**2 * exact.kl(c) / limit - 1)
        left["plateau"].append(exact.risk(c) / plateau - 1)
    for first, second in left.values():
        assert 1e-7 < abs(second) < 0.05
        assert first / second == pytest.approx(4, rel=0.15)


def test_stationary_limits_with_frozen_input_weights():
    draws = np.random.default_rng(4)
    x = draws.standard_normal((4, 2))
    y = draws.standard_normal(4)
    network = TwoLayer(width=2, trainable="output", input_std=0.9, output_std=1.3)
    kernels = prior_kernels(network, x)
    # The frozen flow's kernel is E h h^T, so that K_u is sigma_u^2 times it.
    np.testing.assert_allclose(kernels.output, 1.69 * kernels.tangent, rtol=1e-12)
    limit, left = stationary_kl(y, kernels.output), []
    scale = np.linalg.eigvalsh(kernels.tangent)[0] ** -0.5
    for alpha in (20 * scale, 40 * scale):
        exact = FrozenFlow(kernels.tangent, y, alpha, 0.5, 1.3)
        measured = risk_plateau(y, kernels.output, alpha=alpha, temperature=0.5)
        left.append(
            (
                alpha**2 * exact.kl(np.inf) / limit - 1,
                np.mean((exact.ridge() - y) ** 2) / measured - 1,
            )
        )
    assert np.abs(left[1]).max() < 0.01
    assert np.divide(*left) == pytest.approx([4, 4], rel=0.05)
    # 64 neurons add the variances of their outputs, lambda n/2m in all.
    finite = risk_plateau(y, kernels.output, alpha=alpha, temperature=0.5, width=64)
    spread = exact.variances(np.inf, 64).sum() / 4
    assert finite - measured == pytest.approx(spread, rel=0.01)
    assert finite - measured == pytest.approx(0.5 * 4 / 128)


def ntk_gap(exact, c, time):
    """(1/n)|f - f_NTK|^2 at kernel time `time`."""
    kernel = exact.kernel(np.diag(exact.std**2))
    linear = exact.y - expm(-2 * time / len(exact.y) * kernel) @ exact.y
    return np.mean((exact.outputs(c) - linear) ** 2)


def test_true_exponents_in_the_gaussian_model():
    rows = []
    for alpha in (40.0, 80.0):
        exact = gaussian(alpha)
        (c,) = exact.covariance([1.0 / alpha**2])
        drift = exact.kernel(c) - exact.kernel(np.diag(exact.std**2))
        noisy = gaussian(alpha, temperature=0.5)
        rows.append(
            {
                "kl": exact.kl(c),
                "w2": w2(exact, c),
                "kernel_drift": np.abs(drift).max(),
                "ntk_gap": ntk_gap(exact, c, 1.0),
                "risk_plateau": noisy.risk(stationary(noisy)),
            }
        )
    assert set(rows[0]) == set(ALPHA_EXPONENTS)
    for name, exponent in ALPHA_EXPONENTS.items():
        slope = math.log2(rows[1][name] / rows[0][name])
        # Corrections of relative order 1/alpha^2, 4 % at alpha = 20.
        assert slope == pytest.approx(exponent.true, abs=0.02)
        assert exponent.true <= exponent.theorem


def test_singular_kernels_are_named():
    with pytest.raises(ValueError, match="^tangent must be positive .* 0 and 1 alike"):
        early_limits(np.ones(2), np.ones((2, 2)), np.eye(2))
    with pytest.raises(ValueError, match="^output must be positive .* 0 and 1 alike"):
        stationary_kl(np.ones(2), np.ones((2, 2)))
    with pytest.raises(ValueError, match="^labels must be 2 numbers"):
        risk_plateau(np.ones(3), np.eye(2), alpha=1.0, temperature=1.0)


def test_float64_whatever_the_flags_say():
    exact = gaussian(1.0)
    with jax.enable_x64(False):
        kernels = prior_kernels(network_of(exact), exact.x)
    for kernel in kernels:
        assert isinstance(kernel, np.ndarray)
        assert kernel.dtype == np.float64
    wide = prior_kernels(network_of(exact), exact.x)
    np.testing.assert_allclose(kernels.generator, wide.generator, rtol=1e-14)
