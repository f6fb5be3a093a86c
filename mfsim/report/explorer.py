"""What the explorer of a page knows of some runs: their series and their neurons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray

from mfsim.figures.families import is_seed
from mfsim.figures.layers import by_layer
from mfsim.report.numbers import compact, thinned
from mfsim.storage import Trajectory

CLOCKS = ("step", "time", "kernel_time")
REPEATS = ("trial", "draw")
"""Axes over which runs are repeated, beside those of seeds."""

MAX_SAVES = 60
MAX_NUMBERS = 200_000
"""Of all series of one set of runs, some 1.5 MB of text: saves are thinned to it."""

MAX_CLOUDS, MAX_NEURONS, MAX_SNAPSHOTS = 12, 300, 12
VIEWS = {
    "neurons_3d": (1, 0, "u"),
    "layer_1_3d": (0, 2, "norm of outgoing weights, hidden layer 1"),
}
"""Of each view of neurons the columns that are drawn, and what the second is called."""


@dataclass(frozen=True)
class Point:
    """A run, and the values that tell it from others, by name."""

    run: Trajectory
    values: Mapping[str, Any]


def explorer_data(title: str, points: Sequence[Point]) -> dict[str, Any]:
    """Plain data of runs, for JSON.

    Args:
        title: What the runs are called together.
        points: The runs.
    """
    names = _names(points)
    saves = MAX_NUMBERS // max(1, len(points) * (len(names) + len(CLOCKS)))
    saves = min(max(saves, 2), MAX_SAVES)
    keys = list(dict.fromkeys(key for point in points for key in point.values))
    return {
        "title": title,
        "keys": [key for key in keys if not _is_repeat(key)],
        "seeds": [key for key in keys if _is_repeat(key)],
        "series": _described(points, names),
        "runs": [_run(point, names, saves) for point in points],
        "clouds": _clouds(points),
    }


def label(values: Mapping[str, Any], *, with_seeds: bool = False) -> str:
    """What a run is called among others."""
    chosen = {k: v for k, v in values.items() if with_seeds or not _is_repeat(k)}
    return ", ".join(f"{key} = {_word(value)}" for key, value in chosen.items())


def _is_repeat(key: str) -> bool:
    return is_seed(key) or key in REPEATS


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _variables(run: Trajectory) -> dict[str, xarray.Variable]:
    """The series of a run, those along its layers one by one as well."""
    # Variables, not arrays with coordinates, which take a millisecond each.
    own = {str(name): found for name, found in run.series.variables.items()}
    return own | by_layer(run.series)


def _view(run: Trajectory) -> str | None:
    """The view of a run's neurons that is drawn."""
    return next((name for name in VIEWS if name in run.snapshots), None)


def _names(points: Sequence[Point]) -> list[str]:
    """Series of one number a save, those of any run."""
    every = [
        str(name)
        for point in points
        for name, array in _variables(point.run).items()
        if array.dims == ("step",) and name not in CLOCKS
    ]
    return list(dict.fromkeys(every))


def _described(
    points: Sequence[Point], names: Sequence[str]
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name in (*CLOCKS, *names):
        found_in = (_variables(point.run) for point in points)
        attributes = next(own[name].attrs for own in found_in if name in own)
        found[name] = {k: attributes[k] for k in ("symbol", "unit", "description")}
    return found


def _run(point: Point, names: Sequence[str], saves: int) -> dict[str, Any]:
    series = _variables(point.run)
    rows = thinned(len(series["step"]), saves)
    return {
        "id": point.run.path.stem,
        "values": {key: _plain(value) for key, value in point.values.items()},
        "series": {
            name: compact(series[name].values[rows])
            for name in (*CLOCKS, *names)
            if name in series
        },
    }


def _plain(value: Any) -> Any:
    """A swept value as JSON has it, which knows no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, int | float | str) else str(value)


def _clouds(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The neurons of some runs: the first seed of each setting, settings spread."""
    settings: dict[str, Point] = {}
    for point in points:
        if _view(point.run):
            settings.setdefault(label(point.values), point)
    chosen = list(settings.values())
    places = thinned(len(chosen), MAX_CLOUDS) if chosen else ()
    clouds = [_cloud(chosen[place]) for place in places]
    return [cloud for cloud in clouds if cloud["w"]]


def _cloud(point: Point) -> dict[str, Any]:
    view = _view(point.run) or ""
    array, (across, up, named) = point.run.snapshots[view], VIEWS[view]
    rows = thinned(array.sizes["step"], MAX_SNAPSHOTS)
    kept = thinned(array.sizes["neuron"], MAX_NEURONS)
    every = np.asarray(array.values)
    values = [every[row][kept] for row in rows]
    times = array["time"].values[rows]
    rate = _kernel_rate(point.run.series)
    return {
        "label": label(point.values, with_seeds=True) or point.run.path.stem,
        "total": array.sizes["neuron"],
        "time": compact(times),
        "kernel_time": compact(times * rate),
        # Three digits are finer than a picture.
        "up": named,
        "u": [compact(snapshot[:, up], 3) for snapshot in values],
        "w": [compact(snapshot[:, across], 3) for snapshot in values],
    }


def _kernel_rate(series: xarray.Dataset) -> float:
    """Kernel time over flow time."""
    time, kernel_time = (float(series[name][-1]) for name in CLOCKS[1:])
    return kernel_time / time if time > 0 else math.nan
