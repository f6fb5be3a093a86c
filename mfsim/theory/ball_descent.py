"""Accelerated descent in a product of balls, on coefficients of tangent features.

f = f_0 + sum_l K_l c_l under c_l K_l c_l <= R^2 in every layer l, the K_l positive
semi-definite: a point is the features' combination V_l = sum_i c_li phi_l(x_i), with
<V_l, V'_l> = c_l K_l c'_l. All that a step does is linear in c and K c alike, so that
it takes one product with the kernels, and backtracking none.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.losses import AbstractScalarLoss

EASE, STIFFEN = 0.9, 1.5
"""Of the curvature from step to step, and where a step was too long."""

_ROUNDING = 1e-14
"""Of a loss of order one, by which a step may seem too long."""


class Problem(NamedTuple):
    """The kernels K_l, the outputs f_0 at the start, the labels and the loss."""

    kernels: Float[Array, "layers n n"]
    start: Float[Array, " n"]
    labels: Float[Array, " n"]
    loss: AbstractScalarLoss

    def outputs(self, point: "Point") -> Float[Array, " n"]:
        return self.start + point.products.sum(0)

    def value(self, point: "Point") -> Float[Array, ""]:
        return self.loss(self.outputs(point), self.labels).mean()

    @property
    def steepest(self) -> Float[Array, ""]:
        """A curvature that the objective has nowhere: its kernels' trace for |K|."""
        trace = jnp.trace(self.kernels, axis1=1, axis2=2).sum()
        # Where all kernels are 0 nothing depends on the step, which is to be finite.
        trace = jnp.where(trace > 0, trace, 1.0)
        return self.loss.max_curvature * trace / len(self.start)

    def dual(self, slopes: Array, norms: Array, radius: Array) -> Float[Array, ""]:
        """The lower bound by slopes g, `norms` those of sum_i g_i phi_l(x_i)."""
        parts = slopes * self.start - self.loss.conjugate(slopes, self.labels)
        return parts.mean() - radius * norms.sum() / len(slopes)


class Point(NamedTuple):
    """Coefficients c_l and the products K_l c_l, on which all steps are linear."""

    coefficients: Float[Array, "layers n"]
    products: Float[Array, "layers n"]

    def plus(self, scale: Any, other: "Point") -> "Point":
        return jax.tree.map(lambda a, b: a + scale * b, self, other)

    def dot(self, other: "Point") -> Float[Array, " layers"]:
        """<V_l, V'_l> in each layer."""
        return (self.coefficients * other.products).sum(1)


class Descent(NamedTuple):
    """Where the descent stands.

    Fields:
        step: Steps done.
        point, ahead: The last point, in the balls, and that point with its momentum.
        momentum: t of Nesterov's sequence.
        curvature: Inverse of the last step.
        slopes: phi' at the point with the best lower bound.
        lower, upper: The best lower bound, and the objective at `point`.
    """

    step: Array
    point: Point
    ahead: Point
    momentum: Array
    curvature: Array
    slopes: Float[Array, " n"]
    lower: Array
    upper: Array


@jax.jit
def descend(
    problem: Problem,
    radius: Float[Array, ""],
    start: Float[Array, "layers n"],
    tolerance: Float[Array, ""],
    max_steps: int | Array,
) -> Descent:
    """Descend from some coefficients until the gap is within the tolerance.

    Source: Beck, Teboulle 2009 (FISTA); O'Donoghue, Candes 2015 (restarts).
    """
    products = jnp.einsum("lij,lj->li", problem.kernels, start)
    point, infinity = Point(start, products), jnp.asarray(jnp.inf, start.dtype)
    begin = Descent(
        step=jnp.asarray(0),
        point=point,
        ahead=point,
        momentum=jnp.ones_like(infinity),
        curvature=problem.steepest,
        slopes=jnp.zeros_like(problem.start),
        lower=-infinity,
        upper=infinity,
    )
    return jax.lax.while_loop(
        lambda at: (at.upper - at.lower > tolerance) & (at.step < max_steps),
        lambda at: _advance(problem, radius, at),
        begin,
    )


def _advance(problem: Problem, radius: Array, at: Descent) -> Descent:
    slopes = problem.loss.derivative(problem.outputs(at.ahead), problem.labels)
    products, n = problem.kernels @ slopes, len(slopes)
    norms = jnp.sqrt(jnp.maximum(products @ slopes, 0.0))
    lower = problem.dual(slopes, norms, radius)
    gradient = Point(jnp.broadcast_to(slopes / n, products.shape), products / n)
    curvature = _backtracked(problem, radius, at, gradient)
    point = _into_balls(at.ahead.plus(-1 / curvature, gradient), radius)
    way = point.plus(-1.0, at.point)
    uphill = at.ahead.plus(-1.0, point).dot(way).sum() > 0
    momentum, carry = next_momentum(at.momentum, uphill)
    return Descent(
        step=at.step + 1,
        point=point,
        ahead=point.plus(carry, way),
        momentum=momentum,
        curvature=curvature,
        slopes=jnp.where(lower > at.lower, slopes, at.slopes),
        lower=jnp.maximum(lower, at.lower),
        upper=problem.value(point),
    )


def next_momentum(momentum: Array, uphill: Array) -> tuple[Array, Array]:
    """Nesterov's next t, and the share of the last way that is gone again.

    Where that way points uphill both begin anew.
    """
    following = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2)
    return following, jnp.where(uphill, 0.0, (momentum - 1) / following)


def _backtracked(
    problem: Problem, radius: Array, at: Descent, gradient: Point
) -> Float[Array, ""]:
    """A curvature for which the quadratic model is above the objective."""
    value = problem.value(at.ahead)

    def too_small(curvature: Array) -> Array:
        point = _into_balls(at.ahead.plus(-1 / curvature, gradient), radius)
        way = point.plus(-1.0, at.ahead)
        model = value + (gradient.dot(way) + curvature / 2 * way.dot(way)).sum()
        excess = problem.value(point) - model
        return (excess > _ROUNDING) & (curvature < problem.steepest)

    return jax.lax.while_loop(too_small, lambda c: STIFFEN * c, EASE * at.curvature)


def _into_balls(point: Point, radius: Array) -> Point:
    """The nearest point with c_l K_l c_l <= R^2, a factor each layer."""
    factor = radius / jnp.sqrt(jnp.maximum(point.dot(point), radius**2))
    return jax.tree.map(lambda a: factor[:, None] * a, point)
