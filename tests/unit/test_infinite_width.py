"""The kernel at infinite width: quadratures, 60-digit arithmetic, invariants."""

import math
from decimal import Decimal, localcontext
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, expit, roots_legendre

from mfsim.activations import Erf, Identity, Relu, Sigmoid, Softplus, Tanh
from mfsim.kernels.infinite_width import infinite_width_kernel
from mfsim.networks import DeepRelu, TwoLayer

STD_W, STD_U = 1.2, 0.7
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230782")

BASE = np.array([0.6, -0.3, 1.1])
X = np.array(
    [
        BASE,
        BASE,
        BASE + [1e-9, 0.0, -2e-9],
        -BASE,
        -1.7 * BASE + [0.0, 1e-9, 0.0],
        [0.0, 0.0, 0.0],
        [2.0, 0.5, 0.0],
        [0.01, 0.02, -0.01],
    ]
)
"""A point, its duplicate, one 1e-9 apart, its opposite, nearly so, zero, others."""


# Subclasses of a final class are no kinds, so other tests do not see these.
class Sine(Tanh):
    def __call__(self, z):
        return jnp.sin(z)


class Kinked(Tanh):
    smooth: ClassVar[bool] = False

    def __call__(self, z):
        return jnp.abs(z)


class Zero(Tanh):
    def __call__(self, z):
        return 0 * z


class Case(NamedTuple):
    """An activation and, independently of it, h and h' in NumPy."""

    activation: Tanh | Erf | Sigmoid | Softplus
    h: object
    slope: object


CASES = [
    Case(Tanh(), np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    Case(Sigmoid(), expit, lambda z: expit(z) * expit(-z)),
    Case(Softplus(), lambda z: np.logaddexp(0, z), expit),
    Case(Softplus(3.0), lambda z: np.logaddexp(0, 3 * z) / 3, lambda z: expit(3 * z)),
    Case(Erf(), erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
    Case(Sine(), np.sin, np.cos),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda c: str(c.activation))
activations = pytest.mark.parametrize(
    "activation", [Tanh(), Softplus(2.0), Erf(), Relu(), Identity()], ids=str
)
networks = pytest.mark.parametrize(
    "network",
    [
        TwoLayer(width=2, input_std=STD_W, output_std=STD_U),
        TwoLayer(width=2, activation=Relu()),
        TwoLayer(width=2, activation=Erf(), input_std=3.0),
        DeepRelu(width=2, depth=4),
    ],
    ids=["tanh", "relu", "erf", "deep"],
)


def two_layer(activation, **fields):
    fields = {"input_std": STD_W, "output_std": STD_U} | fields
    return TwoLayer(width=2, activation=activation, **fields)


def quadrature_kernel(case, x, y, nodes, weights):
    """H at one pair by a product rule for N(0, 1)^2, entry by entry."""
    s, t = STD_W * np.linalg.norm(x), STD_W * np.linalg.norm(y)
    rho = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    along, across = nodes[:, None], nodes[None, :]
    z, other = s * nodes, t * (rho * along + math.sqrt(1 - rho**2) * across)
    value, slope = (
        (weights * f(z)) @ (f(other) @ weights) for f in (case.h, case.slope)
    )
    return STD_U**2 * slope * (x @ y) + value


def gauss_legendre(number, radius):
    nodes, weights = roots_legendre(number)
    density = np.exp(-((radius * nodes) ** 2) / 2) / math.sqrt(2 * math.pi)
    return radius * nodes, radius * weights * density


@cases
@pytest.mark.parametrize("size", [0.5, 2.0, 5 / STD_W])
def test_smooth_activations_agree_with_a_quadrature(case, size):
    # A pole at i pi/2, of tanh(s g) at i pi/2s, has a Bernstein ellipse of parameter
    # 1 + pi/(2 9 5): 700 nodes leave exp(-1400 0.035) = 1e-21 (Softplus(3): 1e-14).
    # The ball of 9 leaves out 1e-18; the series is good to 1e-12 of the diagonal.
    rule = gauss_legendre(700, 9.0)
    x = size * np.array([[0.6, 0.8], [-0.28, 0.96], [0.55, -0.7], [0.3, 0.401]])
    kernel = infinite_width_kernel(two_layer(case.activation), x)
    scale = np.sqrt(np.diag(kernel))
    for i, k in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2)]:
        expected = quadrature_kernel(case, x[i], x[k], *rule)
        assert abs(kernel[i, k] - expected) < 4e-12 * scale[i] * scale[k]


