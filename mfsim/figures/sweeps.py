"""A sweep: final values against its axis, and where the kernel's drift falls."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mfsim.figures import families, panels, style
from mfsim.figures.curves import curve
from mfsim.figures.derived import with_derived
from mfsim.figures.facts import CLOCKS, clock_of, facts
from mfsim.figures.families import Family
from mfsim.figures.statistics import crossing_with_error
from mfsim.figures.themes import DRIFT, LOGARITHMIC, PANELS, Panels, looks
from mfsim.storage import Trajectory

_LEVEL = 0.1
_TRANSITION = {
    title: PANELS[title]
    for title in (
        "relative change",
        "NTK gap",
        "eigenvalue",
        "distance",
        "KL",
        "capacity",
        "unit norm",
        "margin",
        "ramp loss",
        "error",
        "risk",
    )
}
_BY_POWERS = ("alpha", "width", "active")
_MARK = {"color": "0.2", "linestyle": (0, (1, 1.5)), "linewidth": 1.4, "zorder": 1}


@style.styled
def transition_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final movement, error and risk against alpha, and where the kernel's drift falls.

    Args:
        sweep: What `open_sweep` gives, alpha among its axes.
        run: One of its runs, which tells what all of them share.
    """
    return _draw(sweep, run, _TRANSITION)


@style.styled
def sweep_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """Final values against the first numeric axis, else the first; as the other."""
    return _draw(sweep, run, PANELS)


def _draw(sweep: xarray.Dataset, run: Trajectory | None, wanted: Panels) -> Figure:
    sweep = with_derived(sweep, run)
    shown, name = panels.recorded(wanted, sweep), families.swept_axis(sweep)
    found = families.families_of(sweep, name)
    is_many = len(found) > 1
    figure, grid = panels.start(shown, margin=1.5 * is_many)
    for (title, words), axes in zip(shown.items(), grid, strict=True):
        for key, word, look in looks(words):
            if not families.is_numeric(sweep[name]):
                look |= {"linestyle": "", "marker": look["marker"] or "_"}
            for own in found:
                _curve(axes, own, key, look | own.look, title in LOGARITHMIC)
            _proxy(axes, word, look | {"color": "0.3"} if is_many else look)
        panels.finish(axes, title, sweep, words)
    _finish_x(grid[-1], sweep[name])
    panels.finish_columns(grid)
    notes = _notes(sweep, clock_of(run), shown)
    labels = [own.label for own in found]
    if wanted is _TRANSITION and DRIFT in sweep:
        labels = _mark_transitions(grid, found)
        fall = f"where the mean kernel drift falls through {_LEVEL}"
        notes.append(rf"$\alpha_c$: {fall}.")
    if is_many:
        lines = [Line2D([], [], linewidth=3, **own.look) for own in found]
        figure.legend(lines, labels, loc="outside right upper")
    differs = {style.last_word(c) for c in families.swept(sweep) if sweep[c].size > 1}
    style.write(figure, facts(run, differs) if run else [], notes)
    return figure


def _curve(
    axes: Axes, own: Family, key: str, look: dict[str, Any], is_log: bool
) -> None:
    """Means with standard errors; a run that is not completed is a cross of its own."""
    curve(axes, own.x, own.table, key, is_log=is_log, **look)
    left = own.table(key, completed=False)
    if is_log:
        left = np.where(left > 0, left, np.nan)
    if np.isfinite(left).any():
        axes.plot(own.x, left, "x", color=look["color"], markersize=8, zorder=3)


def _proxy(axes: Axes, word: str, look: dict[str, Any]) -> None:
    """An entry of the legend for all families: a band if there is no marker."""
    if look["marker"]:
        axes.plot([], [], **look, label=word)
    elif word:
        axes.fill_between([], [], color=look["color"], alpha=0.35, label=word)


def _mark_transitions(grid: Sequence[Axes], found: Sequence[Family]) -> list[str]:
    """Draw the level and where each family falls through it; labels that say where."""
    grid[0].axhline(_LEVEL, **_MARK)
    labels = []
    for own in found:
        alpha, error = crossing_with_error(own.x, own.table(DRIFT), _LEVEL)
        text = _alpha_c(alpha, error)
        labels.append(f"{own.label}\n{text}")
        for axes in grid:
            mark = axes.axvline(math.nan if alpha is None else alpha)
            mark.set(**_MARK | own.look)
            mark.set_label(text if axes is grid[0] and len(found) == 1 else "")
    return labels


def _alpha_c(alpha: float | None, error: float) -> str:
    if alpha is None:
        return f"no fall through {_LEVEL}"
    if not error > 0:
        return rf"$\alpha_c={alpha:.3g}$"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return rf"$\alpha_c={alpha:.{digits}f}\pm{error:.{digits}f}$"


def _finish_x(axes: Axes, swept: xarray.DataArray) -> None:
    name = style.last_word(str(swept.name))
    axes.set_xlabel(style.symbol(name))
    if not families.is_numeric(swept):
        words = [style.plain(str(word)) for word in swept.values.flat]
        axes.set_xticks(range(swept.size), words)
        axes.margins(x=0.15)
        return
    if swept.dtype.kind in "iu":
        whole = ticker.MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_locator(whole)
    low, high = np.nanmin(swept), np.nanmax(swept)
    if low > 0 and (name in _BY_POWERS or high > 10 * low):
        axes.set_xscale("log")
        if 0.1 <= low < high <= 2000 * low:
            # Powers of ten would label two ticks, if any, from 1 to sqrt(m).
            axes.xaxis.set_major_locator(ticker.LogLocator(base=2, numticks=12))
            axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axes.xaxis.set_minor_locator(ticker.NullLocator())


def _notes(sweep: xarray.Dataset, clock: str, shown: Panels) -> list[str]:
    """What the marks of a sweep's figure mean, and what is missing in it."""
    rows = families.last_rows(sweep)
    done = rows.status == "completed"
    notes, ends = [], rows[clock].values[done.values]
    if ends.size:
        each = dict.fromkeys(style.number(end) for end in (ends.min(), ends.max()))
        when = f"{style.formula(sweep[clock].attrs['symbol'])} = {' to '.join(each)}"
        notes.append(f"Final values, at {CLOCKS[clock]} {when}.")
    is_seed = families.is_seed
    seeds = math.prod(n for dim, n in rows.status.sizes.items() if is_seed(dim))
    if seeds > 1 and not is_seed(families.swept_axis(sweep)):
        notes.append(f"Means over {seeds} seeds; error bars and ± are standard errors.")
    elif seeds == 1:
        notes += panels.on_errors(rows, shown)
    notes += panels.not_finite(rows.where(done, 0.0), shown)
    if left := families.not_completed(rows):
        notes.append(f"{left}; their last values are the crosses, in no mean.")
    return notes
