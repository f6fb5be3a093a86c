import math

import cvxpy
import jax
import numpy as np
import pytest

from mfsim.kernels import tangent_kernel
from mfsim.losses import SquaredError
from mfsim.networks import DeepRelu, TwoLayer
from mfsim.theory import hard_margin, ntrf_ball, ntrf_balls, separable_radius

POINTS, DIM, WIDTH = 8, 3, 4


def make(depth, exponent=0.5, width=WIDTH, points=POINTS, dim=DIM, seed=0):
    """A network, its start, and points on the sphere with labels at random."""
    draws = np.random.default_rng(seed)
    x = draws.standard_normal((points, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = draws.choice([-1.0, 1.0], points)
    network = DeepRelu(width, depth, exponent)
    return network, network.init(jax.random.key(seed), dim), x, labels


def features(network, params, x):
    """Outputs and the gradients in W_1, ..., W_L, flat, by hand, point by point."""
    weights = [np.asarray(w) for w in params]
    scale = network.width**network.scale_exponent
    outputs, layers = [], [[] for _ in weights]
    for point in x:
        signals = [point]
        for w in weights[:-1]:
            signals.append(np.maximum(w @ signals[-1], 0))
        outputs.append(scale * float(weights[-1][0] @ signals[-1]))
        back = np.array([scale])
        for i in reversed(range(len(weights))):
            layers[i].append(np.outer(back, signals[i]).ravel())
            back = (weights[i].T @ back) * (signals[i] > 0)
    return np.array(outputs), [np.array(rows) for rows in layers]


def best_by_cvxpy(network, params, x, labels, radius):
    start, layers = features(network, params, x)
    moves = [cvxpy.Variable(rows.shape[1]) for rows in layers]
    change = sum(rows @ move for rows, move in zip(layers, moves, strict=True))
    margins = cvxpy.multiply(labels, start + change)
    most = radius * network.width**-network.scale_exponent
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum(cvxpy.logistic(-margins)) / len(x)),
        [cvxpy.norm(move) <= most for move in moves],
    )
    problem.solve(solver=cvxpy.CLARABEL)
    return problem.value


@pytest.mark.parametrize(("depth", "exponent"), [(2, 0.5), (3, 0.5), (3, 0.3)])
def test_the_least_loss_is_that_of_an_interior_point_solver(depth, exponent):
    setting = make(depth, exponent)
    for ball in ntrf_balls(*setting, [0.3, 3.0, 30.0]):
        best = best_by_cvxpy(*setting, ball.radius)
        assert ball.gap < 1e-6
        assert ball.loss == pytest.approx(best, abs=1e-5)
        # The solver's own gap is 1e-8.
        assert ball.loss - ball.gap - 1e-7 <= best <= ball.loss + 1e-7


def test_the_best_point_may_lie_within_the_balls():
    # Every point is there with both labels: f_lin = 0 is best, with all slopes +-1/2.
    network, params, x, _ = make(3)
    twice, labels = np.tile(x[:4], (2, 1)), np.repeat([1.0, -1.0], 4)
    ball = ntrf_ball(network, params, twice, labels, 30.0)
    assert ball.gap < 1e-6
    assert ball.loss == pytest.approx(math.log(2), abs=1e-6)
    # log 2 + f^2/8 is within 1e-6 of log 2.
    np.testing.assert_allclose(ball.outputs, 0, atol=math.sqrt(8 * 8e-6))
    norms = [2 * np.linalg.norm(move) for move in ball.displacement]
    assert max(norms) < 29


def test_the_gap_is_honest_wherever_the_descent_stops():
    setting = make(3, width=16)
    best = ntrf_ball(*setting, 5.0, tolerance=1e-10)
    assert best.gap <= 1.01e-10
    for steps in (1, 3, 10):
        stopped = ntrf_ball(*setting, 5.0, tolerance=1e-10, max_steps=steps)
        assert stopped.steps == steps
        assert stopped.gap > 1e-10
        assert best.loss - 1e-10 <= stopped.loss
        assert stopped.loss - stopped.gap <= best.loss + 1e-12


@pytest.mark.parametrize("exponent", [0.5, 0.25])
def test_one_point_in_closed_form(exponent):
    # Every layer moves along its gradient: y f_lin = y f_0 + R m^-a sum_l |grad_l f|.
    network, params, x, labels = make(4, exponent, width=16, points=1)
    start, layers = features(network, params, x)
    reach = 1.5 * 16**-exponent * sum(np.linalg.norm(rows) for rows in layers)
    margin = labels[0] * start[0] + reach
    ball = ntrf_ball(network, params, x, labels, 1.5, tolerance=1e-12)
    assert ball.loss == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-11)
    far = np.array([start[0] + 2 * reach])
    ball = ntrf_ball(network, params, x, far, 1.5, loss=SquaredError(), tolerance=1e-10)
    assert ball.loss == pytest.approx(reach**2, abs=1e-9)


