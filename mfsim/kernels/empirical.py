"""The tangent kernel of a network at its present parameters."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mfsim.blocks import block_size, sum_blocks
from mfsim.networks import Neurons, TwoLayer

_BLOCK_BYTES = 2**23
"""Bytes of one n x block array of activations; larger blocks leave the cache."""


def tangent_kernel(
    network: TwoLayer,
    params: tuple[ArrayLike, ArrayLike],
    x: Float[Array | np.ndarray, "n d"],
    y: Float[Array | np.ndarray, "k _"] | None = None,
) -> Float[Array | np.ndarray, "n k"]:
    r"""The kernel H(p) at the empirical law p of the neurons.

    H_ik = E_p[u^2 h'(w.x_i) h'(w.y_k)] x_i.y_k + E_p[h(w.x_i) h(w.y_k)], where a block
    that is not trained leaves its term out: (m/alpha^2) <grad f(x_i), grad f(y_k)>.

    Args:
        network: The two-layer network.
        params: Its neurons (w, u).
        x: Left inputs, one a row.
        y: Right inputs, likewise; `x` unless given.

    Returns:
        The kernel, a NumPy array unless traced, in float64 whatever JAX's flags say;
        symmetric positive semi-definite without `y`.

    Raises:
        ValueError: If the inputs and the neurons differ in dimension.

    Cost: n k m multiplications a term and O(n k) memory; neurons come in blocks.
    Source: Chen et al. 2020, eqs. (3.5)-(3.7).
    """
    right = x if y is None else y
    dims = x.shape[-1], right.shape[-1], jnp.shape(params[0])[-1]
    if len(set(dims)) > 1:
        raise ValueError(
            f"x, y and w must have one input dimension, got {dims[0]}, {dims[1]} and "
            f"{dims[2]}."
        )
    with jax.enable_x64(True):
        x, right, w, u = (
            jnp.asarray(a).astype(jnp.float64) for a in (x, right, *params)
        )
        size = block_size(len(u), 8 * max(len(x), len(right)), _BLOCK_BYTES)
        value, slope = sum_blocks(
            lambda w, u: _block_terms(network, Neurons(w, u), x, right), (w, u), size
        )
        moves_w, moves_u = network.trainable_mask(Neurons(w, u))
        total = float(moves_w) * slope * (x @ right.T) + float(moves_u) * value
        kernel = total / len(u)
        # A NumPy array stays float64 in the hands of a caller without 64-bit JAX.
        return kernel if isinstance(kernel, jax.core.Tracer) else np.asarray(kernel)


def _block_terms(
    network: TwoLayer, neurons: Neurons, x: Array, y: Array
) -> tuple[Array, Array]:
    h_x, dh_x = network.activation.value_and_derivative(x @ neurons.w.T)
    h_y, dh_y = network.activation.value_and_derivative(y @ neurons.w.T)
    return h_x @ h_y.T, (dh_x * jnp.square(neurons.u)[None, :]) @ dh_y.T
