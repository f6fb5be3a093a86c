"""Neurons and their shadow as points, in coordinates few enough for their number."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mfsim.divergences.gaussian import Pairs
from mfsim.flows import ParticleFlow, State
from mfsim.flows.base import Batch

_NEURONS = 8
"""Neurons for each entry of a covariance; with fewer, its noise is no longer small."""
_MOST_AXES = 31
_ITERATIONS = 4


def principal_axes(
    flow: ParticleFlow, batch: Batch, width: int
) -> Float[Array, "d r"] | None:
    """Orthonormal directions of w that the data single out: X^T phi'(0, y), then axes.

    Bounds on the marginal law along them and of u are bounds on the law. None where
    the covariance of all coordinates, (d + 1)^2 numbers, is small beside the width.

    Cost: a few products of X with r vectors; the leading axes are approximate.
    """
    x, y = batch
    dim = x.shape[1]
    if _NEURONS * (dim + 1) ** 2 <= width:
        return None
    number = max(1, min(dim, _MOST_AXES, math.isqrt(width // _NEURONS) - 1))
    pull = x.T @ flow.loss.derivative(jnp.zeros_like(y), y)
    start = jax.random.normal(jax.random.key(0), (dim, number), x.dtype)
    axes, _ = jnp.linalg.qr(start)
    for _ in range(_ITERATIONS):
        axes, _ = jnp.linalg.qr(x.T @ (x @ axes))
    both = jnp.concatenate([pull[:, None], axes[:, : number - 1]], axis=1)
    return jnp.linalg.qr(both)[0]


def pairs_of(
    flow: ParticleFlow, state: State, axes: Float[Array, "d r"] | None = None
) -> Pairs:
    """Neurons and shadow as rows (w, u), of w the components along `axes` if given."""
    std: Any = flow.prior_std()

    def points(neurons: Any) -> Array:
        w = neurons.w if axes is None else neurons.w @ axes
        return jnp.concatenate([w, neurons.u[:, None]], axis=1)

    particles = points(state.params)
    size, dtype = particles.shape[1] - 1, particles.dtype
    spread = jnp.concatenate([jnp.full(size, std.w, dtype), jnp.full(1, std.u, dtype)])
    return Pairs(particles, points(state.shadow), spread, flow.network.antithetic)


def moving_coordinates(flow: ParticleFlow, pairs: Pairs) -> Bool[Array, " r"]:
    """Which coordinates of `pairs_of` move."""
    moves = flow.network.trainable_mask(flow.prior_std())
    inputs = [moves.w] * (pairs.particles.shape[1] - 1)
    return jnp.array([*inputs, moves.u])
