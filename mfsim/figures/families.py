"""A sweep as lines of a figure: what it is drawn against, and a line for the rest."""

from collections import Counter
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray

from mfsim.figures.panels import values
from mfsim.figures.style import last_word, number, symbol


class Family(NamedTuple):
    """The last rows of the runs along one line of a figure."""

    label: str
    look: dict[str, Any]
    x: np.ndarray
    rows: xarray.Dataset

    def table(self, key: str, completed: bool = True) -> np.ndarray:
        """Values over (x, seeds) of the runs that are completed, or of the others."""
        chosen = (self.rows.status == "completed") == completed
        return values(self.rows, key).where(chosen).values.reshape(len(self.x), -1)


def families_of(sweep: xarray.Dataset, name: str) -> list[Family]:
    """A line for each point on the axes that are neither `name`'s nor a seed's."""
    rows, axis = last_rows(sweep), sweep[name].dims[-1]
    outer = [dim for dim in rows.status.dims if dim != axis and not is_seed(dim)]
    places = list(np.ndindex(*(rows.sizes[dim] for dim in outer)))
    # Shades in the order of the axes, which a swept number gives its meaning.
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(places)))
    found = []
    for place, shade in zip(places, shades, strict=True):
        own = rows.isel(dict(zip(outer, place, strict=True))).transpose(axis, ...)
        fixed = [name for name in swept(sweep) if not own[name].ndim]
        label = ", ".join(f"{symbol(c)} = {number(own[c].item())}" for c in fixed)
        # An alpha that depends on the seed too is no axis to average over: the first.
        x = own[name].values.reshape(own.sizes[axis], -1)[:, 0]
        x = x if is_numeric(own[name]) else np.arange(len(x))
        found.append(Family(label, {"color": shade} if len(places) > 1 else {}, x, own))
    return found


def last_rows(sweep: xarray.Dataset) -> xarray.Dataset:
    """The last row of every run; NaN where there is none."""
    if not sweep.sizes["save"]:
        sweep = sweep.pad(save=(0, 1))
    return sweep.isel(save=(sweep.step.notnull().sum("save") - 1).clip(min=0))


def not_completed(sweep: xarray.Dataset) -> str:
    """How many runs are not completed, and why; empty if all are."""
    every = list(map(str, sweep.status.values.flat))
    left = Counter(status for status in every if status != "completed")
    each = ", ".join(f"{left[state]} {state}" for state in sorted(left))
    return (
        f"Not completed: {left.total()} of {len(every)} runs ({each})" if left else ""
    )


def swept(sweep: xarray.Dataset) -> list[str]:
    """Names of the swept quantities, in the order of their axes."""
    dims = {*sweep.status.dims}
    return [str(name) for name in sweep.coords if {*sweep[name].dims} <= dims]


def swept_axis(sweep: xarray.Dataset) -> str:
    """The swept quantity to draw against: alpha, else a number, else any."""

    def rank(name: str) -> tuple[bool, ...]:
        is_other = last_word(name) != "alpha"
        return is_other, is_seed(name), not is_numeric(sweep[name])

    return min(swept(sweep), key=rank)


def is_seed(name: object) -> bool:
    """Whether an axis is one of seeds, to average over."""
    return str(name).removesuffix("_index").endswith("seed")


def is_numeric(array: xarray.DataArray) -> bool:
    """Whether an axis is one of numbers, else of kinds."""
    return array.dtype.kind in "iuf"
