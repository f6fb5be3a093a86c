"""One run: its series against time, and what it is in words."""

from collections.abc import Collection
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mfsim.figures.panels import PANELS, finish, not_finite, recorded, start, values
from mfsim.figures.style import LOOKS, formula, number, styled, symbol, write
from mfsim.storage import Trajectory

CLOCKS = {"time": "flow time", "kernel_time": "kernel time"}
_KINDS = (
    "flow.dataset",
    "flow.network",
    "flow.network.activation",
    "flow",
    "integrator",
)
_NUMBERS = ("flow.network.alpha", "flow.temperature", "flow.network.width")


@styled
def run_figure(run: Trajectory) -> Figure:
    """The series of one run, of any status, against time in its schedule's unit."""
    series, panels = run.series, recorded(PANELS, run.series)
    clock = series[clock_of(run)]
    figure, grid = start(panels)
    for (title, words), axes in zip(panels.items(), grid, strict=True):
        for (key, word), look in zip(words.items(), LOOKS, strict=False):
            label = f"{word} {formula(series[key].attrs.get('symbol', ''))}".strip()
            own = look if clock.size <= 60 else look | {"marker": ""}
            axes.plot(clock, values(series, key), **own, label=label)
        finish(axes, title, series, words)
    if _setting(run, "schedule.spacing") == "log" and (clock > 0).any():
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
    """What a run is, without what differs across its sweep: kinds, then numbers."""
    kinds = [_setting(run, path) for path in _KINDS if path not in differs]
    numbers = {path: _setting(run, path) for path in _NUMBERS}
    y = run.data.get("y_train")
    numbers |= {
        "num_train": len(y) if isinstance(y, np.ndarray) else None,
        "seed": _setting(run, "seed"),
    }
    known = [
        f"{symbol(path)} = {number(value)}"
        for path, value in numbers.items()
        if value is not None and path not in differs
    ]
    return [" · ".join(str(kind) for kind in kinds if kind), ", ".join(known)]


def _setting(run: Trajectory, path: str) -> Any:
    """What a dotted path of the configuration says, a component's kind; or None."""
    found: Any = run.config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("kind") if isinstance(found, dict) else found
