"""One run: its series against time, and what it is in words."""

from collections.abc import Collection
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mfsim.figures.panels import PANELS, finish, not_finite, recorded, start, values
from mfsim.figures.style import (
    LOOKS,
    formula,
    last_word,
    number,
    plain,
    styled,
    symbol,
    write,
)
from mfsim.storage import Trajectory

CLOCKS = {"time": "flow time", "kernel_time": "kernel time"}
_FACTS = (
    "flow.dataset",
    "flow.network",
    "flow.network.activation",
    "flow",
    "integrator",
    "flow.network.alpha",
    "flow.temperature",
    "flow.network.width",
    "seed",
)


@styled
def run_figure(run: Trajectory) -> Figure:
    """The series of one run, of any status, against time in its schedule's unit."""
    series, panels = run.series, recorded(PANELS, run.series)
    is_log = _setting(run, "schedule.spacing") == "log"
    if is_log and (series[clock_of(run)] > 0).any():
        # A logarithmic axis has no place for the start.
        series = series.isel(step=(series[clock_of(run)] > 0).values)
    clock = series[clock_of(run)]
    figure, grid = start(panels)
    for (title, words), axes in zip(panels.items(), grid, strict=True):
        for (key, word), look in zip(words.items(), LOOKS, strict=False):
            every = clock.size // 40 + 1
            axes.plot(clock, values(series, key), markevery=every, label=word, **look)
        finish(axes, title, series, words)
    if is_log and (clock > 0).any():
        grid[-1].set_xscale("log")
    grid[-1].set_xlabel(f"{CLOCKS[str(clock.name)]} {formula(clock.attrs['symbol'])}")
    notes = not_finite(series, panels) if clock.size else ["No rows yet."]
    if run.status != "completed":
        message = str(run.attributes.get("message", "")) or "rows up to now"
        notes.append(f"Not completed, {run.status}: {message}")
    write(figure, facts(run), notes)
    return figure


def clock_of(run: Trajectory | None) -> str:
    """The clock of a run's schedule."""
    is_flow = run is not None and _setting(run, "schedule.unit") != "kernel"
    return "time" if is_flow else "kernel_time"


def facts(run: Trajectory, differs: Collection[str] = ()) -> list[str]:
    """What a run is: kinds, then numbers; without names that differ in its sweep."""
    found = {last_word(path): _setting(run, path) for path in _FACTS}
    if isinstance(y := run.data.get("y_train"), np.ndarray):
        found["num_train"] = len(y)
    found = {k: v for k, v in found.items() if v is not None and k not in differs}
    kinds = [plain(v) for v in found.values() if isinstance(v, str)]
    numbers = [
        f"{symbol(k)} = {number(v)}" for k, v in found.items() if not isinstance(v, str)
    ]
    return [" · ".join(kinds), ", ".join(numbers)]


def _setting(run: Trajectory, path: str) -> Any:
    """What a dotted path of the configuration says, a component's kind; or None."""
    found: Any = run.config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("kind") if isinstance(found, dict) else found
