"""The files of a sweep together: one xarray Dataset, and the table of its points."""

import csv
import json
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from mfsim.errors import FormatError, MfsimError
from mfsim.storage.layout import ROW_SERIES
from mfsim.storage.trajectory import Trajectory

SAVE = "save"
_TAKEN = {SAVE, *ROW_SERIES, "status", "run_id"}


@dataclass(frozen=True)
class _Point:
    """One run's place in the sweep: the root attribute `sweep`, checked."""

    run: Trajectory
    dims: tuple[str, ...]
    index: tuple[int, ...]
    sizes: tuple[int, ...]
    values: Mapping[str, Any]
    coords: Mapping[str, tuple[str, ...]]


def open_sweep(directory: str | Path) -> xarray.Dataset:
    """All runs of a sweep as one Dataset with the swept axes as dimensions.

    Series have dimensions (axes…, "save", their own), padded with NaN where a run has
    fewer saves or is missing; `step`, `time` and `kernel_time` are coordinates over
    (axes…, "save"). `status` ("missing" where there is no file) and `run_id` lie over
    the axes. An axis that depends on another, such as alpha up to sqrt(width), is the
    dimension `alpha_index`, with `alpha` a coordinate over (width, alpha_index).

    The root attribute `sweep` of each file is JSON: "dims", the axes in order;
    "sizes", how many points each has; "index", the point's position; "values", of
    swept quantities by name; "coords", the axes each of these depends on, by
    default the one of its own name.

    Args:
        directory: Folder whose *.h5 files are the points of one sweep.

    Raises:
        FormatError: If it holds no files, or one that does not belong.
    """
    paths = sorted(Path(directory).glob("*.h5"))
    if not paths:
        raise FormatError(f"{directory} must hold the *.h5 files of a sweep, got none.")
    return join_sweep((Trajectory(path), None) for path in paths)


def join_sweep(
    runs: Iterable[tuple[Trajectory, Mapping[str, Any] | None]],
) -> xarray.Dataset:
    """The same of runs that need not lie together nor know their places.

    Args:
        runs: Each with its place, as the attribute `sweep` would have it; that of its
            file where it is None.

    Raises:
        FormatError: If a run cannot be read, or does not belong.
    """
    return _join([_read_point(run, place) for run, place in runs])


def _join(points: Sequence["_Point"]) -> xarray.Dataset:
    _check_together(points)
    dims = points[0].dims
    reached = (tuple(i + 1 for i in point.index) for point in points)
    sizes = _extent([*reached, *(point.sizes for point in points)])
    dataset = _join_series(points, sizes)
    for name in points[0].coords:
        dataset = dataset.assign_coords({name: _coordinate(points, name, sizes)})
    status = np.full(sizes, "missing", dtype=object)
    run_id = np.full(sizes, "", dtype=object)
    for point in points:
        status[point.index] = point.run.status
        run_id[point.index] = point.run.path.stem
    return dataset.assign(
        status=(dims, status.astype(str)), run_id=(dims, run_id.astype(str))
    )


def write_sweep_table(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write sweep.csv, one line a point, in one stroke.

    Args:
        path: The file; an older one is replaced when the new one is whole.
        rows: Values by column; a column that a row lacks is left empty.

    Raises:
        MfsimError: If the file cannot be written.
    """
    temporary = Path(f"{path}.tmp")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, path)
    except OSError as error:
        raise MfsimError(f"{path} could not be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _read_point(run: Trajectory, place: Mapping[str, Any] | None) -> _Point:
    path = run.path
    try:
        sweep = place or json.loads(run.attributes["sweep"])
        dims = tuple(sweep["dims"])
        index = tuple(int(sweep["index"][dim]) for dim in dims)
        sizes = tuple(int(size) for size in sweep.get("sizes", (0,) * len(dims)))
        values = dict(sweep["values"])
        given = sweep.get("coords", {})
        coords = {name: tuple(given.get(name, [name])) for name in values}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{path} must say in its attribute `sweep` where in a sweep it lies."
        ) from error
    known = all(set(over) <= set(dims) for over in coords.values())
    if min(index, default=0) < 0 or not known or _TAKEN & {*dims, *coords}:
        raise FormatError(
            f"{path} must place itself by indices from 0 on axes that are not called"
            f" {sorted(_TAKEN)}, got {json.dumps(sweep)}."
        )
    return _Point(run, dims, index, sizes, values, coords)


def _check_together(points: Sequence[_Point]) -> None:
    first = points[0]
    seen: dict[tuple[int, ...], _Point] = {}
    for point in points:
        if (point.dims, point.coords) != (first.dims, first.coords):
            raise FormatError(
                f"{point.run.path} must belong to the sweep of {first.run.path}, got"
                f" axes {list(point.dims)} beside {list(first.dims)}."
            )
        if point.index in seen:
            raise FormatError(
                f"{point.run.path} must be another point of the sweep than"
                f" {seen[point.index].run.path}."
            )
        seen[point.index] = point


def _extent(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """The smallest shape that all of these fit into."""
    return tuple(max(axis) for axis in zip(*shapes, strict=True))


def _join_series(points: Sequence[_Point], sizes: tuple[int, ...]) -> xarray.Dataset:
    runs = [point.run.series.reset_index("step") for point in points]
    saves = max(run.sizes["step"] for run in runs)
    joined: dict[Hashable, xarray.Variable] = {}
    for name in dict.fromkeys(name for run in runs for name in run.variables):
        found = [
            (point, run[name].variable)
            for point, run in zip(points, runs, strict=True)
            if name in run.variables
        ]
        if "step" in found[0][1].dims:
            joined[name] = _padded(points[0].dims, sizes, saves, found)
        else:
            joined[name] = max((scale for _, scale in found), key=len)
    return xarray.Dataset(joined).set_coords(["step", "time", "kernel_time"])


def _padded(
    dims: tuple[str, ...],
    sizes: tuple[int, ...],
    saves: int,
    found: Sequence[tuple[_Point, xarray.Variable]],
) -> xarray.Variable:
    """One series of all points, NaN where a point has none."""
    own = _extent(variable.shape[1:] for _, variable in found)
    values = np.full((*sizes, saves, *own), np.nan)
    for point, variable in found:
        block = tuple(slice(size) for size in variable.shape)
        values[(*point.index, *block)] = variable.values
    first = found[0][1]
    return xarray.Variable((*dims, SAVE, *first.dims[1:]), values, first.attrs)


def _coordinate(
    points: Sequence[_Point], name: str, sizes: tuple[int, ...]
) -> xarray.Variable:
    """The values of one swept quantity, over the axes that it depends on."""
    dims, over = points[0].dims, points[0].coords[name]
    axes = [dims.index(dim) for dim in over]
    values = np.full([sizes[axis] for axis in axes], None, dtype=object)
    for point in points:
        values[tuple(point.index[axis] for axis in axes)] = point.values[name]
    given = [value for value in values.flat if value is not None]
    if not all(isinstance(value, int | float) for value in given):
        texts = ["" if value is None else str(value) for value in values.flat]
        return xarray.Variable(over, np.reshape(texts, values.shape))
    if len(given) < values.size:
        return xarray.Variable(over, values.astype(float))
    return xarray.Variable(over, np.array(values.tolist()))
