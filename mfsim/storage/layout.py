"""What the file holds and where: the parts that are made before the first row."""

import datetime
import getpass
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from mfsim.errors import FormatError
from mfsim.series import Series

FORMAT_VERSION = 1
STATUSES = ("running", "completed", "diverged", "interrupted", "failed")

# An array of /data above this many bytes is kept by its checksum only.
MAX_DATA_BYTES = 16 * 2**20

# HDF5 allows chunks below 4 GiB.
_MAX_CHUNK_BYTES = 2**30

# Axes that count as the papers do: layer l holds W_l, hidden layer l its neurons.
_FROM_ONE = ("layer", "hidden_layer")


@dataclass(frozen=True)
class DataFile:
    """An array of /data that is kept by reference, being large.

    Attributes:
        path: Absolute path of the file it was read from; "" if it was drawn.
        sha256: Checksum of that file, or, without a path, of the array's bytes.
    """

    path: str
    sha256: str


ROW_SERIES = {
    "step": Series("1", "k", "number of steps taken", dtype="int64"),
    "time": Series("time", "t", "flow time, step size times number of steps"),
    "kernel_time": Series("time", "tau", "kernel time, alpha^2 times flow time"),
}


def write_skeleton(
    file: h5py.File,
    *,
    attributes: Mapping[str, str | int | float],
    config: str,
    series: Mapping[str, Series],
    absent: Mapping[str, str],
    data: Mapping[str, np.ndarray | DataFile],
    axes: Mapping[str, np.ndarray],
    sweep: Mapping[str, object] | None,
    planned_rows: int,
) -> None:
    """Write all that is known before the first row.

    Args:
        file: An empty file.
        attributes: Root attributes, besides those that are added here.
        config: The configuration as TOML text.
        series: The quantities that will be recorded, by name.
        absent: Why a quantity is left out, by name.
        data: Arrays, or references to large ones, by name.
        axes: Coordinates of the axes of a density, in its order, by name.
        sweep: Where the run lies in its sweep.
        planned_rows: Rows expected; sets the block length.
    """
    file.attrs.update(attributes)
    if sweep is not None:
        file.attrs["sweep"] = json.dumps(sweep)
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["status"] = STATUSES[0]
    now = datetime.datetime.now(datetime.UTC)
    file.attrs.setdefault("created", now.isoformat(timespec="seconds"))
    file.attrs["h5py_version"] = h5py.__version__
    file.create_dataset("config", data=config, dtype=h5py.string_dtype())
    _write_series(file.create_group("series"), series, absent, axes, planned_rows)
    _write_axes(file, axes)
    _write_data(file.create_group("data"), data)
    _write_h5md(file, str(attributes.get("mfsim_version", "unknown")))
    file.create_group("timing")


def kept_bytes(data: Mapping[str, np.ndarray | DataFile]) -> int:
    """Bytes of the arrays that `/data` keeps whole."""
    sizes = (getattr(array, "nbytes", 0) for array in data.values())
    return sum(size for size in sizes if size <= MAX_DATA_BYTES)


def create_rows(
    group: h5py.Group, name: str, shape: Sequence[int], dtype: str, planned: int
) -> h5py.Dataset:
    """A dataset without rows that is lengthened by rows of one shape.

    Args:
        group: Where it is made.
        name: Its name.
        shape: Shape of one row.
        dtype: NumPy type of the values.
        planned: Rows expected; they are placed together, up to 1 GiB.
    """
    return group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=_chunk_shape(shape, np.dtype(dtype).itemsize, planned),
        dtype=dtype,
        # Never written; xarray shows it in rows that only other datasets have yet.
        fillvalue=np.nan if np.dtype(dtype).kind == "f" else None,
        fill_time="never",
    )


def dataset_at(parent: h5py.Group, path: str) -> h5py.Dataset:
    """The dataset at a path.

    Raises:
        FormatError: If there is none.
    """
    found = parent.get(path)
    if not isinstance(found, h5py.Dataset):
        raise FormatError(f"{parent.file.filename} must hold the dataset {path}.")
    return found


