"""Exponentially fitted fluxes: a drift-diffusion on a grid as jumps between cells.

lambda div(M grad(p/M)), M = e^{-V}, becomes a Markov chain: mass jumps from a cell to a
neighbour at the rate (lambda/width^2) B(V_neighbour - V_cell), B(z) = z/(e^z - 1). It
keeps the mass and the sign, and M is stationary to rounding whatever the cells' width.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class JumpRates(NamedTuple):
    """Rates between neighbouring cells along one axis, which has N cells.

    Attributes:
        up: Rates from cell i to i + 1.
        down: Rates from cell i + 1 to i.
    """

    up: Float[Array, "..."]
    down: Float[Array, "..."]


def jump_rates(
    potential: Float[Array, "..."], axis: int, width: Any, temperature: Any
) -> JumpRates:
    """The rates along an axis in a potential V, per unit of flow time.

    Args:
        potential: V at the centres of the cells.
        axis: Along which mass jumps.
        width: Of a cell along that axis.
        temperature: The diffusion coefficient lambda.

    Source: Scharfetter and Gummel 1969; Chang and Cooper 1970, eqs. (9) to (19).
    """
    rise = jnp.diff(potential, axis=axis)
    steep = jnp.abs(rise)
    safe = jnp.where(steep > 0, steep, 1.0)
    # B of a positive argument has no cancellation; B(-z) = B(z) + z gives the other.
    uphill = jnp.where(steep > 0, safe / jnp.expm1(safe), 1.0)
    downhill = uphill + steep
    rate = temperature / width**2
    is_up = rise > 0
    return JumpRates(
        rate * jnp.where(is_up, uphill, downhill),
        rate * jnp.where(is_up, downhill, uphill),
    )


def net_inflow(
    masses: Float[Array, "..."], rates: JumpRates, axis: int
) -> Float[Array, "..."]:
    """What each cell gains by jumps along an axis, per unit of flow time."""
    cells = masses.shape[axis]
    lower = jax.lax.slice_in_dim(masses, 0, cells - 1, axis=axis)
    upper = jax.lax.slice_in_dim(masses, 1, cells, axis=axis)
    current = rates.up * lower - rates.down * upper
    # Nothing crosses the ends of the box.
    ends = [(0, 0)] * masses.ndim
    ends[axis] = (1, 1)
    return -jnp.diff(jnp.pad(current, ends), axis=axis)
