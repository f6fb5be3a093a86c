"""Activations: values by hand, derivatives in closed form and by differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.activations import (
    AbstractActivation,
    Erf,
    Identity,
    Relu,
    Sigmoid,
    SmoothnessConstants,
    Softplus,
    Tanh,
)
from mfsim.component import build, describe, kinds

ACTIVATIONS = [Tanh(), Erf(), Softplus(), Softplus(3.0), Sigmoid(), Relu(), Identity()]
Z = np.array([-3.0, -1.0, -0.25, 0.5, 2.0])

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)


def logistic(z):
    return 1 / (1 + np.exp(-z))


# Value, first and second derivative by their formulas.
FORMULAS = {
    "Tanh": (
        np.tanh,
        lambda z: 1 / np.cosh(z) ** 2,
        lambda z: -2 * np.tanh(z) / np.cosh(z) ** 2,
    ),
    "Erf": (
        np.vectorize(math.erf),
        lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2)),
        lambda z: -4 * z / np.sqrt(np.pi) * np.exp(-(z**2)),
    ),
    "Softplus": (
        lambda z: np.log1p(np.exp(z)),
        logistic,
        lambda z: logistic(z) * logistic(-z),
    ),
    "Sigmoid": (
        logistic,
        lambda z: logistic(z) * logistic(-z),
        lambda z: logistic(z) * logistic(-z) * (1 - 2 * logistic(z)),
    ),
    "Relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0), np.zeros_like),
    "Identity": (lambda z: z, np.ones_like, np.zeros_like),
}


def formulas(activation):
    value, first, second = FORMULAS[type(activation).__name__]
    beta = getattr(activation, "beta", 1.0)
    return (
        value(beta * Z) / beta,
        first(beta * Z),
        second(beta * Z) * beta,
    )


@each_activation
def test_value_and_derivatives_are_the_formulas(activation):
    value, first, second = formulas(activation)
    h, slope = activation.value_and_derivative(Z)
    np.testing.assert_allclose(activation(jnp.asarray(Z)), value, rtol=1e-13)
    np.testing.assert_allclose(h, value, rtol=1e-13)
    np.testing.assert_allclose(slope, first, rtol=1e-12)
    np.testing.assert_allclose(activation.derivative(Z), first, rtol=1e-12)
    np.testing.assert_allclose(
        activation.second_derivative(Z), second, rtol=1e-12, atol=1e-15
    )


@each_activation
def test_derivatives_are_differences(activation):
    # Central differences: step^2 times the third derivative, and rounding over step.
    step = 1e-5
    difference = (activation(Z + step) - activation(Z - step)) / (2 * step)
    np.testing.assert_allclose(activation.derivative(Z), difference, atol=1e-8)
    if activation.smooth:
        up, down = activation.derivative(Z + step), activation.derivative(Z - step)
        second = activation.second_derivative(Z)
        np.testing.assert_allclose(second, (up - down) / (2 * step), atol=1e-8)


def test_values_by_hand():
    one = jnp.asarray(1.0)
    assert float(Tanh()(one)) == pytest.approx(0.7615941559557649, rel=1e-14)
    assert float(Erf()(one)) == pytest.approx(0.8427007929497149, rel=1e-14)
    assert float(Softplus()(0 * one)) == pytest.approx(math.log(2), rel=1e-14)
    assert float(Softplus(4.0)(0 * one)) == pytest.approx(math.log(2) / 4, rel=1e-14)
    assert float(Sigmoid()(0 * one)) == 0.5
    assert float(Relu()(-one)) == 0
    assert float(Relu()(one)) == 1
    assert float(Relu().derivative(0 * one)) == 0
    assert float(Identity()(one)) == 1


@each_activation
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_large_arguments_stay_finite_and_keep_their_type(activation, dtype):
    z = jnp.asarray([-1e4, -50.0, 50.0, 1e4], dtype)
    outs = [*activation.value_and_derivative(z), activation.second_derivative(z)]
    for out in outs:
        assert out.dtype == dtype
        assert np.isfinite(out).all()


@given(st.floats(50, 1e4), st.floats(-10, 10))
def test_softplus_tends_to_relu(beta, z):
    # The gap is log(1 + e^{-beta |z|})/beta <= log(2)/beta.
    gap = float(Softplus(beta)(jnp.asarray(z))) - max(z, 0.0)
    assert -1e-14 * abs(z) <= gap <= math.log(2) / beta * (1 + 1e-12) + 1e-14 * abs(z)


def test_only_relu_is_not_smooth():
    loaded = kinds(AbstractActivation)
    rough = [name for name, kind in loaded.items() if not kind.smooth]
    assert "Relu" in rough
    assert not {"Tanh", "Erf", "Softplus", "Sigmoid", "Identity"} & set(rough)


def derivatives(activation, z):
    """h', h'', (z h')' and h''' by automatic differentiation alone."""

    def at(z):
        slope = jax.grad(activation)
        bend = jax.grad(slope)
        return slope(z), bend(z), jax.grad(lambda z: z * slope(z))(z), jax.grad(bend)(z)

    return [np.abs(values) for values in jax.vmap(at)(z)]


@pytest.mark.parametrize(
    "activation", [a for a in [*ACTIVATIONS, Softplus(0.2)] if a != Relu()], ids=repr
)
def test_smoothness_constants_are_bounds_and_attained(activation):
    # In units of its own scale every derivative is extremal within |z| < 4; beyond 20
    # what is left of a supremum at infinity is below e^{-20}. On a grid of spacing
    # 1e-3 a smooth maximum is missed by some 1e-6.
    scale = 1 / getattr(activation, "beta", 1.0)
    z = scale * jnp.linspace(-20, 20, 40_001)
    g = activation.constants
    for values, bound in zip(derivatives(activation, z), g[2:6], strict=True):
        assert values.max() <= bound * (1 + 1e-12)
        assert values.max() >= bound * (1 - 1e-3)
    h = np.abs(activation(z))
    assert np.all(h <= (g.g1 * np.abs(z) + g.g2) * (1 + 1e-12))
    # Either end of |h| <= g1 |z| + g2 is attained: near 0, or far out.
    gap = g.g1 * np.abs(z) + g.g2 - h
    assert gap.min() <= 1e-3 * scale
    assert np.isinf(g.g7) == any(activation.end_slopes)
    if np.isfinite(g.g7):
        assert g.g7 * (1 - 1e-3) <= h.max() <= g.g7
    else:
        assert h.max() / np.abs(z).max() == pytest.approx(g.g1, rel=1e-3)


def test_smoothness_constants_by_hand():
    assert Identity().constants == SmoothnessConstants(1, 0, 1, 0, 1, 0, math.inf)
    # tanh'' = -2 t (1 - t^2) is extremal at t^2 = 1/3.
    assert Tanh().constants.g4 == pytest.approx(2 * (1 / 3) ** 0.5 * (2 / 3))
    # With softplus(beta z)/beta a derivative in z is worth a factor beta.
    one, three = Softplus().constants, Softplus(3.0).constants
    assert np.divide(three[:6], one[:6]) == pytest.approx([1, 1 / 3, 1, 3, 1, 9])


def test_an_activation_without_smoothness_has_no_constants():
    assert Relu().constants is None


@each_activation
def test_configuration_round_trip(activation):
    assert build(AbstractActivation, describe(activation)) == activation


def test_softplus_takes_a_traced_beta():
    slopes = jax.jit(lambda beta: Softplus(beta)(jnp.asarray(1.0)))
    assert float(slopes(2.0)) == pytest.approx(math.log(1 + math.exp(2)) / 2)
