"""Panels above each other over one axis: which series share one, and its scale."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfsim.figures.derived import KL_DECAY, TALAGRAND, TALAGRAND_EXACT
from mfsim.figures.style import EDGE, FLOOR, FULL, LOOKS, OPEN, POINTS, plain

Words = Mapping[str, str]
"""A word for each series by its name."""

Panels = Mapping[str, Words]
"""Such words by a panel's title."""

DRIFT = "kernel_drift_relative"
PANELS: Panels = {
    "risk": {"train_risk": "train", "test_risk": "test"},
    "error": {"train_error": "train", "test_error": "test"},
    "relative change": {"displacement_relative": "displacement", DRIFT: "kernel drift"},
    "alignment": {"kernel_alignment": "kernel with labels"},
    "NTK gap": {
        "ntk_gap": "train, own kernel",
        "test_ntk_gap": "test, own kernel",
        "ntk_gap_infinite": "train, infinite width",
        "test_ntk_gap_infinite": "test, infinite width",
    },
    "eigenvalue": {
        "kernel_lambda_max": r"$\lambda_{\max}(H)$",
        "kernel_lambda_min": r"$\lambda_{\min}(H)$",
    },
    "distance": {
        "displacement": "raw displacement",
        "w2_upper_coupling": "coupled displacement",
        TALAGRAND: r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}^+}$",
        TALAGRAND_EXACT: r"Talagrand, $\sigma\sqrt{2\,\mathrm{KL}}$",
        "w2": "$W_2$, transport",
        "w2_upper": "$W_2$ bracket",
        "w2_lower": "",
    },
    "KL": {
        "kl_upper": "upper bound",
        "kl_lower": "lower bound",
        "kl_knn": "kNN estimate",
        "kl": "exact",
    },
    r"$\chi^2$": {"chi2_lower": "lower bound", "chi2": "exact"},
    "free energy": {
        "free_energy_upper": "upper bound",
        "free_energy_lower": "lower bound",
        "free_energy": "exact",
        "dual_energy": "dual bound",
    },
    "energy gap": {"gap_upper": "free energy above its minimum, at most"},
    "dissipation": {"dissipation": "fall of the free energy, $-dQ/dt$"},
    "KL rate": {
        "entropy_production": "gain from data, $S$",
        KL_DECAY: r"loss to noise and decay, $\lambda I$",
    },
}

LOGARITHMIC = (
    "NTK gap",
    "eigenvalue",
    "distance",
    "KL",
    r"$\chi^2$",
    "energy gap",
    "dissipation",
)
"""Titles of the panels that show positive values alone, on a logarithmic axis."""

WHOLE = (r"$\chi^2$", "energy gap", "dissipation")
"""Of these, those whose curves are shown down to their least value."""

BANDS = {
    "w2_upper": "w2_lower",
    "kl_upper": "kl_lower",
    "free_energy_upper": "free_energy_lower",
}
"""The lower bound that belongs to an upper one."""

# A series keeps its look when others of its panel were not recorded.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "w2_lower": EDGE,
    "w2_upper": EDGE,
    "displacement": LOOKS[0],
    "w2_upper_coupling": LOOKS[1],
    TALAGRAND: LOOKS[2],
    TALAGRAND_EXACT: LOOKS[2],
    "w2": POINTS,
    "kl_upper": LOOKS[0],
    "kl_lower": LOOKS[1],
    "kl_knn": POINTS,
    "kl": LOOKS[2],
    "chi2_lower": LOOKS[1],
    "chi2": LOOKS[2],
    "free_energy_upper": LOOKS[0],
    "free_energy_lower": LOOKS[1],
    "free_energy": LOOKS[2],
    "dual_energy": FLOOR,
    # A colour for each kernel; full markers on training points, open ones on test.
    "ntk_gap": LOOKS[0],
    "test_ntk_gap": LOOKS[0] | OPEN,
    "ntk_gap_infinite": LOOKS[1] | FULL,
    "test_ntk_gap_infinite": LOOKS[1] | OPEN,
}
_DEPTH = 0.03
_MOST = 8
"""Panels in a column; more are in two."""


def recorded(panels: Panels, series: xarray.Dataset) -> Panels:
    """The panels with what was recorded; without any, one for each number."""
    rows = series["time"].dims
    known = [
        str(k) for k, v in series.items() if v.dims == rows and v.dtype.kind == "f"
    ]
    found = {title: _among(words, known) for title, words in panels.items()}
    # Beside nothing to compare with, the relative displacement says it all.
    found = {title: own for title, own in found.items() if {*own} - {"displacement"}}
    errors = {f"{key}_se" for key in known}
    rest = {plain(key): {key: plain(key)} for key in known if key not in errors}
    return found or rest or {"": {}}


def _among(words: Words, known: Sequence[str]) -> Words:
    return {key: word for key, word in words.items() if key in known}


def looks(words: Words) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The series of a panel: name, word, look."""
    for (key, word), look in zip(words.items(), LOOKS * 2, strict=False):
        yield key, word, {**_LOOKS.get(key, look)}


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
    found = series[key] * (100 if key.endswith("_error") else 1)
    if (error := f"{key}_error") in series:
        # Of an eigenvalue: below it there is nothing but rounding.
        found = found.where(found > series[error])
    return found.where(np.isfinite(found))


def finish(axes: Axes, title: str, series: xarray.Dataset, keys: Words) -> None:
    """Label and scale the second axis: logarithmic where what is drawn spans much."""
    unit = next((series[key].attrs.get("unit", "1") for key in keys), "1")
    drawn = np.concatenate([*_heights(axes), []])
    if any(key.endswith("_error") for key in keys):
        top = max(1.0, axes.get_ylim()[1])
        axes.set_ylim(-0.05 * top, top)
        unit = "%"
    elif drawn.size and (title in LOGARITHMIC or 0 < 2 * drawn.min() < drawn.max()):
        axes.set_yscale("log")
        # The labels of 3 and 4 would touch in a panel of this height.
        axes.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 4, 6)))
    raised = re.sub(r"\^(\d+)", r"$^{\1}$", plain(unit))
    # A panel is about as high as 20 characters.
    between = "\n" if len(title) + len(unit) > 20 else " "
    axes.set_ylabel(title + f"{between}[{raised}]" * (unit != "1"))


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
            # Not every save has every distance: NaN tells that there is none.
            is_bad = (
                np.isinf(series[key])
                if title in LOGARITHMIC
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
