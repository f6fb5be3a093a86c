"""The conversion table of docs/kernels.md: each row by autodiff in its paper's terms.

Every network is written out as its paper has it, in that paper's parameters. Its kernel
and the speed df/dt of its gradient flow are then compared with the table's formula in
the kernel of this project. All are sums of some thousand products of order one, so that
1e-12 of the largest entry leaves a factor 10 for rounding.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.activations import Relu
from mfsim.kernels import infinite_width_kernel, tangent_kernel
from mfsim.networks import DeepRelu, Neurons, TwoLayer

DOCUMENT = Path(__file__).parents[2] / "docs" / "kernels.md"

M, DIM, DEPTH, N, ETA = 14, 5, 4, 6, 0.3
DRAWS = np.random.default_rng(0)
X = jnp.asarray(DRAWS.standard_normal((N, DIM)))
Y = jnp.asarray(DRAWS.choice([-1.0, 1.0], N))

Outputs = Callable[[Any, jax.Array], jax.Array]
Loss = Callable[[jax.Array], jax.Array]


class Row(NamedTuple):
    """A row of the table: what autodiff finds, and what the row says."""

    kernel: jax.Array
    said_kernel: np.ndarray
    speed: jax.Array
    said_speed: np.ndarray


def gram(outputs: Outputs, params: Any, x: jax.Array) -> jax.Array:
    """Sum over all parameters of grad f(x_i) grad f(x_k)."""
    leaves = jax.tree.leaves(jax.jacrev(outputs)(params, x))
    rows = [leaf.reshape(len(x), -1) for leaf in leaves]
    return sum((j @ j.T for j in rows), start=jnp.zeros((len(x), len(x))))


def speed(outputs: Outputs, params: Any, loss: Loss, rate: float) -> jax.Array:
    """df/dt where the parameters move by -rate times the gradient of the loss."""
    gradient = jax.grad(lambda params: loss(outputs(params, X)))(params)
    push = jax.tree.map(lambda g: -rate * g, gradient)
    return jax.jvp(lambda params: outputs(params, X), (params,), (push,))[1]


def gaussians(shapes: list[tuple[int, ...]], seed: int = 0) -> list[jax.Array]:
    draws = np.random.default_rng(seed)
    return [jnp.asarray(draws.standard_normal(shape)) for shape in shapes]


def shapes(m: int, depth: int = DEPTH) -> list[tuple[int, ...]]:
    return [(m, DIM), *[(m, m)] * (depth - 2), (1, m)]


def mean_square(f: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(f - Y))


def cross_entropy(f: jax.Array) -> jax.Array:
    return jnp.mean(jnp.log1p(jnp.exp(-Y * f)))


def slope(f: jax.Array) -> np.ndarray:
    """l' of l(f, y) = log(1 + e^{-yf})."""
    return np.asarray(-Y / (1 + jnp.exp(Y * f)))


