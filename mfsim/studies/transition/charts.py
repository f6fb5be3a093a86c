"""The transition's pictures."""

import math

import numpy as np

from mfsim.findings import Chart, Curve, Map, Mark, Panel
from mfsim.studies.statistics import Estimate, local_exponents
from mfsim.studies.transition.measures import Results, bars, crossovers
from mfsim.studies.transition.orders import (
    CAPACITY,
    COUPLED,
    DIRECTIONS,
    DISPLACEMENT,
    DRIFT,
    GAIN,
    GAP,
    KL,
    OTHERS,
    TEST_ERROR,
    TEST_RISK,
    Alphas,
    Order,
    Values,
)
from mfsim.studies.transition.phases import REGIONS, regions

SCALE = "scale α (1)"
BARS = "Bars are 95 % intervals of the mean over seeds."


def charts(results: Results) -> tuple[Chart, ...]:
    """All of a sweep."""
    return (
        _order_parameters(results),
        _features(results),
        _test(results),
        *_capacity(results),
        _local_exponents(results),
        _collapse(results),
        _crossovers(results),
        _phases(results),
    )


def _chart(results: Results, name: str, caption: str, *panels: Panel) -> Chart:
    part = results.part
    setting = f"{part.title}, tanh, {part.setting}."
    name = f"transition_{name}_{part.name}"
    return Chart(name, f"{caption} {setting}", panels)


def _curve(label: str, x: Alphas, values: Values, *, is_positive: bool = True) -> Curve:
    mean, low, high = bars(values, is_positive=is_positive)
    places, y = tuple(x.tolist()), tuple(mean.tolist())
    if not np.isfinite(low).any():
        return Curve(label, places, y)
    return Curve(label, places, y, tuple(low.tolist()), tuple(high.tolist()))


def _by_width(
    results: Results, name: str, *, power: float = 0.0, is_positive: bool = True
) -> tuple[Curve, ...]:
    """One curve a width, of a value times alpha to some power."""
    curves = []
    for m in results.part.widths:
        alpha, values = results.part.curve(name, m)
        scaled = alpha[:, None] ** power * values
        curves.append(_curve(f"m = {m}", alpha, scaled, is_positive=is_positive))
    return tuple(curves)


def _order_parameters(results: Results) -> Chart:
    level = Curve(
        f"level {results.level:g}",
        _ends(results),
        (results.level, results.level),
        look="reference",
    )
    drift = (*_by_width(results, DRIFT.name), level)
    resolved = _by_width(results, KL.name, power=2.0)
    coupled = _by_width(results, COUPLED.name, power=1.0)
    return _chart(
        results,
        "order_parameters",
        "Order parameters at the end of training against α; what is multiplied by a "
        f"power of α is flat when training is lazy. {BARS}",
        Panel(SCALE, _label(DISPLACEMENT), _by_width(results, DISPLACEMENT.name)),
        Panel(SCALE, "α·d(θ, s), coupled displacement (parameter)", coupled),
        Panel(SCALE, "α²·KL⁺ (nat)", resolved),
        Panel(SCALE, _label(DRIFT), drift, marks=_marks(results)),
    )


def _features(results: Results) -> Chart:
    gain = _by_width(results, GAIN, is_positive=False)
    directions = _by_width(results, DIRECTIONS)
    return _chart(
        results,
        "features",
        "What the neurons learn: distance from the kernel's prediction, alignment of "
        f"the kernel with the labels, and directions that the neurons span. {BARS}",
        Panel(SCALE, _label(GAP), _by_width(results, GAP.name)),
        Panel(SCALE, OTHERS[GAIN], gain, y_scale="linear"),
        Panel(SCALE, OTHERS[DIRECTIONS], directions),
    )


def _test(results: Results) -> Chart:
    panels = [Panel(SCALE, OTHERS[TEST_RISK], _by_width(results, TEST_RISK))]
    if TEST_ERROR in results.part.values:
        errors = _by_width(results, TEST_ERROR, is_positive=False)
        panels.append(Panel(SCALE, OTHERS[TEST_ERROR], errors, y_scale="linear"))
    caption = f"Test error at the end of training against α. {BARS}"
    return _chart(results, "test_error", caption, *panels)


def _capacity(results: Results) -> tuple[Chart, ...]:
    """How large the network is, where its runs have recorded that."""
    kept = {k: v for k, v in CAPACITY.items() if k in results.part.values}
    panels = [Panel(SCALE, label, _by_width(results, k)) for k, label in kept.items()]
    caption = (
        "Measures (3) to (6) of Neyshabur et al. 2019 at the end of training against "
        "α, of the weights U = w and V = (α/m)uᵀ (the network here is of tanh), and "
        f"the means over the units. {BARS}"
    )
    return (_chart(results, "capacity", caption, *panels),) if panels else ()