@cases
def test_smooth_activations_agree_with_the_trapezoid_rule(case):
    # 201 nodes on [-9, 9] are good to 12 digits for sigma_w |x| <= 3, where the pole
    # is as far as that of tanh; Softplus(3) has it at a third, hence shorter inputs.
    nodes = np.linspace(-9, 9, 201)
    weights = np.exp(-(nodes**2) / 2)
    weights /= weights.sum()
    longest = 3 / STD_W / getattr(case.activation, "beta", 1.0)
    x = longest * np.array([[1.0, 0.0], [0.3, -0.4], [-0.8, 0.1]])
    kernel = infinite_width_kernel(two_layer(case.activation), x)
    for i, k in [(0, 0), (0, 1), (0, 2), (1, 2)]:
        expected = quadrature_kernel(case, x[i], x[k], nodes, weights)
        assert kernel[i, k] == pytest.approx(expected, abs=1e-11)


def arc_cosine(power, angle):
    """E over N(0, I_2) of (z^+)^power (z'^+)^power at an angle, in polar coordinates.

    The radius gives E r^(2 power) = 2^power for power 0 and 1.
    """
    low, high = angle - math.pi / 2, math.pi / 2
    turn = lambda t: (math.cos(t) * math.cos(t - angle)) ** power  # noqa: E731
    return 2**power * quad(turn, low, high, epsabs=1e-14)[0] / (2 * math.pi)


def test_relu_agrees_with_an_integral_over_the_angle():
    x = np.array([[0.6, 0.8], [-2.8, 0.96], [0.55, -0.7], [-0.3, -0.401]])
    kernel = infinite_width_kernel(two_layer(Relu()), x)
    for i in range(4):
        for k in range(4):
            dot, size = x[i] @ x[k], np.linalg.norm(x[i]) * np.linalg.norm(x[k])
            angle = 0.0 if i == k else math.acos(dot / size)
            value = STD_W**2 * size * arc_cosine(1, angle)
            expected = STD_U**2 * arc_cosine(0, angle) * dot + value
            # Sizes of up to 9 times the 1e-14 of an integral.
            assert kernel[i, k] == pytest.approx(expected, abs=1e-12)


def test_identity_adds_both_variances():
    kernel = infinite_width_kernel(two_layer(Identity()), X)
    np.testing.assert_allclose(kernel, (STD_U**2 + STD_W**2) * X @ X.T, atol=1e-14)


def test_large_inputs_of_erf_are_those_of_a_sign():
    # erf -> sign, so E[hh] -> 1 - 2 phi/pi. The squared root differs by 1/(c sin phi)^2
    # relative, c = 1e12: an angle of 0.3 by less than 1e-12.
    x = 1e6 * np.array([[1.0, 0.0], [math.cos(0.3), math.sin(0.3)]])
    kernel = infinite_width_kernel(two_layer(Erf(), trainable="output"), x)
    assert kernel[0, 1] == pytest.approx(1 - 0.6 / math.pi, abs=1e-11)


def series(first, z, j):
    """first - first z^2/((j+1)(j+2)) + ...: the cosine from (1, 0), the sine (z, 1)."""
    total, term = Decimal(0), first
    while abs(term) > Decimal("1e-64"):
        total += term
        term *= -z * z / ((j + 1) * (j + 2))
        j += 2
    return total


def arc(cosine):
    """The arc cosine in the context's digits, by Newton's method."""
    if cosine < 0:
        return PI - arc(-cosine)
    if 1 - cosine < Decimal("1e-55"):
        return Decimal(0)
    angle = (2 * (1 - cosine)).sqrt()
    for _ in range(9):
        angle += (series(Decimal(1), angle, 0) - cosine) / series(angle, angle, 1)
    return angle


def layers(x, y, depth):
    """Sizes |x||y|, and cosine and angle layer by layer, in 60 digits."""
    x, y = ([Decimal(float(v)) for v in vector] for vector in (x, y))
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    size = (sum(a * a for a in x) * sum(b * b for b in y)).sqrt()
    cosine, found = dot / size, []
    for _ in range(depth):
        angle = arc(cosine)
        found.append((cosine, angle))
        cosine = (series(angle, angle, 1) + (PI - angle) * cosine) / PI
    return size, found


