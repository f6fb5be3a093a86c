"""Kernel predictions: matrix exponentials, linear models that train, ridge, SciPy."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from mfsim.kernels import kernel_loss_flow, ode
from mfsim.kernels.prediction import (
    KernelPrediction,
    critical_step,
    kernel_gradient_descent,
    kernel_gradient_flow,
)
from mfsim.losses import Logistic, SquaredError

N, K, P = 6, 4, 9
RATE = 0.7
TIMES = np.array([0.0, 3.0, 0.2, 40.0])
decays = pytest.mark.parametrize("decay", [0.0, 0.3])


class Linear:
    """f = J theta from theta_0, with the first N rows of J the training points."""

    def __init__(self, seed=0, p=P):
        rng = np.random.default_rng(seed)
        self.jacobian = rng.normal(size=(N + K, p)) / 2
        self.theta = rng.normal(size=p)
        self.labels = rng.choice([-1.0, 1.0], N)
        gram = self.jacobian @ self.jacobian.T
        self.kernel = gram[:N, :N]
        self.options = {"cross": gram[N:, :N], "initial": self.jacobian @ self.theta}

    def predict(self, rate=RATE, **options):
        options = self.options | options
        return KernelPrediction(self.kernel, self.labels, rate, **options)

    def flow(self, t, decay):
        """Outputs everywhere, from theta' = -r J^T (f - y) - c theta = A theta + b."""
        train = self.jacobian[:N]
        p = len(self.theta)
        generator = np.zeros((p + 1, p + 1))
        generator[:p, :p] = -RATE * train.T @ train - decay * np.eye(p)
        generator[:p, p] = RATE * train.T @ self.labels
        return self.jacobian @ (expm(t * generator) @ np.r_[self.theta, 1])[:p]

    def descend(self, step, num_steps, decay):
        theta, train = self.theta, self.jacobian[:N]
        for _ in range(num_steps):
            slope = train.T @ (train @ theta - self.labels)
            theta = theta - step * (RATE * slope + decay * theta)
        return self.jacobian @ theta


def both(outputs):
    return np.hstack(outputs)


@decays
@pytest.mark.parametrize("p", [P, N - 2])
def test_flow_is_the_matrix_exponential(decay, p):
    model = Linear(p=p)
    exact = np.stack([model.flow(t, decay) for t in TIMES])
    # The kernel is singular at p < N. expm of a matrix of norm 300 rounds by 1e-12.
    found = both(model.predict(decay=decay).flow(TIMES))
    np.testing.assert_allclose(found, exact, atol=1e-11)


@decays
@pytest.mark.parametrize("p", [P, N - 2])
@pytest.mark.parametrize("share", [0.02, 0.9, 0.99])
def test_descent_is_gradient_descent_on_the_linear_model(decay, p, share):
    model = Linear(p=p)
    step = share * critical_step(model.kernel, RATE) / (1 + decay)
    counts = np.array([0, 1, 2, 57])
    exact = np.stack([model.descend(step, k, decay) for k in counts])
    found = both(model.predict(decay=decay).descent(step, counts))
    # 57 steps round by some 57 eps |f|.
    np.testing.assert_allclose(found, exact, atol=1e-12)


def test_contract_functions_choose_the_points():
    model = Linear()
    train, test = model.predict(initial=None).flow(TIMES)
    arguments = model.kernel, model.labels, RATE
    np.testing.assert_array_equal(kernel_gradient_flow(*arguments, TIMES), train)
    cross = model.options["cross"]
    found = kernel_gradient_flow(*arguments, TIMES, cross=cross)
    np.testing.assert_array_equal(found, test)
    assert (train.shape, test.shape) == ((4, N), (4, K))
    train, test = model.predict(initial=None).descent(0.1, [3, 1])
    np.testing.assert_array_equal(
        kernel_gradient_descent(*arguments, 0.1, [3, 1]), train
    )
    found = kernel_gradient_descent(*arguments, 0.1, np.array([3, 1]), cross=cross)
    np.testing.assert_array_equal(found, test)
    assert kernel_gradient_flow(*arguments, [1.0], cross=None).shape == (1, N)


