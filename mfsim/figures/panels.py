"""Panels above each other over one axis: which series share one, and its scale."""

from collections.abc import Mapping

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfsim.figures.style import plain

Panels = Mapping[str, Mapping[str, str]]
"""By title, a word for each series by its name."""

DRIFT = "kernel_drift_relative"
PANELS: Panels = {
    "risk": {"train_risk": "train", "test_risk": "test"},
    "error": {"train_error": "train", "test_error": "test"},
    "relative change": {"displacement_relative": "displacement", DRIFT: "kernel drift"},
    "alignment": {"kernel_alignment": "kernel with labels"},
}


def recorded(panels: Panels, series: xarray.Dataset) -> Panels:
    """The panels with what was recorded; without any, one for each number."""
    rows = series["time"].dims
    known = [
        str(k) for k, v in series.items() if v.dims == rows and v.dtype.kind == "f"
    ]
    found = {
        title: own
        for title, words in panels.items()
        if (own := {key: word for key, word in words.items() if key in known})
    }
    return found or {plain(key): {key: plain(key)} for key in known} or {"": {}}


def start(panels: Panels, margin: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, with a margin on the right, in inches."""
    size = (4.8 + margin, 1.1 + 1.75 * len(panels))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    figure.align_ylabels(grid)
    return figure, list(grid)


def values(series: xarray.Dataset, key: str) -> xarray.DataArray:
    """Finite values of a series, an error in percent."""
    found = series[key] * (100 if key.endswith("_error") else 1)
    return found.where(np.isfinite(found))


def finish(axes: Axes, title: str, series: xarray.Dataset, keys: Mapping) -> None:
    """Label and scale the second axis: logarithmic where what is drawn spans much."""
    unit = next((series[key].attrs.get("unit", "1") for key in keys), "1")
    lines = [np.ravel(np.asarray(line.get_ydata(), float)) for line in axes.lines]
    drawn = np.concatenate([*lines, [np.nan]])
    drawn = drawn[np.isfinite(drawn)]
    if any(key.endswith("_error") for key in keys):
        top = max(1.0, axes.get_ylim()[1])
        axes.set_ylim(-0.05 * top, top)
        unit = "%"
    elif drawn.size and 0 < 2 * drawn.min() < drawn.max():
        axes.set_yscale("log")
    axes.set_ylabel(title + f" [{plain(unit)}]" * (unit != "1"))


def not_finite(series: xarray.Dataset, panels: Panels) -> list[str]:
    """A sentence on values that are not finite, if there are any."""
    keys = [key for words in panels.values() for key in words]
    counts = {key: int((~np.isfinite(series[key])).sum()) for key in keys}
    each = ", ".join(f"{plain(key)} ({n})" for key, n in counts.items() if n)
    return [f"Not finite, so left out: {each}."] if each else []
