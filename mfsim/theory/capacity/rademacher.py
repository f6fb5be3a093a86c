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
from mfsim.kernels.inputs import as_points
from mfsim.memory import require_memory
from mfsim.theory.capacity.norms import (
    exp,
    leading_input,
    log,
    log_frobenius,
    log_rows,
    size,
    start_norms,
)
from mfsim.theory.capacity.unit_class import UnitClass
from mfsim.theory.lazy_setting import check_positive

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
    at random. At U_0 = 0 one unit stands for all, as |s_j| is homogeneous.

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
        ValueError: If shapes do not match, a number is negative or not finite, there
            are fewer than two draws or restarts, or a draw does not fit in memory.

    Cost: 2 c + 2 d multiplications a step, restart, draw, point and unit.
    Source: Neyshabur et al. 2019, eqs. (3) to (5).
    """
    centres, points = as_points("u0", u0), as_points("x", x)
    _check(centres, points, outputs, draws, restarts, steps)
    radii = _sizes("unit_capacity", unit_capacity, len(centres))
    impact = _sizes("unit_impact", unit_impact, len(centres))
    units = _unit_class(np.asarray(centres), radii, impact, np.asarray(points), outputs)
    if not np.any(centres):
        centres, impact = np.zeros((1, points.shape[1])), np.array([impact @ radii])
        radii = np.ones(1)
    points = np.asarray(points, np.float64)
    signs = np.stack(
        [
            stream(seed, f"signs {i}").choice([-1.0, 1.0], (len(points), outputs))
            for i in range(draws)
        ]
    )
    shape = restarts - 2, *centres.shape
    random = stream(seed, "restarts").standard_normal(shape)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        lead = leading_input(points, size(points))
        ways = _linear_best(signs, points)
        arrays = centres, radii, points, signs, ways, random, lead
        most = _search(*(jnp.asarray(a, jnp.float64) for a in arrays), steps=steps)
        correlations = np.asarray(most) @ impact / len(points)
    return RademacherSearch(
        value=float(correlations.mean()),
        standard_error=float(correlations.std(ddof=1) / math.sqrt(draws)),
        correlations=correlations,
        lower=exp(units.log_lower()),
        upper=exp(units.log_upper()),
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


def _unit_class(
    centres: np.ndarray,
    radii: np.ndarray,
    impact: np.ndarray,
    x: np.ndarray,
    outputs: int,
) -> UnitClass:
    centres = centres.astype(np.float64)
    start = start_norms(centres, radii, x)
    return UnitClass(
        impact=log(impact),
        capacity=log(radii),
        start=log_rows(centres),
        linear=start.linear,
        active=start.active,
        moved=start.moved,
        inputs=log_frobenius(np.asarray(x, np.float64)),
        samples=len(x),
        dim=x.shape[1],
        outputs=outputs,
    )


def _sizes(name: str, values: Any, h: int) -> Float[np.ndarray, " h"]:
    sizes = np.asarray(values, np.float64)
    if sizes.shape != (h,):
        raise ValueError(
            f"{name} must be {h} numbers, one a row of u0, got shape {sizes.shape}."
        )
    wrong = sizes[~(np.isfinite(sizes) & (sizes >= 0))]
    if wrong.size:
        raise ValueError(f"{name} must be finite and at least 0, got {wrong[0]:g}.")
    return sizes


def _check(
    centres: Any, points: Any, outputs: int, draws: int, restarts: int, steps: int
) -> None:
    if not (len(points) and len(centres)):
        raise ValueError("x and u0 must have at least one row each, got none.")
    if centres.shape[1] != points.shape[1]:
        raise ValueError(
            f"x must have the input dimension of u0, {centres.shape[1]}, got "
            f"{points.shape[1]}."
        )
    check_positive("outputs", outputs)
    check_positive("steps", steps)
    for name, number in (("draws", draws), ("restarts", restarts)):
        if number < 2:
            raise ValueError(f"{name} must be at least 2, got {number}.")
    table = 8 * restarts * len(centres) * len(points)
    require_memory(
        4 * table,
        f"restarts must be fewer: a table of {restarts} restarts, {len(centres)} units "
        f"and {len(points)} points has {table / 2**30:.3g} GiB",
    )
