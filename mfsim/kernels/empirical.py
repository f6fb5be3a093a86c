"""The tangent kernel of a network at its present parameters."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from mfsim.blocks import block_size, map_blocks, sum_blocks
from mfsim.kernels.inputs import (
    as_points,
    check_dimensions,
    check_traced,
    check_weights,
)
from mfsim.kernels.layers import layered_kernel
from mfsim.kernels.precision import require_precision
from mfsim.memory import require_memory
from mfsim.networks import AbstractNetwork, DeepRelu, Neurons, TwoLayer

MEBIBYTE = 2**20

_CACHE_BYTES = 2**23
"""Of one n x block array of a two-layer network; larger blocks leave the cache."""

_LEAST_ROWS, _MOST_SPANS = 128, 8
"""Row blocks of a symmetric product: fewer rows multiply slowly, more blocks gain
little on half of the work."""


def tangent_kernel(
    network: AbstractNetwork,
    params: PyTree,
    x: Float[Array | np.ndarray, "n d"],
    y: Float[Array | np.ndarray, "k _"] | None = None,
    *,
    weights: Float[Array | np.ndarray, " _"] | None = None,
    block_mib: int = 1024,
) -> Float[Array | np.ndarray, "n k"]:
    """The kernel c <grad f(x_i), grad f(y_k)> over the parameters that move.

    Two-layer networks, c = m/alpha^2: the kernel H(p) at the law p of the neurons,
    H_ik = E_p[u^2 h'(w.x_i) h'(w.y_k)] x_i.y_k + E_p[h(w.x_i) h(w.y_k)], where a block
    that is not trained leaves its term out. DeepRelu, c = m^(-2a): sum over l of
    (A_{l-1} A_{l-1}^T) o (B_l B_l^T), the forward signals and the backward ones. Other
    networks: one product J (J^T e_k) a column.

    Args:
        network: The network; its `kernel_scale` is c.
        params: Its parameters: neurons (w, u), or weights (W_1, ..., W_L).
        x: Left inputs, one a row.
        y: Right inputs, likewise; `x` unless given.
        weights: Masses of the neurons of a two-layer network, so that p may be a law on
            a grid; taken as they are, 1/m each unless given.
        block_mib: Most memory in MiB for work arrays; less of it is slower.

    Returns:
        The kernel, a NumPy array unless traced, in float64 whatever JAX's flags say;
        symmetric positive semi-definite without `y`. Unit: output^2/parameter^2.

    Raises:
        ValueError: If inputs and parameters differ in dimension, weights are given for
            another network, it is traced without 64-bit JAX, or the kernel does not fit
            in memory: says the bytes.
        ConfigError: If the device multiplies in less than float64.

    Cost: two-layer, two products of n k m; DeepRelu, 2 L - 1 of them and a forward and
        a backward pass; little more than half of the products without `y`.
    Source: Chen et al. 2020, eqs. (3.5)-(3.7); Jacot et al. 2018, sec. 4.
    """
    if network.num_outputs > 1:
        raise ValueError(
            "network must have one output to have a tangent kernel here, got "
            f"{type(network).__name__} with {network.num_outputs}; take kernel_product "
            "of its flow."
        )
    x, y = as_points("x", x), None if y is None else as_points("y", y)
    right = x if y is None else y
    check_dimensions(x, right)
    if weights is not None:
        check_weights(network, params, weights)
    check_traced(params, x, y, weights)
    _check_memory(params, len(x), len(right), block_mib)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        require_precision()
        wide = _widened((params, x, y, weights))
        kernel = _compiled(network, *wide, budget=block_mib * MEBIBYTE)
        # A NumPy array stays float64 in the hands of a caller without 64-bit JAX.
        return kernel if isinstance(kernel, jax.core.Tracer) else np.asarray(kernel)


def _check_memory(params: PyTree, n: int, k: int, block_mib: int) -> None:
    if not isinstance(block_mib, int) or block_mib < 1:
        raise ValueError(
            f"block_mib must be a whole number of at least 1, got {block_mib}."
        )
    numbers = sum(np.size(a) for a in jax.tree.leaves(params))
    gram, work = 8 * n * k, min(block_mib * MEBIBYTE, 16 * (n + k) * numbers)
    require_memory(
        2 * gram + work,
        f"x must have fewer rows: the kernel of {n} and {k} points has "
        f"{gram / 2**30:.3g} GiB, twice that as it is made, and its work arrays "
        f"{work / 2**20:.3g} MiB, by block_mib = {block_mib}",
    )


def _widened(tree: PyTree) -> PyTree:
    def wide(a: Any) -> Any:
        is_array = isinstance(a, jax.Array)
        return a.astype(jnp.float64) if is_array else np.asarray(a, np.float64)

    return jax.tree.map(wide, tree)


@functools.partial(jax.jit, static_argnames="budget")
def _compiled(network: Any, *args: Any, budget: int) -> Array:
    network = jax.tree.map(lambda real: jnp.asarray(real, jnp.float64), network)
    return _kernel(network, *args, budget)


@functools.singledispatch
def _kernel(
    network: Any, params: PyTree, x: Array, y: Array | None, _: None, budget: int
) -> Array:
    """Any network: columns by products with the Jacobian and its transpose."""
    moving, frozen = eqx.partition(params, network.trainable_mask(params))
    right = x if y is None else y
    numbers = sum(a.size for a in jax.tree.leaves(moving))

    def outputs(moving: PyTree, x: Array) -> Array:
        return network(eqx.combine(moving, frozen), x)

    def column(one: Array) -> Array:
        gradient = jax.grad(lambda moving: outputs(moving, one[None, :])[0])(moving)
        return map_blocks(
            lambda x: jax.jvp(lambda m: outputs(m, x), (moving,), (gradient,))[1],
            (x,),
            rows,
        )

    # Of a block of columns: its gradients, and a few signals of a block of rows, which
    # have fewer numbers than the parameters.
    columns = block_size(len(right), 16 * numbers, budget // 2)
    rows = block_size(len(x), 8 * columns * max(1, numbers // x.shape[1]), budget // 2)
    kernel = map_blocks(jax.vmap(column), (right,), columns).T
    kernel = network.kernel_scale * kernel
    return (kernel + kernel.T) / 2 if y is None else kernel


@_kernel.register
def _(
    network: TwoLayer,
    params: Any,
    x: Array,
    y: Array | None,
    weights: Array | None,
    budget: int,
) -> Array:
    """Two products over blocks of neurons, never an n x m(d + 1) Jacobian."""
    w, u = params
    if w.shape[1] != x.shape[1]:
        raise ValueError(
            f"x must have the input dimension of w, {w.shape[1]}, got {x.shape[1]}."
        )
    right = x if y is None else y
    spans = _spans(len(x), None if y is None else len(right))
    weights = jnp.full(len(u), 1 / len(u)) if weights is None else weights
    moves_w, moves_u = network.trainable_mask(Neurons(w, u))

    def terms(w: Array, u: Array, weights: Array) -> tuple[Any, Any]:
        h_x, dh_x = network.activation.value_and_derivative(x @ w.T)
        h_y, dh_y = h_x, dh_x
        if y is not None:
            h_y, dh_y = network.activation.value_and_derivative(y @ w.T)
        masses = (weights * jnp.square(u))[None, :]
        return (
            _products(weights[None, :] * h_x, h_y, spans) if moves_u else None,
            _products(masses * dh_x, dh_y, spans) if moves_w else None,
        )

    row = 8 * max(len(x), len(right))
    block = block_size(len(u), row, min(budget // 4, _CACHE_BYTES))
    value, slope = sum_blocks(terms, (w, u, weights), block)
    parts = []
    for i, (rows, columns) in enumerate(spans):
        part = value[i] if moves_u else 0.0
        if moves_w:
            part += slope[i] * (x[rows] @ right[columns].T)
        parts.append(part)
    return _joined(parts, y is None)


@_kernel.register
def _(
    network: DeepRelu, params: Any, x: Array, y: Array | None, _: None, budget: int
) -> Array:
    return layered_kernel(tuple(params), x, y, budget)


def _spans(n: int, k: int | None) -> list[tuple[slice, slice]]:
    """Blocks of rows, and of columns up to their end where the kernel is symmetric."""
    if k is not None:
        return [(slice(0, n), slice(0, k))]
    rows = max(1, -(-n // min(_MOST_SPANS, max(1, n // _LEAST_ROWS))))
    cuts = [(i, min(i + rows, n)) for i in range(0, max(n, 1), rows)]
    return [(slice(start, end), slice(0, end)) for start, end in cuts]


def _products(a: Array, b: Array, spans: list[tuple[slice, slice]]) -> list[Array]:
    return [a[rows] @ b[columns].T for rows, columns in spans]


def _joined(parts: list[Array], symmetric: bool) -> Array:
    """The kernel from its blocks of rows; of a symmetric one its lower triangle."""
    if not symmetric:
        return parts[0]
    n = parts[-1].shape[1]
    padded = [jnp.pad(part, ((0, 0), (0, n - part.shape[1]))) for part in parts]
    lower = jnp.concatenate(padded)
    return jnp.tril(lower) + jnp.tril(lower, -1).T
