"""Maximum mean discrepancy to the standard normal law."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.blocks import block_size, map_blocks

_BLOCK_BYTES = 2**23
"""Bytes of one block of rows of the kernel matrix; larger blocks leave the cache."""


def mmd_terms(
    z: Float[Array, "m D"],
    bandwidth: float | Float[Array, ""],
    *,
    antithetic: bool = False,
) -> Float[Array, " m"]:
    r"""One term a particle whose mean is the squared discrepancy to N(0, I).

    MMD^2 = E k(z, z') - 2 E k(z, Z) + E k(Z, Z') with z, z' from p, Z, Z' from
    N(0, I) and k(z, z') = exp(-|z - z'|^2 / 2 l^2). With r = l^2 the last two are
    exact, E_Z k(z, Z) = (r/(r+1))^{D/2} exp(-|z|^2 / 2(r+1)) and
    E k(Z, Z') = (r/(r+2))^{D/2}; the first is estimated by h_j, the mean of k(z_j, .)
    over the other particles. The mean of the terms

        t_j = 2 h_j - mean(h) - 2 E_Z k(z_j, Z) + E k(Z, Z')

    is the U-statistic: unbiased, and below zero at times. They are its linearisation,
    so that their spread gives its standard error as if they were independent.

    Args:
        z: Particles in whitened coordinates, one a row.
        bandwidth: The length l, of the order of sqrt(D).
        antithetic: Particles j and j + m/2 are a dependent pair: leave the partner,
            like the particle itself, out of the mean. Needs an even m of at least 4.

    Returns:
        The terms, in the precision of `z`.

    Raises:
        ValueError: If there are too few particles.

    Cost: m^2 D multiplications and m^2 exponentials; memory O(m D) and a block.
    Source: Gretton et al. 2012, eq. (3), with the expectations under p_0 exact.
    """
    num, dim = z.shape
    _check_number(num, antithetic)
    r = bandwidth**2
    square = jnp.sum(jnp.square(z), axis=1)
    block = block_size(num, z.dtype.itemsize * num, _BLOCK_BYTES)
    of_block = functools.partial(_pair_sums, everyone=z, squares=square, r=r)
    pairs = map_blocks(of_block, (z, square), block)
    left_out = 1
    if antithetic:
        # A particle and its partner differ by a row shift, so no index is looked up.
        apart = jnp.sum(jnp.square(z - jnp.roll(z, num // 2, axis=0)), axis=1)
        pairs = pairs - jnp.exp(-apart / (2 * r))
        left_out = 2
    single = (r / (r + 1)) ** (dim / 2) * jnp.exp(-square / (2 * (r + 1)))
    mean_over_others = pairs / (num - left_out)
    terms = 2 * (mean_over_others - single) + (r / (r + 2)) ** (dim / 2)
    return terms - jnp.mean(mean_over_others)


def _check_number(num: int, antithetic: bool) -> None:
    if antithetic and (num % 2 or num < 4):
        raise ValueError(
            f"antithetic particles must be even in number and at least 4, got {num}."
        )
    if num < 2:
        raise ValueError(f"mmd_terms needs at least 2 particles, got {num}.")


def _pair_sums(
    rows: Array,
    row_squares: Array,
    *,
    everyone: Array,
    squares: Array,
    r: float | Array,
) -> Array:
    """Sum over all the others of the kernel, for a block of rows."""
    apart = row_squares[:, None] + squares[None, :] - 2 * (rows @ everyone.T)
    # Rounding makes a particle's distance to itself a little off zero, of either sign.
    kernel = jnp.exp(-jnp.maximum(apart, 0) / (2 * r))
    return jnp.sum(kernel, axis=1) - 1
