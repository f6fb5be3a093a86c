"""A sweep against time: how far the law went from its start, a panel for each alpha."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfsim.errors import ConfigError
from mfsim.figures import families, panels, style
from mfsim.figures.curves import curve
from mfsim.figures.derived import TALAGRAND, TALAGRAND_EXACT, with_derived
from mfsim.figures.facts import clock_label, clock_of, facts, setting
from mfsim.figures.statistics import mean_and_error
from mfsim.figures.themes import PANELS, Words, looks
from mfsim.storage import Trajectory

_TITLES = ("layer distance", "distance")
"""Panels of distances; the layers' are those of deep networks alone."""

_MOST, _CHOSEN = 6, 4
_MEANING = {
    "w2_upper_coupling": (
        "Raw: from the start. Coupled: from free neurons with the same start and noise."
    ),
    TALAGRAND: (
        r"Talagrand: at least $W_2(p_t, p_0)$; $\sigma$ is the larger standard "
        r"deviation of $p_0$, KL$^+$ the upper bound."
    ),
    TALAGRAND_EXACT: (
        r"Talagrand: at least $W_2(p_t, p_0)$; $\sigma$ is the larger standard "
        r"deviation of $p_0$."
    ),
}


class _Runs(NamedTuple):
    """The runs at one alpha."""

    label: str
    rows: xarray.Dataset

    def table(self, key: str) -> np.ndarray:
        """Values over (saves, runs) of the completed runs, or of all if none is."""
        is_done = self.rows.status == "completed"
        found = panels.values(self.rows, key).where(is_done | ~is_done.any())
        return found.transpose("save", ...).values.reshape(self.rows.sizes["save"], -1)


@style.styled
def time_figure(sweep: xarray.Dataset, run: Trajectory | None = None) -> Figure:
    """How far neurons and their law went from the start, at each alpha against time.

    The noise moves the neurons but not their law: it is in the raw displacement, and
    in none of the others. Of deep networks, how far the weights of each layer went.

    Args:
        sweep: What `open_sweep` gives, with some of the distances recorded.
        run: One of its runs, which tells the clock, the prior and what all share.

    Raises:
        ConfigError: If no distance was recorded.
    """
    sweep, clock = with_derived(sweep, run), clock_of(run)
    title, words = _distances(sweep)
    shown, notes = _choose(sweep, words)
    # Not every depth has every layer.
    words = {k: w for k, w in words.items() if shown[k].notnull().any()} or words
    found = _split(shown)
    is_log = run is not None and setting(run, "schedule.spacing") == "log"
    size = (max(4.8, 0.8 + 2.3 * len(found)), 4.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, runs in zip(grid, found, strict=True):
        _draw(axes, runs, clock, words, is_log)
        panels.finish(axes, title, sweep, words)
        axes.set_xlabel(clock_label(sweep[clock]))
        axes.label_outer()
    _finish(grid, is_log)
    differs = {style.last_word(c) for c in families.swept(sweep) if sweep[c].size > 1}
    meaning = [text for key, text in _MEANING.items() if key in words]
    notes = [*meaning, *notes, *panels.not_finite(shown, {title: words})]
    style.write(figure, facts(run, differs) if run else [], notes, is_shared=True)
    return figure


def _distances(sweep: xarray.Dataset) -> tuple[str, Words]:
    """The title and the words of the distances that were recorded."""
    known = panels.numbers(sweep)
    for title in _TITLES:
        if words := panels.among(PANELS[title], known):
            return title, words
    every = (key for title in reversed(_TITLES) for key in PANELS[title])
    wanted = [key for key in every if key not in (TALAGRAND, TALAGRAND_EXACT)]
    raise ConfigError(f"a sweep against time needs one of {wanted}, got none.")


def _choose(sweep: xarray.Dataset, words: Words) -> tuple[xarray.Dataset, list[str]]:
    """Of a sweep the part that is drawn, and sentences on what it is."""
    name, is_seed = families.swept_axis(sweep), families.is_seed
    own, notes = _first(sweep, str(sweep[name].dims[-1]))
    if not is_seed(name):
        own, more = _spread(own, name)
        notes += more
    seeds = math.prod(n for dim, n in own.status.sizes.items() if is_seed(dim))
    if seeds > 1:
        notes.append(f"Means over {seeds} seeds; error bars are standard errors.")
    else:
        notes += panels.on_errors(own, {"": words})
    if left := families.not_completed(own):
        notes.append(f"{left}; drawn only where no other seed is completed.")
    return own, notes


def _first(sweep: xarray.Dataset, axis: str) -> tuple[xarray.Dataset, list[str]]:
    """The first place with a run on the axes that are neither this nor a seed's."""
    place = np.argwhere((sweep.status != "missing").values)[0]
    first = dict(zip(sweep.status.dims, place, strict=True))
    outer = {k: i for k, i in first.items() if k != axis and not families.is_seed(k)}
    own, notes = sweep.isel(outer), []
    for name in families.swept(sweep):
        if sweep[name].size > 1 and not own[name].ndim:
            value = f"{style.symbol(name)} = {style.number(own[name].item())}"
            notes.append(f"Only {value}, of {sweep[name].size} in the sweep.")
    return own, notes


def _spread(own: xarray.Dataset, name: str) -> tuple[xarray.Dataset, list[str]]:
    """The places that have a run; of too many a few, evenly spread."""
    axis, notes = own[name].dims[-1], []
    rest = [dim for dim in own.status.dims if dim != axis]
    places = np.flatnonzero((own.status != "missing").any(rest))
    if (count := len(places)) > _MOST:
        places = places[np.linspace(0, count - 1, _CHOSEN).round().astype(int)]
        symbol = style.symbol(name)
        notes.append(f"{_CHOSEN} of {count} values of {symbol}, evenly spread.")
    return own.isel({axis: places}), notes


def _split(shown: xarray.Dataset) -> list[_Runs]:
    """The runs by alpha, or by what else is swept; together if they are seeds."""
    name = families.swept_axis(shown)
    if families.is_seed(name):
        return [_Runs("", shown)]
    axis = shown[name].dims[-1]
    each = (shown.isel({axis: i}) for i in range(shown.sizes[axis]))
    symbol = style.symbol(name)
    # An alpha that depends on the seed is that of the first, as in other figures.
    return [
        _Runs(f"{symbol} = {style.number(r[name].values.flat[0])}", r) for r in each
    ]


def _draw(axes: Axes, runs: _Runs, clock: str, words: Words, is_log: bool) -> None:
    time = mean_and_error(runs.table(clock))[0]
    # A logarithmic axis has no place for the start.
    is_shown = time > 0 if is_log else np.isfinite(time)
    time = time[is_shown]

    def table(key: str) -> np.ndarray:
        return runs.table(key)[is_shown]

    for key, word, look in looks(words):
        every = time.size // 12 + 1
        curve(axes, time, table, key, is_log=True, every=every, label=word, **look)
    axes.set_title(runs.label, fontsize=11)


def _finish(grid: Sequence[Axes], is_log: bool) -> None:
    panels.cut(grid)
    if is_log and any(np.size(line.get_xdata()) for a in grid for line in a.lines):
        grid[0].set_xscale("log")
