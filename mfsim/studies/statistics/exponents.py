"""Slopes and exponents, with intervals that hold scatter and misfit."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.studies.statistics.estimate import Estimate, TooFew, joined
from mfsim.studies.statistics.logs import (
    Curve,
    as_curve,
    logs,
    missing,
    seed_mean,
    there,
)
from mfsim.studies.statistics.seeds import seed_interval, student

BEND = 0.25
"""How far local exponents may be from that of the line before it is called poor."""

MISFIT = 0.1
"""The same of a linear axis: root mean square residual over the range of the means."""


def log_log_slope(
    x: Float[np.ndarray, " points"],
    y: Curve,
    *,
    min_points: int = 3,
    num_resamples: int = 2000,
) -> Estimate:
    r"""The exponent s of $y \propto x^s$: least squares of mean log y on log x.

    The mean over seeds is the geometric one. In it the slope of the mean is the mean of
    the slopes of the seeds, so that a factor that a seed has at all x, its data, drops
    out; an arithmetic mean follows its largest seed, whose weight changes with x.

    The interval is the union of two: that of `seed_interval`, for the scatter of
    seeds, and Student's t of the regression with points - 2 degrees of freedom, for
    what the means miss the line by. With one seed there is the latter alone.

    A fit is called poor where the root mean square residual r is above 0.019 of the
    range R = log(max x/min x). If the residual is that of a parabola, local exponents
    at its ends are $6\sqrt5\, r/R$ from s, so this is where they are 0.25 off.

    Args:
        x: Places.
        y: Values; NaN where a run is missing. A point at which a seed is not positive
            is left out.
        min_points: Fewest points to fit.
        num_resamples: Bootstrap resamples.

    Raises:
        TooFew: If fewer than `min_points` points are positive, or x has no range.
    """
    u, v, warning = logs(x, y)
    fit = _fit(u, v, min_points, num_resamples)
    poor = poor_fit(fit.residual, float(np.ptp(u)))
    return fit.estimate._replace(warning=joined(poor, warning))


def poor_fit(residual: float, extent: float) -> str:
    """What to warn of a fit on logarithmic axes; empty if it is good.

    Args:
        residual: Root mean square residual in log y.
        extent: Range of log x.
    """
    bend = 6 * np.sqrt(5) * residual / extent
    if bend <= BEND:
        return ""
    return (
        f"poor fit: residual {residual:.2g} in log y; if it is a bend, local "
        f"exponents at its ends are {bend:.2g} off"
    )


def slope(
    x: Float[np.ndarray, " points"],
    y: Curve,
    *,
    min_points: int = 3,
    num_resamples: int = 2000,
) -> Estimate:
    """The slope of y on x: `log_log_slope` on linear axes.

    A fit is called poor where the root mean square residual is above a tenth of the
    range of the means of y.

    Raises:
        TooFew: If fewer than `min_points` points are finite, or x has no range.
    """
    x, y = as_curve(x, y)
    y = np.where(np.isfinite(y), y, np.nan)
    keep = np.isfinite(x) & np.isfinite(y).any(axis=1)
    fit = _fit(x[keep], y[keep], min_points, num_resamples)
    poor = ""
    if fit.residual > MISFIT * np.ptp(seed_mean(y[keep])):
        poor = f"poor fit: residual {fit.residual:.2g} in y"
    return fit.estimate._replace(warning=joined(poor, missing(y[keep])))


def local_exponents(
    x: Float[np.ndarray, " points"], y: Curve
) -> tuple[Float[np.ndarray, " gaps"], Float[np.ndarray, "gaps seeds"]]:
    """The exponent dlog y/dlog x between neighbours, of every seed.

    Args:
        x: Places, positive and in rising order.
        y: Values.

    Returns:
        Geometric midpoints, and exponents; NaN where a value is missing or not
        positive.
    """
    x, y = as_curve(x, y)
    u = np.log(x)
    v = np.log(np.where(y > 0, y, np.nan))
    return np.exp((u[1:] + u[:-1]) / 2), np.diff(v, axis=0) / np.diff(u)[:, None]


class _Fit(NamedTuple):
    """Slope of a line, with its interval, and the root mean square residual."""

    estimate: Estimate
    residual: float


def _fit(u: np.ndarray, v: np.ndarray, min_points: int, num_resamples: int) -> _Fit:
    if len(u) < max(min_points, 3):
        raise TooFew(
            f"points must be {max(min_points, 3)} or more to fit, got {len(u)}"
        )
    if np.ptp(u) == 0:
        raise TooFew(f"x must have two different values or more, got {len(u)} alike")
    v = there(v)
    mean = seed_mean(v)
    value = _line(u, mean)
    centred = u - u.mean()
    rest = mean - mean.mean() - value * centred
    error = float(np.sqrt(rest @ rest / (len(u) - 2) / (centred @ centred)))
    half = student(len(u) - 2) * error
    low, high = value - half, value + half
    if v.shape[1] > 1:
        ends = seed_interval(
            lambda chosen: _line(u, seed_mean(chosen)), v, num_resamples=num_resamples
        )
        low, high = min(low, ends[0]), max(high, ends[1])
    return _Fit(Estimate(value, low, high), float(np.sqrt(np.mean(rest**2))))


def _line(u: np.ndarray, v: np.ndarray) -> float:
    """Least-squares slope over the points that are there; NaN if they have no range."""
    u, v = u[np.isfinite(v)], v[np.isfinite(v)]
    if not len(u) or np.ptp(u) == 0:
        return float("nan")
    centred = u - u.mean()
    return float(centred @ v / (centred @ centred))
