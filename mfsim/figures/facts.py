"""A run in words: its clock, its settings, what it is."""

from collections.abc import Collection
from typing import Any

import numpy as np
import xarray

from mfsim.figures.style import formula, last_word, number, plain, symbol
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
    "flow.network.scale_exponent",
    "flow.network.width",
    "flow.network.active",
    "flow.network.depth",
    "flow.cells",
    "integrator.batch_size",
    "seed",
)


def clock_of(run: Trajectory | None) -> str:
    """The clock of a run's schedule."""
    is_flow = run is not None and setting(run, "schedule.unit") != "kernel"
    return "time" if is_flow else "kernel_time"


def clock_label(clock: xarray.DataArray) -> str:
    """What an axis of time is called."""
    return f"{CLOCKS[str(clock.name)]} {formula(clock.attrs['symbol'])}"


def facts(run: Trajectory, differs: Collection[str] = ()) -> list[str]:
    """What a run is: kinds, then numbers; without names that differ in its sweep."""
    found = {last_word(path): setting(run, path) for path in _FACTS}
    if found["cells"] is not None or found["active"] is not None:
        # A density has no neurons; in a padded network they are those that are active.
        del found["width"]
    if isinstance(y := run.data.get("y_train"), np.ndarray):
        found["num_train"] = len(y)
    found = {k: v for k, v in found.items() if v is not None and k not in differs}
    kinds = [plain(v) for v in found.values() if isinstance(v, str)]
    numbers = [
        f"{symbol(k)} = {number(v)}" for k, v in found.items() if not isinstance(v, str)
    ]
    return [" · ".join(kinds), ", ".join(numbers)]


def setting(run: Trajectory, path: str) -> Any:
    """What a dotted path of the configuration says, a component's kind; or None."""
    found: Any = run.config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found.get("kind") if isinstance(found, dict) else found
