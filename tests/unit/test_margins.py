"""The shallow tangent margin and the distance between classes."""

import math

import cvxpy
import jax
import numpy as np
import pytest

from mfsim.theory import class_distance, shallow_margin

SAMPLES = 4000
SIGNS = np.array([1.0, -1.0])


def test_the_shallow_margin_is_that_of_an_interior_point_solver(key):
    draws = np.random.default_rng(1)
    x = draws.standard_normal((6, 3))
    labels = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    found = shallow_margin(x, labels, key, samples=15, tolerance=1e-6)
    z = np.asarray(jax.random.normal(key, (15, 3), float))
    active = (z @ x.T > 0).astype(float)
    masses = cvxpy.Variable(6)
    rows = labels[:, None] * x
    norms = [cvxpy.norm(rows.T @ cvxpy.multiply(on, masses)) for on in active]
    problem = cvxpy.Problem(
        cvxpy.Minimize(sum(norms) / 15), [masses >= 0, cvxpy.sum(masses) == 1]
    )
    problem.solve(solver=cvxpy.CLARABEL)
    assert found.margin == pytest.approx(problem.value, rel=1e-5)
    assert 0 <= found.gap <= 1e-6 * found.margin
    assert found.masses.sum() == pytest.approx(1)
    field = np.linalg.norm((active * found.masses) @ rows, axis=1)
    assert found.margin == pytest.approx(field.mean())
    assert found.standard_error == pytest.approx(field.std() / math.sqrt(15))


def test_shallow_margins_in_closed_form(key):
    # Shares of draws are within 4 standard errors: false alarms of 6e-5 each.
    error = 4 * 0.5 / math.sqrt(SAMPLES)
    point = np.array([[3.0, 4.0]])
    options = {"samples": SAMPLES, "tolerance": 1e-4}
    # |x| P(z.x > 0).
    one = shallow_margin(point, np.ones(1), key, **options)
    assert one.margin == pytest.approx(5 / 2, abs=5 * error)
    # Of opposite points one is active, whatever z is.
    both = np.concatenate([point, -point])
    found = shallow_margin(both, SIGNS, key, **options)
    assert found.margin == pytest.approx(5 / 2, abs=5 * error)
    # Of orthogonal unit points: both (1/4), one (1/2), none: 1/sqrt(2), 1/2, 0.
    found = shallow_margin(np.eye(2), SIGNS, key, **options)
    assert found.margin == pytest.approx((math.sqrt(0.5) + 1) / 4, abs=error)
    np.testing.assert_allclose(found.masses, 0.5, atol=0.2)
    # Of a point with both labels the best masses leave nothing.
    clash = shallow_margin(np.ones((2, 2)), SIGNS, key, **options)
    assert clash.margin == pytest.approx(0, abs=1e-12)


def test_the_least_distance_between_classes():
    x = np.array([[0.0, 0.0], [0.1, 0.0], [3.0, 4.0], [0.0, 6.0]])
    labels = np.array([1.0, 1.0, -1.0, -1.0])
    assert class_distance(x, labels) == pytest.approx(math.hypot(2.9, 4.0))


def test_the_least_distance_by_blocks(monkeypatch):
    draws = np.random.default_rng(0)
    x, labels = draws.standard_normal((50, 4)), draws.choice([-1.0, 1.0], 50)
    whole = class_distance(x, labels)
    monkeypatch.setattr("mfsim.theory.margins._BLOCK_BYTES", 8 * 60)
    assert class_distance(x, labels) == whole
    pairs = np.linalg.norm(x[labels > 0][:, None] - x[labels < 0][None], axis=2)
    assert whole == pytest.approx(pairs.min(), rel=1e-12)


def test_bad_arguments_are_named(key, monkeypatch):
    x = np.eye(2)
    with pytest.raises(ValueError, match="^labels must have both classes, got 1 only"):
        class_distance(x, np.ones(2))
    for function in (class_distance, lambda x, y: shallow_margin(x, y, key)):
        with pytest.raises(ValueError, match="^labels must be -1 or 1 .* got 0;"):
            function(x, np.zeros(2))
        with pytest.raises(ValueError, match="^labels must be 2 numbers"):
            function(x, np.ones(3))
    with pytest.raises(ValueError, match="^samples must be positive"):
        shallow_margin(x, SIGNS, key, samples=0)
    monkeypatch.setattr("mfsim.memory.memory_of", lambda device: 10)
    with pytest.raises(ValueError, match="^samples must be fewer: a table"):
        shallow_margin(x, SIGNS, key)
