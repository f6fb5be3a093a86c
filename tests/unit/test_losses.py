"""Losses: values by hand, derivatives, curvature, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.component import build
from mfsim.losses import (
    AbstractLoss,
    Logistic,
    SoftmaxCrossEntropy,
    SquaredError,
    of_label,
)

LOSSES = [SquaredError(), Logistic()]
F = jnp.asarray([-3.0, -0.5, 0.0, 0.25, 4.0])

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda c: type(c).__name__)


def test_squared_error_has_no_half():
    assert float(SquaredError()(jnp.asarray(3.0), jnp.asarray(1.0))) == 4
    assert float(SquaredError().derivative(jnp.asarray(3.0), jnp.asarray(1.0))) == 4


@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_logistic_is_its_formula(y):
    loss, f = Logistic(), np.asarray(F)
    labels = jnp.full_like(F, y)
    np.testing.assert_allclose(loss(F, labels), np.log(1 + np.exp(-y * f)), rtol=1e-14)
    slope = -y / (1 + np.exp(y * f))
    np.testing.assert_allclose(loss.derivative(F, labels), slope, rtol=1e-14)


@each_loss
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_derivative_is_that_of_the_value(loss, y):
    labels = jnp.full_like(F, y)
    gradient = jax.grad(lambda f: loss(f, labels).sum())(F)
    np.testing.assert_allclose(loss.derivative(F, labels), gradient, rtol=1e-13)
    # Central differences: rounding 1e-16 * 50/1e-5 and step^2.
    step = 1e-5
    difference = (loss(F + step, labels) - loss(F - step, labels)) / (2 * step)
    np.testing.assert_allclose(loss.derivative(F, labels), difference, atol=1e-8)


@each_loss
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_curvature_is_the_second_derivative(loss, y):
    labels = jnp.full_like(F, y)
    second = jax.grad(lambda f: loss.derivative(f, labels).sum())(F)
    np.testing.assert_allclose(loss.curvature(F, labels), second, rtol=1e-13)


@each_loss
@pytest.mark.parametrize("y", [-1.0, 1.0])
@pytest.mark.parametrize("slope", [0.1, 0.5, 0.9])
def test_conjugate_is_the_supremum(loss, y, slope):
    g = -y * slope
    f = np.linspace(-6, 6, 120_001)
    labels = jnp.full(f.shape, y)
    largest = np.max(g * f - np.asarray(loss(jnp.asarray(f), labels)))
    conjugate = float(loss.conjugate(jnp.asarray(g), jnp.asarray(y)))
    # The best f, |f| < 3, lies within half a spacing: curvature (1e-4/2)^2/2 <= 2.5e-9.
    assert largest <= conjugate + 1e-14
    assert conjugate == pytest.approx(largest, abs=2.5e-9)


@each_loss
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_conjugate_derivatives_are_those_of_the_value(loss, y):
    g = -y * jnp.asarray([0.01, 0.3, 0.5, 0.99])
    labels = jnp.full_like(g, y)
    first = jax.grad(lambda g: loss.conjugate(g, labels).sum())(g)
    second = jax.grad(lambda g: loss.conjugate_derivative(g, labels).sum())(g)
    derivative = loss.conjugate_derivative(g, labels)
    np.testing.assert_allclose(derivative, first, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(loss.conjugate_curvature(g, labels), second, rtol=1e-12)


@each_loss
@given(f=st.floats(-20, 20), y=st.sampled_from([-1.0, 1.0]))
def test_conjugate_is_dual_to_the_loss(loss, f, y):
    f, y = jnp.asarray(f), jnp.asarray(y)
    g = loss.derivative(f, y)
    # Fenchel and Young hold with equality; terms of up to 441 round at 1e-13, and
    # 1 - s at f = 20 has lost nine digits, which f = log(s/(1 - s)) shows.
    equal = loss(f, y) + loss.conjugate(g, y) - g * f
    assert float(equal) == pytest.approx(0, abs=1e-12)
    assert float(loss.conjugate_derivative(g, y)) == pytest.approx(float(f), abs=1e-6)
    product = loss.curvature(f, y) * loss.conjugate_curvature(g, y)
    assert float(product) == pytest.approx(1, abs=1e-6)


def test_conjugates_by_hand():
    g, y = jnp.asarray(2.0), jnp.asarray(3.0)
    assert float(SquaredError().conjugate(g, y)) == 7
    half = -0.5 * y / 3
    assert float(Logistic().conjugate(half, y / 3)) == pytest.approx(-np.log(2))


@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_logistic_conjugate_ends_at_zero_and_one(y):
    s = jnp.asarray([-1e-9, 0.0, 1.0, 1 + 1e-9])
    values = Logistic().conjugate(-y * s, jnp.full_like(s, y))
    np.testing.assert_array_equal(values, [np.inf, 0, 0, np.inf])


@each_loss
@given(f=st.floats(-100, 100), y=st.sampled_from([-1.0, 1.0]))
def test_max_curvature_is_not_exceeded(loss, f, y):
    curvature = jax.grad(jax.grad(lambda f: loss(f, y)))(f)
    assert 0 <= float(curvature) <= loss.max_curvature * (1 + 1e-14)


@each_loss
def test_max_curvature_is_attained(loss):
    # At f = 0 for the logistic loss, everywhere for the squared error.
    curvature = jax.grad(lambda f: loss.derivative(f, 1.0))(0.0)
    assert float(curvature) == pytest.approx(loss.max_curvature, rel=1e-15)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_logistic_is_finite_at_large_outputs(dtype):
    f, y = jnp.asarray([-1e30, -1e4, 1e4, 1e30], dtype), jnp.ones(4, dtype)
    value, slope = Logistic()(f, y), Logistic().derivative(f, y)
    # f -> -infinity: -f, slope -1; f -> infinity: 0, slope 0.
    np.testing.assert_allclose(value, [1e30, 1e4, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(slope, [-1, -1, 0, 0])
    assert value.dtype == slope.dtype == dtype
    gradient = jax.grad(lambda f: Logistic()(f, y).sum())(f)
    np.testing.assert_allclose(gradient, slope)


@pytest.mark.parametrize("wrong", [0.0, 2.0, -0.5])
def test_logistic_refuses_labels_other_than_signs(wrong):
    Logistic().check_labels(np.array([-1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match=f"^labels must be -1 or 1 .*got {wrong:g}"):
        Logistic().check_labels(np.array([1.0, wrong, -1.0]))


def test_squared_error_takes_any_label():
    SquaredError().check_labels(np.array([-1.5, 0.0, 7.0]))


@pytest.mark.parametrize("loss", [*LOSSES, SoftmaxCrossEntropy()], ids=repr)
def test_losses_are_built_by_name(loss):
    assert build(AbstractLoss, type(loss).__name__) == loss


# Softmax cross-entropy: several outputs, the number of a class as label.

CLASSES = 4
ROWS = jnp.asarray(np.random.default_rng(3).normal(0, 3, (20, CLASSES)))
NUMBERS = jnp.asarray(np.arange(20.0) % CLASSES)


def log_sum(f):
    return np.log(np.exp(np.asarray(f)).sum(-1))


def test_cross_entropy_is_its_formula():
    picked = np.asarray(ROWS)[np.arange(20), np.arange(20) % CLASSES]
    loss, wanted = SoftmaxCrossEntropy(), log_sum(ROWS) - picked
    # Logarithms of up to a dozen of rounded sums.
    np.testing.assert_allclose(loss(ROWS, NUMBERS), wanted, rtol=0, atol=1e-14)
    softmax = np.exp(np.asarray(ROWS)) / np.exp(log_sum(ROWS))[:, None]
    slope = softmax - np.eye(CLASSES)[np.arange(20) % CLASSES]
    np.testing.assert_allclose(loss.derivative(ROWS, NUMBERS), slope, atol=1e-15)
    # Equal outputs tell nothing: log c.
    same = loss(jnp.zeros((1, CLASSES)), NUMBERS[:1])
    assert float(same[0]) == pytest.approx(np.log(CLASSES), rel=1e-15)


@pytest.mark.parametrize("shift", [0.0, 100.0, 1e4])
def test_cross_entropy_does_not_cancel_in_single_precision(shift):
    f = np.asarray([[shift, shift - 7.25, shift - 30]], np.float32)
    found = SoftmaxCrossEntropy()(jnp.asarray(f), jnp.zeros(1, jnp.float32))
    # log(1 + s), s = 7.1e-4, whose 1 + s is rounded to 6e-8 in single precision.
    wanted = np.log1p(np.exp(-7.25) + np.exp(-30.0))
    assert float(found[0]) == pytest.approx(wanted, rel=2 * 6e-8 / wanted)


def test_slope_of_the_cross_entropy_is_that_of_the_value():
    loss = SoftmaxCrossEntropy()
    slope, step = np.asarray(loss.derivative(ROWS, NUMBERS)), 1e-5
    for along in step * jnp.eye(CLASSES)[:, None]:
        change = loss(ROWS + along, NUMBERS) - loss(ROWS - along, NUMBERS)
        # Central differences: rounding 1e-16 * 12/1e-5 and step^2.
        part = slope @ np.asarray(along[0]) / step
        np.testing.assert_allclose(part, change / (2 * step), atol=1e-9)
    automatic = jax.jit(jax.grad(lambda f: loss(f, NUMBERS).sum()))(ROWS)
    np.testing.assert_allclose(slope, automatic, atol=1e-15)


def test_two_classes_are_the_logistic_loss_of_the_difference():
    pairs, labels = ROWS[:, :2], NUMBERS % 2
    loss, signs = SoftmaxCrossEntropy(), 2 * labels - 1
    apart = pairs[:, 1] - pairs[:, 0]
    np.testing.assert_allclose(
        loss(pairs, labels), Logistic()(apart, signs), atol=1e-14
    )
    both = np.asarray(Logistic().derivative(apart, signs))[:, None] * [-1.0, 1.0]
    np.testing.assert_allclose(loss.derivative(pairs, labels), both, atol=1e-15)


@jax.jit
def curvatures(f):
    """Eigenvalues of the Hessian, which is diag(p) - p p^T, by differentiation."""
    loss, label = SoftmaxCrossEntropy(), jnp.zeros(1)
    hessian = jax.jacfwd(lambda f: loss.derivative(f[None, :], label)[0])(f)
    return jnp.linalg.eigvalsh(hessian)


@given(f=st.lists(st.floats(-30, 30), min_size=5, max_size=5))
def test_curvature_of_the_cross_entropy_is_at_most_a_half(f):
    # Gershgorin: row j sums to 2 p_j (1 - p_j) in absolute values.
    found = np.asarray(curvatures(jnp.asarray(f)))
    assert found[0] > -1e-15
    assert found[-1] <= SoftmaxCrossEntropy.max_curvature * (1 + 1e-14)


def test_a_half_is_the_supremum_of_that_curvature():
    # Two classes share the probability, up to 3 exp(-40) of the others.
    found = curvatures(jnp.asarray([0.0, 0.0, -40.0, -40.0, -40.0]))
    limit = SoftmaxCrossEntropy.max_curvature
    assert float(found[-1]) == pytest.approx(limit, rel=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_cross_entropy_is_finite_at_large_outputs(dtype):
    f = jnp.asarray([[1e30, 0.0, -1e30], [1e4, 0.0, 0.0]], dtype)
    loss = SoftmaxCrossEntropy()
    for label, values in ((0, [0, 0]), (1, [1e30, 1e4])):
        y = jnp.full(2, label, dtype)
        value, slope = loss(f, y), loss.derivative(f, y)
        np.testing.assert_allclose(value, values, rtol=1e-6)
        np.testing.assert_allclose(slope, [np.eye(3)[0] - np.eye(3)[label]] * 2)
        assert value.dtype == slope.dtype == dtype


@given(shift=st.floats(-100, 100))
def test_cross_entropy_is_of_differences_of_outputs(shift):
    loss = SoftmaxCrossEntropy()
    moved, still = loss(ROWS + shift, NUMBERS), loss(ROWS, NUMBERS)
    # Numbers of up to 110 round at 1.4e-14, three of them.
    np.testing.assert_allclose(moved, still, rtol=0, atol=5e-14)


@pytest.mark.parametrize("wrong", [-1.0, 0.5, np.nan])
def test_cross_entropy_refuses_labels_that_number_no_class(wrong):
    loss = SoftmaxCrossEntropy()
    loss.check_labels(np.array([0.0, 9.0, 3.0]))
    message = f"^labels must be the numbers 0, 1, .* got {wrong:g}; relabel.*\\.$"
    with pytest.raises(ValueError, match=message):
        loss.check_labels(np.array([0.0, wrong, 1.0]))


def test_the_label_s_own_output():
    f = jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(of_label(f, jnp.asarray([2.0, 0.0])), [3, 4])
