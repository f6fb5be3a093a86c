"""The study's tables: networks, measures against the width, bounds, ranks, units."""

from collections.abc import Callable, Iterator

import numpy as np

from mfsim.findings import Cell, Table
from mfsim.studies.overparametrization.measured import UNITS
from mfsim.studies.overparametrization.quantities import (
    LABELS,
    MEASURES,
    QUANTITIES,
    UNIT_WISE_TERMS,
    Trained,
    Values,
    bound_of,
)
from mfsim.studies.overparametrization.verdicts import scale
from mfsim.studies.statistics import Estimate, TooFew, drawn_mean

Row = tuple[Cell, ...]

QUANTILES = 0.05, 0.25, 0.5, 0.75, 0.95


def tables(trained: Trained) -> tuple[Table, ...]:
    """All of them."""
    return (
        _networks(trained),
        *(_measures(trained, labels) for labels in LABELS),
        _bounds(trained),
        _ranks(trained),
        _units(trained),
        _particles(trained),
    )


def _networks(trained: Trained) -> Table:
    def rows() -> Iterator[Row]:
        for labels in LABELS:
            for width in trained.widths(labels):
                part = trained.networks.sel(labels=labels, width=width)
                came = trained.is_trained.sel(labels=labels, width=width)
                epochs = trained.epochs.sel(labels=labels, width=width)
                means = (
                    float(drawn_mean(part[name].where(came).values)[0])
                    for name in ("train_error", "margin")
                )
                error = drawn_mean(part.test_error.where(came).values)
                yield (
                    *(labels, float(width)),
                    f"{int(came.sum())} of {int(part.train_risk.notnull().sum())}",
                    float(epochs.mean()),
                    *(float(end) for end in error[:3]),
                    *means,
                )

    return Table(
        "overparametrization_networks",
        "Networks and their errors, means over the seeds that came to cross-entropy "
        f"{trained.level:g}; {trained.setting}",
        (
            *("labels", "h", "trained", "epochs", "test error", "low", "high"),
            *("training error", "margin"),
        ),
        tuple(rows()),
    )


def _measures(trained: Trained, labels: str) -> Table:
    def rows() -> Iterator[Row]:
        for each in QUANTITIES:
            values = trained.values(each.name, labels)
            found = _attempt(lambda name=each.name: trained.power(name, labels))
            yield (
                *(each.short, each.label, *_means(values)),
                *(*found[:3], each.networks, found[3]),
            )

    widths = (f"h = {width:g}" for width in trained.widths(labels))
    return Table(
        f"overparametrization_measures_{labels}",
        f"Measures with {labels} labels, geometric means over seeds, and their powers "
        f"of h; lazy limit: the power as h goes to infinity; {trained.setting}",
        (
            *("measure", "formula", *widths),
            *("power of h", "low", "high", "lazy limit", "note"),
        ),
        tuple(rows()),
    )


def _bounds(trained: Trained) -> Table:
    def rows() -> Iterator[Row]:
        for labels in LABELS:
            yield (labels, "test error", *_means(trained.values("test_error", labels)))
            for each in MEASURES:
                values = trained.values(bound_of(each), labels)
                means = dict(zip(trained.widths(labels), _means(values), strict=True))
                row = (means.get(width) for width in widths)
                yield (labels, f"bound by {each.short}", *row)

    widths = trained.widths()
    return Table(
        "overparametrization_bounds",
        "Bounds on the test error, geometric means over seeds; vacuous from 1 on; "
        f"{trained.setting}",
        ("labels", "bound", *(f"h = {width:g}" for width in widths)),
        tuple(rows()),
    )


def _ranks(trained: Trained) -> Table:
    gap = trained.values("gap")

    def rows() -> Iterator[Row]:
        for each in (*MEASURES, UNIT_WISE_TERMS):
            found: list[Cell] = []
            for read in (trained.values, trained.over_margin):
                values = read(each.name)
                found += _attempt(lambda v=values: trained.correlation(v, gap))[:3]
            yield (each.short, each.label, *found)

    return Table(
        "overparametrization_ranks",
        "Kendall's τ over widths of each measure with test less training error, true "
        f"labels, means over seeds; {trained.setting}",
        (
            *("measure", "formula", "τ", "low", "high"),
            *("τ over the margin", "low (margin)", "high (margin)"),
        ),
        tuple(rows()),
    )


def _units(trained: Trained) -> Table:
    def rows() -> Iterator[Row]:
        for labels in LABELS:
            for name in UNITS:
                every = trained.networks[name].where(trained.is_whole)
                for width in trained.widths(labels):
                    units = every.sel(labels=labels, width=width).values.ravel()
                    some = units[np.isfinite(units)]
                    ends = np.quantile(some, QUANTILES) if some.size else []
                    cells = map(float, ends) if some.size else (None,) * 5
                    yield (labels, name.replace("_", " "), float(width), *cells)

    return Table(
        "overparametrization_units",
        f"Quantiles over the units of all seeds; {trained.setting}",
        ("labels", "of a unit", "h", *(f"{100 * q:g} %" for q in QUANTILES)),
        tuple(rows()),
    )


def _particles(trained: Trained) -> Table:
    def rows() -> Iterator[Row]:
        for s in trained.particles.exponent.values.tolist():
            for each in QUANTITIES:
                values = trained.particle_values(each.name, s)
                found = _attempt(
                    lambda name=each.name, s=s: trained.particle_power(name, s)
                )
                yield (
                    *(scale(s), each.short, each.label, *_means(values)),
                    *(each.particles(s) + 0.0, *found),
                )

    widths = (f"m = {width:g}" for width in trained.particles.width.values)
    return Table(
        "overparametrization_particles",
        "Particle systems, geometric means over seeds, and their powers of m beside "
        f"those of large m; {trained.particle_setting}",
        (
            *("α", "measure", "formula", *widths),
            *("predicted", "power of m", "low", "high", "note"),
        ),
        tuple(rows()),
    )


def _means(values: Values) -> Row:
    """Geometric means over seeds; None of a width without a positive value."""
    some = (row[np.isfinite(row) & (row > 0)] for row in values)
    return tuple(float(np.exp(np.log(r).mean())) if r.size else None for r in some)


def _attempt(find: Callable[[], Estimate]) -> Row:
    try:
        found = find()
    except TooFew as error:
        return None, None, None, str(error)
    return *(float(end) for end in found[:3]), found.warning