def deep_relu(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    """W_L s(W_{L-1} ... s(W_1 x)) with weights as they are."""
    for w in weights[:-1]:
        x = jax.nn.relu(x @ w.T)
    return x @ weights[-1][0]


def last_hidden(weights: list[jax.Array], x: jax.Array) -> np.ndarray:
    """A_{L-1}."""
    for w in weights[:-1]:
        x = jax.nn.relu(x @ w.T)
    return np.asarray(x)


def he_weights(m: int, depth: int = DEPTH, seed: int = 0) -> list[jax.Array]:
    """N(0, 2/m) and, in the last layer, N(0, 1/m)."""
    *hidden, last = gaussians(shapes(m, depth), seed)
    return [*((2 / m) ** 0.5 * w for w in hidden), m**-0.5 * last]


def deep_kernel(weights: list[jax.Array], exponent: float) -> np.ndarray:
    """Theta of this project."""
    network = DeepRelu(
        width=len(weights[0]), depth=len(weights), scale_exponent=exponent
    )
    return np.asarray(tangent_kernel(network, tuple(weights), X))


def two_layer() -> Row:
    """This project: theta_j moves by -m grad L, as the law's flow wants."""
    alpha = 3.0
    w, u = gaussians([(M, DIM), (M,)])

    def outputs(params: Any, x: jax.Array) -> jax.Array:
        w, u = params
        return alpha / M * (jnp.tanh(x @ w.T) @ u)

    h = np.asarray(tangent_kernel(TwoLayer(width=M, alpha=alpha), Neurons(w, u), X))
    f = outputs((w, u), X)
    return Row(
        M / alpha**2 * gram(outputs, (w, u), X),
        h,
        speed(outputs, (w, u), mean_square, M),
        -(2 * alpha**2 / N) * h @ (f - Y),
    )


def gntk() -> Row:
    """H(p), a mean over particles of <grad u h(w.x_i), grad u h(w.x_k)>."""
    alpha = 3.0
    w, u = gaussians([(M, DIM), (M,)])

    def particle(theta: Any, x: jax.Array) -> jax.Array:
        w, u = theta
        return u * jnp.tanh(x @ w)

    def gradients(theta: Any) -> jax.Array:
        by_w, by_u = jax.jacrev(particle)(theta, X)
        return jnp.concatenate([by_w, by_u[:, None]], axis=1)

    each = jax.vmap(gradients)((w, u))
    kernel = jnp.einsum("jip,jkp->ik", each, each) / M
    # The flow of the law: every particle moves by -alpha E_S[phi' grad (u h)].
    f = alpha * jax.vmap(particle, (0, None))((w, u), X).mean(axis=0)
    drift = -alpha * jnp.einsum("jip,i->jp", each, 2 * (f - Y)) / N
    h = np.asarray(tangent_kernel(TwoLayer(width=M, alpha=alpha), Neurons(w, u), X))
    return Row(
        kernel,
        h,
        alpha * jnp.einsum("jip,jp->i", each, drift) / M,
        -(2 * alpha**2 / N) * h @ (f - Y),
    )


def deep(exponent: float) -> Row:
    """f = m^a W_L s(...), W moves by -grad L, the loss log(1 + e^{-yf})."""
    weights = he_weights(M)

    def outputs(weights: Any, x: jax.Array) -> jax.Array:
        return M**exponent * deep_relu(weights, x)

    theta = deep_kernel(weights, exponent)
    return Row(
        M ** (-2 * exponent) * gram(outputs, weights, X),
        theta,
        speed(outputs, weights, cross_entropy, 1.0),
        -(M ** (2 * exponent) / N) * theta @ slope(outputs(weights, X)),
    )


def ntk_parametrised(last_std: float, fan_in: int, loss: Loss, over: int) -> Row:
    """omega ~ N(0, 1); W = sqrt(2/fan-in) omega, the last last_std omega/sqrt(m)."""
    omega = gaussians(shapes(M))

    def outputs(omega: Any, x: jax.Array) -> jax.Array:
        *hidden, last = omega
        for i, w in enumerate(hidden):
            x = jax.nn.relu((2 / (M if i else fan_in)) ** 0.5 * (x @ w.T))
        return last_std / M**0.5 * (x @ last[0])

    ours = [*((2 / M) ** 0.5 * w for w in omega[:-1]), M**-0.5 * omega[-1]]
    a = last_hidden(ours, X)
    said = last_std**2 * (2 * deep_kernel(ours, 0.5) - a @ a.T) / fan_in
    f = outputs(omega, X)
    # The network itself: sigma_L times ours at the inputs x/sqrt(d).
    np.testing.assert_allclose(
        f, last_std * M**0.5 * deep_relu(ours, X / fan_in**0.5), rtol=1e-12
    )
    return Row(
        gram(outputs, omega, X),
        said,
        speed(outputs, omega, loss, ETA),
        -(ETA / over) * said @ (f - Y),
    )


def two_layer_ntk() -> Row:
    """F = (1/sqrt(m)) sum_j s_u o_j h(s_w o'_j.x), o and o' standard normal."""
    input_std, output_std = 0.7, 1.3
    omega = gaussians([(M, DIM), (M,)])

    def outputs(omega: Any, x: jax.Array) -> jax.Array:
        first, last = omega
        z = input_std * DIM**0.5 * first @ x.T / DIM**0.5
        return output_std * last @ jnp.tanh(z) / M**0.5

    params = Neurons(input_std * omega[0], output_std * omega[1])
    shares = [
        tangent_kernel(TwoLayer(width=M, trainable=part), params, X)
        for part in ("input", "output")
    ]
    said = input_std**2 * shares[0] + output_std**2 * shares[1]
    f = outputs(omega, X)
    return Row(
        gram(outputs, omega, X),
        said,
        speed(outputs, omega, lambda f: mean_square(f) / 2, ETA),
        -(ETA / N) * said @ (f - Y),
    )


ROWS: dict[str, Callable[[], Row]] = {
    "two-layer": two_layer,
    "deep": lambda: deep(0.3),
    "GNTK": gntk,
    "CG": lambda: deep(0.5),
    "HMO": lambda: deep(0.2),
    "LEE": lambda: ntk_parametrised(
        2**0.5, DIM, lambda f: jnp.sum(jnp.square(f - Y)) / 2, over=1
    ),
    "neural-tangents": lambda: ntk_parametrised(
        1.0, DIM, lambda f: mean_square(f) / 2, over=N
    ),
    "neural-tangents, two layers": two_layer_ntk,
}


@pytest.mark.parametrize("name", ROWS)
def test_kernel_and_rate_of_a_row(name: str) -> None:
    row = ROWS[name]()
    for found, said in ((row.kernel, row.said_kernel), (row.speed, row.said_speed)):
        atol = 1e-12 * np.abs(said).max()
        np.testing.assert_allclose(found, said, rtol=0, atol=atol)


def test_the_table_has_these_rows() -> None:
    text = (
        DOCUMENT.read_text().partition("## Conversion table")[2].partition("\n## ")[0]
    )
    assert re.findall(r"^\| \*\*([^*]+)\*\*", text, re.MULTILINE) == [*ROWS]


def test_depth_two_is_the_two_layer_network() -> None:
    w_1, w_2 = he_weights(M, depth=2)
    neurons = Neurons(M**0.5 * w_1, M**0.5 * w_2[0])
    exponent = 0.3
    network = TwoLayer(width=M, alpha=M**exponent, activation=Relu())
    np.testing.assert_allclose(
        network(neurons, X), M**exponent * deep_relu([w_1, w_2], X), rtol=1e-12
    )
    h = np.asarray(tangent_kernel(network, neurons, X))
    theta = deep_kernel([w_1, w_2], exponent)
    np.testing.assert_allclose(theta, h, rtol=0, atol=1e-12 * h.max())


def relu_recursion(x: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Sigma^L and Theta~^L of CG, definition 3.7, from the arc-cosine formulas."""
    sigma = theta = x @ x.T
    size = np.sqrt(np.outer(np.diagonal(sigma), np.diagonal(sigma)))
    for _ in range(depth - 1):
        phi = np.arccos(np.clip(sigma / size, -1, 1))
        sigma = size * (np.sin(phi) + (np.pi - phi) * np.cos(phi)) / np.pi
        theta = theta * (1 - phi / np.pi) + sigma
    return sigma, theta


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_infinite_width_is_that_of_cg(depth: int) -> None:
    x = np.asarray(X)
    sigma, theta = relu_recursion(x, depth)
    found = infinite_width_kernel(DeepRelu(width=1, depth=depth), x)
    # The arc cosine of 1 - eps is off by sqrt(2 eps), on the diagonal alone.
    atol = 1e-7 * found.max()
    np.testing.assert_allclose(found, (theta + sigma) / 2, rtol=0, atol=atol)
    diagonal = (depth + 1) / 2 * np.square(x).sum(axis=1)
    np.testing.assert_allclose(np.diagonal(found), diagonal, rtol=1e-12)


def test_infinite_width_of_the_ntk_parametrisation() -> None:
    width, draws, depth = 128, 256, 3
    x = X[:3] / jnp.linalg.norm(X[:3], axis=1, keepdims=True)

    @jax.jit
    def kernel(omega: Any) -> jax.Array:
        def outputs(omega: Any, x: jax.Array) -> jax.Array:
            for i, w in enumerate(omega[:-1]):
                x = jax.nn.relu((2 / (width if i else DIM)) ** 0.5 * (x @ w.T))
            return x @ omega[-1][0] / width**0.5

        return gram(outputs, omega, x)

    each = np.stack(
        [kernel(gaussians(shapes(width, depth), seed)) for seed in range(draws)]
    )
    sigma, theta = relu_recursion(np.asarray(x), depth)
    ours = infinite_width_kernel(DeepRelu(width=1, depth=depth), np.asarray(x))
    said = (2 * ours - sigma) / DIM
    np.testing.assert_allclose(said, theta / DIM, rtol=0, atol=1e-7)
    error = each.std(axis=0, ddof=1) / draws**0.5
    # Four standard errors, and a bias of relative order depth/width.
    bound = 4 * error + 2 * depth / width * said
    assert (np.abs(each.mean(axis=0) - said) < bound).all()
    # One layer counted double, or not at all, would change it by more.
    assert (bound < sigma / 2 / DIM).all()
