"""The NTRF table: errors and what bounds them, by depth, n, m and labels."""

import itertools

import xarray

from mfsim.findings import Cell, Table
from mfsim.studies.ntrf.verdicts import error_bounds

_COLUMNS = (
    *("L", "n", "m", "labels", "online error", "test error of Ŵ"),
    *("R", "NTRF loss", "largest gap", "CG 3.3"),
    *("classifiability", "label complexity", "CG 3.10"),
    *("R of the run", "HMO 3.8", "vacuous"),
)


def tables(found: xarray.Dataset) -> tuple[Table, ...]:
    """One table of means over draws."""
    axes = ("depth", "size", "width", "labels")
    places = itertools.product(*(found[axis].values for axis in axes))
    rows = (
        (*map(_cell, place), *_row(found.sel(dict(zip(axes, place, strict=True)))))
        for place in places
    )
    title = (
        "Errors of online SGD and their bounds, means over draws; of CG 3.3 the least "
        "over R of that mean, with its R and NTRF loss; a bound is vacuous from 1 on."
    )
    return (Table("ntrf", title, _COLUMNS, tuple(rows)),)


def _row(draws: xarray.Dataset) -> tuple[Cell, ...]:
    mean = draws.mean("seed")
    best = mean.isel(radius=int(mean.ntrf_bound.argmin("radius")))
    values = (
        *(mean.online_error, mean.drawn_error, best.radius, best.ntrf_loss),
        *(draws.gap.max(), best.ntrf_bound, mean.classifiability),
        *(mean.label_complexity, mean.kernel_bound, mean.layer_radius, mean.sgd_bound),
    )
    return *map(float, values), _vacuous(draws)


def _vacuous(draws: xarray.Dataset) -> str:
    """The bounds that are, and in how many draws if not in all."""
    said = []
    for name, bound in error_bounds(draws).items():
        number, runs = int((bound >= 1).sum()), int(bound.notnull().sum())
        if number:
            said.append(name if number == runs else f"{name} ({number} of {runs})")
    return ", ".join(said) or "none"


def _cell(value: object) -> Cell:
    return str(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
