"""Lines through values of which some are known from below alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, special

from mfsim.studies.statistics.estimate import Estimate, TooFew
from mfsim.studies.statistics.exponents import log_log_slope
from mfsim.studies.statistics.logs import as_curve
from mfsim.studies.statistics.seeds import require_seeds, seed_interval

_MIN_PLACES = 3
"""Fewest different places with a value that is known."""


class CensoredLine(NamedTuple):
    """The line y = intercept + slope u with Gaussian residuals.

    Attributes:
        intercept: At u = 0.
        slope: dy/du.
        deviation: Standard deviation of the residuals.
        aic: Akaike's criterion, of three parameters.
    """

    intercept: float
    slope: float
    deviation: float
    aic: float


def censored_line(
    u: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    is_censored: Bool[np.ndarray, " points"],
) -> CensoredLine:
    r"""The likeliest line where a censored value is only known to be above y (Tobit).

    $$\ell = \sum_{known} \log \frac1s \varphi\Bigl(\frac{y_i - a - b u_i}s\Bigr)
    + \sum_{censored} \log \Phi\Bigl(\frac{a + b u_i - y_i}s\Bigr), \quad
    AIC = 6 - 2\ell.$$

    Without censored values this is least squares. Residuals below rounding count as
    rounding, so that a perfect line has a number.

    Args:
        u: Places.
        y: Values, or what they are above of.
        is_censored: Which of them.

    Raises:
        TooFew: If known values are at fewer than three places.

    Source: Tobin, Econometrica 26, 1958, 24.
    """
    known = ~is_censored
    if (places := len(np.unique(u[known]))) < _MIN_PLACES:
        raise TooFew(
            f"points must have known values at {_MIN_PLACES} places or more to fit, "
            f"got {places}"
        )
    floor = np.finfo(float).eps * max(np.abs(y).max(), 1.0)
    slope, intercept = np.polyfit(u[known], y[known], 1)
    deviation = np.sqrt(np.mean((y - intercept - slope * u)[known] ** 2))
    line = np.array([intercept, slope, np.log(max(deviation, floor))])
    if is_censored.any():
        bounds = [(None, None), (None, None), (np.log(floor), None)]
        line = optimize.minimize(
            _cost, line, (u, y, known), "L-BFGS-B", jac=True, bounds=bounds
        ).x
    cost, _ = _cost(line, u, y, known)
    return CensoredLine(*map(float, (*line[:2], np.exp(line[2]), 6 + 2 * cost)))


def _cost(
    line: Float[np.ndarray, " 3"],
    u: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    known: Bool[np.ndarray, " points"],
) -> tuple[float, Float[np.ndarray, " 3"]]:
    """Minus the log-likelihood at (a, b, log s), and its gradient."""
    spread = np.exp(line[2])
    z = (y - line[0] - line[1] * u) / spread
    tail = special.log_ndtr(-z)
    log_density = -(z**2) / 2 - np.log(2 * np.pi) / 2
    parts = np.where(known, log_density - line[2], tail)
    pull = np.where(known, z, np.exp(log_density - tail))
    growth = np.sum(pull * z) - known.sum()
    gradient = np.array([pull.sum() / spread, pull @ u / spread, growth])
    return -float(parts.sum()), -gradient


def censored_exponent(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, "points seeds"],
    is_censored: Bool[np.ndarray, "points seeds"],
) -> Estimate:
    """The exponent s of y ~ x^s where some values are known from below alone.

    That of `log_log_slope` where all are known; else the likeliest one, with the
    interval of `seed_interval` over whole seeds.

    Args:
        x: Places.
        y: Values, or what they are above of; NaN where there is none.
        is_censored: Which of them.

    Raises:
        TooFew: If points or seeds are too few.
    """
    x, y = as_curve(x, y)
    if not is_censored.any():
        return log_log_slope(x, y)
    require_seeds(y.shape[1])

    def slope(samples: Float[np.ndarray, "both points chosen"]) -> float:
        v, censored = samples
        there = np.isfinite(v)
        u = np.broadcast_to(np.log(x)[:, None], v.shape)
        try:
            return censored_line(u[there], v[there], censored[there] > 0).slope
        except TooFew:
            return float("nan")

    samples = np.stack([np.log(y), is_censored.astype(float)])
    value = slope(samples)
    if not np.isfinite(value):
        raise TooFew("points must have known values at 3 places or more to fit")
    note = f"{int(is_censored.sum())} of {y.size} values are known from below alone"
    low, high = seed_interval(slope, samples)
    return Estimate(value, low, high, note)
