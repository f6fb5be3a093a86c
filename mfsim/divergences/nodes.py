"""The prior of w as weighted nodes: a quadrature in few dimensions, draws in many."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mfsim.activations import AbstractActivation

MAX_RANK = 3
"""The most dimensions in which w is integrated by quadrature."""

_NODES_PER_AXIS = {1: 201, 2: 101, 3: 41}

Real = float | Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nodes:
    """The law p_0 of w as weighted nodes w_q: a quadrature, or draws.

    Fields:
        features: h(w_q.x_i), one row a node.
        log_weights: Logarithm of the nodes' probabilities, which add up to 1.
        inputs: sigma_w x, which with draws tells where Z is finite.
        end_slopes: Those of the activation.
        sampled: Whether the nodes are draws, so that log Z has a standard error.
    """

    features: Float[Array, "q n"]
    log_weights: Float[Array, " q"]
    inputs: Float[Array, "n d"]
    end_slopes: tuple[float, float] = field(metadata={"static": True})
    sampled: bool = field(metadata={"static": True})


def prior_weights(
    dim: int,
    *,
    key: Key[Array, ""] | None = None,
    num_nodes: int | None = None,
    radius: float = 10.0,
    num_samples: int = 8192,
) -> tuple[Float[Array, "q d"], Float[Array, " q"]]:
    """Nodes of N(0, I) in `dim` dimensions, and the logarithm of their probabilities.

    Args:
        dim: Up to `MAX_RANK` a quadrature is taken, above draws.
        key: For the draws.
        num_nodes: An axis of the trapezoid rule, cut to a ball; 201, 101, 41 unless
            given. At spacing s its error for tanh(w.x) is about exp(-pi^2/s|x|).
        radius: Of the ball. What a tilt of some nats moves beyond 8 is not negligible.
        num_samples: Number of draws.

    Raises:
        ValueError: If draws are needed and there is no key.
    """
    if dim > MAX_RANK:
        if key is None:
            raise ValueError(
                f"key must be given for more than {MAX_RANK} dimensions, got None "
                f"for {dim}; pass jax.random.key(seed)."
            )
        draws = jax.random.normal(key, (num_samples, dim))
        return draws, jnp.full(num_samples, -np.log(num_samples))
    axis = np.linspace(-radius, radius, num_nodes or _NODES_PER_AXIS[dim])
    grid = np.stack(np.meshgrid(*[axis] * dim), axis=-1).reshape(-1, dim)
    # The corners of the cube are nearly half of it in three dimensions.
    grid = grid[np.sum(grid**2, axis=1) <= radius**2 * (1 + 1e-12)]
    log_weights = -np.sum(grid**2, axis=1) / 2
    log_weights -= np.log(np.sum(np.exp(log_weights)))
    return jnp.asarray(grid), jnp.asarray(log_weights)


def prior_nodes(
    activation: AbstractActivation,
    input_std: Real,
    x: Float[Array, "n d"],
    **resolution: Any,
) -> Nodes:
    """The features of `x` under the prior of w, at a resolution as in `prior_weights`.

    Only the n numbers w.x_i count: where n < d, n <= `MAX_RANK`, w is integrated in
    coordinates of the span of x, from a root of its Gram matrix.
    """
    if x.shape[0] <= MAX_RANK and x.shape[0] < x.shape[1]:
        square, axes = jnp.linalg.eigh(x @ x.T)
        x = axes * jnp.sqrt(jnp.maximum(square, 0))[None, :]
    inputs = input_std * x
    # Its reals may have the precision of a run.
    activation = jax.tree.map(lambda a: jnp.asarray(a).astype(x.dtype), activation)
    w, log_weights = prior_weights(x.shape[1], **resolution)
    w, log_weights = w.astype(x.dtype), log_weights.astype(x.dtype)
    sampled = x.shape[1] > MAX_RANK
    features = activation(w @ inputs.T)
    return Nodes(features, log_weights, inputs, activation.end_slopes, sampled)


def growth(
    c: Float[Array, " n"], x: Float[Array, "n d"], end_slopes: tuple[float, float]
) -> Float[Array, ""]:
    """At least the max over |v| = 1 of (G(s v)/s)^2 for s -> infinity, a number.

    Z(c) is finite if sigma_u^2 sigma_w^2 growth < 1. With h(z) ~ a z + (b - a) z^+ far
    out: |a| |X^T c|, exactly, plus |b - a| times a bound by Cauchy and Schwarz,
    (sum_i (s c_i)^+ (v.x_i)^+)^2 <= sum_i (s c_i)^+ lambda_max(X^T diag((s c)^+) X).
    """
    left, right = end_slopes
    bound = jnp.zeros((), c.dtype)
    if left != 0:
        bound += abs(left) * jnp.linalg.norm(x.T @ c)
    if right != left:
        sides = jnp.maximum(_one_sided(c, x), _one_sided(-c, x))
        bound += abs(right - left) * jnp.sqrt(sides)
    return jnp.square(bound)


def _one_sided(c: Array, x: Array) -> Array:
    rows = jnp.sqrt(jax.nn.relu(c))[:, None] * x
    gram = rows @ rows.T if x.shape[0] < x.shape[1] else rows.T @ rows
    return jax.nn.relu(c).sum() * jnp.linalg.eigvalsh(gram)[-1]
