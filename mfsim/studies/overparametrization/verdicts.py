"""What the paper and the theory claim, held against trained networks."""

from collections.abc import Callable

import numpy as np
import xarray

from mfsim.findings import Verdict
from mfsim.studies.base import judge, judge_near
from mfsim.studies.overparametrization.quantities import (
    DISTANCE,
    DISTANCE_TERM,
    FROBENIUS,
    L1,
    MEASURES,
    SPECTRAL_FROBENIUS,
    SPECTRAL_L21,
    START_TERM,
    UNIT_CAPACITY,
    UNIT_IMPACT,
    UNIT_WISE,
    UNIT_WISE_TERMS,
    Quantity,
    Trained,
    bound_of,
    dimension,
)
from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    bootstrap_mean,
    exponential,
    joined,
)

TOLERANCE = 0.1
"""By which a power of particle systems may miss what is predicted."""

PARTICLES = (
    UNIT_CAPACITY,
    UNIT_IMPACT,
    DISTANCE,
    L1,
    FROBENIUS,
    SPECTRAL_L21,
    SPECTRAL_FROBENIUS,
    START_TERM,
    DISTANCE_TERM,
)
"""What of particle systems is a power of m; measure 6 is a sum of several."""


NOTES = {
    L1.name: "the largest of m rows grows on top, as √log m at the start",
    START_TERM.name: "of |U₀|₂ = √m + √(2d); {} as m goes to infinity",
}


def verdicts(trained: Trained) -> tuple[Verdict, ...]:
    """All of them."""
    return (
        _error_falls(trained),
        *(_falls(trained, each) for each in (DISTANCE, UNIT_CAPACITY, UNIT_IMPACT)),
        *(_slower(trained, each) for each in (SPECTRAL_L21, SPECTRAL_FROBENIUS)),
        *(_ranks(trained, each) for each in (UNIT_WISE, UNIT_WISE_TERMS)),
        _random_labels(trained),
        _least_bound(trained),
        _kept_bounds(trained),
        *_particles(trained),
    )


def _error_falls(trained: Trained) -> Verdict:
    errors = trained.values("test_error")
    ends = " and ".join(
        f"{np.nanmean(row):.3g} at h = {width:g}"
        for width, row in zip(trained.widths(), errors, strict=True)
        if _some(row) and width in trained.widths()[[0, -1]]
    )
    return judge(
        f"The test error falls with the width: its power of h ({_span(trained)})",
        "below 0",
        lambda: trained.power("test_error"),
        is_below(0.0),
        joined(f"NEY Figure 1; mean {ends}" if ends else "NEY Figure 1"),
    )


def _falls(trained: Trained, quantity: Quantity) -> Verdict:
    random = _words(lambda: trained.power(quantity.name, "random"))
    start = "at the start it is −1/2" if quantity is UNIT_IMPACT else ""
    return judge(
        f"The {quantity.short} {quantity.label} falls with the width: its power of h "
        f"({_span(trained)})",
        "below 0",
        lambda: trained.power(quantity.name),
        is_below(0.0),
        joined("NEY Figure 2", start, f"with random labels {random}"),
    )


def _slower(trained: Trained, quantity: Quantity) -> Verdict:
    powers = (
        f"{each.short} grows as h to the "
        f"{_words(lambda name=each.name: trained.power(name))}"
        for each in (UNIT_WISE, quantity)
    )
    return judge(
        f"Measure (6) grows more slowly than {quantity.short}: difference of their "
        f"powers of h, paired by network ({_span(trained)})",
        "below 0",
        lambda: trained.growth(UNIT_WISE.name, quantity.name),
        is_below(0.0),
        joined(*powers),
    )


def _ranks(trained: Trained, quantity: Quantity) -> Verdict:
    def over_margin() -> Estimate:
        gap = trained.values("gap")
        return trained.correlation(trained.over_margin(quantity.name), gap)

    plain = _words(
        lambda: trained.correlation(
            trained.values(quantity.name), trained.values("gap")
        )
    )
    return judge(
        f"Measure {quantity.short} over the margin ranks networks of different widths "
        "as their test less training error does: Kendall's τ, mean over seeds "
        f"({_span(trained)})",
        "above 0",
        over_margin,
        is_above(0.0),
        f"NEY abstract; without the margin {plain}",
    )


def _random_labels(trained: Trained) -> Verdict:
    plain = _words(
        lambda: trained.random_over_true(
            lambda labels: trained.values(UNIT_WISE.name, labels)
        )
    )
    return judge(
        "Measure (6) over the margin is larger for random labels than for true ones: "
        "their ratio, geometric mean over widths, paired by seed "
        f"({_span(trained, 'random')})",
        "above 1",
        lambda: trained.random_over_true(
            lambda labels: trained.over_margin(UNIT_WISE.name, labels)
        ),
        is_above(1.0),
        f"NEY Figure 4; without the margin {plain}",
    )


