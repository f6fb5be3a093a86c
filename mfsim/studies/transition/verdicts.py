"""What the transition's measurements say of the theory."""

import math

from mfsim.findings import Verdict
from mfsim.studies.base import judge
from mfsim.studies.statistics import Estimate, TooFew, bootstrap_mean, log_log_slope
from mfsim.studies.transition.measures import Results, crossovers, settle
from mfsim.studies.transition.orders import (
    COUPLED,
    DIRECTIONS,
    DISPLACEMENT,
    DRIFT,
    GAP,
    KL,
    Order,
)


def verdicts(results: Results) -> tuple[Verdict, ...]:
    """All of a sweep."""
    widths, widest = results.part.widths, max(results.part.widths)
    return (
        *(_crossover(results, place, m) for m in widths for place in (0, 1)),
        *(_power(results, order) for order in (DRIFT, GAP)),
        *(_exponent(results, order, widest) for order in (KL, COUPLED, DRIFT, GAP)),
        _growth(results, widest),
        _condensation(results, widest),
    )


def _setting(results: Results, width: int | None = None) -> str:
    part = results.part
    size = (
        f"m = {', '.join(map(str, part.widths))}" if width is None else f"m = {width}"
    )
    return f"{part.title}, {size}, {part.setting}"


def _crossover(results: Results, place: int, width: int) -> Verdict:
    label = crossovers(results.level)[place].label
    answer, most = results.crossovers[label, width], math.sqrt(width)
    note = ""
    if isinstance(answer, Estimate):
        ends = (math.log(a) / math.log(width) for a in answer[:3])
        note = "s_c = log α_c/log m = {:.3f} [{:.3f}, {:.3f}]".format(*ends)
    return judge(
        f"The mean-field regime ends at α_c: {label} ({_setting(results, width)})",
        f"1 < α_c < √m = {most:g}",
        lambda: settle(answer),
        lambda found: found.low > 1 and found.high < most,
        note,
    )


def _power(results: Results, order: Order) -> Verdict:
    return judge(
        f"Curves of the {order.label} over α/m^ν are one: α_c ∝ m^ν "
        f"({_setting(results)})",
        "ν = 0 and not ½ (the particles' limit has no m; √h·α_G of Geiger et al. 2020 "
        "is α)",
        lambda: settle(results.powers[order.name]),
        lambda found: found.low <= 0 <= found.high < 0.5,
    )


def _exponent(results: Results, order: Order, width: int) -> Verdict:
    return judge(
        f"The {order.label} goes as α^{order.exponent:g} towards α = √m "
        f"({_setting(results, width)})",
        f"{order.exponent:g}",
        lambda: settle(results.exponents[order.name, width]),
        lambda found: found.low <= order.exponent <= found.high,
        f"theorem's bound: {order.bound}",
    )


def _growth(results: Results, width: int) -> Verdict:
    alpha, values = results.part.curve(DISPLACEMENT.name, width)
    return judge(
        f"Below α = 1 the {DISPLACEMENT.label} grows as α falls "
        f"({_setting(results, width)})",
        "exponent from −1 to −1/2: u ∝ α^−1 where tanh saturates, "
        "u, w ∝ α^(−1/2) where it is linear",
        lambda: log_log_slope(alpha[alpha < 1], values[alpha < 1], num_resamples=500),
        lambda found: found.low >= -1 and found.high <= -0.5,
        _largest(results, width),
    )


def _largest(results: Results, width: int) -> str:
    alpha, values = results.part.curve(DISPLACEMENT.name, width)
    try:
        found = bootstrap_mean(values[0], num_resamples=500)
    except (TooFew, IndexError):
        return ""
    ends = f"[{found.low:.3g}, {found.high:.3g}]"
    return f"at α = {alpha[0]:g} it is {found.value:.3g} {ends}"


def _condensation(results: Results, width: int) -> Verdict:
    alpha, values = results.part.curve(DIRECTIONS, width)

    def measure() -> Estimate:
        if not len(alpha):
            raise TooFew("alphas must be one or more, got none")
        return bootstrap_mean(values[0] / values[-1], num_resamples=500)

    least, most = (f"{a:.4g}" for a in (alpha[[0, -1]] if len(alpha) else (0.0, 0.0)))
    return judge(
        f"Neurons condense on few directions: their participation ratio at α = {least} "
        f"over that at α = {most} ({_setting(results, width)})",
        "below 1/2",
        measure,
        lambda found: found.high < 0.5,
        "(tr E θθᵀ)²/tr (E θθᵀ)²: 1 on one line, d + 1 without preference",
    )
