"""How far apart two classes are: the shallow tangent margin, and the least distance."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Real
from optax.projections import projection_simplex
from scipy.spatial.distance import cdist

from mfsim.kernels.gram import check_vector
from mfsim.kernels.inputs import as_points
from mfsim.memory import require_memory
from mfsim.theory.ball_descent import EASE, STIFFEN, next_momentum
from mfsim.theory.lazy_setting import check_positive

_SMOOTHING = 0.5
"""Of the present gap: the radius within which the norms are rounded off."""

_ROUNDING = 1e-14

_BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class ShallowMargin:
    """A shallow neural tangent margin, and how well it is known.

    Fields:
        margin: gamma of the draws z; theirs is at most `gap` less.
        gap: The duality gap: `margin` less the margin of the unit vectors u(z) found.
        standard_error: Of the mean over the draws, at these masses.
        masses: p, which is 0 off the points that support the margin.
        steps: Steps of the descent.
    """

    margin: float
    gap: float
    standard_error: float
    masses: Float[np.ndarray, " n"]
    steps: int


def shallow_margin(
    x: Real[Array | np.ndarray, "n d"],
    labels: Real[Array | np.ndarray, " _"],
    key: Key[Array, ""],
    *,
    samples: int = 1000,
    tolerance: float = 1e-2,
    max_steps: int = 10_000,
) -> ShallowMargin:
    """The largest min_i y_i E[s'(z.x_i) u(z).x_i] over fields |u(z)| <= 1, z ~ N(0, I).

    By duality it is the least E|sum_i p_i y_i s'(z.x_i) x_i| over masses p, convex in
    p: accelerated projected gradient on the simplex, over one set of draws, the norms
    rounded off by a share of the present gap. A minimum over draws is low on average.

    Args:
        x: Inputs, one a row.
        labels: y, -1 or 1, one a point.
        key: Of the draws z.
        samples: Draws.
        tolerance: Relative gap at which the descent stops.
        max_steps: Steps after which it stops whatever the gap.

    Returns:
        In float64, whatever JAX's flags say. Unit: that of the inputs.

    Raises:
        ValueError: If a label is neither -1 nor 1, the shapes do not match, a number is
            not positive or the draws do not fit in memory: says the bytes.

    Cost: 4 products of `samples` n d a step; five seconds at n = samples = 1000.
    Source: Chen et al. 2021, Definition 4.6; Ji, Telgarsky 2020, Assumption 2.1.
    """
    points, signs = _points_and_signs(x, labels)
    check_positive("samples", samples)
    check_positive("tolerance", tolerance)
    _check_memory(len(points), samples)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        draws = jax.random.normal(key, (samples, points.shape[1]), jnp.float64)
        rows = jnp.asarray(signs[:, None] * points)
        active = (draws @ jnp.asarray(points).T > 0).astype(jnp.float64)
        end, error = _descend(rows, active, jnp.float64(tolerance), max_steps)
        return ShallowMargin(
            margin=float(end.upper),
            gap=float(end.upper - end.lower),
            standard_error=float(error),
            masses=np.asarray(end.masses),
            steps=int(end.step),
        )


def class_distance(
    x: Real[Array | np.ndarray, "n d"], labels: Real[Array | np.ndarray, " _"]
) -> float:
    """The least distance phi between points of opposite labels.

    Raises:
        ValueError: If a label is neither -1 nor 1, the shapes do not match, or all
            labels are alike.

    Cost: O(n^2 d).
    Source: Chen et al. 2021, Assumption 4.9.
    """
    points, signs = _points_and_signs(x, labels)
    one, other = points[signs > 0], points[signs < 0]
    if not (len(one) and len(other)):
        raise ValueError(
            f"labels must have both classes, got {signs[0]:g} only; give points of "
            "each."
        )
    rows = max(1, _BLOCK_BYTES // (8 * len(other)))
    starts = range(0, len(one), rows)
    return float(min(cdist(one[i : i + rows], other).min() for i in starts))


class _Descent(NamedTuple):
    step: Array
    masses: Float[Array, " n"]
    ahead: Float[Array, " n"]
    momentum: Array
    curvature: Array
    lower: Array
    upper: Array


class _Means(NamedTuple):
    """Means over the draws, of norms |G| and of them rounded off, and the gradient."""

    norm: Array
    smooth: Array
    gradient: Float[Array, " n"]
    error: Array


@jax.jit
def _descend(
    rows: Array, active: Array, tolerance: Array, max_steps: int | Array
) -> tuple[_Descent, Array]:
    """Descend on the simplex; `active` is s'(z.x_i), a row each draw."""
    n = len(rows)
    masses, zero = jnp.full(n, 1 / n, rows.dtype), jnp.zeros((), rows.dtype)
    first = _means(rows, active, masses, zero)
    begin = _Descent(
        step=jnp.asarray(0),
        masses=masses,
        ahead=masses,
        momentum=zero + 1,
        curvature=zero + 1,
        lower=zero,
        upper=first.norm,
    )
    # A margin of 0, that of one point with two labels, has no relative gap.
    gap = _ROUNDING * jnp.abs(rows).max()
    end = jax.lax.while_loop(
        lambda at: (
            (at.upper - at.lower > jnp.maximum(tolerance * at.upper, gap))
            & (at.step < max_steps)
        ),
        lambda at: _advance(rows, active, at),
        begin,
    )
    return end, _means(rows, active, end.masses, zero).error


def _advance(rows: Array, active: Array, at: _Descent) -> _Descent:
    width = _SMOOTHING * (at.upper - at.lower)
    here = _means(rows, active, at.ahead, width)

    def moved(curvature: Array) -> Array:
        return _onto_simplex(at.ahead - here.gradient / curvature)

    def too_small(curvature: Array) -> Array:
        way = moved(curvature) - at.ahead
        model = here.smooth + here.gradient @ way + curvature / 2 * way @ way
        there = _means(rows, active, at.ahead + way, width)
        return there.smooth - model > _ROUNDING * here.norm

    curvature = jax.lax.while_loop(
        too_small, lambda c: STIFFEN * c, EASE * at.curvature
    )
    masses = moved(curvature)
    norm = _means(rows, active, masses, width).norm
    way = masses - at.masses
    uphill = (at.ahead - masses) @ way > 0
    momentum, carry = next_momentum(at.momentum, uphill)
    return _Descent(
        step=at.step + 1,
        masses=masses,
        ahead=masses + carry * way,
        momentum=momentum,
        curvature=curvature,
        # The gradient is the margins of one field u(z), a bound for every p.
        lower=jnp.maximum(at.lower, here.gradient.min()),
        upper=norm,
    )


def _onto_simplex(values: Array) -> Array:
    # Optax divides by whole numbers, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return projection_simplex(values)


def _means(rows: Array, active: Array, masses: Array, width: Array) -> _Means:
    field = (active * masses[None, :]) @ rows
    norms = jnp.linalg.norm(field, axis=1)
    rounded = jnp.sqrt(norms**2 + width**2)
    # Where no point is active the field is 0, whatever the masses.
    unit = field / jnp.where(rounded > 0, rounded, 1.0)[:, None]
    gradient = (active * (unit @ rows.T)).mean(0)
    error = norms.std() / len(norms) ** 0.5
    return _Means(norms.mean(), rounded.mean(), gradient, error)


def _points_and_signs(x: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    points = np.asarray(as_points("x", x), np.float64)
    if not len(points):
        raise ValueError("x must have at least one row, got none; give points.")
    signs = check_vector(np.asarray(labels), len(points), "labels")
    others = signs[np.abs(signs) != 1]
    if others.size:
        raise ValueError(
            f"labels must be -1 or 1 for a margin, got {others[0]:g}; relabel."
        )
    return points, signs


def _check_memory(n: int, samples: int) -> None:
    table = 8 * n * samples
    require_memory(
        4 * table,
        f"samples must be fewer: a table of {samples} draws and {n} points has "
        f"{table / 2**30:.3g} GiB",
    )