def _least_bound(trained: Trained) -> Verdict:
    *others, own = (trained.values(f"log_{bound_of(each)}")[-1:] for each in MEASURES)

    def ratio() -> Estimate:
        return exponential(bootstrap_mean((own - np.min(others, axis=0)).ravel()))

    means = (
        f"{each.short} {np.exp(np.mean(log[np.isfinite(log)])):.3g}"
        for each, log in zip(MEASURES, (*others, own), strict=True)
        if _some(log)
    )
    return judge(
        "The bound on the test error by (6) is below those by (1) to (5) at the "
        f"largest width: its ratio to the least of them ({_span(trained)})",
        "below 1",
        ratio,
        is_below(1.0),
        f"there {', '.join(means) or 'none is finite'}; vacuous from 1 on",
    )


def _some(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _kept_bounds(trained: Trained) -> Verdict:
    found = trained.networks
    names = [bound_of(each) for each in MEASURES]
    bounds = found[names].to_array("bound")
    pairs = bounds.notnull() & found.test_error.notnull()
    broken = int((bounds < found.test_error).sum())
    vacuous = int((bounds >= 1).sum())

    def count() -> Estimate:
        if not pairs.any():
            raise TooFew("networks must be trained, got none")
        return Estimate(float(broken), float("nan"), float("nan"))

    return judge(
        "The bounds are kept: pairs of a network and one of the six bounds whose test "
        f"error is above it (true and random labels, {trained.setting})",
        f"0 of {int(pairs.sum())}",
        count,
        lambda found: found.value == 0,
        f"{vacuous} are vacuous, 1 or more; the least of all is "
        f"{float(bounds.min()):.3g}",
    )


def _particles(trained: Trained) -> list[Verdict]:
    return [
        _power_of_particles(trained, each, s)
        for s in trained.particles.exponent.values.tolist()
        for each in PARTICLES
    ]


def _power_of_particles(trained: Trained, quantity: Quantity, s: float) -> Verdict:
    power, note = quantity.particles(s), NOTES.get(quantity.name, "")
    if quantity is START_TERM:
        power += start_power(trained.particles) - 0.5
        note = note.format(number(quantity.particles(s)))
    return judge_near(
        f"Particles at α = {scale(s)}: {quantity.short}, {quantity.label}, as a power "
        f"of m ({trained.particle_setting})",
        f"{number(power)} ± {TOLERANCE:g}",
        lambda: trained.particle_power(quantity.name, s),
        value=power,
        tolerance=TOLERANCE,
        note=note,
    )


def start_power(particles: xarray.Dataset) -> float:
    """The power of m that fits |U_0|_2 = sqrt(m) + sqrt(2d) at these widths.

    That of Gaussian rows, each of them there twice; 1/2 as m goes to infinity, and of
    one width, which has no power.

    Source: Davidson, Szarek 2001, Theorem II.13, at m/2 rows.
    """
    logs = np.log(particles.width.values)
    if len(logs) < 2:
        return 0.5
    edge = np.sqrt(particles.width.values) + np.sqrt(2 * dimension(particles))
    return float(np.polyfit(logs, np.log(edge), 1)[0])


def is_below(value: float) -> Callable[[Estimate], bool | None]:
    """Whether the interval is below a value; None where it holds it."""

    def judged(found: Estimate) -> bool | None:
        if found.high < value:
            return True
        return False if found.low > value else None

    return judged


def is_above(value: float) -> Callable[[Estimate], bool | None]:
    """Whether the interval is above a value; None where it holds it."""

    def judged(found: Estimate) -> bool | None:
        if found.low > value:
            return True
        return False if found.high < value else None

    return judged


def scale(exponent: float) -> str:
    """Alpha in words."""
    named = {0.0: "1", 0.5: "√m"}
    return named.get(exponent, f"m^{exponent:g}")


def number(value: float) -> str:
    """A number with a typographic minus."""
    return f"{value + 0.0:.3g}".replace("-", "−")


def _words(find: Callable[[], Estimate]) -> str:
    """An estimate with its interval, or why there is none."""
    try:
        value, low, high = find()[:3]
    except TooFew as error:
        return f"none, as {error}"
    return number_words(value, low, high)


def number_words(value: float, low: float, high: float) -> str:
    """A number with its interval."""
    return f"{value:.3g} [{low:.3g}, {high:.3g}]".replace("-", "−")


def _span(trained: Trained, labels: str = "true") -> str:
    widths = trained.widths(labels)
    extent = f"h = {widths[0]:g} to {widths[-1]:g}" if widths.size else "no widths"
    return f"{labels} labels, {extent}, {trained.setting}"
