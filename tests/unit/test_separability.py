"""Hard margins of kernels, against an interior-point solver and scikit-learn."""

import math

import cvxpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import SVC

from mfsim.theory import (
    classifiability,
    hard_margin,
    kernel_margin,
    label_complexity,
    random_label_scores,
)

SAMPLES = 60


def arc_cosine(x):
    """E relu(w.x_i) relu(w.x_k), w standard normal, for inputs on the sphere."""
    angle = np.arccos(np.clip(x @ x.T, -1, 1))
    return (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)


KERNELS = {
    "exponential": lambda x: np.exp(x @ x.T),
    "arc-cosine": lambda x: arc_cosine(x) + 0.05 * np.eye(len(x)),
    "laplace": lambda x: np.exp(-np.linalg.norm(x[:, None] - x[None], axis=2)),
}


def make(kind, truth, samples=SAMPLES, seed=0):
    """A kernel of points on the sphere in R^8, with labels of a line or at random."""
    draws = np.random.default_rng(seed)
    x = draws.standard_normal((samples, 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    signal = x[:, 0] if truth else draws.standard_normal(samples)
    return KERNELS[kind](x), np.where(signal > 0, 1.0, -1.0)


each_problem = pytest.mark.parametrize(
    ("kind", "truth"), [(kind, truth) for kind in KERNELS for truth in (True, False)]
)


@each_problem
def test_the_classifiability_is_that_of_an_interior_point_solver(kind, truth):
    kernel, labels = make(kind, truth)
    # z = L v, so that z^T K^-1 z = |v|^2.
    lower, v = np.linalg.cholesky(kernel), cvxpy.Variable(SAMPLES)
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(v)), [cvxpy.multiply(labels, lower @ v) >= 1]
    )
    problem.solve(solver=cvxpy.CLARABEL)
    # The solver stops at a gap of 1e-8, so that v is good to its root.
    best = math.sqrt(problem.value / SAMPLES)
    assert classifiability(kernel, labels) == pytest.approx(best, rel=1e-5)
    np.testing.assert_allclose(
        hard_margin(kernel, labels).outputs, lower @ v.value, atol=1e-3
    )


@each_problem
def test_the_machine_meets_its_optimality_conditions(kind, truth):
    kernel, labels = make(kind, truth)
    found = hard_margin(kernel, labels)
    margins = labels * found.outputs
    assert margins.min() >= 1 - 1e-9
    assert found.coefficients.min() >= 0
    assert found.coefficients.max() > 0
    np.testing.assert_allclose(found.coefficients * (margins - 1), 0, atol=1e-9)
    # z is the values of sum_k y_k beta_k K(., x_k), whose norm is that of z.
    weights = labels * found.coefficients
    np.testing.assert_allclose(found.outputs, kernel @ weights, atol=1e-10)
    squared = found.outputs @ np.linalg.solve(kernel, found.outputs)
    assert found.classifiability == pytest.approx(math.sqrt(squared / SAMPLES))


@each_problem
def test_the_margin_is_the_inverse_of_the_classifiability(kind, truth):
    kernel, labels = make(kind, truth)
    margin = kernel_margin(kernel, labels)
    assert margin * math.sqrt(SAMPLES) * classifiability(kernel, labels) == (
        pytest.approx(1, rel=1e-12)
    )
    # Equal, up to rounding, where the labels themselves are the best values.
    most = label_complexity(kernel, labels)
    assert classifiability(kernel, labels) <= most * (1 + 1e-12)


@pytest.mark.parametrize("truth", [True, False])
def test_the_margin_is_that_of_scikit_learn(truth):
    # Its machine has a bias b; on the labels (y, -y) of the points (x, -x), with a
    # kernel that is odd in each, the best b is 0 and the margin that of (x, y) alone.
    draws = np.random.default_rng(3)
    x = draws.standard_normal((20, 30))
    y = np.where(x[:, 0] > 0 if truth else draws.random(20) > 0.5, 1.0, -1.0)
    both = np.concatenate([x, -x])
    machine = SVC(kernel="precomputed", C=1e10, tol=1e-10)
    machine.fit(both @ both.T, np.concatenate([y, -y]))
    weights = machine.dual_coef_[0] @ both[machine.support_]
    assert abs(machine.intercept_[0]) < 1e-8
    margin = np.min(y * (x @ weights)) / np.linalg.norm(weights)
    assert kernel_margin(x @ x.T, y) == pytest.approx(margin, rel=1e-6)


def test_values_by_hand():
    # K = I: every point supports, beta = 1, and z = y.
    labels = np.array([1.0, -1.0, -1.0, 1.0])
    found = hard_margin(np.eye(4), labels)
    np.testing.assert_allclose(found.coefficients, 1)
    np.testing.assert_allclose(found.outputs, labels)
    assert (found.classifiability, found.margin) == (1, 0.5)
    # Points of opposite labels at cosine c: (1, -1) K^-1 (1, -1)^T = 2/(1 - c).
    kernel = np.array([[1.0, 0.6], [0.6, 1.0]])
    labels = np.array([1.0, -1.0])
    assert classifiability(kernel, labels) == pytest.approx(math.sqrt(1 / 0.4))
    assert kernel_margin(kernel, labels) == pytest.approx(math.sqrt(0.2))
    assert label_complexity(kernel, labels) == pytest.approx(math.sqrt(1 / 0.4))
    # y need not be +-1 here: (3, 0) K^-1 (3, 0)^T = 9/(1 - c^2).
    assert label_complexity(kernel, np.array([3.0, 0.0])) == (
        pytest.approx(math.sqrt(9 / 0.64 / 2))
    )


