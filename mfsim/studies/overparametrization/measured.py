"""What trained networks came to: their capacity measures, by run."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.datasets import AbstractDataset
from mfsim.storage import Trajectory, open_trajectory
from mfsim.studies.base import last
from mfsim.theory import capacity_measures

Place = Mapping[str, Any]
"""Where a run lies: a value of each axis."""

UNITS = "unit_capacity", "unit_impact"
"""What there is one of for each unit."""


class Layers(NamedTuple):
    """The weights of f = V [U x]_+, and those of the start."""

    u: Float[np.ndarray, "h d"]
    v: Float[np.ndarray, "c h"]
    u0: Float[np.ndarray, "h d"]
    v0: Float[np.ndarray, "c h"]


def layers(run: Trajectory, place: Place) -> Layers:
    """Of a ReluClassifier."""
    u, v = (_ends(run, f"weights/layer_{layer}") for layer in (1, 2))
    return Layers(u[1], v[1], u[0], v[0])


def neurons(run: Trajectory, place: Place) -> Layers:
    """Of a TwoLayer network of alpha = m^s: U = w, V = (alpha/m) u^T."""
    start, end = _ends(run, "neurons")
    scale = len(end) ** (place["exponent"] - 1)
    return Layers(
        end[:, :-1], scale * end[:, -1:].T, start[:, :-1], scale * start[:, -1:].T
    )


def _ends(run: Trajectory, name: str) -> Float[np.ndarray, "2 ..."]:
    return run.snapshots[name][[0, -1]].values.astype(np.float64)


def measured(
    runs: xarray.Dataset,
    weights: Callable[[Trajectory, Place], Layers],
    points: Callable[..., AbstractDataset],
) -> xarray.Dataset:
    """What `capacity_measures` finds of every run that ended, in float64.

    With `start_term` |U_0|_2 |V|_F and `distance_term` |U - U_0|_F |V|_F of measure 6
    and their sum `unit_wise_terms`, the mean of each of `UNITS`, and `samples`; and the
    ends of the series `train_risk`, `train_error`, `test_error`, `gap`, test less
    training error, and `steps`.

    Args:
        runs: Their series over two axes and the width, with the attribute `folder`.
        weights: Takes a run's file and its place.
        points: Takes the other axes by name: what was learned, whose training points
            are loaded once for all widths.

    Cost: That of `capacity_measures` for each run.
    """
    axes = runs.status.dims
    widest = int(runs.width.max())
    found: dict[str, np.ndarray] = {}
    for outer in itertools.product(*(range(runs.sizes[axis]) for axis in axes[:-1])):
        part = runs.isel(dict(zip(axes, outer, strict=False)))
        ended = np.flatnonzero(part.status.values == "completed")
        if not ended.size:
            continue
        place = {axis: part[axis].item() for axis in axes[:-1]}
        data = points(**place).load()
        for i in ended.tolist():
            run = open_trajectory(_file(runs, part.run_id[i].item()))
            values = _values(weights(run, place), data.x_train, data.y_train)
            for name, value in values.items():
                size = (widest,) * np.ndim(value)
                shape = *runs.status.shape, *size
                array = found.setdefault(name, np.full(shape, np.nan))
                array[(*outer, i, *map(slice, np.shape(value)))] = value
    dims = {0: axes, 1: (*axes, "unit")}
    arrays = {n: (dims[a.ndim - len(axes)], a) for n, a in found.items()}
    coords = {axis: runs[axis].values for axis in axes}
    return xarray.Dataset(arrays, coords).assign(_ended(runs))


def _file(runs: xarray.Dataset, run_id: str) -> Path:
    return Path(runs.attrs["folder"]) / f"{run_id}.h5"


def _values(net: Layers, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Numbers of one network, and arrays over its units."""
    every = capacity_measures(*net, x, y)
    found = {name: value for name, value in every.items() if name != "notes"}
    for name, norm in (("start", "u0_spectral"), ("distance", "u_distance_frobenius")):
        found[f"{name}_term"] = found[norm] * found["v_frobenius"]
    found["unit_wise_terms"] = found["start_term"] + found["distance_term"]
    found |= {f"{name}_mean": found[name].mean() for name in UNITS}
    return found | {"samples": len(x)}


def _ended(runs: xarray.Dataset) -> dict[str, xarray.DataArray]:
    bare = runs.reset_coords(["step", "time", "kernel_time"])
    names = "train_risk", "train_error", "test_error"
    found = {name: last(bare, name) for name in names}
    found["steps"] = bare.step.max("save")
    return found | {"gap": found["test_error"] - found["train_error"]}
