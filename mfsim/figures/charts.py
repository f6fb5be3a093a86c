"""The charts of findings on paper, in the width of a column or a page."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from PIL import Image

from mfsim.figures.style import ITERATE, LOOKS, styled
from mfsim.findings import Chart, Curve, Map, Panel, Scale

COLUMN, PAGE = 3.4, 7.0
"""Widths in inches of one panel and of two."""

CYCLE: tuple[dict[str, Any], ...] = (
    *LOOKS,
    ITERATE,
    {
        "color": "#E69F00",
        "marker": "v",
        "linestyle": (0, (5, 1)),
        "markerfacecolor": "white",
    },
    {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
    {"color": "#000000", "marker": "X", "linestyle": (0, (1, 1))},
)
"""Looks of the curves of a panel, by Okabe and Ito; in grey by marker and dash."""

_DASHES = ("--", ":", "-.", (0, (6, 2)), (0, (1, 3)))
_SMALL: dict[str, Any] = {
    "markersize": 3.5,
    "linewidth": 1.1,
    "capsize": 1.5,
    "elinewidth": 0.8,
}


@styled
def chart_figure(chart: Chart) -> Figure:
    """A chart as a figure: panels two abreast, legends above them, the caption below.

    Args:
        chart: What a study found.
    """
    count = 1 if chart.map else max(1, len(chart.panels))
    columns = min(count, 2)
    rows = -(-count // columns)
    width = COLUMN if columns == 1 else PAGE
    caption = textwrap.fill(chart.caption, int(19 * width))
    labels = [_labels(chart.map)] if chart.map else [_labels(p) for p in chart.panels]
    height = rows * 2.6 + 0.13 * sum(len(own) for own in labels) / columns
    height += 0.14 * (caption.count("\n") + 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    if chart.map:
        _draw_map(grid[0], chart.map)
    for panel, axes in zip(chart.panels, grid, strict=False):
        _draw_panel(axes, panel)
    for axes in grid[count:]:
        axes.set_axis_off()
    left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
    figure.supxlabel(_safe(caption), fontsize=7, color="0.25", **left)
    return figure


@styled
def chart_files(chart: Chart) -> dict[str, bytes]:
    """The same as files, by suffix: .png at 200 dots an inch, and .pdf."""
    figure = chart_figure(chart)
    # Places are found once: it takes as long as drawing, and both files share them.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return {suffix: _saved(figure, suffix) for suffix in (".png", ".pdf")}


def _saved(figure: Figure, suffix: str) -> bytes:
    picture = io.BytesIO()
    # Journals want fonts of type 42.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(picture, format=suffix[1:], dpi=200)
    if suffix != ".png":
        return picture.getvalue()
    small = io.BytesIO()
    # A palette takes a third of the bytes; this one keeps the colours of thin lines.
    every = Image.open(picture).convert("RGB")
    palette = every.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    palette.save(small, "png", dpi=(200, 200))
    return small.getvalue()


def _labels(drawn: Panel | Map) -> list[str]:
    """The words of the legend, one for all that is drawn, some empty."""
    if isinstance(drawn, Map):
        return [name for name in drawn.regions if name in drawn.region]
    return [each.label for each in (*drawn.curves, *drawn.marks)]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    x_scale = _scale(panel.x_scale, [curve.x for curve in panel.curves])
    y_scale = _scale(panel.y_scale, [curve.y for curve in panel.curves])
    axes.set_xscale(x_scale)
    axes.set_yscale(y_scale)
    drawn: list[Any] = []
    looks, dashes = iter(CYCLE * len(panel.curves)), iter(_DASHES * len(panel.curves))
    for curve in panel.curves:
        if curve.look == "reference":
            thin = {"color": "0.35", "linewidth": 0.9, "linestyle": next(dashes)}
            drawn += axes.plot(*_points(curve), **thin)
        else:
            drawn.append(_draw_curve(axes, curve, next(looks), y_scale == "log"))
    if y_scale == "log":
        axes.set_ylim(*_reach(panel.curves))
    for mark in panel.marks:
        drawn.append(axes.axvline(mark.x, color="0.2", linewidth=0.8))
        if mark.low is not None and mark.high is not None:
            axes.axvspan(mark.low, mark.high, color="0.88", linewidth=0, zorder=0)
    _finish(axes, panel, drawn)


def _draw_curve(axes: Axes, curve: Curve, look: dict[str, Any], is_log: bool) -> Any:
    """A curve with its bars, as the legend's handle."""
    look = look | ({"linestyle": ""} if curve.look == "points" else {})
    look |= {"marker": ""} if curve.look == "line" else {}
    x, y = _points(curve)
    bars = None
    if curve.low is not None and curve.high is not None:
        low, high = np.array(curve.low, float), np.array(curve.high, float)
        if is_log:
            # To the bottom of the axis, wherever that is.
            low = np.where(low > 0, low, np.finfo(float).tiny)
        bars = np.stack([y - low, high - y]).clip(min=0)
        bars = np.where(np.isfinite(bars), bars, 0.0)
    return axes.errorbar(x, y, yerr=bars, **look, **_SMALL)


