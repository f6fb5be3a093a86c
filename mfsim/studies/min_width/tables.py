"""The tables of smallest widths."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mfsim.findings import Cell, Table
from mfsim.studies.min_width.measured import Growth, Place, Trial, Trials, Widths
from mfsim.studies.min_width.search import Search
from mfsim.studies.statistics import Estimate, TooFew

_INTERVAL = "low (95 %)", "high (95 %)"


def tables(
    widths: Sequence[Widths], found: Trials, searches: Mapping[Place, Search]
) -> tuple[Table, ...]:
    """Smallest widths beside the published ones, laws of growth, searches."""
    return (
        widths_table(widths, found),
        growth_table(widths),
        searches_table(found, searches),
    )


def widths_table(widths: Sequence[Widths], found: Trials) -> Table:
    """Means over seeds beside the published widths."""
    columns = (
        *("classes", "n", "smallest width m*", *_INTERVAL, "seeds", "above the cap"),
        *("published m*", "measured/published", *_INTERVAL, "epochs at m*"),
    )
    rows = []
    for part in widths:
        each = zip(part.sizes, part.means(), part.ratios(), strict=True)
        for i, (size, mean, ratio) in enumerate(each):
            rows.append(
                (
                    *(part.pair, size, *_cells(mean)),
                    int(np.isfinite(part.values[i]).sum()),
                    int(part.is_censored[i].sum()),
                    _cell(part.published[i]),
                    *_cells(ratio),
                    _epochs(part, i, found),
                )
            )
    return Table(
        "widths",
        "Smallest width with zero training error: mean over seeds, a lower bound where "
        "searches ended above the cap; published: HMO 2021, Figure 1.",
        columns,
        tuple(rows),
    )


def growth_table(widths: Sequence[Widths]) -> Table:
    """Both laws, of what was measured and of what was published."""
    rows = []
    for part in widths:
        for source, fit in (
            ("measured", part.growths),
            ("published", part.published_growths),
        ):
            try:
                rows += [(part.pair, source, *_growth(growth)) for growth in fit()]
            except TooFew as error:
                empty: tuple[Cell, ...] = (None,) * 7
                rows.append((part.pair, source, *empty, str(error)))
    return Table(
        "growth",
        "Laws of growth fitted to log m*, searches above the cap as censored, and to "
        "the published points at the same n.",
        (
            *("classes", "widths", "law", "power k or a", *_INTERVAL),
            *("residual in log m*", "AIC", "Akaike weight", "note"),
        ),
        tuple(rows),
    )


def _growth(growth: Growth) -> tuple[Cell, ...]:
    line = growth.line
    numbers = line.deviation, line.aic, growth.weight
    return growth.law, *_cells(growth.power), *numbers, growth.power.warning


def searches_table(found: Trials, searches: Mapping[Place, Search]) -> Table:
    """What every search tried."""
    rows = []
    for place, search in searches.items():
        tried = found.get(place, {})
        each = (f"{m}{'+' if tried[m].passed else '−'}" for m in sorted(tried))
        epochs = _at(search.high, tried)
        rows.append((*place, search.high, " ".join(each), epochs))
    return Table(
        "searches",
        "Every search: widths that were tried, + where the training error got to 0.",
        ("classes", "n", "seed", "smallest width m*", "tried", "epochs at m*"),
        tuple(rows),
    )


def _epochs(part: Widths, i: int, found: Trials) -> float | None:
    """Mean epochs until the smallest widths of one size passed."""
    epochs = [
        _at(int(part.values[i, seed]), found[part.pair, part.sizes[i], seed])
        for seed in np.flatnonzero(np.isfinite(part.values[i])).tolist()
        if not part.is_censored[i, seed]
    ]
    known = [one for one in epochs if one is not None]
    return float(np.mean(known)) if known else None


def _at(width: int | None, tried: Mapping[int, Trial]) -> float | None:
    return None if width is None else tried[width].epochs


def _cells(found: Estimate | None) -> tuple[Cell, ...]:
    return tuple(map(_cell, found[:3])) if found else (None,) * 3


def _cell(value: float) -> Cell:
    return float(value) if math.isfinite(value) else None
