"""What is read off a curve over alpha: exponents, crossovers, collapse, bars."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    bootstrap_mean,
    collapse,
    half_exponent,
    joined,
    level_crossing,
    poor_fit,
)
from mfsim.studies.transition.orders import (
    DRIFT,
    GAP,
    KL,
    ORDERS,
    Alphas,
    Order,
    Part,
    Values,
)

LAZY_RANGE = 4.0
"""The lazy end of a curve: alpha from sqrt(m) over this to sqrt(m)."""

POOR = 0.1
"""Share of a lazy exponent by which its correction may move it."""

NUM_RESAMPLES = 500


class Bars(NamedTuple):
    """A mean over seeds, with its 95 % Student interval; NaN without three of them."""

    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


def bars(values: Values, *, is_positive: bool = True) -> Bars:
    """The mean of each point, geometric where values are positive."""
    v = np.log(np.where(values > 0, values, np.nan)) if is_positive else values
    number = np.isfinite(v).sum(axis=1)
    mean = np.where(number > 0, np.nansum(v, axis=1) / np.maximum(number, 1), np.nan)
    squares = np.nansum((v - mean[:, None]) ** 2, axis=1)
    error = np.sqrt(squares / np.maximum(number - 1, 1) / np.maximum(number, 1))
    half = np.where(number > 2, stats.t.ppf(0.975, np.maximum(number - 1, 1)), np.nan)
    ends = mean, mean - half * error, mean + half * error
    return Bars(*(np.exp(end) if is_positive else end for end in ends))


def lazy_exponent(alpha: Alphas, values: Values) -> Estimate:
    r"""The power p of alpha in the lazy limit.

    $\log X = c + p \log\alpha + a \alpha^{-2}$ by least squares, seed by seed, over the
    lazy end: from a start in antithetic pairs p_t turns into its mirror image under
    u -> -u as alpha changes sign, so that corrections are even in 1/alpha. The interval
    is that of the seeds, widened to the power of a fit without correction: what the
    form of the fit changes.

    Raises:
        TooFew: If there are fewer than three points or seeds.
    """
    is_lazy = alpha > np.max(alpha, initial=0.0) / LAZY_RANGE * (1 - 1e-9)
    alpha, values = alpha[is_lazy], values[is_lazy]
    if len(alpha) < 3:
        raise TooFew(f"alphas must be 3 or more at the lazy end, got {len(alpha)}")
    v = np.log(np.where(values > 0, values, np.nan))
    design = np.stack([np.ones_like(alpha), np.log(alpha), alpha**-2.0], axis=1)
    powers, plain = (np.linalg.pinv(design[:, :k])[1] @ v for k in (3, 2))
    found = bootstrap_mean(powers, num_resamples=NUM_RESAMPLES)
    moved = float(np.nanmean(plain)) - found.value
    low = min(found.low, found.value - abs(moved))
    high = max(found.high, found.value + abs(moved))
    moves = ""
    if abs(moved) > POOR * abs(found.value):
        moves = f"poor fit: without the correction it is {found.value + moved:.3g}"
    missed = np.nanmean(v - design @ np.linalg.pinv(design) @ v, axis=1)
    poor = poor_fit(float(np.sqrt(np.mean(missed**2))), float(np.ptp(design[:, 1])))
    return Estimate(found.value, low, high, joined(moves, poor))


class Crossover(NamedTuple):
    """A way to say where the mean-field regime ends.

    Attributes:
        label: What it is.
        find: Where it is on a curve of a sweep.
    """

    label: str
    find: Callable[[Part, int], Estimate]


def drift_crossover(level: float) -> Crossover:
    """Where the relative kernel drift falls through a level."""

    def find(part: Part, width: int) -> Estimate:
        alpha, values = part.curve(DRIFT.name, width)
        return level_crossing(alpha, values, level, num_resamples=NUM_RESAMPLES)

    return Crossover(f"relative kernel drift = {level:g}", find)


def plateau_crossover() -> Crossover:
    """Where alpha^2 KL is half of what it is at the largest alpha, seed by seed."""

    def find(part: Part, width: int) -> Estimate:
        alpha, values = part.curve(KL.name, width)
        scaled = alpha[:, None] ** 2 * values
        share = scaled / scaled[-1:]
        return level_crossing(alpha, share, 0.5, num_resamples=NUM_RESAMPLES)

    return Crossover("α²·KL⁺ = ½ of its lazy value", find)


def exponent_crossover(order: Order) -> Crossover:
    """Where the local exponent is half of the lazy one."""

    def find(part: Part, width: int) -> Estimate:
        alpha, values = part.curve(order.name, width)
        return half_exponent(alpha, values, order.exponent, num_resamples=NUM_RESAMPLES)

    return Crossover(
        f"local exponent of the {order.short} = {order.exponent / 2:g}", find
    )


def crossovers(level: float) -> tuple[Crossover, ...]:
    """All ways, the level of the drift and the half exponent of the gap first."""
    halves = [exponent_crossover(order) for order in (GAP, DRIFT, KL)]
    return drift_crossover(level), halves[0], plateau_crossover(), *halves[1:]


def collapse_power(part: Part, order: Order) -> Estimate:
    """The power nu of m that makes the curves of all widths one over alpha/m^nu.

    Raises:
        TooFew: If there are fewer than two widths.
    """
    values = part.values[order.name].transpose("width", "alpha", "seed")
    places = np.broadcast_to(values.alpha.values, values.shape[:2])
    present = values.notnull().any("seed").values
    return collapse(
        np.where(present, places, np.nan),
        values.values,
        [float(m) for m in part.widths],
        num_resamples=NUM_RESAMPLES,
    )


Answer = Estimate | TooFew
"""An estimate, or why there is none."""


def attempt(find: Callable[[], Estimate]) -> Answer:
    """What is found, or why nothing is."""
    try:
        return find()
    except TooFew as error:
        return error


def settle(answer: Answer) -> Estimate:
    """The estimate.

    Raises:
        TooFew: If there is none.
    """
    if isinstance(answer, TooFew):
        raise answer
    return answer


@dataclass(frozen=True)
class Results:
    """All that is read off the curves of a sweep.

    Attributes:
        part: The sweep.
        level: Of the relative kernel drift at the crossover.
        exponents: In the lazy limit, by order parameter and width.
        crossovers: alpha_c, by label and width.
        powers: Of m in the collapse, by order parameter.
    """

    part: Part
    level: float
    exponents: dict[tuple[str, int], Answer]
    crossovers: dict[tuple[str, int], Answer]
    powers: dict[str, Answer]


def read_off(part: Part, level: float) -> Results:
    """The results of a sweep."""
    return Results(
        part,
        level,
        {
            (order.name, m): attempt(lambda o=order, m=m: _exponent(part, o, m))
            for order in ORDERS
            for m in part.widths
        },
        {
            (way.label, m): attempt(lambda way=way, m=m: way.find(part, m))
            for way in crossovers(level)
            for m in part.widths
        },
        {
            order.name: attempt(lambda o=order: collapse_power(part, o))
            for order in ORDERS
        },
    )


def _exponent(part: Part, order: Order, width: int) -> Estimate:
    return lazy_exponent(*part.curve(order.name, width))
