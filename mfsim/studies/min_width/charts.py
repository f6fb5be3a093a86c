"""The chart of smallest widths."""

from collections.abc import Sequence

import numpy as np

from mfsim.findings import Chart, Curve, Panel
from mfsim.studies.min_width.measured import LAWS, Growth, Widths
from mfsim.studies.statistics import TooFew


def charts(widths: Sequence[Widths], setting: str) -> tuple[Chart, ...]:
    """Smallest widths against n, one panel a pair."""
    some = any(np.isfinite(part.published).any() for part in widths)
    published = " Published: HMO 2021, Figure 1." if some else ""
    return (
        Chart(
            "widths",
            f"Smallest width with zero training error against n, {setting}; points are "
            f"means over seeds, bars 95 % intervals, lines the fitted laws.{published}",
            tuple(_panel(part) for part in widths),
        ),
    )


def _panel(part: Widths) -> Panel:
    sizes = tuple(map(float, part.sizes))
    means = part.means()
    ends = tuple(m.low for m in means), tuple(m.high for m in means)
    values = tuple(m.value for m in means)
    curves = [Curve("measured", sizes, values, *ends, look="points")]
    curves += [_law(growth, sizes) for growth in _growths(part)]
    if np.isfinite(part.published).any():
        known = tuple(part.published.tolist())
        curves.append(Curve("published", sizes, known, look="reference"))
    label = "smallest width m* with zero training error"
    return Panel("n", label, tuple(curves), part.pair)


def _growths(part: Widths) -> list[Growth]:
    try:
        return part.growths()
    except TooFew:
        return []


def _law(growth: Growth, sizes: tuple[float, ...]) -> Curve:
    n = np.geomspace(sizes[0], sizes[-1], 33)
    line = growth.line
    m = np.exp(line.intercept + line.slope * LAWS[growth.law](n))
    power = growth.law.replace("^k", f"^{line.slope:.2f}")
    name = power.replace("^a", f"^{line.slope:.2f}")
    return Curve(name, tuple(n.tolist()), tuple(m.tolist()), look="line")