def exactly(x, y, depth):
    """The deep kernel of definition 3.7 in 60 digits, rounded."""
    if not (np.any(x) and np.any(y)):
        return 0.0
    with localcontext() as context:
        context.prec = 65
        size, found = layers(x, y, depth)
        tangent = found[0][0]
        for (_, angle), (cosine, _) in zip(found, found[1:], strict=False):
            tangent = tangent * (1 - angle / PI) + cosine
        return float(size * (tangent + found[-1][0]) / 2)


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
def test_deep_relu_agrees_with_sixty_digits(depth):
    # Where the arc cosine of a rounded cosine is carried, near duplicates are wrong by
    # 1e-8.
    kernel = infinite_width_kernel(DeepRelu(width=2, depth=depth), X)
    expected = [[exactly(x, y, depth) for y in X] for x in X]
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=2e-14 * (depth + 1))
    # The difference of duplicate and near duplicate is resolved: of first order.
    assert 1e-10 < abs(kernel[0, 0] - kernel[0, 2]) < 1e-7


def test_deep_relu_agrees_with_integrals_over_the_angle():
    angle, dot = 1.9, math.cos(1.9)
    x = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    covariance = tangent = dot
    for depth in range(2, 7):
        slope = 2 * arc_cosine(0, math.acos(covariance))
        covariance = 2 * arc_cosine(1, math.acos(covariance))
        tangent = tangent * slope + covariance
        kernel = infinite_width_kernel(DeepRelu(width=2, depth=depth), x)
        # An integral is good to 2e-14, and each layer carries on the error of the last.
        assert kernel[0, 1] == pytest.approx((tangent + covariance) / 2, abs=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_the_diagonal_of_deep_relu_counts_layers(depth):
    diagonal = np.diag(infinite_width_kernel(DeepRelu(width=2, depth=depth), X))
    sizes = np.sum(X**2, axis=1)
    np.testing.assert_allclose(diagonal, (depth + 1) / 2 * sizes, rtol=1e-14)


def test_one_hidden_layer_is_two_layers():
    shallow = two_layer(Relu(), input_std=math.sqrt(2), output_std=1.0)
    deep = infinite_width_kernel(DeepRelu(width=2, depth=2), X)
    np.testing.assert_allclose(infinite_width_kernel(shallow, X), deep, atol=1e-14)


@pytest.mark.parametrize(
    "network", [two_layer(Relu()), DeepRelu(width=2, depth=5)], ids=["two", "deep"]
)
def test_relu_is_homogeneous(network):
    scales = np.array([0.0, 1e-3, 1.0, 0.3, 70.0, 2.0, 1.0, 5.0])
    kernel = infinite_width_kernel(network, X)
    scaled = infinite_width_kernel(network, scales[:, None] * X)
    np.testing.assert_allclose(scaled, np.outer(scales, scales) * kernel, rtol=1e-12)


@activations
def test_blocks_add_up_and_scale_with_their_variances(activation):
    value = infinite_width_kernel(two_layer(activation, trainable="output"), X)
    slope = infinite_width_kernel(two_layer(activation, trainable="input"), X)
    both = infinite_width_kernel(two_layer(activation), X)
    np.testing.assert_allclose(both, value + slope, rtol=1e-14, atol=1e-15)
    louder = two_layer(activation, output_std=3 * STD_U)
    louder = infinite_width_kernel(louder, X)
    np.testing.assert_allclose(louder, value + 9 * slope, rtol=1e-13, atol=1e-14)
    assert np.all(np.diag(slope)[:5] > 0.01)


@activations
def test_zero_inputs_have_the_kernel_of_constants(activation):
    x = np.array([[0.0, 0.0], [0.3, 0.4]])
    kernel = infinite_width_kernel(two_layer(activation), x)
    origin = float(activation(jnp.zeros(())))
    nodes, weights = gauss_legendre(201, 9.0)
    z = jnp.asarray(STD_W * 0.5 * nodes)
    mean = float(weights @ np.asarray(activation(z)))
    assert kernel[0, 0] == pytest.approx(origin**2, abs=1e-14)
    # E h is that of a smooth function; Relu has h(0) = 0.
    assert kernel[0, 1] == pytest.approx(origin * mean, abs=1e-12)
    alone = infinite_width_kernel(two_layer(activation), x[:1])
    np.testing.assert_allclose(alone, [[origin**2]], atol=1e-14)


def test_an_activation_that_vanishes_has_no_kernel():
    assert not np.any(infinite_width_kernel(two_layer(Zero()), X))


@networks
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([1, 2, 4]),
    log_size=st.floats(-3.0, 0.3),
)
def test_symmetric_and_positive_semi_definite(network, seed, dim, log_size):
    rng = np.random.default_rng(seed)
    x = 10**log_size * rng.standard_normal((6, dim)) / math.sqrt(dim)
    x = np.concatenate([x, x[:2], -x[:1], 0 * x[:1]])
    kernel = infinite_width_kernel(network, x)
    assert np.array_equal(kernel, kernel.T)
    # What the series leaves out is positive semi-definite, and so is the rest.
    assert np.linalg.eigvalsh(kernel).min() > -1e-14 * len(x) * np.trace(kernel)


