"""Where a curve crosses a level, and where its exponent is half its lazy value."""

from collections.abc import Callable
from typing import cast

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from mfsim.studies.statistics.estimate import Estimate, TooFew, joined
from mfsim.studies.statistics.logs import Curve, Logs, distinct, logs, seed_mean, there
from mfsim.studies.statistics.seeds import require_seeds, seed_interval

Points = Float[np.ndarray, " points"]


def level_crossing(
    x: Points, y: Curve, level: float, *, num_resamples: int = 2000
) -> Estimate:
    """The x at which a curve crosses a level.

    Bisection on the monotone interpolant (PCHIP) of mean log y over log x. Where it
    crosses more than once, the crossing at the largest x is taken, next to the lazy
    end, and the warning says so. The interval is that of `seed_interval` for log x. A
    choice of seeds whose curve does not cross counts as crossing at that end of x where
    the curve is nearer to the level; an interval that reaches an end has a warning.

    Args:
        x: Places.
        y: Values; NaN where a run is missing. A point at which a seed is not positive
            is left out.
        level: What is crossed.
        num_resamples: Bootstrap resamples.

    Raises:
        TooFew: If the mean curve does not cross, or seeds are fewer than three.
        ValueError: If the level is not positive, or two x are the same.
    """
    if not level > 0:
        raise ValueError(f"level must be positive, got {level}.")
    curve = distinct(logs(x, y))
    _require_crossing("the curve", curve.u, np.exp(seed_mean(curve.v)), level)
    return _crossing(
        curve, lambda v: (curve.u, seed_mean(v) - np.log(level)), num_resamples
    )


def half_exponent(
    x: Points, y: Curve, lazy_exponent: float, *, num_resamples: int = 2000
) -> Estimate:
    """The x at which the local exponent is half of what it is when lazy.

    Exponents between neighbours of the mean log y, at midpoints of log x, are crossed
    as in `level_crossing`.

    Args:
        x: Places.
        y: Values; NaN where a run is missing. A point at which a seed is not positive
            is left out.
        lazy_exponent: The exponent at large x.
        num_resamples: Bootstrap resamples.

    Raises:
        TooFew: If exponents do not cross the half, or seeds are fewer than three.
        ValueError: If two x are the same.
    """
    half = lazy_exponent / 2
    curve = distinct(logs(x, y))
    middles, gaps = (curve.u[1:] + curve.u[:-1]) / 2, np.diff(curve.u)

    def exponents(v: np.ndarray) -> np.ndarray:
        return np.diff(seed_mean(v)) / gaps

    _require_crossing("the local exponent", middles, exponents(curve.v), half)
    return _crossing(curve, lambda v: (middles, exponents(v) - half), num_resamples)


def _crossing(
    curve: Logs,
    over: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    num_resamples: int,
) -> Estimate:
    """The last root of what `over` makes of chosen seeds, with its interval."""
    seeds = there(curve.v)
    require_seeds(seeds.shape[1])

    def find(chosen: np.ndarray) -> float:
        return _last_root(*over(chosen))

    places, values = over(seeds)
    low, high = seed_interval(find, seeds, num_resamples=num_resamples)
    several = beyond = ""
    if len(_changes(values)) > 1:
        several = f"it crosses {len(_changes(values))} times, taken at the largest x"
    if low <= places[0] or high >= places[-1]:
        beyond = (
            f"the interval reaches an end of what was looked at, "
            f"{np.exp(places[0]):.3g} to {np.exp(places[-1]):.3g}"
        )
    value, low, high = map(float, np.exp([find(seeds), low, high]))
    return Estimate(value, low, high, joined(several, beyond, curve.warning))


def _changes(values: np.ndarray) -> Int[np.ndarray, " crossings"]:
    """The points after which the sign is another."""
    return np.flatnonzero(np.diff(values >= 0))


def _last_root(u: np.ndarray, values: np.ndarray) -> float:
    """The last root of the interpolant; without one, the end nearer to zero.

    NaN without two values.
    """
    u, values = u[np.isfinite(values)], values[np.isfinite(values)]
    if len(u) < 2:
        return float("nan")
    changes = _changes(values)
    if not len(changes):
        return float(u[0] if abs(values[0]) < abs(values[-1]) else u[-1])
    last = changes[-1]
    return bisect(PchipInterpolator(u, values), *u[[last, last + 1]].tolist())


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """The root between two places at which a function has different signs."""
    return cast(float, brentq(function, low, high))


def _require_crossing(
    what: str, u: np.ndarray, values: np.ndarray, level: float
) -> None:
    if len(values) < 2:
        raise TooFew(
            f"points must be 2 or more to cross {level:.3g}, got {len(values)}"
        )
    if not len(_changes(values - level)):
        raise TooFew(
            f"{what} must cross {level:.3g}, got {values.min():.3g} to "
            f"{values.max():.3g} between x = {np.exp(u[0]):.3g} and {np.exp(u[-1]):.3g}"
        )
