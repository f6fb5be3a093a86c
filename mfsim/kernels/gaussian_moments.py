"""Means of h(z) h(z') and h'(z) h'(z') over a pair of Gaussian variables."""

from collections.abc import Callable, Iterator
from functools import partial, singledispatch

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.activations import AbstractActivation, Erf, Identity, Relu
from mfsim.blocks import block_size, map_blocks

_MAX_TERMS = 16384
"""Of the Hermite series, beyond which a pair costs more than it is worth."""

_TAIL = 1e-12
"""Of the series, relative to E f^2."""

_TERMS = 64
"""By how many terms the series grows before its tail is looked at again."""

# psi_j has frequencies up to sqrt(j) <= 128, and f few more where 16384 terms suffice:
# a spacing of 1/64 resolves their product. Beyond 13, exp(-g^2/4) < 1e-18.
_NODES = np.linspace(-13.0, 13.0, 26 * 64 + 1)

_BLOCK_BYTES = 2**18
"""Bytes of one block of pairs; a sum over larger blocks leaves the cache."""

Scalar = Callable[[Float[Array, "..."]], Float[Array, "..."]]
Moments = tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]


@singledispatch
def product_means(
    activation: AbstractActivation,
    std_x: Float[np.ndarray, " n"],
    std_y: Float[np.ndarray, " k"],
    angle: Float[np.ndarray, "n k"],
) -> Moments:
    """E[h(z_i) h(z_k)] and E[h'(z_i) h'(z_k)] for centred Gaussian z_i, z_k.

    Relu, Erf and Identity have closed forms. Any other smooth activation takes the
    Hermite series of `_series`.

    Args:
        activation: The function h.
        std_x: Standard deviations s_i.
        std_y: Standard deviations s_k.
        angle: phi_ik, so that E[z_i z_k] = s_i s_k cos(phi_ik).

    Raises:
        ValueError: If a kink or large deviations make the series too long.
    """
    if not activation.smooth:
        raise ValueError(
            "activation must be smooth, or Relu, for an infinite-width kernel, got "
            f"{type(activation).__name__}; take tangent_kernel at a large width."
        )
    cosine = np.cos(angle)
    return (
        _series(activation, std_x, std_y, cosine),
        _series(activation.derivative, std_x, std_y, cosine),
    )


@product_means.register(Relu)
def _relu(activation: Relu, std_x, std_y, angle) -> Moments:
    """The arc-cosine kernels. Source: Cho, Saul 2009, eqs. (3)-(6)."""
    value = np.outer(std_x, std_y) * np.cos(relu_angle(angle)) / 2
    return value, (1 - angle / np.pi) / 2


@product_means.register(Erf)
def _erf(activation: Erf, std_x, std_y, angle) -> Moments:
    """The arc-sine kernel as an arc tangent. Source: Williams 1998, eq. (11)."""
    size = 2 * np.outer(std_x, std_y)
    sum_of_squares = np.add.outer(*(0.5 + 2 * np.square(s) for s in (std_x, std_y)))
    root = np.sqrt(sum_of_squares + np.square(size * np.sin(angle)))
    return 2 / np.pi * np.arctan2(size * np.cos(angle), root), 4 / np.pi / root


@product_means.register(Identity)
def _identity(activation: Identity, std_x, std_y, angle) -> Moments:
    return np.outer(std_x, std_y) * np.cos(angle), np.ones_like(angle)


def relu_angle(angle: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """The angle of relu(z_i), relu(z_k), variables at the given angle.

    cos(phi') = E[relu relu]/(s_i s_k/2) = (sin(phi) + (pi - phi) cos(phi))/pi. That
    cosine keeps half the digits of a small angle; 1 - cos(phi') keeps them all.
    """
    versine = 2 * (np.pi - angle) * np.square(np.sin(angle / 2)) + angle - np.sin(angle)
    return 2 * np.arcsin(np.sqrt(versine / (2 * np.pi)))


def _series(
    f: Scalar,
    std_x: Float[np.ndarray, " n"],
    std_y: Float[np.ndarray, " k"],
    cosine: Float[np.ndarray, "n k"],
) -> Float[np.ndarray, "n k"]:
    """E[f(z_i) f(z_k)] = sum_j a_j(s_i) a_j(s_k) cos^j, by Mehler's formula.

    a_j(s) = E[f(s g) he_j(g)], g ~ N(0, 1), with normalised Hermite polynomials he_j.
    What is left out is at most (E f(z_i)^2 E f(z_k)^2)^(1/2) 1e-12: Parseval's formula
    tells how much of E f^2 the terms hold.
    """
    std, place = np.unique(np.concatenate([std_x, std_y]), return_inverse=True)
    x, y = np.split(place, [len(std_x)])
    blocks = _coefficients(f, std)
    size = block_size(len(x), 8 * len(y), _BLOCK_BYTES)
    with jax.enable_x64(True):
        powers = jnp.asarray(cosine)
        total = jnp.zeros_like(powers)
        for block in reversed(blocks):
            total = _horner(total, block[x], block[y], powers, size)
        return np.array(total)


@partial(jax.jit, static_argnames="size")
def _horner(total: Array, a: Array, b: Array, cosine: Array, size: int) -> Array:
    """(... (total c + a_J b_J) c + ...) c + a_0 b_0, c the cosine, pair by pair."""

    def rows(total: Array, a: Array, cosine: Array) -> Array:
        def step(total: Array, terms: tuple[Array, Array]) -> tuple[Array, None]:
            a_j, b_j = terms
            return total * cosine + a_j[:, None] * b_j[None, :], None

        return jax.lax.scan(step, total, (a.T, b.T), reverse=True, unroll=8)[0]

    return map_blocks(rows, (total, a, cosine), size)


def _coefficients(
    f: Scalar, std: Float[np.ndarray, " q"]
) -> list[Float[np.ndarray, "q terms"]]:
    """a_j(s) by the trapezoid rule, as many as leave a tail of 1e-12 of E f^2.

    They come in blocks of consecutive j. Where f is analytic this rule converges
    exponentially; one of Gauss and Hermite is slow, as f has poles near the real line.
    """
    with jax.enable_x64(True):
        values = np.asarray(f(jnp.asarray(std[:, None] * _NODES[None, :])))
    # Half of the rule's weights goes to f, the other half to the functions psi_j.
    spacing = _NODES[1] - _NODES[0]
    root = np.sqrt(spacing) * np.exp(-np.square(_NODES) / 4) / (2 * np.pi) ** 0.25
    values = values * root
    mean_square = np.sum(np.square(values), axis=1)
    tail, blocks = mean_square, []
    functions = _hermite_functions(root)
    while not blocks or np.any(tail > _TAIL * mean_square):
        if len(blocks) * _TERMS == _MAX_TERMS:
            raise ValueError(
                f"x must be shorter: with input_std |x| = {std[-1]:.3g} the series of "
                f"the activation needs more than {_MAX_TERMS} terms; scale x or "
                "input_std down."
            )
        block = values @ np.stack([next(functions) for _ in range(_TERMS)], axis=1)
        tail = tail - np.sum(np.square(block), axis=1)
        blocks.append(block)
    return blocks


def _hermite_functions(
    root: Float[np.ndarray, " nodes"],
) -> Iterator[Float[np.ndarray, " nodes"]]:
    """The orthonormal psi_j = he_j root, by a recurrence that loses no digits."""
    before, present, j = np.zeros_like(root), root, 0
    while True:
        yield present
        after = (_NODES * present - np.sqrt(j) * before) / np.sqrt(j + 1)
        before, present, j = present, after, j + 1