def test_the_best_weights_meet_their_optimality_conditions():
    network, params, x, labels = setting = make(3, width=16)
    start, layers = features(network, params, x)
    ball = ntrf_ball(*setting, 2.0, tolerance=1e-12)
    moves = [move.ravel() for move in ball.displacement]
    outputs = start + sum(a @ b for a, b in zip(layers, moves, strict=True))
    np.testing.assert_allclose(ball.outputs, outputs, rtol=1e-10)
    losses = np.log1p(np.exp(-labels * outputs))
    assert ball.loss == pytest.approx(losses.mean(), rel=1e-12)
    slopes = -labels / (1 + np.exp(labels * outputs)) / len(x)
    for rows, move in zip(layers, moves, strict=True):
        gradient = rows.T @ slopes
        best = -2.0 / 4 * gradient / np.linalg.norm(gradient)
        # A gap of 1e-12 leaves the point free by its root.
        np.testing.assert_allclose(move, best, atol=1e-5)
        assert np.linalg.norm(move) <= 0.5 * (1 + 1e-12)
    with jax.enable_x64(True):
        kernel = tangent_kernel(network, params, x)
    both = sum(rows @ rows.T for rows in layers) / 16
    np.testing.assert_allclose(kernel, both, rtol=1e-9)


def test_a_ladder_of_radii():
    network, params, x, labels = setting = make(3, width=32, points=12, dim=6)
    start, _ = features(network, params, x)
    radii = [1e-9, 0.1, 1.0, 10.0, 100.0]
    balls = ntrf_balls(*setting, radii)
    assert [ball.radius for ball in balls] == radii
    losses = [ball.loss for ball in balls]
    at_start = np.log1p(np.exp(-labels * start)).mean()
    # |f_lin - f_0| is below R sum_l |grad_l f| m^-a < 10 R.
    assert losses[0] == pytest.approx(at_start, abs=1e-7)
    gaps = [ball.gap for ball in balls]
    assert max(gaps) < 1.01e-7
    rises = np.diff(losses)
    assert (rises <= 1e-7).all()
    # 12 points in general position are separable by 32 x 6 + 32 x 32 + 32 weights.
    assert losses[-1] < 1e-6
    alone = ntrf_ball(*setting, 10.0)
    assert alone.loss == pytest.approx(losses[3], abs=1e-7)


@pytest.mark.parametrize("exponent", [0.5, 0.25])
def test_the_margin_of_the_kernel_says_the_radius(exponent):
    # Chen et al. 2021, Definition 4.3: y_i <grad f(x_i), U> >= m^a gamma, |U|_F = 1.
    network, params, x, labels = setting = make(3, exponent, width=32, points=12, dim=6)
    start, layers = features(network, params, x)
    machine = hard_margin(tangent_kernel(network, params, x), labels)
    rows = np.concatenate(layers, axis=1)
    unit = rows.T @ (labels * machine.coefficients)
    unit /= np.linalg.norm(unit)
    least = (labels * (rows @ unit)).min()
    assert least == pytest.approx(32**exponent * machine.margin, rel=1e-8)
    # At R = (max |f_0| + log(1/epsilon))/gamma the weights R m^-a U have loss
    # epsilon at most; |f_0| below sqrt(log(n/delta)) gives the radius of the paper.
    epsilon = 0.01
    delta = 12 * math.exp(-max(np.abs(start).max() ** 2, 3.0))
    radius = separable_radius(
        machine.margin, num_train=12, epsilon=epsilon, delta=delta
    )
    assert ntrf_ball(*setting, radius).loss <= epsilon + 1e-7


def test_single_precision_is_widened():
    setting = make(3, width=16)
    wide = ntrf_ball(*setting, 1.0)
    with jax.enable_x64(False):
        network, params, x, labels = setting
        narrow = [np.asarray(w, np.float32) for w in params]
        ball = ntrf_ball(network, narrow, x, labels, 1.0)
    assert ball.displacement[0].dtype == np.float64
    assert ball.gap < 1e-6
    # Weights rounded to 6e-8 change outputs of order one by a few such units.
    assert ball.loss == pytest.approx(wide.loss, abs=1e-5)


def call(**changed):
    network, params, x, labels = make(2)
    arguments = {
        "network": network,
        "params": params,
        "x": x,
        "labels": labels,
        "radius": 1.0,
    }
    arguments.update(changed)
    return ntrf_ball(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"radius": 0.0}, "^radius must be positive and finite, got 0"),
        ({"radius": math.inf}, "^radius must be positive and finite, got inf"),
        ({"tolerance": -1.0}, "^tolerance must be positive"),
        ({"labels": np.arange(8.0)}, "^labels must be -1 or 1 .* got 0;"),
        ({"labels": np.ones(7)}, r"^labels must be 8 numbers, .* got shape \(7,\)"),
        ({"x": np.ones((8, 2))}, r"^params must have the shapes \[\(4, 2\), \(1, 4\)"),
        (
            {"network": DeepRelu(4, 3)},
            r"^params must have the shapes .* got \[\(4, 3\)",
        ),
        ({"network": TwoLayer(4)}, "^network must be a DeepRelu, .* TwoLayer"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        call(**changed)


def test_kernels_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("mfsim.memory.memory_of", lambda device: 1000)
    with pytest.raises(
        ValueError, match="^x must have fewer rows: each of the kernels"
    ):
        call()
