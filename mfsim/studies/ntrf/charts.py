"""The charts of online SGD and its bounds: against n, m and R."""

import xarray

from mfsim.findings import Chart, Curve, Look, Panel
from mfsim.studies.ntrf.verdicts import error_bounds
from mfsim.studies.statistics import drawn_mean

_RESAMPLES = 400
"""Enough for bars that are drawn."""

_BARS = "bars are 95 % intervals of the mean"


def charts(found: xarray.Dataset, radius: float, setting: str) -> tuple[Chart, ...]:
    """Errors against n, and against m beside the NTRF loss; that loss against R.

    Args:
        found: What was measured and granted.
        radius: R of the NTRF loss that is drawn against m.
        setting: What all runs share.
    """
    widest, most = found.isel(width=-1), found.isel(size=-1)
    size, width = int(most["size"]), int(widest.width)
    depths = found.depth.values.tolist()
    return (
        Chart(
            "online_error",
            f"Online error, test error of Ŵ and their bounds against n, m = {width}, "
            f"{setting}; {_BARS}. A bound of 1 or more is vacuous.",
            tuple(
                _errors(widest.sel(depth=depth, labels=labels), depth, labels)
                for depth in depths
                for labels in found.labels.values
            ),
        ),
        Chart(
            "width",
            f"Online error and NTRF loss at R = {radius:g} against m, n = {size}, "
            f"{setting}; {_BARS}.",
            tuple(_widths(most.sel(depth=depth), radius, depth) for depth in depths),
        ),
        Chart(
            "radius",
            "Least loss in the ball |W_l − W_l(0)| ≤ R m^−a, and CG 3.3 with it, "
            f"against R, n = {size}, m = {width}, {setting}; {_BARS}.",
            tuple(
                panel
                for depth in depths
                for panel in _radii(most.sel(depth=depth).isel(width=-1), depth)
            ),
        ),
    )


def _errors(part: xarray.Dataset, depth: int, labels: str) -> Panel:
    series = {
        "online error": part.online_error,
        "test error of Ŵ": part.drawn_error,
        **error_bounds(part),
    }
    curves = [_curve(name, "size", array) for name, array in series.items()]
    sizes = tuple(part["size"].values.astype(float).tolist())
    curves.append(Curve("1", sizes, (1.0,) * len(sizes), look="reference"))
    return Panel("n", "0-1 error", tuple(curves), f"L = {depth}, {labels} labels")


def _widths(part: xarray.Dataset, radius: float, depth: int) -> Panel:
    series = {
        "online error": part.online_error,
        f"NTRF loss, R = {radius:g}": part.ntrf_loss.sel(radius=radius),
    }
    curves = (
        _curve(f"{name}, {labels}", "width", array.sel(labels=labels))
        for name, array in series.items()
        for labels in part.labels.values
    )
    return Panel("width m", "0-1 error, loss", tuple(curves), f"L = {depth}")


def _radii(part: xarray.Dataset, depth: int) -> tuple[Panel, Panel]:
    def panel(array: xarray.DataArray, label: str) -> Panel:
        curves = (
            _curve(f"{labels} labels", "radius", array.sel(labels=labels))
            for labels in part.labels.values
        )
        return Panel("R", label, tuple(curves), f"L = {depth}")

    return panel(part.ntrf_loss, "NTRF loss"), panel(part.ntrf_bound, "CG 3.3")


def _curve(
    label: str, axis: str, array: xarray.DataArray, look: Look = "both"
) -> Curve:
    """Means over draws."""
    rows = array.transpose(axis, "seed").values
    means = [drawn_mean(row, num_resamples=_RESAMPLES) for row in rows]
    y, low, high = zip(*(mean[:3] for mean in means), strict=True)
    return Curve(label, tuple(map(float, array[axis].values)), y, low, high, look)