def group_at(parent: h5py.Group, path: str) -> h5py.Group:
    """The group at a path.

    Raises:
        FormatError: If there is none.
    """
    found = parent.get(path)
    if not isinstance(found, h5py.Group):
        raise FormatError(f"{parent.file.filename} must hold the group {path}.")
    return found


def _chunk_shape(shape: Sequence[int], itemsize: int, planned: int) -> tuple[int, ...]:
    """As many planned rows as fit, or, of a row too large, as many of its slices."""
    chunk = [max(1, planned), *(max(1, size) for size in shape)]
    for axis in range(len(chunk)):
        rest = itemsize * int(np.prod(chunk[axis + 1 :], dtype=np.int64))
        chunk[axis] = max(1, min(chunk[axis], _MAX_CHUNK_BYTES // rest))
    return tuple(chunk)


def _write_series(
    group: h5py.Group,
    series: Mapping[str, Series],
    absent: Mapping[str, str],
    axes: Mapping[str, np.ndarray],
    planned: int,
) -> None:
    # Lets xarray take these two for coordinates (CF conventions).
    group.attrs["coordinates"] = "time kernel_time"
    group.attrs.update(absent)
    sizes = _axis_sizes(series)
    for dim, size in sizes.items():
        numbers = np.arange(size) + (dim in _FROM_ONE)
        scale = group.create_dataset(dim, data=axes.get(dim, numbers))
        scale.make_scale(dim)
        text = Series("1", dim, f"index along {dim}")
        _describe(scale, _axis(dim) if dim in axes else text)
    for name, spec in {**ROW_SERIES, **series}.items():
        dataset = create_rows(group, name, spec.shape, spec.dtype, planned)
        _describe(dataset, spec)
        if name == "step":
            dataset.make_scale(name)
            continue
        for axis, dim in enumerate(("step", *spec.dims)):
            dataset.dims[axis].attach_scale(group[dim])


def _write_axes(file: h5py.File, axes: Mapping[str, np.ndarray]) -> None:
    if not axes:
        return
    # In the order of a density's axes, not of names.
    group = file.create_group("density").create_group("axes", track_order=True)
    for name, centres in axes.items():
        _describe(group.create_dataset(name, data=centres), _axis(name))


def _axis(name: str) -> Series:
    return Series("parameter", name, f"centres of the cells along {name}")


def _axis_sizes(series: Mapping[str, Series]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, spec in series.items():
        for dim, size in zip(spec.dims, spec.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"{name} must have length {sizes[dim]} along {dim}, as another"
                    f" series has, got {size}."
                )
    names = [*ROW_SERIES, "coordinates", *series, *sizes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"names of series and axes must differ, got {twice} twice.")
    return sizes


def _describe(dataset: h5py.Dataset, spec: Series) -> None:
    dataset.attrs["unit"] = spec.unit
    dataset.attrs["symbol"] = spec.symbol
    dataset.attrs["description"] = spec.description


def _write_data(group: h5py.Group, data: Mapping[str, np.ndarray | DataFile]) -> None:
    for name, value in data.items():
        if not isinstance(value, DataFile) and value.nbytes > MAX_DATA_BYTES:
            digest = hashlib.sha256(np.ascontiguousarray(value).data)
            value = DataFile("", digest.hexdigest())
        if isinstance(value, DataFile):
            reference = group.create_group(name)
            reference.attrs["path"] = value.path
            reference.attrs["sha256"] = value.sha256
        else:
            group.create_dataset(name, data=value)


def _write_h5md(file: h5py.File, version: str) -> None:
    group = file.create_group("h5md")
    group.attrs["version"] = np.array([1, 1], dtype="int32")
    group.create_group("author").attrs["name"] = _user_name()
    creator = group.create_group("creator")
    creator.attrs["name"] = "mfsim"
    creator.attrs["version"] = version
    # In order of creation, not of names: readers that take one group take the first.
    file.create_group("particles", track_order=True)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number without a name.
        return "unknown"