def test_two_points_by_hand():
    kernel, y = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, -1.0])
    # y is the eigenvector of the eigenvalue 1.
    np.testing.assert_allclose(
        kernel_gradient_flow(kernel, y, 0.5, [2.0]), [(1 - math.exp(-1)) * y]
    )
    np.testing.assert_allclose(
        kernel_gradient_descent(kernel, y, 0.5, 0.2, [3]), [(1 - 0.9**3) * y]
    )
    assert critical_step(kernel, 0.5) == pytest.approx(2 / (0.5 * 3), rel=1e-14)


@decays
def test_descent_tends_to_flow_at_first_order(decay):
    predict = Linear().predict(decay=decay)
    limit = both(predict.flow([1.0]))
    steps = 0.5 ** np.arange(5, 11)
    errors = [
        np.abs(both(predict.descent(h, [round(1 / h)])) - limit).max() for h in steps
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    # error = C h + O(h^2): the order is off by O(h), 0.02 at h = 1/512.
    assert orders[-1] == pytest.approx(1, abs=0.02)
    assert errors[-1] < 1e-2


@pytest.mark.parametrize("kappa", [1e-9, 1e-6, 1e-3])
def test_many_small_steps_keep_their_digits(kappa):
    step, k = 0.01, 10**6
    kernel = np.diag([1.0, kappa])
    found = kernel_gradient_descent(kernel, np.ones(2), 1.0, step, [k], decay=0.0)
    # (1 - x)^k = exp(k log(1 - x)), with log by its series: x^4/4 is below 1e-20.
    x = step * kappa
    exact = -math.expm1(-k * (x + x**2 / 2 + x**3 / 3))
    assert found[0, 1] == pytest.approx(exact, rel=1e-12)


@given(
    kappa=st.floats(-12, 0),
    share=st.floats(0.001, 1.2),
    decay=st.sampled_from([0.0, 1e-9, 0.1]),
    k=st.integers(0, 40),
)
def test_every_mode_of_descent_is_its_recursion(kappa, share, decay, k):
    kappa, y, start, start_test = 10**kappa, 1.3, 0.4, -0.2
    step = share * 2 / (1 + decay)
    f, test = start, start_test
    beta, memory = 0.0, 1.0
    for _ in range(k):
        f = memory * start + kappa * beta
        beta = beta - step * (f - y) - step * decay * beta
        memory *= 1 - step * decay
    f, test = memory * start + kappa * beta, memory * start_test + 0.5 * beta
    predict = KernelPrediction(
        np.diag([1.0, kappa]),
        np.array([0.0, y]),
        1.0,
        cross=np.array([[0.0, 0.5]]),
        initial=np.array([0.0, start, start_test]),
        decay=decay,
    )
    found = predict.descent(step, [k])
    # |1 - x| <= 1.4 here: rounding of the recursion grows by 1.4^40 k eps at most.
    atol = 1e-13 * max(1, share) ** 80
    assert found.train[0, 1] == pytest.approx(f, rel=1e-12, abs=atol)
    assert found.test[0, 0] == pytest.approx(test, rel=1e-12, abs=atol * 80)


def test_the_critical_step_divides_decay_from_growth():
    model = Linear()
    step = critical_step(model.kernel, RATE)
    leading = np.linalg.eigh(model.kernel)[1][:, -1]
    for share in (0.99, 1.01):
        found = kernel_gradient_descent(
            model.kernel, model.labels, RATE, share * step, [10, 400]
        )
        before, after = (found - model.labels) @ leading
        # A step multiplies the leading mode by 1 - 2 share.
        assert after / before == pytest.approx((1 - 2 * share) ** 390, rel=1e-9)
    assert critical_step(np.zeros((2, 2)), 1.0) == math.inf


def test_a_diverged_descent_is_returned():
    model = Linear()
    step = 3 * critical_step(model.kernel, RATE)
    found = model.predict().descent(step, [10**6])
    assert not np.isfinite(found.train).any()


def test_the_limit_with_decay_is_kernel_ridge():
    model = Linear()
    decay = 0.05
    ridge = model.kernel + decay / RATE * np.eye(N)
    weights = np.linalg.solve(ridge, model.labels)
    train, test = model.predict(decay=decay).flow([math.inf, 1e4])
    # |K|/ridge = 100 times eps; e^{-0.05e4} is 0.
    for row in (0, 1):
        np.testing.assert_allclose(train[row], model.kernel @ weights, atol=1e-12)
        np.testing.assert_allclose(
            test[row], model.options["cross"] @ weights, atol=1e-12
        )


def test_the_limit_without_decay_interpolates():
    model = Linear()
    train, test = model.predict().flow([math.inf])
    np.testing.assert_allclose(train[0], model.labels, atol=1e-12)
    start = model.options["initial"]
    weights = np.linalg.solve(model.kernel, model.labels - start[:N])
    expected = start[N:] + model.options["cross"] @ weights
    np.testing.assert_allclose(test[0], expected, atol=1e-10)


def test_the_limit_of_a_singular_kernel_is_the_pseudo_inverse():
    model = Linear(p=N - 2)
    predict = model.predict()
    assert predict.cutoff == N * np.finfo(float).eps
    assert predict.spectrum.rank(predict.cutoff) == N - 2
    # theta moves to the least squares solution nearest theta_0: the unique one here.
    theta = np.linalg.lstsq(model.jacobian[:N], model.labels)[0]
    found = both(predict.flow([math.inf, 1e4]))
    np.testing.assert_allclose(found[0], model.jacobian @ theta, atol=1e-11)
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


def test_the_cutoff_is_the_one_stated():
    kernel, y = np.diag([1.0, 0.1, 0.01]), np.ones(3)
    limit = kernel_gradient_flow(kernel, y, 1.0, [math.inf, 1e5], cutoff=0.05)
    np.testing.assert_allclose(limit, [[1, 1, 0], [1, 1, 1]], atol=1e-14)
    ridge = kernel_gradient_flow(kernel, y, 1.0, [math.inf], cutoff=0.05, decay=0.01)
    # No cutoff with decay: kappa/(kappa + 0.01).
    np.testing.assert_allclose(ridge, [[1 / 1.01, 0.1 / 0.11, 0.5]], rtol=1e-14)


def test_negative_rounding_does_not_grow():
    kernel = np.diag([1.0, -1e-15])
    train, test = KernelPrediction(kernel, np.ones(2), 1.0, cross=np.eye(2)).flow(
        [1.0, 1e18]
    )
    np.testing.assert_allclose(train[:, 1], 0, atol=1e-30)
    # The direction is not in the range of a true K(test, train); as given, beta = t y.
    np.testing.assert_allclose(test[:, 1], [1, 1e18])
    with pytest.raises(ValueError, match="^kernel must be positive semi-definite"):
        kernel_gradient_flow(np.diag([1.0, -1e-9]), np.ones(2), 1.0, [1.0])


def test_directions_of_zero_have_the_limits_of_the_formulas():
    start, start_test, decay, step, k = 0.4, -0.2, 0.5, 0.2, 3
    predict = KernelPrediction(
        np.zeros((1, 1)),
        np.ones(1),
        1.0,
        cross=np.ones((1, 1)),
        initial=np.array([start, start_test]),
        decay=decay,
    )
    # beta' = y - e^{-ct} f_0 - c beta, and its steps with p = 1 - step c.
    e, p = math.exp(-decay * 2.0), 1 - step * decay
    beta = (1 - e) / decay - 2.0 * e * start
    found = predict.flow([2.0]).test
    np.testing.assert_allclose(found, [[e * start_test + beta]], rtol=1e-14)
    beta = step * (1 + p + p**2) - step * k * p ** (k - 1) * start
    found = predict.descent(step, [k]).test
    np.testing.assert_allclose(found, [[p**k * start_test + beta]], rtol=1e-13)


def test_a_kernel_of_zero_learns_nothing():
    kernel, start = np.zeros((2, 2)), np.array([0.3, -0.3])
    predict = KernelPrediction(kernel, np.ones(2), 1.0, initial=start, decay=0.5)
    memory = np.exp([[0.0], [-0.5], [-math.inf]])
    np.testing.assert_allclose(
        predict.flow([0.0, 1.0, math.inf]).train, memory * start, rtol=1e-14
    )
    found = kernel_gradient_flow(kernel, np.ones(2), 1.0, [math.inf])
    np.testing.assert_array_equal(found, np.zeros((1, 2)))
    found = kernel_loss_flow(kernel, np.ones(2), 1.0, [2.0], Logistic(), initial=start)
    np.testing.assert_array_equal(found.train, [start])


@decays
def test_squared_loss_by_integration_is_the_closed_form(decay):
    model = Linear()
    exact = model.predict(decay=decay).flow(TIMES)
    found = kernel_loss_flow(
        model.kernel,
        model.labels,
        RATE / 2,
        TIMES,
        SquaredError(),
        decay=decay,
        **model.options,
    )
    # Tolerances of 1e-10 a step and less than 100 steps.
    np.testing.assert_allclose(both(found), both(exact), atol=1e-8)


@decays
def test_logistic_loss_agrees_with_scipy_on_the_weights(decay):
    model = Linear(seed=3)
    train, y = model.jacobian[:N], model.labels
    times = np.array([0.0, 0.5, 5.0, 500.0])

    def velocity(t, theta):
        slopes = -y / (1 + np.exp(y * (train @ theta)))
        return -RATE * train.T @ slopes - decay * theta

    options = {"t_eval": times, "method": "DOP853", "rtol": 1e-12, "atol": 1e-13}
    solved = solve_ivp(velocity, (0, times[-1]), model.theta, **options)
    found = kernel_loss_flow(
        model.kernel, y, RATE, times, Logistic(), decay=decay, **model.options
    )
    np.testing.assert_allclose(both(found), (model.jacobian @ solved.y).T, atol=1e-7)


def test_all_is_float64_without_64_bit_jax():
    model = Linear()
    arguments = model.kernel, model.labels, RATE, TIMES
    double = kernel_loss_flow(*arguments, Logistic()).train
    with jax.enable_x64(False):
        single = kernel_loss_flow(*arguments, Logistic()).train
        assert kernel_gradient_flow(*arguments).dtype == np.float64
    assert single.dtype == np.float64
    np.testing.assert_array_equal(single, double)


def test_an_integrator_that_gives_up_says_why(monkeypatch):
    monkeypatch.setattr(ode, "_MAX_STEPS", 5)
    arguments = 2 * np.eye(3), np.ones(3), 1.0, [5e4], Logistic()
    with pytest.raises(
        RuntimeError,
        match=r"^times must .* within .* got 50000.*rate.*2; diffrax .*max_steps",
    ):
        kernel_loss_flow(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.ones(N + 1)}, r"^labels must be 6 numbers.*\(7,\)"),
        ({"rate": 0.0}, "^rate must be finite and above 0, got 0"),
        ({"decay": -1.0}, "^decay must be finite and at least 0, got -1"),
        ({"cutoff": math.nan}, "^cutoff must be finite and at least 0, got nan"),
        ({"cross": np.ones((K, N + 1))}, r"^cross must .* \(num_test, 6\).*\(4, 7\)"),
        ({"cross": np.full((K, N), math.inf)}, "^cross must be finite"),
        ({"initial": np.ones(N)}, r"^initial must be 10 numbers.*\(6,\)"),
        ({"kernel": np.ones((N, N - 1))}, "^kernel must be a square matrix"),
        ({"times": np.array([1.0, -1.0])}, "^times must be real numbers"),
        ({"times": np.array([math.nan])}, "^times must be real numbers"),
        ({"times": []}, "^times must be a list"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    model = Linear()
    arguments = {
        "kernel": model.kernel,
        "labels": model.labels,
        "rate": RATE,
        "times": TIMES,
        **model.options,
    }
    with pytest.raises(ValueError, match=message):
        kernel_gradient_flow(**(arguments | change))


def test_wrong_steps_losses_and_rates_are_refused():
    model = Linear()
    predict = model.predict(decay=0.5)
    for counts in ([1.5], [-1], [math.inf]):
        with pytest.raises(ValueError, match="^num_steps must be whole numbers"):
            predict.descent(0.1, np.array(counts))
    with pytest.raises(ValueError, match=r"^step must be below 1/decay = 2, got 2"):
        predict.descent(2.0, [1])
    with pytest.raises(ValueError, match="^step must be finite and above 0, got 0"):
        predict.descent(0.0, [1])
    with pytest.raises(ValueError, match="^rate must be finite and above 0, got -1"):
        critical_step(model.kernel, -1.0)
    arguments = model.kernel, model.labels, RATE
    with pytest.raises(ValueError, match="^times must be finite numbers"):
        kernel_loss_flow(*arguments, [math.inf], Logistic())
    with pytest.raises(ValueError, match="^labels must be -1 or 1"):
        kernel_loss_flow(model.kernel, np.arange(N), RATE, [1.0], Logistic())
