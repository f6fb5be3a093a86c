"""The study's pictures, in the manner of the paper's Figures 1 to 4."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mfsim.findings import Chart, Curve, Panel
from mfsim.studies.overparametrization.quantities import (
    DISTANCE,
    LABELS,
    MEASURES,
    NUM_RESAMPLES,
    UNIT_CAPACITY,
    UNIT_IMPACT,
    UNIT_WISE,
    UNIT_WISE_TERMS,
    VC,
    Quantity,
    Trained,
    Values,
    bound_of,
)
from mfsim.studies.overparametrization.verdicts import number, scale
from mfsim.studies.statistics import Estimate, drawn_mean, geometric_mean

WIDTH = "hidden units h (1)"
BARS = "Bars are 95 % intervals over seeds."
BINS = 40
"""Of the distributions."""

Line = Float[np.ndarray, " points"]


def charts(trained: Trained) -> tuple[Chart, ...]:
    """All of them."""
    return (
        _errors(trained),
        _units(trained),
        _distributions(trained),
        _measures(trained),
        _labels(trained),
        _particles(trained),
    )


def _errors(trained: Trained) -> Chart:
    curves = (
        _means("test error", trained, trained.values("test_error")),
        _means("training error", trained, trained.values("train_error")),
    )
    return Chart(
        "overparametrization_errors",
        f"Errors of trained networks against the width, true labels. {BARS} "
        f"{trained.setting}.",
        (Panel(WIDTH, "share of wrong points (1)", curves, y_scale="linear"),),
    )


def _units(trained: Trained) -> Chart:
    def panel(quantity: Quantity) -> Panel:
        curves = [
            _geometric(f"{labels} labels", trained, quantity.name, labels)
            for labels in LABELS
        ]
        label = f"{quantity.short} {quantity.label} (weight)"
        return Panel(WIDTH, label, _present(curves))

    return Chart(
        "overparametrization_units",
        "Distance from the start, mean unit capacity and mean unit impact of trained "
        f"networks, geometric means over seeds. {BARS} {trained.setting}.",
        tuple(map(panel, (DISTANCE, UNIT_CAPACITY, UNIT_IMPACT))),
    )


def _distributions(trained: Trained) -> Chart:
    widths = trained.widths()
    some = widths[np.unique([0, len(widths) // 2, len(widths) - 1])]

    def panel(name: str, label: str) -> Panel:
        every = trained.networks[name].where(trained.is_whole).sel(labels="true")
        units = {h: every.sel(width=h).values.ravel() for h in some.tolist()}
        curves = (_density(f"h = {h:g}", each) for h, each in units.items())
        return Panel(label, "units a decade (share)", tuple(curves), y_scale="linear")

    return Chart(
        "overparametrization_distributions",
        "Distribution of unit capacity and unit impact over the units of all seeds, "
        f"true labels: the share of units in a bin over its width in log₁₀. "
        f"{trained.setting}.",
        (
            panel("unit_capacity", "unit capacity |u_j − u_j⁰| (weight)"),
            panel("unit_impact", "unit impact |v_j| (weight)"),
        ),
    )


def _density(label: str, units: Line) -> Curve:
    logs = np.log10(units[np.isfinite(units) & (units > 0)])
    if not logs.size:
        return Curve(label, (1.0,), (float("nan"),), look="line")
    bins = min(BINS, max(5, int(np.sqrt(logs.size))))
    heights, edges = np.histogram(logs, bins, density=True)
    places = 10 ** ((edges[1:] + edges[:-1]) / 2)
    return Curve(label, _tuple(places), _tuple(heights), look="line")


def _measures(trained: Trained) -> Chart:
    widths = trained.widths()
    plain = [
        _bars(
            each.short,
            widths,
            trained.values(each.name) if each is VC else trained.over_margin(each.name),
        )
        for each in MEASURES
    ]
    bounds = [
        _bars(f"by {each.short}", widths, trained.values(bound_of(each)))
        for each in MEASURES
    ]
    error = _bars("test error", widths, trained.values("test_error"))
    bounds += [error, _reference("vacuous from 1 on", widths, np.ones(len(widths)))]
    return Chart(
        "overparametrization_measures",
        "The six measures over the margin, (1) as it is, and the bounds on the test "
        "error that they go into beside that error; true labels, geometric means over "
        f"seeds. {BARS} {trained.setting}.",
        (
            Panel(WIDTH, "measure over margin (1/output)", tuple(plain)),
            Panel(WIDTH, "test error, bound on it (1)", tuple(bounds)),
        ),
    )


def _labels(trained: Trained) -> Chart:
    def measured(quantity: Quantity, says: str) -> list[Curve]:
        return [
            _bars(
                f"{says}{labels} labels",
                trained.widths(labels),
                trained.over_margin(quantity.name, labels),
            )
            for labels in LABELS
        ]

    errors = [
        _means(f"{part}, {labels}", trained, trained.values(name, labels), labels)
        for part, name in (("test", "test_error"), ("training", "train_error"))
        for labels in LABELS
    ]
    wise = measured(UNIT_WISE, "") + measured(UNIT_WISE_TERMS, "without √h, ")
    return Chart(
        "overparametrization_labels",
        "Measure (6) over the margin, and errors, with true and with random labels. "
        f"{BARS} {trained.setting}.",
        (
            Panel(WIDTH, "measure (6) over margin (1/output)", _present(wise)),
            Panel(
                WIDTH, "share of wrong points (1)", _present(errors), y_scale="linear"
            ),
        ),
    )


def _particles(trained: Trained) -> Chart:
    widths = trained.particles.width.values.astype(float)

    def curves(quantities: Sequence[Quantity], s: float) -> tuple[Curve, ...]:
        found = []
        for each in quantities:
            values = trained.particle_values(each.name, s)
            power = each.particles(s)
            says = "" if each is UNIT_WISE else f", predicted m^{number(power)}"
            found.append(_bars(f"{each.short}{says}", widths, values))
            if says:
                level = np.exp(np.nanmean(np.log(values)))
                line = level * (widths / np.exp(np.log(widths).mean())) ** power
                found.append(_reference("", widths, line))
        return tuple(found)

    panels = [
        Panel(
            "neurons m (1)",
            label,
            curves(quantities, s),
            f"α = {scale(s)}",
        )
        for label, quantities in (
            ("unit quantities (weight)", (DISTANCE, UNIT_CAPACITY, UNIT_IMPACT)),
            ("measures (1)", MEASURES[1:]),
        )
        for s in trained.particles.exponent.values.tolist()
    ]
    return Chart(
        "overparametrization_particles",
        "Particle systems U = w, V = (α/m)uᵀ after gradient descent until the same "
        "kernel time; grey, the predicted powers of m. "
        f"{BARS} {trained.particle_setting}.",
        tuple(panels),
    )


def _geometric(label: str, trained: Trained, name: str, labels: str) -> Curve:
    return _bars(label, trained.widths(labels), trained.values(name, labels))


def _reference(label: str, x: Line, y: Line) -> Curve:
    return Curve(label, _tuple(x), _tuple(y), look="reference")


def _bars(label: str, widths: Line, values: Values) -> Curve:
    """Geometric means over seeds with their intervals."""
    means = [geometric_mean(row, num_resamples=NUM_RESAMPLES) for row in values]
    return _curve(label, widths, means)


def _means(label: str, trained: Trained, values: Values, labels: str = "true") -> Curve:
    """Means over seeds with their intervals."""
    means = [drawn_mean(row, num_resamples=NUM_RESAMPLES) for row in values]
    return _curve(label, trained.widths(labels), means)


def _curve(label: str, widths: Line, means: Sequence[Estimate]) -> Curve:
    value, low, high = (tuple(float(mean[end]) for mean in means) for end in range(3))
    return Curve(label, _tuple(widths), value, low, high)


def _present(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Those with a point: there need not be networks with random labels."""
    return tuple(curve for curve in curves if np.isfinite(curve.y).any())


def _tuple(values: Line) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=float).tolist())