def _local_exponents(results: Results) -> Chart:
    shown = COUPLED, KL, DRIFT, GAP
    panels = (_exponent_panel(results, order) for order in shown)
    return _chart(
        results,
        "local_exponents",
        f"Local exponents dlog X/dlog α; dashed, the lazy values. {BARS}",
        *panels,
    )


def _exponent_panel(results: Results, order: Order) -> Panel:
    lazy = Curve(
        f"lazy, {order.exponent:g}",
        _ends(results),
        (order.exponent, order.exponent),
        look="reference",
    )
    curves = []
    for m in results.part.widths:
        alpha, values = results.part.curve(order.name, m)
        if len(alpha) < 2:
            continue
        middles, exponents = local_exponents(alpha, values)
        curves.append(_curve(f"m = {m}", middles, exponents, is_positive=False))
    label = f"exponent of the {order.short} (1)"
    return Panel(SCALE, label, (*curves, lazy), y_scale="linear")


def _collapse(results: Results) -> Chart:
    found = results.powers[DRIFT.name]
    moved = [(0.5, "α/√m (1)", "ν = 1/2")]
    if isinstance(found, Estimate):
        title = f"ν = {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        moved.insert(0, (found.value, "α/m^ν (1)", title))
    panels = []
    for power, label, title in moved:
        curves = []
        for m in results.part.widths:
            alpha, values = results.part.curve(DRIFT.name, m)
            curves.append(_curve(f"m = {m}", alpha / m**power, values))
        panels.append(Panel(label, _label(DRIFT), tuple(curves), title))
    return _chart(
        results,
        "collapse",
        "Relative kernel drift of all widths over α/m^ν at the best ν, and over α/√m. "
        f"{BARS}",
        *panels,
    )


def _crossovers(results: Results) -> Chart:
    widths = results.part.widths
    curves = []
    for way in crossovers(results.level):
        found = {m: results.crossovers[way.label, m] for m in widths}
        there = {m: each for m, each in found.items() if isinstance(each, Estimate)}
        if there:
            value, low, high = zip(*(each[:3] for each in there.values()), strict=True)
            x = tuple(map(float, there))
            curves.append(Curve(way.label, x, value, low, high))
    x = tuple(map(float, widths))
    curves.append(Curve("α = 1", x, (1.0,) * len(x), look="reference"))
    roots = tuple(math.sqrt(m) for m in x)
    curves.append(Curve("α = √m", x, roots, look="reference"))
    return _chart(
        results,
        "crossover",
        "Where the mean-field regime ends, by several measures, against the width; "
        "dashed, α = 1 and √m. Bars are 95 % intervals over seeds.",
        Panel("width m (1)", "α_c (1)", tuple(curves)),
    )


def _phases(results: Results) -> Chart:
    part = results.part
    x, y, names = [], [], []
    for m in part.widths:
        alpha, region = regions(part, m, results.level)
        x += [math.log10(m)] * len(alpha)
        y += (np.log(alpha) / math.log(m)).tolist()
        names += region
    caption = (
        "Regions of (m, α). Lazy: relative kernel drift below "
        f"{results.level:g} and local exponent of the NTK gap at least 3/4 of the lazy "
        "−4. Condensed: α < 1, relative displacement above 1 and growing as α falls. "
        "Else mean field where the gap's exponent is at most 1/4 of the lazy one. "
        f"{part.title}, tanh, {part.setting}."
    )
    drawn = Map(
        "log₁₀ m",
        "s = log α/log m",
        tuple(x),
        tuple(y),
        tuple(names),
        REGIONS,
    )
    return Chart(f"transition_phases_{part.name}", caption, map=drawn)


def _label(order: Order) -> str:
    return f"{order.label} ({order.unit})"


def _ends(results: Results) -> tuple[float, float]:
    """The least and the largest alpha of the sweep."""
    alpha = results.part.values[DRIFT.name].alpha.values
    return float(alpha.min()), float(alpha.max())


def _marks(results: Results) -> tuple[Mark, ...]:
    """alpha_c of the widest network by the level of the drift."""
    label = crossovers(results.level)[0].label
    m = max(results.part.widths)
    found = results.crossovers[label, m]
    if not isinstance(found, Estimate):
        return ()
    return (Mark(found.value, f"α_c, m = {m}", found.low, found.high),)
