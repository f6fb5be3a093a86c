"""Finite-size collapse: the power of the size that makes curves one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize_scalar

from mfsim.studies.statistics.crossings import bisect
from mfsim.studies.statistics.estimate import Estimate, TooFew, joined
from mfsim.studies.statistics.logs import distinct, logs, seed_mean
from mfsim.studies.statistics.seeds import seed_interval

Sizes = Sequence[float] | Float[np.ndarray, " sizes"]
Places = Float[np.ndarray, "sizes points"]
Values = Float[np.ndarray, "sizes points"] | Float[np.ndarray, "sizes points seeds"]
Objective = Callable[[np.ndarray], np.ndarray]
"""The spread at each of some powers."""

MIN_OVERLAP = 1 / 3
"""Of the shortest curve, in log x: what curves must share to be compared."""

NUM_PLACES = 64
"""Places of the common range at which curves are compared."""

NUM_COARSE = 81
"""Powers that are tried first, so that a local minimum is not taken."""

POOR = 0.05
"""Spread of a collapse above which it is called poor."""


def spread(nu: float, x: Places, y: Values, sizes: Sizes) -> float:
    r"""What is left of the variance of log y when curves are moved over each other.

    Curves $v_k = \log y$ over $\log(x/\text{size}_k^\nu)$, means over seeds and
    monotone between points (PCHIP), are compared on their common range:

    $$S(\nu) = \langle \mathrm{Var}_k\, v_k \rangle / \mathrm{Var}\, v \in [0, 1],$$

    the mean of the variance between curves over that of all values there. 0 is one
    curve; 1 is nothing in common, and is also said of curves that share less than a
    third of the shortest of them.

    Args:
        nu: Power of the size.
        x: Places of each size; rows may be filled up with NaN.
        y: Values; NaN where a run is missing. A point at which a seed is not positive
            is left out.
        sizes: Size of each row.

    Raises:
        TooFew: If fewer than two sizes have two points.
        ValueError: If shapes do not agree, a size is not positive, or two x of a size
            are the same.
    """
    family = _family(x, y, sizes)
    return float(_objective(family, family.v)(np.array([nu]))[0])


def collapse(
    x: Places,
    y: Values,
    sizes: Sizes,
    *,
    bounds: tuple[float, float] = (-1.0, 1.0),
    num_resamples: int = 500,
) -> Estimate:
    r"""The power $\nu$ for which curves of different sizes are one over x/size^nu.

    It minimises `spread`, on a grid of powers first and then between the neighbours of
    the best. The interval is the union of that of `seed_interval`, the same seed being
    drawn for all sizes at once, and of the powers around the best at which the spread
    is at most twice its least. The latter holds what seeds do not: curves that do not
    collapse. It ends where an F test with 6 degrees of freedom would reject, $1 +
    F_{1,6}/6 = 2.0$. With one seed it is alone. A least spread above 0.05, where the
    common curve explains less than 95 % of the variance, is called poor.

    Args:
        x: Places of each size; rows may be filled up with NaN.
        y: Values; NaN where a run is missing. A point at which a seed is not positive
            is left out.
        sizes: Size of each row.
        bounds: Powers to search.
        num_resamples: Bootstrap resamples.

    Raises:
        TooFew: If fewer than two sizes have two points, or at no power they share a
            range in which they vary.
        ValueError: If shapes do not agree, a size is not positive, or two x of a size
            are the same.

    Source: Bhattacharjee and Seno, J. Phys. A 34, 2001, 6375, for such a measure.
    """
    family = _family(x, y, sizes)
    objective = _objective(family, family.v)
    nu, least = _best(objective, bounds)
    if least >= 1:
        raise TooFew(
            "curves must share a third of their x and vary there at some power of the "
            f"size between {bounds[0]:g} and {bounds[1]:g}, got none"
        )
    low, high = _doubled(objective, nu, least, bounds)
    if family.v.shape[1] > 1:
        ends = seed_interval(
            lambda chosen: _best(_objective(family, chosen), bounds)[0],
            family.v,
            num_resamples=num_resamples,
        )
        low, high = min(low, ends[0]), max(high, ends[1])
    poor = f"poor collapse: spread {least:.2g}" if least > POOR else ""
    beyond = ""
    if low <= bounds[0] or high >= bounds[1]:
        low, high = max(low, bounds[0]), min(high, bounds[1])
        beyond = f"the interval is cut at an end of {bounds[0]:g} to {bounds[1]:g}"
    return Estimate(nu, low, high, joined(poor, beyond, family.warning))


class _Family(NamedTuple):
    """Curves of some sizes in logarithms, one after the other.

    Attributes:
        log_sizes: Of each curve.
        u: Places of each.
        v: Values of all of them, with their seeds.
        warning: What was left out.
    """

    log_sizes: np.ndarray
    u: tuple[np.ndarray, ...]
    v: np.ndarray
    warning: str


def _family(x: Places, y: Values, sizes: Sizes) -> _Family:
    x, y, sizes = (np.asarray(array, dtype=float) for array in (x, y, sizes))
    if x.ndim != 2 or y.shape[:2] != x.shape or sizes.shape != x.shape[:1]:
        raise ValueError(
            f"x, y and sizes must be of shapes (sizes, points), (sizes, points, seeds) "
            f"and (sizes,), got {x.shape}, {y.shape} and {sizes.shape}."
        )
    if not np.all(sizes > 0):
        raise ValueError(f"sizes must be positive, got {sizes.tolist()}.")
    rows = [distinct(logs(*row)) for row in zip(x, y, strict=True)]
    long = [number for number, row in enumerate(rows) if len(row.u) >= 2]
    if len(set(sizes[long])) < 2:
        raise TooFew(
            f"sizes with two points must be 2 or more to collapse, got {len(long)}"
        )
    seeds = np.all([np.isfinite(rows[i].v).any(axis=0) for i in long], axis=0)
    if not seeds.any():
        raise TooFew("seeds must be 1 or more that ran at every size, got none")
    notes = [
        f"size {sizes[i]:g}: {rows[i].warning}"
        for i in range(len(rows))
        if rows[i].warning
    ]
    return _Family(
        np.log(sizes[long]),
        tuple(rows[i].u for i in long),
        np.concatenate([rows[i].v for i in long])[:, seeds],
        joined(*notes),
    )


def _objective(family: _Family, v: np.ndarray) -> Objective:
    """The spread as a function of powers, of chosen seeds."""
    ends = np.cumsum([len(u) for u in family.u])[:-1]
    means = np.split(seed_mean(v), ends)
    present = [np.isfinite(mean) for mean in means]
    if min(some.sum() for some in present) < 2:
        return lambda nus: np.ones(len(nus))
    curves = [
        PchipInterpolator(u[some], mean[some])
        for u, mean, some in zip(family.u, means, present, strict=True)
    ]
    return lambda nus: _spread(nus, family.log_sizes, curves)


def _spread(
    nus: np.ndarray, log_sizes: np.ndarray, curves: Sequence[PchipInterpolator]
) -> np.ndarray:
    """The spread at each power."""
    shift = nus[:, None] * log_sizes
    first, last = np.array([curve.x[[0, -1]] for curve in curves]).T
    low, high = np.max(first - shift, axis=1), np.min(last - shift, axis=1)
    steps = np.linspace(0.0, 1.0, NUM_PLACES)
    places = low[:, None] + (high - low)[:, None] * steps
    values = np.stack(
        [
            curve(np.clip(places + shift[:, k, None], first[k], last[k]))
            for k, curve in enumerate(curves)
        ]
    )
    between, total = values.var(axis=0).mean(axis=-1), values.var(axis=(0, 2))
    comparable = (high - low >= MIN_OVERLAP * np.min(last - first)) & (total > 0)
    return np.where(comparable, between / np.where(total > 0, total, 1.0), 1.0)


def _best(objective: Objective, bounds: tuple[float, float]) -> tuple[float, float]:
    """The power of the least spread, and that spread."""
    coarse = np.linspace(*bounds, NUM_COARSE)
    spreads = objective(coarse)
    start = int(np.argmin(spreads))
    near = coarse[max(start - 1, 0)], coarse[min(start + 1, NUM_COARSE - 1)]
    found = minimize_scalar(
        lambda nu: objective(np.array([nu]))[0],
        bounds=near,
        method="bounded",
        options={"xatol": 1e-6},
    )
    if found.fun > spreads[start]:
        return float(coarse[start]), float(spreads[start])
    return float(found.x), float(found.fun)


def _doubled(
    objective: Objective, nu: float, least: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The ends of the powers around the best at which the spread is at most doubled."""

    def excess(power: float) -> float:
        return objective(np.array([power]))[0] - 2 * least

    coarse = np.linspace(*bounds, NUM_COARSE)
    above = objective(coarse) > 2 * least
    left, right = coarse[above & (coarse < nu)], coarse[above & (coarse > nu)]
    low = bisect(excess, left[-1], nu) if len(left) else bounds[0]
    high = bisect(excess, nu, right[0]) if len(right) else bounds[1]
    return low, high
