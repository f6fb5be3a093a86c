"""The tangent kernel of a deep ReLU network, layer by layer.

m^(-2a) <grad f(x_i), grad f(x_k)> = sum over l of (A_{l-1} A_{l-1}^T) o (B_l B_l^T)_ik
with the forward signals A_0 = X, A_l = s(Z_l), Z_l = A_{l-1} W_l^T, and the backward
ones B_L = 1, B_l = (B_{l+1} W_{l+1}) o s'(Z_l), a point a row.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Signals = tuple[list[Float[Array, "_ _"]], list[Float[Array, "_ _"]]]
"""A_0, ..., A_{L-1} and B_1, ..., B_L of some points."""

_LEAST_ROWS, _MOST_BLOCKS = 128, 8
"""Blocks of a symmetric kernel: smaller ones multiply slowly, more gain little."""


def layered_kernel(
    params: tuple[Float[Array, "_ _"], ...],
    x: Float[Array, "n d"],
    y: Float[Array, "k d"] | None,
    budget: int,
) -> Float[Array, "n k"]:
    """One forward and one backward pass, then two products a layer, block by block.

    Where the signals of all points do not fit in `budget` bytes, those of a block are
    made anew whenever it is met. Without `y` only the lower triangle is worked out.

    Raises:
        ValueError: If the inputs do not suit W_1.
    """
    width, dim = params[0].shape
    if dim != x.shape[1]:
        raise ValueError(
            f"x must have the input dimension of W_1, {dim}, got {x.shape[1]}."
        )
    n, k = len(x), len(x if y is None else y)
    empty = jnp.zeros((n, k), x.dtype)
    row = 8 * (2 * (len(params) - 1) * width + dim + 1)
    signals = partial(signals_of, params)
    points, others, find = x, x if y is None else y, signals
    block = max(1, budget // (2 * row))
    if (n if y is None else n + k) * row <= budget:
        points = signals(x)
        others = points if y is None else signals(y)
        find, block = _as_it_is, _block(max(n, k))
    rows, columns = min(block, n), min(block, k)
    if not rows * columns:
        return empty

    def add_rows(i: Array, kernel: Array) -> Array:
        # The last block ends with the points, and so overlaps the one before.
        start = jnp.minimum(i * rows, n - rows)
        left = find(_cut(points, start, rows))

        def add_block(j: Array, kernel: Array) -> Array:
            at = jnp.minimum(j * columns, k - columns)
            part = _layer_terms(left, find(_cut(others, at, columns)))
            return jax.lax.dynamic_update_slice(kernel, part, (start, at))

        end = i + 1 if y is None else -(-k // columns)
        return jax.lax.fori_loop(0, end, add_block, kernel)

    kernel = jax.lax.fori_loop(0, -(-n // rows), add_rows, empty)
    return kernel if y is not None else jnp.tril(kernel) + jnp.tril(kernel, -1).T


def _block(rows: int) -> int:
    most = max(_LEAST_ROWS, -(-rows // _MOST_BLOCKS))
    return most if rows > 2 * _LEAST_ROWS else rows


def signals_of(params: tuple[Float[Array, "_ _"], ...], x: Array) -> Signals:
    """The signals of points, forward and backward."""
    forward = [x]
    for weights in params[:-1]:
        forward.append(jax.nn.relu(forward[-1] @ weights.T))
    backward = [jnp.ones_like(x[:, :1])]
    for weights, signal in zip(params[:0:-1], forward[:0:-1], strict=True):
        backward.append((backward[-1] @ weights) * (signal > 0).astype(x.dtype))
    return forward, backward[::-1]


def _as_it_is(signals: Signals) -> Signals:
    return signals


def _cut(tree: Any, start: Array, rows: int) -> Any:
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, rows), tree)


def _layer_terms(left: Signals, right: Signals) -> Float[Array, "n k"]:
    layers = zip(*left, *right, strict=True)
    return sum((a @ c.T) * (b @ d.T) for a, b, c, d in layers)  # type: ignore[return-value]
