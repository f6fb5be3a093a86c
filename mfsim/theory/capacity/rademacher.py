"""The Rademacher complexity of two-layer ReLU networks, from below by search.

R = (1/N) E sup_f sum_i <xi_i, f(x_i)> over f = V [U x]_+ with |v_j| <= alpha_j and
|u_j - u_j^0| <= beta_j, xi a sign for every output of every point. The best v_j is
alpha_j times the direction of s_j = sum_i xi_i [u_j.x_i]_+, and the units do not meet:
R = (1/N) E sum_j alpha_j max |s_j|, a maximum over a ball in R^d for each unit.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from mfsim.datasets.draws import stream
from mfsim.memory import require_memory
from mfsim.theory.capacity.checks import check_whole, check_wide
from mfsim.theory.capacity.norms import (
    exp,
    input_norms,
    leading_input,
    log,
    row_sizes,
    size,
)
from mfsim.theory.capacity.unit_class import unit_class

_LAST_STEP = 1e-6
"""Of the first step, which is a radius: kinks leave an error of about that size."""


@dataclass(frozen=True, eq=False)
class RademacherSearch:
    """A Rademacher complexity by search, and what is proved of it.

    Fields:
        value: Mean over the draws of the largest correlation found: at most R, but for
            the error of the mean.
        standard_error: Of the mean over the draws.
        correlations: The largest correlation found, of each draw of the signs.
        lower: The lower bound of `UnitClass.log_lower`; `value` is above it but for
            its error, however short the search.
        upper: The upper bound of `UnitClass.log_upper`.
    """

    value: float
    standard_error: float
    correlations: Float[np.ndarray, " draws"]
    lower: float
    upper: float


def rademacher_search(
    u0: Real[Array | np.ndarray, "h d"],
    unit_capacity: Real[Array | np.ndarray, " _"],
    unit_impact: Real[Array | np.ndarray, " _"],
    x: Real[Array | np.ndarray, "n _"],
    *,
    outputs: int = 1,
    draws: int = 32,
    restarts: int = 16,
    steps: int = 200,
    seed: int = 0,
) -> RademacherSearch:
    """Maximise the correlation with random signs by projected gradient, with restarts.

    Each unit moves along the normalised gradient of |s_j| and back into its ball, by
    steps from its radius down to 1e-6 of it; the best of all points is kept. The first
    two restarts set out along plus and minus the largest sum_i xi_i (u.x_i), the others
    at random. At U_0 = 0 one unit stands for all, as |s_j| is homogeneous; for that
    reason every unit, the points and alpha are searched at a scale of about 1.

    Args:
        u0: Centres u_j^0 of the balls, one row a unit.
        unit_capacity: Radii beta_j.
        unit_impact: alpha_j.
        x: Points, one a row.
        outputs: c.
        draws: Draws of the signs, at least 2.
        restarts: At least 2.
        steps: Of each restart.
        seed: Of the signs and the restarts; draw i is the same for every `draws`.

    Raises:
        ValueError: If shapes do not match, an entry is no real number, negative where
            it is a size, or beyond 1e300, a count is no whole number or too small, or
            a draw or all the signs do not fit in memory.

    Cost: 2 c + 2 d multiplications a step, restart, draw, point and unit.
    Source: Neyshabur et al. 2019, eqs. (3) to (5).
    """
    centres = check_wide("u0", u0, (None, None), "units times inputs")
    h, d = centres.shape
    points = check_wide("x", x, (None, d), "points times inputs of u0")
    radii = _check_sizes("unit_capacity", unit_capacity, h)
    impact = _check_sizes("unit_impact", unit_impact, h)
    _check_counts(outputs=outputs, draws=draws, restarts=restarts, steps=steps)
    check_whole("seed", seed, 0)
    _check_memory(len(points), d, h, outputs, draws, restarts)
    inputs = input_norms(points).frobenius
    units = unit_class(centres, log(radii), log(impact), points, inputs, outputs)
    centres, radii, points, impact, power = _of_order_one(
        centres, radii, points, impact
    )
    if not np.any(centres):
        centres, impact = np.zeros((1, d)), np.array([impact @ radii])
        radii = np.ones(1)
    signs = _signs(seed, draws, len(points), outputs)
    shape = restarts - 2, *centres.shape
    random = stream(seed, "restarts").standard_normal(shape)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        lead = leading_input(points, size(points))
        ways = _linear_best(signs, points)
        arrays = centres, radii, points, signs, ways, random, lead
        most = _search(*(jnp.asarray(a, jnp.float64) for a in arrays), steps=steps)
        correlations = np.asarray(most) @ impact / len(points)
    error = correlations.std(ddof=1) / math.sqrt(draws)
    with np.errstate(over="ignore"):
        return RademacherSearch(
            value=float(np.ldexp(correlations.mean(), power)),
            standard_error=float(np.ldexp(error, power)),
            correlations=np.ldexp(correlations, power),
            lower=exp(units.log_lower()),
            upper=exp(units.log_upper()),
        )


def _signs(
    seed: int, draws: int, n: int, outputs: int
) -> Float[np.ndarray, "draws n c"]:
    several = (stream(seed, f"signs {i}") for i in range(draws))
    return np.stack([draw.choice([-1.0, 1.0], (n, outputs)) for draw in several])


def _of_order_one(
    centres: Float[np.ndarray, "h d"],
    radii: Float[np.ndarray, " h"],
    x: Float[np.ndarray, "n d"],
    impact: Float[np.ndarray, " h"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """The same problem of entries of order 1, up to a power of two, which is the last.

    Powers of two leave every digit as it is.
    """
    _, units = np.frexp(row_sizes(np.column_stack([centres, radii])))
    _, inputs = math.frexp(size(x))
    share, powers = np.frexp(impact)
    powers += units
    most = int(powers[share > 0].max(initial=powers.min()))
    return (
        np.ldexp(centres, -units[:, None]),
        np.ldexp(radii, -units),
        np.ldexp(x, -inputs),
        np.ldexp(share, powers - most),
        most + inputs,
    )


def _linear_best(
    signs: Float[np.ndarray, "draws n c"], x: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "draws d"]:
    """The unit vector u of the largest |sum_i xi_i (u.x_i)|, for each draw."""
    sums = np.einsum("inc,nd->icd", signs, x, optimize=True)
    return np.linalg.svd(sums, full_matrices=False).Vh[:, 0]


@functools.partial(jax.jit, static_argnames="steps")
def _search(
    centres: Float[Array, "h d"],
    radii: Float[Array, " h"],
    x: Float[Array, "n d"],
    all_signs: Float[Array, "draws n c"],
    ways: Float[Array, "draws d"],
    random: Float[Array, "r h d"],
    lead: Float[Array, " d"],
    *,
    steps: int,
) -> Float[Array, "draws h"]:
    """The largest |s_j| found, of each draw and unit."""
    lengths = jnp.geomspace(1.0, _LAST_STEP, steps)

    def one(draw: tuple[Array, Array]) -> Float[Array, " h"]:
        signs, way = draw
        fixed = jnp.broadcast_to(way, centres.shape)
        starts = jnp.concatenate([jnp.stack([fixed, -fixed]), random])
        climb = functools.partial(_climb, centres, radii, x, signs, lengths)
        found = jax.vmap(climb)(starts).max(0)
        known = _proved(centres, radii, way, lead)
        responses = jax.vmap(lambda u: _response(u, x, signs)[0])(known)
        return jnp.maximum(found, responses.max(0))

    return jax.lax.map(one, (all_signs, ways))


def _proved(
    centres: Float[Array, "h d"],
    radii: Float[Array, " h"],
    way: Float[Array, " d"],
    lead: Float[Array, " d"],
) -> Float[Array, "5 h d"]:
    """The points by which the lower bounds are proved, so that no search is below."""
    outer = radii[:, None] * lead[None, :]
    inner = jnp.maximum(radii - jnp.linalg.norm(centres, axis=1), 0.0)
    through = inner[:, None] * way[None, :]
    return jnp.stack([centres, centres + outer, centres - outer, through, -through])


def _climb(
    centres: Array, radii: Array, x: Array, signs: Array, lengths: Array, start: Array
) -> Float[Array, " h"]:
    """The largest |s_j| on the way of each unit."""
    first = centres + radii[:, None] * _unit(start)

    def step(at: tuple[Array, Array], length: Array) -> tuple[Any, None]:
        u, best = at
        value, gradient = _response(u, x, signs)
        ahead = u - centres + (length * radii)[:, None] * _unit(gradient)
        return (centres + _into_ball(ahead, radii), jnp.maximum(best, value)), None

    begin = first, jnp.zeros_like(radii)
    (last, best), _ = jax.lax.scan(step, begin, lengths)
    return jnp.maximum(best, _response(last, x, signs)[0])


def _response(
    u: Float[Array, "h d"], x: Float[Array, "n d"], signs: Float[Array, "n c"]
) -> tuple[Float[Array, " h"], Float[Array, "h d"]]:
    """|s_j|, s_j = sum_i xi_i [u_j.x_i]_+, and its gradient."""
    z = u @ x.T
    sums = jnp.maximum(z, 0.0) @ signs
    pull = jnp.where(z > 0, _unit(sums) @ signs.T, 0.0)
    return jnp.linalg.norm(sums, axis=1), pull @ x


def _unit(rows: Float[Array, "h k"]) -> Float[Array, "h k"]:
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1.0)


def _into_ball(rows: Float[Array, "h d"], radii: Float[Array, " h"]) -> Array:
    norms = jnp.linalg.norm(rows, axis=1)
    shrink = jnp.where(norms > radii, radii / jnp.where(norms > 0, norms, 1.0), 1.0)
    return shrink[:, None] * rows


def _check_sizes(name: str, values: Any, h: int) -> Float[np.ndarray, " h"]:
    sizes = check_wide(name, values, (h,), "one a row of u0")
    if (sizes < 0).any():
        raise ValueError(f"{name} must be at least 0, got {sizes.min():g}; give norms.")
    return sizes


def _check_counts(outputs: Any, draws: Any, restarts: Any, steps: Any) -> None:
    check_whole("outputs", outputs, 1)
    check_whole("draws", draws, 2)
    check_whole("restarts", restarts, 2)
    check_whole("steps", steps, 1)


def _check_memory(
    n: int, d: int, h: int, outputs: int, draws: int, restarts: int
) -> None:
    table = 8 * restarts * h * n
    require_memory(
        4 * table,
        f"restarts must be fewer: a table of {restarts} restarts, {h} units and {n} "
        f"points has {table / 2**30:.3g} GiB",
    )
    # Signs, their sums over the points, and a correlation of each unit.
    drawn = 8 * draws * (outputs * (n + d) + h)
    require_memory(
        3 * drawn,
        f"draws must be fewer: the signs of {draws} draws, {n} points and {outputs} "
        f"outputs with their sums have {drawn / 2**30:.3g} GiB",
    )
