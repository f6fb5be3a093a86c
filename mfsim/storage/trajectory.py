"""Reading the file of one run, whether finished, running or killed."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from mfsim.errors import FormatError
from mfsim.storage.layout import ROW_SERIES, DataFile, dataset_at, group_at
from mfsim.storage.reading import (
    committed_rows,
    description_of,
    open_for_reading,
    series_dims,
    snapshot_paths,
    warnings_of,
)

_PARTICLE_DIMS = ("step", "neuron", "coordinate")
_WEIGHT_DIMS = ("step", "neuron", "input")


class Trajectory:
    """What one file holds, as it was when opened; the file is not kept open.

    Attributes:
        path: The file.
        status: "running" (also of a killed run), "completed", "diverged",
            "interrupted" or "failed".
        attributes: The root attributes: versions, device, dtype, seed, hash.
        config_text: The configuration, as TOML.
        series: The recorded quantities over `step`, with coordinates `time` and
            `kernel_time`; each has attributes unit, symbol, description.
        absent: Why a quantity was left out, by name.
        warnings: Messages kept while running.
        timing: Seconds spent, by what they were spent on.
        snapshots: Full states over `step`, read when used: "neurons", "neurons_3d",
            "shadow", "density"; of deep networks "weights/layer_1", …, over the
            neurons of a layer and their inputs, and "layer_1_3d", ….
    """

    def __init__(self, path: str | Path) -> None:
        """Read all but the series, the snapshots and the data.

        Raises:
            FormatError: If the file is not a readable mfsim file.
        """
        self.path = Path(path)
        with open_for_reading(self.path) as file:
            self.attributes = _plain(file.attrs)
            self.status = str(self.attributes["status"])
            self.config_text = _text(dataset_at(file, "config"))
            self.warnings = warnings_of(file)
            self.timing = _plain(group_at(file, "timing").attrs)
            self.absent = _plain(group_at(file, "series").attrs)
            self.absent.pop("coordinates", None)
            self.snapshots: Mapping[str, xarray.DataArray] = Snapshots(
                self.path, snapshot_paths(file)
            )

    @cached_property
    def series(self) -> xarray.Dataset:
        """The recorded quantities, as they are when first asked for."""
        with open_for_reading(self.path) as file:
            return _read_series(group_at(file, "series"))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration; raises `FormatError` if it is not TOML."""
        try:
            return tomllib.loads(self.config_text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(f"{self.path} is damaged: /config: {error}.") from error

    @cached_property
    def data(self) -> dict[str, np.ndarray | DataFile]:
        """Training and test arrays by name; a `DataFile` for what was too large."""
        with open_for_reading(self.path) as file:
            group = group_at(file, "data")
            return {str(name): _datum(group, str(name)) for name in group}

    def __repr__(self) -> str:
        """One line: file, status, rows."""
        rows = self.series.sizes["step"]
        return f"<Trajectory {self.path}: {self.status}, {rows} rows>"


def open_trajectory(path: str | Path) -> Trajectory:
    """Read a run's file, whether it is finished, running or was killed.

    Args:
        path: The file.

    Raises:
        FormatError: If it is not a readable mfsim file.
    """
    return Trajectory(path)


class Snapshots(Mapping[str, xarray.DataArray]):
    """The snapshots of a file by name; an array is read when its values are used."""

    def __init__(self, path: Path, groups: Mapping[str, str]) -> None:
        """Name the file and the group of each snapshot."""
        self._path, self._groups = path, groups

    def __getitem__(self, name: str) -> xarray.DataArray:
        """One snapshot, over `step` with coordinate `time`, then its own axes."""
        group = self._groups[name]
        with open_for_reading(self._path) as file:
            parts = [dataset_at(file, f"{group}/{key}") for key in ("step", "time")]
            value = dataset_at(file, f"{group}/value")
            rows = min(len(part) for part in (*parts, value))
            step, time = (part[:rows] for part in parts)
            lazy = _LazyValue(
                self._path, f"{group}/value", (rows, *value.shape[1:]), value.dtype
            )
            axes = _axes(file, group)
        dims = _dims(group, len(lazy.shape), axes)
        variable = xarray.Variable(dims, indexing.LazilyIndexedArray(lazy))
        coords = {"step": step, "time": ("step", time), **axes}
        return xarray.DataArray(variable, coords=coords, name=name)

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._groups)

    def __len__(self) -> int:
        """How many."""
        return len(self._groups)


class _LazyValue(BackendArray):
    """A dataset that is opened when it is indexed."""

    def __init__(
        self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self._path, self._name = path, name
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        rows = np.arange(self.shape[0])[key[0]]
        with open_for_reading(self._path) as file:
            dataset = dataset_at(file, self._name)
            if np.ndim(rows) == 0:
                return dataset[int(rows)][key[1:]]
            # HDF5 wants increasing indices; whole snapshots come in any order.
            found = [dataset[int(row)][key[1:]] for row in rows]
            return np.stack(found) if found else np.empty(self.shape, self.dtype)[key]


def _dims(group: str, ndim: int, axes: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the axes of a snapshot."""
    if axes:
        return ("step", *axes)
    if group.endswith("/position"):
        return _PARTICLE_DIMS
    if group.startswith("weights/"):
        return _WEIGHT_DIMS[:ndim]
    return ("step", *(f"axis_{axis}" for axis in range(1, ndim)))


def _axes(file: h5py.File, group: str) -> dict[str, np.ndarray]:
    """Coordinates of the axes of a snapshot, where it has any, by name in order."""
    if f"{group}/axes" not in file:
        return {}
    axes = group_at(file, f"{group}/axes")
    return {str(name): dataset_at(axes, str(name))[...] for name in axes}


def _read_series(group: h5py.Group) -> xarray.Dataset:
    axes = series_dims(group)
    growing = [name for name, dims in axes.items() if dims[0] == "step"]
    rows = committed_rows(group, [*ROW_SERIES, *growing])
    variables = {}
    for name, dims in axes.items():
        dataset = dataset_at(group, name)
        values = dataset[:rows] if dims[0] == "step" else dataset[...]
        variables[name] = xarray.Variable(dims, values, description_of(dataset))
    return xarray.Dataset(variables).set_coords(["time", "kernel_time"])


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as Python objects."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in attributes.items()
    }


def _text(dataset: h5py.Dataset) -> str:
    return str(dataset.asstr()[()])


def _datum(group: h5py.Group, name: str) -> np.ndarray | DataFile:
    if group.get(name, getclass=True) is h5py.Dataset:
        return dataset_at(group, name)[...]
    reference = group_at(group, name).attrs
    return DataFile(str(reference["path"]), str(reference["sha256"]))
