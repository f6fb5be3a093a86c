"""What is claimed of deep networks and their kernels, held against measurements."""

from collections.abc import Sequence

import numpy as np

from mfsim.findings import Verdict
from mfsim.studies.base import judge, judge_near
from mfsim.studies.deep_ntk.bounds import Bounded
from mfsim.studies.deep_ntk.kernels import Starts
from mfsim.studies.deep_ntk.quantities import (
    INNER,
    KERNEL,
    RECURSION,
    TEST_TWIN,
    TWIN,
    WEIGHTS,
    Part,
    Quantity,
)
from mfsim.studies.statistics import Estimate, joined

TOLERANCE = 0.1
"""By which a power may miss what is predicted."""


def verdicts(
    parts: Sequence[Part], kernels: Sequence[Starts], bounds: Sequence[Bounded]
) -> tuple[Verdict, ...]:
    """All of them."""
    found = [_start(each, part) for each, part in zip(kernels, parts, strict=True)]
    for part in parts:
        *others, largest = part.exponents
        found += [_near(part, WEIGHTS, a) for a in (largest, *others)]
        if INNER.of([part]):
            found.append(_near(part, INNER, largest))
        found += [_between(part, KERNEL, a) for a in (largest, *others)]
        found += [_falls(part, each, largest) for each in (TWIN, TEST_TWIN, RECURSION)]
    for each in bounds:
        found += [_error_bound(each), _training_bound(each)]
        if each.widths[0] < each.peak < each.widths[-1]:
            found.append(_rise_and_fall(each))
    return tuple(found)


def _start(kernels: Starts, part: Part) -> Verdict:
    seeds = kernels.distances.shape[1]
    points = part.setting.split(", m^")[0]
    return judge_near(
        "The kernel at the start is from its limit of infinite width as a power of m, "
        f"|Θ_m − Θ|_F/|Θ|_F (L = {kernels.depth}, {span(kernels.widths)}, {points}, "
        f"{seeds} seeds)",
        f"−0.5 ± {TOLERANCE:g}",
        kernels.power,
        value=-0.5,
        tolerance=TOLERANCE,
        note="Θ by CG, definition 3.7",
    )


def _near(part: Part, quantity: Quantity, exponent: float) -> Verdict:
    value = quantity.power(exponent)
    return judge_near(
        _claim(part, quantity, exponent),
        f"{number(value)} ± {TOLERANCE:g}",
        lambda: part.power(quantity, exponent),
        value=value,
        tolerance=TOLERANCE,
        note=quantity.published,
    )


def _between(part: Part, quantity: Quantity, exponent: float) -> Verdict:
    """From what is proved to what second order says, as far as an interval can tell."""
    high, low = -exponent, quantity.power(exponent)

    def agrees(found: Estimate) -> bool:
        reaches = found.low <= low <= found.high <= high
        return reaches or low <= found.value <= high

    return judge(
        _claim(part, quantity, exponent),
        f"between {number(low)} and {number(high)}",
        lambda: _warned(part.power(quantity, exponent), high),
        agrees,
        note=quantity.published,
    )


def _falls(part: Part, quantity: Quantity, exponent: float) -> Verdict:
    """At least as fast as is proved, by the estimate alone."""
    most, second = number(-exponent), number(quantity.power(exponent))
    return judge(
        _claim(part, quantity, exponent),
        f"at most {most}; {second} to second order in the change of the weights",
        lambda: _warned(part.power(quantity, exponent), -exponent),
        lambda found: found.value <= -exponent,
        note=quantity.published,
    )


def _warned(found: Estimate, most: float) -> Estimate:
    if found.high <= most:
        return found
    wide = f"the interval reaches above {number(most)}"
    return found._replace(warning=joined(found.warning, wide))


def _claim(part: Part, quantity: Quantity, exponent: float) -> str:
    return (
        f"The {quantity.label}: a power of m (L = {part.depth}, a = {exponent:g}, "
        f"{span(part.widths)}, {part.setting})"
    )


def _error_bound(bounds: Bounded) -> Verdict:
    runs = bounds.ended
    broken = sum(each.test_error > each.bound.value for each in runs)
    empty = sum(each.bound.vacuous for each in runs)
    least = min(each.bound.value for each in runs)
    return judge(
        "The test error of gradient descent is within the bound of HMO 3.5 by its own "
        f"R and L_S: runs that break it ({_setting(bounds)})",
        f"0 of {len(runs)} runs",
        lambda: count(broken),
        lambda found: found.value == 0,
        note=f"constants in O set to 1; vacuous on {empty} of {len(runs)} runs; the "
        f"least bound is {least:.3g}",
    )


def _training_bound(bounds: Bounded) -> Verdict:
    pairs = bounds.trained
    broken = sum(each.holds is False for each in pairs)
    unknown = sum(each.holds is None for each in pairs)
    empty = sum(each.bound.loss.vacuous for each in pairs)
    least = np.log10(min(each.bound.width for each in pairs))
    radii = ", ".join(f"{radius:g}" for radius in sorted({p.radius for p in pairs}))
    return judge(
        "Gradient descent comes to three times the least loss ε of an NTRF ball within "
        f"kernel time LR²/ε, HMO 3.3: runs that do not, R = {radii} "
        f"({_setting(bounds)})",
        f"0 of {len(pairs)} pairs of run and R",
        lambda: count(broken),
        lambda found: found.value == 0,
        note=f"constants in O set to 1; vacuous (3ε ≥ log 2) for {empty} of "
        f"{len(pairs)}; {unknown} runs too short to say; duality gaps at most "
        f"{max(each.gap for each in pairs):.1g}; proved from m = 10^{least:.1f} on at "
        "the least R",
    )


def _rise_and_fall(bounds: Bounded) -> Verdict:
    widths = np.array(bounds.widths, float)
    peak = bounds.peak
    below, above = widths[widths <= peak], widths[widths >= peak]
    nearest = {*below[-1:].tolist(), *above[:1].tolist()}
    means = bounds.mean(lambda each: each.bound.value)
    largest = float(widths[np.nanargmax(means)])
    return judge(
        f"The bound of HMO 3.5 rises and then falls as m grows from {widths[0]:g} to "
        f"{widths[-1]:g}: the width at which it is largest, mean over seeds "
        f"({_setting(bounds)})",
        f"next to m = {peak}, where its two terms meet at the mean R = "
        f"{bounds.radius:.3g}",
        lambda: count(largest),
        lambda found: found.value in nearest,
        note=f"it is {means[0]:.3g} at the least width, {np.nanmax(means):.3g} at most "
        f"and {means[-1]:.3g} at the largest; test error {_errors(bounds)}",
    )


def _errors(bounds: Bounded) -> str:
    errors = bounds.mean(lambda each: each.test_error)
    return f"{errors[0]:.3g} at the least and {errors[-1]:.3g} at the largest width"


def _setting(bounds: Bounded) -> str:
    widths = np.array(bounds.widths, float)
    return f"logistic loss, L = {bounds.depth}, {span(widths)}, {bounds.setting}"


def count(value: float) -> Estimate:
    """What has no interval."""
    return Estimate(float(value), float("nan"), float("nan"))


def span(widths: np.ndarray) -> str:
    """The range of the widths, in words."""
    return f"m = {widths[0]:g} to {widths[-1]:g}"


def number(value: float) -> str:
    """A number with a typographic minus."""
    return f"{value:g}".replace("-", "−")
