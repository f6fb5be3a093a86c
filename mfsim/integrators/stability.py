"""The largest stable step, from the largest eigenvalue of the tangent kernel."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mfsim.flows import AbstractFlow

_ITERATIONS = 16
_BATCHES = 8
_SAFETY = 0.25
"""H doubles on the way at alpha = 1: a quarter of the limit leaves a factor 2."""
_RELAXATION = 0.02
"""Largest lambda eta/sigma^2, for a bias of 1 % in Euler's stationary variance."""


def largest_eigenvalue(
    flow: AbstractFlow, state: PyTree, x: Float[Array, "n d"]
) -> Float[Array, ""]:
    """lambda_max of the tangent kernel on x, by power iteration.

    A lower estimate, within a few per cent after the fixed number of iterations. Of
    several outputs it is the kernel of all of them, (n c) x (n c).

    Cost: two forward passes and one backward pass over x an iteration.
    """

    def iterate(_: Any, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        v, _ = pair
        product = flow.kernel_product(state, x, v)
        norm = jnp.linalg.norm(product)
        # A kernel that vanishes keeps its vector: 0/0 would hide the eigenvalue 0.
        return jnp.where(norm > 0, product / jnp.where(norm > 0, norm, 1), v), norm

    shape = flow.network.output_shape(x.shape[0])
    # Fixed and without symmetry, so that no eigenvector of a real kernel is missed.
    start = 1 + jax.random.normal(jax.random.key(0), shape, x.dtype)
    v = start / jnp.linalg.norm(start)
    # The kernel of one output, a batch of online descent, is a number.
    times = _ITERATIONS if v.size > 1 else 1
    return jax.lax.fori_loop(0, times, iterate, (v, jnp.zeros((), x.dtype)))[1]


def stable_step(
    flow: AbstractFlow,
    state: PyTree,
    x: Float[Array, "n d"],
    batch_size: int | None = None,
) -> Float[Array, ""]:
    """2 n/(phi''_max alpha^2 lambda_max(H)), past which gradient descent blows up.

    With a batch size, the least over a few random batches. Unit: flow time.

    Source: the linearised residual recursion of gradient descent, Lee et al. 2019.
    """
    if batch_size is not None:
        keys = jax.random.split(jax.random.key(1), _BATCHES)
        rows = [jax.random.permutation(key, x.shape[0])[:batch_size] for key in keys]
        some = jnp.stack([x[chosen] for chosen in rows])
        return jax.lax.map(lambda x: stable_step(flow, state, x), some).min()
    curvature = flow.loss.max_curvature * largest_eigenvalue(flow, state, x)
    return 2 * x.shape[0] / (flow.kernel_rate * curvature)


def auto_step(flow: AbstractFlow, limit: float) -> float:
    """The step in flow time that "auto" stands for, given `stable_step` at the start.

    A quarter of the limit, times alpha below alpha = 1, where neurons inflate and H
    grows like 2/alpha; and small beside sigma^2/lambda.
    """
    step = _SAFETY * min(1.0, math.sqrt(flow.kernel_rate)) * limit
    if flow.temperature > 0:
        std = flow.prior_std()
        moving, _ = eqx.partition(std, flow.network.trainable_mask(std))
        smallest = min(jax.tree.leaves(moving)) ** 2
        step = min(step, _RELAXATION * smallest / flow.diffusion)
    return step


def round_down(value: float) -> float:
    """The largest number of two significant digits that is at most `value`."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = math.floor(value / unit * (1 + 1e-12))
    return float(f"{digits * unit:.2g}")
