"""Panels above each other over one axis: those of what was recorded, and their axes."""

import re
from collections.abc import Sequence

import numpy as np
import xarray
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfsim.figures.layers import layers_of, number_of
from mfsim.figures.style import plain
from mfsim.figures.themes import LOGARITHMIC, PANELS, SIGNED, Panels, Words

_DEPTH = 0.03
_MOST = 8
"""Panels in a column; more are in two."""


def recorded(panels: Panels, series: xarray.Dataset) -> Panels:
    """The panels with what was recorded; without any, one for each number."""
    known = numbers(series)
    found = {title: among(words, known) for title, words in panels.items()}
    # Beside nothing to compare with, the relative displacement says it all.
    found = {title: own for title, own in found.items() if {*own} - {"displacement"}}
    errors = {f"{key}_se" for key in known}
    rest = {plain(key): {key: plain(key)} for key in known if key not in errors}
    return found or rest or {"": {}}


def numbers(series: xarray.Dataset) -> list[str]:
    """The series of one number a save."""
    rows = series["time"].dims
    return [str(k) for k, v in series.items() if v.dims == rows and v.dtype.kind == "f"]


def among(words: Words, known: Sequence[str]) -> dict[str, str]:
    """Words of the known series; of layers, after the first, their numbers."""
    found = {}
    for key, word in words.items():
        layers = {name: str(number_of(name)) for name in layers_of(key, known)}
        for first in [*layers][:1]:
            layers[first] = f"{word} {layers[first]}"
        found |= {key: word} if key in known else layers
    return found


def start(panels: Panels, margin: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, with a margin on the right, in inches."""
    legend = 0.4 * ("distance" in panels)
    rows, columns = _shape(len(panels))
    size = (4.8 * columns + margin, 1.1 + 1.75 * rows + legend)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).T.ravel()
    for axes in grid[len(panels) :]:
        axes.remove()
    grid = list(grid[: len(panels)])
    figure.align_ylabels(grid)
    return figure, grid


def finish_columns(grid: Sequence[Axes]) -> None:
    """Label the first axis below every column as below the last panel."""
    rows, _ = _shape(len(grid))
    for axes in grid[rows - 1 :: rows]:
        axes.set_xlabel(grid[-1].get_xlabel())
        axes.xaxis.set_tick_params(labelbottom=True)
    grid[-1].xaxis.set_tick_params(labelbottom=True)


def _shape(count: int) -> tuple[int, int]:
    """Rows and columns of so many panels."""
    columns = 1 + (count > _MOST)
    return -(-count // columns), columns


def values(series: xarray.Dataset, key: str) -> xarray.DataArray:
    """Finite values of a series, an error in percent; NaN if there are none."""
    if key not in series:
        return xarray.full_like(series["time"], np.nan)
    found = series[key] * (100 if key in PANELS["error"] else 1)
    if (error := f"{key}_error") in series:
        # Of an eigenvalue: below it there is nothing but rounding.
        found = found.where(found > series[error])
    return found.where(np.isfinite(found))


def finish(axes: Axes, title: str, series: xarray.Dataset, keys: Words) -> None:
    """Label and scale the second axis: logarithmic where what is drawn spans much."""
    unit = next((series[key].attrs.get("unit", "1") for key in keys), "1")
    drawn = np.concatenate([*_heights(axes), []])
    if {*keys} & {*PANELS["error"]}:
        top = max(1.0, axes.get_ylim()[1])
        axes.set_ylim(-0.05 * top, top)
        unit = "%"
    elif drawn.size and _is_logarithmic(title, drawn):
        axes.set_yscale("log")
        # The labels of 3 and 4 would touch in a panel of this height.
        axes.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 4, 6)))
    raised = re.sub(r"\^(\d+)", r"$^{\1}$", plain(unit))
    # A panel is about as high as 20 characters.
    between = "\n" if len(title) + len(unit) > 20 else " "
    axes.set_ylabel(title + f"{between}[{raised}]" * (unit != "1"))


def _is_logarithmic(title: str, drawn: np.ndarray) -> bool:
    is_wide = 0 < 2 * drawn.min() < drawn.max()
    return title in LOGARITHMIC or (is_wide and title not in SIGNED)


def _heights(axes: Axes) -> list[np.ndarray]:
    """The finite values of each line that is drawn."""
    lines = [np.ravel(np.asarray(line.get_ydata(), float)) for line in axes.lines]
    return [line[np.isfinite(line)] for line in lines]


def cut(grid: Sequence[Axes]) -> None:
    """Leave out how curves over time leave zero: end a logarithmic axis below them."""
    lines = [line for axes in grid for line in _heights(axes)]
    tops = [line.max() for line in lines if (line > 0).any()]
    if grid[0].get_yscale() == "log" and tops:
        lowest = _DEPTH * min(tops)
        grid[0].set_ylim(bottom=max(lowest, grid[0].get_ylim()[0]))


def not_finite(series: xarray.Dataset, panels: Panels) -> list[str]:
    """A sentence on values that are not finite, if there are any."""
    counts = {}
    for title, words in panels.items():
        for key in words:
            # Not every save has every distance, nor every depth every layer: NaN
            # tells that there is none.
            is_bad = (
                np.isinf(series[key])
                if title in LOGARITHMIC or number_of(key)
                else ~np.isfinite(series[key])
            )
            counts[key] = int(is_bad.sum())
    each = ", ".join(f"{plain(key)} ({n})" for key, n in counts.items() if n)
    return [f"Not finite, so left out: {each}."] if each else []


def on_errors(series: xarray.Dataset, panels: Panels) -> list[str]:
    """A sentence on error bars that a run brings itself, if there are any."""
    keys = (f"{key}_se" for words in panels.values() for key in words)
    is_any = any(key in series and np.isfinite(series[key]).any() for key in keys)
    return ["Error bars are standard errors."] if is_any else []
