"""Divergences between laws on one grid, exact sums over the masses of its cells."""

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float


def kl_divergence(
    masses: Float[Array, "..."], reference: Float[Array, "..."]
) -> Float[Array, ""]:
    """KL(p || q) = sum p log(p/q), in nats."""
    ratio = masses / jnp.where(masses > 0, reference, 1.0)
    return xlogy(masses, ratio).sum()


def chi_square(
    masses: Float[Array, "..."], reference: Float[Array, "..."]
) -> Float[Array, ""]:
    """chi^2(p || q) = sum (p - q)^2/q."""
    safe = jnp.where(reference > 0, reference, 1.0)
    terms = jnp.where(masses == reference, 0.0, jnp.square(masses - reference) / safe)
    return jnp.where(reference > 0, terms, jnp.where(masses > 0, jnp.inf, 0.0)).sum()