def test_a_point_behind_the_margin_does_not_count():
    # K = x x^T + 1e-9 I of x = 1 and 3 in one dimension: x = 1 alone supports, w = 1.
    x = np.array([1.0, 3.0])
    kernel = np.outer(x, x) + 1e-9 * np.eye(2)
    found = hard_margin(kernel, np.ones(2))
    np.testing.assert_allclose(found.coefficients, [1, 0], atol=1e-8)
    np.testing.assert_allclose(found.outputs, [1, 3], atol=1e-8)
    # Forced to 1 at both points, f would need the ridge: 4e9 times the norm.
    assert label_complexity(kernel, np.ones(2)) > 1e4 * found.classifiability


@given(st.integers(0, 99), st.floats(-6, 6), st.randoms(use_true_random=False))
def test_scale_order_and_signs(seed, log_scale, random):
    kernel, labels = make("exponential", truth=False, samples=12, seed=seed)
    value, complexity = (
        classifiability(kernel, labels),
        label_complexity(kernel, labels),
    )
    scaled = 10.0**log_scale * kernel
    root = 10 ** (log_scale / 2)
    assert classifiability(scaled, labels) * root == pytest.approx(value, rel=1e-9)
    assert label_complexity(scaled, labels) * root == pytest.approx(complexity)
    order = list(range(12))
    random.shuffle(order)
    moved = kernel[np.ix_(order, order)]
    assert classifiability(moved, labels[order]) == pytest.approx(value, rel=1e-9)
    # Q = yy^T o K does not change where signs move from the labels to the kernel.
    flips = np.array([random.choice([-1.0, 1.0]) for _ in range(12)])
    flipped = np.outer(flips, flips) * kernel
    assert classifiability(flipped, flips * labels) == pytest.approx(value, rel=1e-9)
    assert classifiability(kernel, -labels) == pytest.approx(value, rel=1e-9)


@given(st.integers(0, 99))
def test_fewer_points_are_easier_to_separate(seed):
    kernel, labels = make("laplace", truth=False, samples=12, seed=seed)
    assert kernel_margin(kernel[:8, :8], labels[:8]) >= (
        kernel_margin(kernel, labels) * (1 - 1e-9)
    )


def test_an_orthogonal_design_in_closed_form():
    # Every point supports at y_i z_i = 1: gamma^-2 = sum_i 1/K_ii.
    kernel, labels = np.diag([1.0, 4.0, 0.25]), np.array([1.0, -1.0, 1.0])
    assert kernel_margin(kernel, labels) == pytest.approx(5.25**-0.5)


def test_scores_of_random_labels():
    kernel, labels = make("exponential", truth=True)
    scores = random_label_scores(kernel, labellings=20)
    # E y^T K^-1 y = tr K^-1 over fair coins.
    mean = scores.label_complexity**2 + 19 * scores.label_complexity_se**2
    expected = np.trace(np.linalg.inv(kernel)) / SAMPLES
    error = 2 * scores.label_complexity * scores.label_complexity_se
    assert abs(mean - expected) < 4 * error
    # A line is easier than coins.
    assert classifiability(kernel, labels) < (
        scores.classifiability - 4 * scores.classifiability_se
    )
    assert scores == random_label_scores(kernel, labellings=20)
    assert scores != random_label_scores(kernel, labellings=20, seed=1)


def test_random_labels_are_all_alike_to_orthogonal_points():
    scores = random_label_scores(4 * np.eye(10), labellings=5)
    assert scores.classifiability == pytest.approx(0.5)
    assert scores.label_complexity == pytest.approx(0.5)
    assert scores.classifiability_se == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="^labellings must be at least 2, got 1"):
        random_label_scores(np.eye(2), labellings=1)


NAN = np.array([[1.0, np.nan], [np.nan, 1.0]])
SIGNS = np.array([1.0, -1.0])


@pytest.mark.parametrize("function", [classifiability, kernel_margin, hard_margin])
def test_margins_want_signs(function):
    with pytest.raises(ValueError, match=r"^labels must be -1 or 1 .* got 0\.5;"):
        function(np.eye(2), np.array([1.0, 0.5]))


@pytest.mark.parametrize("function", [classifiability, kernel_margin, label_complexity])
@pytest.mark.parametrize(
    ("kernel", "labels", "message"),
    [
        (np.eye(3), SIGNS, r"^labels must be 3 numbers, .* got shape \(2,\)"),
        (np.eye(2), NAN[0], "^labels must be finite, got nan for point 1"),
        (np.ones((2, 3)), SIGNS, "^kernel must be a square matrix"),
        (NAN, SIGNS, r"^kernel must be finite, got nan at \(0, 1\)"),
        (np.ones((2, 2)), SIGNS, "^kernel must .* points 0 and 1 alike"),
        (np.outer(SIGNS, SIGNS), SIGNS, "^kernel must .* points 0 and 1 opposite"),
    ],
)
def test_bad_arrays_are_named(function, kernel, labels, message):
    with pytest.raises(ValueError, match=message):
        function(kernel, labels)
