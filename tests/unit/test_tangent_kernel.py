"""The tangent kernel of every network against its whole Jacobian."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfsim.activations import Relu, Tanh
from mfsim.errors import ConfigError
from mfsim.kernels import empirical, layers, precision, tangent_kernel
from mfsim.networks import AbstractNetwork, DeepRelu, Neurons, TwoLayer

DRAWS = np.random.default_rng(0)
X, Y = DRAWS.standard_normal((40, 7)), DRAWS.standard_normal((5, 7))


class Quadratic(AbstractNetwork):
    """f(x) = |W x|^2 + b.x with b frozen: a network without a formula of its own."""

    width: int = 3

    def init(self, key, dim, dtype=float):
        keys = jax.random.split(key)
        return {
            "w": jax.random.normal(keys[0], (self.width, dim), dtype),
            "b": jax.random.normal(keys[1], (dim,), dtype),
        }

    def __call__(self, params, x):
        return jnp.square(x @ params["w"].T).sum(axis=1) + x @ params["b"]

    @property
    def kernel_scale(self):
        return 0.5

    def trainable_mask(self, params):
        return {"w": True, "b": False}


NETWORKS = [
    TwoLayer(width=24, alpha=3.0, output_std=1.3),
    TwoLayer(width=24, alpha=0.5, activation=Relu(), trainable="output"),
    TwoLayer(width=24, alpha=2.0, trainable="input"),
    DeepRelu(width=20),
    DeepRelu(width=20, depth=3, scale_exponent=0.3),
    DeepRelu(width=20, depth=5, scale_exponent=0.1),
    Quadratic(),
]
each_network = pytest.mark.parametrize("network", NETWORKS, ids=repr)
each_kind = pytest.mark.parametrize("network", NETWORKS[::4] + NETWORKS[-1:], ids=repr)


def make(network):
    return network.init(jax.random.key(1), X.shape[1])


def jacobian_kernel(network, params, x, y):
    """c J(x) J(y)^T over what moves, c = m/alpha^2 or m^(-2a) as in the papers."""
    scale = {
        TwoLayer: lambda net: net.width / net.alpha**2,
        DeepRelu: lambda net: net.width ** (-2 * net.scale_exponent),
        Quadratic: lambda net: 0.5,
    }[type(network)](network)
    mask = jax.tree.leaves(network.trainable_mask(params))

    def rows(x):
        jacobian = jax.jacrev(lambda params: network(params, jnp.asarray(x)))(params)
        leaves = zip(jax.tree.leaves(jacobian), mask, strict=True)
        return np.concatenate(
            [np.asarray(a).reshape(len(x), -1) for a, moves in leaves if moves], axis=1
        )

    return scale * rows(x) @ rows(y).T


@each_network
def test_it_is_that_of_the_jacobian(network):
    # Sums of at most some 10^3 products of order one: 1e-12 of the largest entry leaves
    # a factor of 10 above their rounding.
    params = make(network)
    for other in (None, Y):
        expected = jacobian_kernel(network, params, X, X if other is None else other)
        kernel = tangent_kernel(network, params, X, other)
        np.testing.assert_allclose(
            kernel, expected, rtol=0, atol=1e-12 * expected.max()
        )
        if other is None:
            assert np.array_equal(kernel, kernel.T)
            values = np.linalg.eigvalsh(kernel)
            assert values[0] > -1e-15 * values[-1] * len(X)


@each_kind
@pytest.mark.parametrize("kib", [10, 1024])
def test_blocks_do_not_matter(network, kib, monkeypatch):
    params = make(network)
    whole = [tangent_kernel(network, params, X, other) for other in (None, Y)]
    # A budget of 10 KiB is a few neurons, or a few points, at a time; with one of a
    # MiB all signals of a deep network are kept, and blocks of 16 rows are cut of them.
    monkeypatch.setattr(empirical, "MEBIBYTE", kib * 2**10)
    monkeypatch.setattr(empirical, "_LEAST_ROWS", 16)
    monkeypatch.setattr(layers, "_LEAST_ROWS", 16)
    jax.clear_caches()
    for other, expected in zip((None, Y), whole, strict=True):
        kernel = tangent_kernel(network, params, X, other, block_mib=1)
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-13 * kernel.max())


@each_kind
def test_the_general_way_agrees_with_the_formula(network):
    params = make(network)
    general = empirical._kernel.dispatch(AbstractNetwork)
    for other in (None, jnp.asarray(Y)):
        found = jax.jit(general, static_argnums=(0, 5))(
            network, params, jnp.asarray(X), other, None, 2**20
        )
        kernel = tangent_kernel(network, params, X, other)
        np.testing.assert_allclose(found, kernel, rtol=0, atol=1e-12 * kernel.max())


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 12), st.integers(0, 3), st.integers(1, 4), st.integers(0, 99))
def test_any_few_points(n, k, depth, seed):
    draws = np.random.default_rng(seed)
    x, y = draws.standard_normal((n, 3)), draws.standard_normal((k, 3))
    network = DeepRelu(width=6, depth=1 + depth) if depth > 1 else TwoLayer(width=6)
    params = network.init(jax.random.key(seed), 3)
    joint = tangent_kernel(network, params, np.concatenate([x, y]))
    tolerance = {"rtol": 0, "atol": 1e-13 * (1 + np.abs(joint).max())}
    np.testing.assert_allclose(
        tangent_kernel(network, params, x), joint[:n, :n], **tolerance
    )
    np.testing.assert_allclose(
        tangent_kernel(network, params, x, y), joint[:n, n:], **tolerance
    )


def test_deep_kernel_does_not_feel_the_output_scale():
    params = make(DeepRelu(width=20, depth=3))
    kernels = [
        tangent_kernel(DeepRelu(width=20, depth=3, scale_exponent=a), params, X)
        for a in (0.5, 0.1)
    ]
    np.testing.assert_allclose(*kernels, rtol=1e-13)


def test_two_layers_of_relu_are_one_kernel_in_both_halves():
    # f = m^a W_2 s(W_1 x) is the particle system with alpha = m^a, w = sqrt(m) W_1 and
    # u = sqrt(m) W_2.
    deep = DeepRelu(width=20)
    first, last = make(deep)
    root = np.sqrt(20)
    network = TwoLayer(width=20, alpha=root, activation=Relu(), antithetic=False)
    kernel = tangent_kernel(network, Neurons(root * first, root * last[0]), X)
    np.testing.assert_allclose(
        kernel, tangent_kernel(deep, (first, last), X), rtol=1e-12
    )


def test_weights_are_the_law_of_the_neurons():
    network = TwoLayer(width=4, activation=Tanh(), antithetic=False)
    few, counts = make(network), np.array([1, 2, 3, 4])
    many = jax.tree.map(lambda a: jnp.repeat(a, counts, axis=0), few)
    weighted = tangent_kernel(network, few, X, weights=counts / 10)
    np.testing.assert_allclose(
        weighted, tangent_kernel(network, many, X), rtol=0, atol=1e-13
    )
    uniform = tangent_kernel(network, few, X, weights=np.full(4, 0.25))
    np.testing.assert_allclose(uniform, tangent_kernel(network, few, X), rtol=1e-13)


@each_kind
def test_float64_whatever_the_flags_say(network):
    wide = jax.tree.map(lambda a: np.asarray(a, np.float32), make(network))
    expected = tangent_kernel(network, wide, X.astype(np.float32))
    with jax.enable_x64(False):
        kernel = tangent_kernel(network, wide, X.astype(np.float32))
    assert kernel.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(kernel, expected, rtol=1e-14)
    exact = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), wide)
    rounded = X.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(
        kernel, jacobian_kernel(network, exact, rounded, rounded), rtol=0, atol=1e-10
    )


def test_it_can_be_traced_and_then_is_an_array():
    network = DeepRelu(width=20, depth=3)
    kernel = jax.jit(lambda params: tangent_kernel(network, params, X))(make(network))
    assert isinstance(kernel, jax.Array)
    np.testing.assert_allclose(
        kernel, tangent_kernel(network, make(network), X), rtol=1e-12
    )


@pytest.mark.parametrize("network", [TwoLayer(width=4), DeepRelu(width=4)], ids=repr)
def test_other_dimensions_are_refused(network):
    params = make(network)
    with pytest.raises(ValueError, match="y must have the input dimension of x, 7, go"):
        tangent_kernel(network, params, X, Y[:, :3])
    with pytest.raises(
        ValueError, match="x must have the input dimension of [wW].*, 7"
    ):
        tangent_kernel(network, params, X[:, :3])


def test_weights_of_what_has_no_law_are_refused():
    network = DeepRelu(width=4)
    with pytest.raises(ValueError, match="weights must be None for a DeepRelu, got 4"):
        tangent_kernel(network, make(network), X, weights=np.full(4, 0.25))


def test_a_kernel_beyond_the_memory_is_refused_before_it_is_made():
    # 10^6 points are 7.28 TiB of kernel; the inputs are one row, seen a million times.
    many = np.broadcast_to(X[:1], (10**6, 7))
    network = TwoLayer(width=4)
    with pytest.raises(ValueError, match="has 7.45e.03 GiB, .*by block_mib = 16"):
        tangent_kernel(network, make(network), many, block_mib=16)


def test_products_of_full_precision_pass():
    precision.require_precision()


@pytest.mark.parametrize(
    ("bits", "dtype"),
    [(7, "float32"), (10, "float32"), (23, "float64")],
    ids=["bfloat16", "TensorFloat-32", "float32 for float64"],
)
def test_silent_low_precision_is_refused(bits, dtype, monkeypatch):
    def short(factor, device):
        if factor.dtype != dtype:
            return factor @ factor.T
        mantissa, exponent = np.frexp(factor)
        rounded = np.ldexp(
            np.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent
        )
        return (rounded @ rounded.T).astype(factor.dtype)

    precision._require.cache_clear()
    monkeypatch.setattr(precision, "product", short)
    with pytest.raises(ConfigError, match=f"must multiply {dtype} matrices to .*, got"):
        tangent_kernel(TwoLayer(width=4), make(TwoLayer(width=4)), X)
    precision._require.cache_clear()


def test_lists_and_integers_are_points_too():
    network, points = TwoLayer(width=4), [[1, 0, 0], [0, 1, 1]]
    params = network.init(jax.random.key(0), 3)
    expected = tangent_kernel(network, params, np.array(points, float))
    found = inspect.unwrap(tangent_kernel)(network, params, points)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"x": np.ones(7)},
            r"x must be a matrix of inputs, one a row, .*, got shape \(7,\)",
        ),
        ({"x": np.full((2, 7), np.nan)}, "x must be finite, got NaN"),
        ({"weights": np.ones(3)}, r"weights must be 4 numbers, .* got shape \(3,\)"),
        ({"weights": -np.ones(4)}, "weights must be at least 0, got -1"),
        ({"block_mib": 0}, "block_mib must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(options, message):
    network = TwoLayer(width=4)
    given = {"x": X} | options
    with pytest.raises(ValueError, match=message):
        # Without the checks of types, which only tests make.
        inspect.unwrap(tangent_kernel)(network, make(network), **given)


def test_a_trace_without_64_bits_is_refused():
    network = TwoLayer(width=4)
    params = make(network)
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match="must not be traced without 64-bit JAX"),
    ):
        jax.grad(lambda params: tangent_kernel(network, params, X).sum())(params)


def test_it_has_derivatives_in_the_neurons():
    # Against a central difference, of relative error 1e-6^2 and rounding 1e-16/1e-6.
    network = TwoLayer(width=4)
    params, step = make(network), 1e-6
    gradient = jax.grad(lambda p: tangent_kernel(network, p, X).sum())(params)
    ends = [
        tangent_kernel(network, params._replace(u=params.u.at[0].add(h)), X).sum()
        for h in (step, -step)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert gradient.u[0] == pytest.approx(slope, rel=1e-6)