@networks
def test_other_inputs_give_a_block_of_the_joint_kernel(network):
    y = np.concatenate([X[2:4], [[0.4, -1.0, 0.2]]])
    joint = infinite_width_kernel(network, np.concatenate([X, y]))
    block = infinite_width_kernel(network, X, y)
    assert block.shape == (8, 3)
    np.testing.assert_allclose(block, joint[:8, 8:], rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        infinite_width_kernel(network, y, X), block.T, rtol=0, atol=1e-13
    )


@networks
def test_double_precision_whatever_jax_says(network):
    expected = infinite_width_kernel(network, X)
    with jax.enable_x64(False):
        kernel = infinite_width_kernel(network, X)
        assert isinstance(kernel, np.ndarray)
        assert kernel.dtype == np.float64
        np.testing.assert_array_equal(kernel, expected)
        single = infinite_width_kernel(network, jnp.asarray(X, jnp.float32))
        assert single.dtype == np.float64
    x = X.astype(np.float32)
    np.testing.assert_array_equal(single, infinite_width_kernel(network, x))


def test_many_nearly_parallel_pairs_come_in_blocks():
    # 600^2 pairs of three numbers are more than one block of 2^23 bytes.
    angle = 1e-6 * np.linspace(0, 1, 600)
    x = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    kernel = infinite_width_kernel(DeepRelu(width=2, depth=2), x)
    gaps = np.abs(angle[:, None] - angle[None, :])
    value = (np.sin(gaps) + (np.pi - gaps) * np.cos(gaps)) / np.pi
    expected = (1 - gaps / np.pi) * np.cos(gaps) / 2 + value
    # Rounding turns a vector by 2e-16 at most, and the slope in the angle is 1/2.
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=4e-15)


def test_the_series_reaches_its_stated_range():
    # Near the longest inputs the diagonal needs every term: E h^2 and E h'^2 by a rule
    # with spacing 0.004, whose error is exp(-2 pi/0.004 pi/2 10) of the pole i pi/2.
    x = np.array([[10.0]])
    nodes = np.linspace(-9, 9, 4501)
    weights = 0.004 * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    for case in CASES[:3]:
        kernel = infinite_width_kernel(two_layer(case.activation, input_std=1.0), x)
        value, slope = (weights @ f(10 * nodes) ** 2 for f in (case.h, case.slope))
        expected = STD_U**2 * 100 * slope + value
        assert kernel[0, 0] == pytest.approx(expected, rel=2e-12)


def test_inputs_that_differ_in_dimension():
    with pytest.raises(ValueError, match="^y must .* dimension of x, 3, got 2"):
        infinite_width_kernel(two_layer(Tanh()), X, X[:, :2])


def test_too_large_inputs_are_told_to_shrink():
    with pytest.raises(ValueError, match=r"^x must be shorter.* = 60 .*scale x or"):
        infinite_width_kernel(two_layer(Tanh()), np.array([[50.0, 0.0], [1.0, 1.0]]))


def test_a_kink_other_than_relu_is_refused():
    with pytest.raises(ValueError, match="^activation must be smooth.* got Kinked"):
        infinite_width_kernel(two_layer(Kinked()), X)


def test_networks_without_such_a_kernel_are_told_which_have():
    with pytest.raises(ValueError, match=r"\['TwoLayer', 'DeepRelu'\].* got Tanh"):
        infinite_width_kernel(Tanh(), X)