def _draw_map(axes: Axes, regions: Map) -> None:
    x, y = np.array(regions.x, float), np.array(regions.y, float)
    drawn: list[Any] = []
    for name, look in zip(regions.regions, CYCLE * len(regions.regions), strict=False):
        chosen = np.array([region == name for region in regions.region], bool)
        if chosen.any():
            look = look | {"linestyle": "", "markersize": 5}
            drawn += axes.plot(x[chosen], y[chosen], **look)
    _finish(axes, regions, drawn)


def _finish(axes: Axes, told: Panel | Map, drawn: Sequence[Any]) -> None:
    """Labels, and a legend above the axes: whatever the data, it covers none."""
    axes.set_xlabel(_safe(textwrap.fill(told.x_label, 44)), fontsize=8.5)
    axes.set_ylabel(_safe(textwrap.fill(told.y_label, 34)), fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.tick_params(labelsize=7, which="minor")
    _ticks(axes.xaxis, *axes.get_xlim())
    _ticks(axes.yaxis, *axes.get_ylim())
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center")
    words, title = _labels(told), _safe(told.title)
    named = [pair for pair in zip(drawn, words, strict=True) if pair[1]]
    if not named:
        axes.set_title(title, fontsize=8.5, loc="left")
        return
    handles, labels = zip(*named, strict=True)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "fontsize": 7.5}
    head = {"title": title, "title_fontsize": 8.5, "alignment": "left"}
    ncols = 2 if max(map(len, labels)) < 22 else 1
    axes.legend(handles, list(map(_safe, labels)), ncols=ncols, **place, **head)


def _reach(curves: Sequence[Curve]) -> tuple[float, float]:
    """What a logarithmic axis shows: all that is positive, and a margin."""
    every = [(c.y, c.low or (), c.high or ()) for c in curves]
    values = [v for rows in every for row in rows for v in row if 0 < v < math.inf]
    margin = (max(values) / min(values)) ** 0.05 * 1.02
    return min(values) / margin, max(values) * margin


def _ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers on a short logarithmic axis, at 1, 2, 5, 10, …, or more of them."""
    if axis.get_scale() != "log":
        return
    if low >= 1e-3 and high <= 1e5:
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    if high < 40 * low:
        subs = (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 6, 8)
        axis.set_major_locator(ticker.LogLocator(subs=subs))
        axis.set_minor_formatter(ticker.NullFormatter())


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    return np.array(curve.x, float), np.array(curve.y, float)


def _scale(wanted: Scale, values: Sequence[Sequence[float]]) -> Scale:
    """The scale, or linear where nothing is positive."""
    is_positive = any(value > 0 for row in values for value in row)
    return wanted if is_positive else "linear"


def _safe(text: str) -> str:
    """Text that starts no formula."""
    return text.replace("$", r"\$")
