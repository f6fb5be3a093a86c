"""A series in a panel: a line with error bars, points, or a band between bounds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from mfsim.figures.statistics import mean_and_error
from mfsim.figures.themes import BANDS

Table = Callable[[str], np.ndarray]
"""Values over (points, seeds) of a series by its name; NaN where there are none."""

_FAINT = 1e-3


def curve(
    axes: Axes,
    x: ArrayLike,
    table: Table,
    key: str,
    *,
    is_log: bool,
    every: int = 1,
    **look: Any,
) -> None:
    """Draw a series: means with standard errors, and below an upper bound its band.

    Args:
        axes: Where.
        x: The points.
        table: Gives the values.
        key: Which series.
        is_log: Whether its panel is one of `LOGARITHMIC`.
        every: A marker and an error bar at each so manieth point.
        look: Colour, marker, line style, label.
    """
    mean, error = _estimate(table, key)
    lower = _lower_edge(table, key)
    if np.isfinite(lower).any() and look["linestyle"]:
        shade = 0.15 if look["marker"] else 0.35
        band = axes.fill_between(
            x, lower, mean, color=look["color"], alpha=shade, linewidth=0, zorder=0.9
        )
        if not look["marker"]:
            # The line is the band's edge: one entry in the legend, the band's.
            band.set_label(look.pop("label", ""))
    if is_log:
        mean, error = _above_zero(table, key, mean, error)
    # Points, half way between the markers of lines, do not cover these.
    places = (0 if look["linestyle"] else every // 2, every)
    bars = error if np.isfinite(error).any() and look["marker"] else None
    axes.errorbar(x, mean, bars, markevery=places, errorevery=places, **look)


def _estimate(table: Table, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Means over seeds and their standard errors; of one run, those it recorded."""
    mean, error = mean_and_error(table(key))
    own = table(f"{key}_se")
    return mean, own[:, 0] if own.shape[1] == 1 else error


def _lower_edge(table: Table, key: str) -> np.ndarray:
    """The lower bound that belongs to an upper one; zero where it says next to nothing.

    On a logarithmic axis a bound a thousand times lower would crush all else.
    """
    if key not in BANDS:
        return np.array([])
    lower, upper = (_estimate(table, name)[0] for name in (BANDS[key], key))
    return np.where(lower < _FAINT * upper, 0.0, lower)


def _above_zero(
    table: Table, key: str, mean: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a logarithmic axis has a place for; bars down to zero leave its bottom."""
    for upper, lower in BANDS.items():
        if lower == key:
            mean = _lower_edge(table, upper)
    mean = np.where(mean > 0, mean, np.nan)
    low = np.where(error > 0.9 * mean, mean, error)
    return mean, np.stack([low, error])
