"""Optimal transport between two laws given as the masses of the cells of one grid."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_BLURS = (2.0, 3.0, 4.0)
"""Standard deviations of the kernel, in cells; a narrow one under- or overflows where
laws are far apart.
"""
_NEGLIGIBLE = 1e-13
"""Masses below this share of the largest count for nothing: they cost range."""
_THRESHOLD = 1e-8
_MAX_ITERATIONS = 2000
_PLAIN_ITERATIONS = 30
"""Before the iterations are accelerated by what they show of their rate."""


def marginal_w2(
    masses_a: Float[np.ndarray, " k"],
    masses_b: Float[np.ndarray, " k"],
    centres: Float[np.ndarray, " k"],
) -> float:
    """W2 between two laws of constant density in each cell of a line, exactly.

    On a line W2^2 is the integral of the squared difference of the quantile functions,
    which are linear between the levels at which either law passes from cell to cell.

    Args:
        masses_a: Mass of each cell; the total counts as 1.
        masses_b: As many.
        centres: Of cells of one width, ascending.

    For masses of a smooth density the error is of second order in the width.

    Cost: O(k log k).
    Source: Santambrogio 2015, proposition 2.17.
    """
    width = centres[1] - centres[0]
    edges = centres - width / 2
    laws = [masses / masses.sum() for masses in (masses_a, masses_b)]
    reached = [np.append(0.0, np.cumsum(law)) for law in laws]
    levels = np.unique(np.concatenate(reached))
    # By rounding one of the two may end a little above 1, where the other has no cell.
    levels = levels[levels <= min(each[-1] for each in reached)]
    middles = (levels[1:] + levels[:-1]) / 2
    quantiles = []
    for law, below in zip(laws, reached, strict=True):
        cell = np.searchsorted(below[1:], middles)
        share = (np.stack([levels[:-1], levels[1:]]) - below[cell]) / law[cell]
        quantiles.append(edges[cell] + width * np.clip(share, 0, 1))
    start, end = quantiles[0] - quantiles[1]
    squares = (start**2 + start * end + end**2) / 3
    return float(np.sqrt((squares * np.diff(levels)).sum()))


def grid_w2(
    masses_a: Float[np.ndarray, "..."],
    masses_b: Float[np.ndarray, "..."],
    centres: Sequence[Float[np.ndarray, " _"]],
) -> float:
    """W2 between two laws on a grid, by the debiased entropic cost.

    The root of S(a, b) = OT(a, b) - (OT(a, a) + OT(b, b))/2, where OT adds
    epsilon sum pi log pi to the cost |x - y|^2; sqrt(epsilon/2) is two of the widest
    cells, or up to four where two are beyond double precision.

    Args:
        masses_a: Mass of each cell; the total counts as 1.
        masses_b: Of the same shape.
        centres: Of the cells along each axis, of one width an axis.

    Raises:
        ValueError: If the iteration does not converge.

    The relative error is of order (epsilon/variance)^2: between Gaussians on cells of
    0.09 standard deviations at most 0.1 % for W2 from 0.04 to 1.2, of 0.25 at most
    0.4 %; 0.2 to 0.5 % if one of them is narrowed to 0.2 or 0.3 (cells of 0.09).

    Cost: a hundred iterations of 4 cells matrix products with one axis at a time, 0.2 s
    for 128^2 cells and 1 s for 48^3 on one core; compiled once a shape.
    Source: Feydy et al. 2019, eq. (3); Solomon et al. 2015, by ott-jax.
    """
    widest = max(float(axis[1] - axis[0]) for axis in centres)
    axes = tuple(np.asarray(axis, np.float64) for axis in centres)
    a, b = _relevant(masses_a), _relevant(masses_b)
    # The solver mixes integers with floats and ranks with ranks.
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        for blur in _BLURS:
            value, converged = _debiased(a, b, axes, 2 * (blur * widest) ** 2)
            if converged:
                # S may be below zero by rounding.
                return float(np.sqrt(max(0.0, value)))
    raise ValueError(
        "masses must be of laws nearer to each other for W2 on this grid, which "
        "did not converge; take more cells, or compare the marginals."
    )


def _relevant(masses: Float[np.ndarray, "..."]) -> Float[np.ndarray, " cells"]:
    kept = np.where(masses > _NEGLIGIBLE * masses.max(), masses, 0.0)
    return np.asarray(kept / kept.sum(), np.float64).ravel()


def _debiased(a: Any, b: Any, axes: Any, epsilon: float) -> tuple[float, bool]:
    cost_a, log_a, first = _own(a, axes, epsilon)
    cost_b, log_b, second = _own(b, axes, epsilon)
    cost, third = _between(a, b, axes, epsilon, (log_a, log_b))
    value = float(cost - (cost_a + cost_b) / 2)
    return value, bool(first & second & third) and math.isfinite(value)


@jax.jit
def _own(a: Array, axes: Any, epsilon: Any) -> tuple[Array, Array, Array]:
    """OT(a, a), its potential and whether it was found."""
    found = _solve(a, a, axes, epsilon, None, start=0, value=0.5)
    return found.reg_ot_cost, found.f, _is_found(found.errors)


@jax.jit
def _between(
    a: Array, b: Array, axes: Any, epsilon: Any, own: tuple[Array, Array]
) -> tuple[Array, Array]:
    """OT(a, b) and whether it was found, from each law's own potential.

    Laws that are close then start close to the solution.
    """
    begin = jnp.exp(own[0] / epsilon), jnp.exp(own[1] / epsilon)
    found = _solve(a, b, axes, epsilon, begin, start=_PLAIN_ITERATIONS)
    return found.reg_ot_cost, _is_found(found.errors)


def _is_found(errors: Any) -> Array:
    # The solver's own flag also holds where it stopped because an error was infinite.
    return jnp.any((errors >= 0) & (errors < _THRESHOLD))


def _solve(
    a: Array, b: Array, axes: Any, epsilon: Any, begin: Any, **momentum: Any
) -> Any:
    # Loading ott-jax takes a second that a run without it should not pay, and warns of
    # a library that no solver here uses.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "JAXopt", DeprecationWarning)
        from ott.geometry.grid import Grid
        from ott.problems.linear.linear_problem import LinearProblem
        from ott.solvers.linear.acceleration import Momentum
        from ott.solvers.linear.sinkhorn import Sinkhorn

    solver = Sinkhorn(
        # Products with kernels, not sums of exponentials: a hundred times as fast.
        lse_mode=False,
        parallel_dual_updates=begin is None,
        momentum=Momentum(**momentum),
        threshold=_THRESHOLD,
        max_iterations=_MAX_ITERATIONS,
    )
    return solver(LinearProblem(Grid(axes, epsilon=epsilon), a, b), init=begin)
