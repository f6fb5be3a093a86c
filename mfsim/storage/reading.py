"""Opening a file for reading: what it must be before anything in it is trusted."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from mfsim.errors import ConfigError, FormatError
from mfsim.series import Series
from mfsim.storage.layout import (
    FORMAT_VERSION,
    ROW_SERIES,
    dataset_at,
    group_at,
)

_PARTS = ("step", "time", "value")
_NOT_MFSIM = "is not an mfsim file; give one that `mfsim run` wrote."


@contextlib.contextmanager
def open_for_reading(path: str | Path) -> Iterator[h5py.File]:
    """An mfsim file, finished, running or killed, open for reading.

    Args:
        path: The file.

    Raises:
        FormatError: If it is missing, not an mfsim file, newer than this mfsim,
            damaged, or leads to other files.
    """
    try:
        with _open(Path(path)) as file:
            _check_version(file)
            links: list[tuple[str, object]] = []
            file.visititems_links(lambda *found: links.append(found))
            for name, link in links:
                _check_link(file, name, link)
            yield file
    except FormatError:
        raise
    # h5py answers damage with any of these.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{path} is damaged: {reason}.") from error


def row_groups(file: h5py.File) -> dict[str, list[str]]:
    """The datasets that grow by rows: names by path of their group."""
    groups = {"series": row_names(group_at(file, "series"))}
    for path in snapshot_paths(file).values():
        groups[path] = list(_PARTS)
    return groups


def row_names(series: h5py.Group) -> list[str]:
    """Names of the datasets in `/series` that have rows, `step` first."""
    found = [name for name, dims in series_dims(series).items() if dims[0] == "step"]
    return [*ROW_SERIES, *(name for name in found if name not in ROW_SERIES)]


def series_dims(series: h5py.Group) -> dict[str, tuple[str, ...]]:
    """The axes of each dataset in `/series`, by its name."""
    return {str(name): dims_of(dataset_at(series, str(name))) for name in series}


def snapshot_paths(file: h5py.File) -> dict[str, str]:
    """Paths of all snapshots in a file, by their short names.

    "neurons" stands for "particles/neurons/position", other names lose nothing.
    """
    paths: dict[str, str] = {}

    def visit(path: str, found: object) -> None:
        if path.split("/")[0] in ("series", "data", "checkpoint"):
            return
        if isinstance(found, h5py.Group) and all(part in found for part in _PARTS):
            paths[path.removeprefix("particles/").removesuffix("/position")] = path

    file.visititems(visit)
    return paths


def committed_rows(group: h5py.Group, names: list[str]) -> int:
    """Rows that every one of these datasets has.

    Lengths grow one after another: a kill, or a reader between, may find some ahead.
    """
    return min(len(dataset_at(group, name)) for name in names)


def dims_of(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Names of the axes of a dataset in `/series`, from its dimension scales.

    Raises:
        FormatError: If an axis has no scale.
    """
    if dataset.is_scale:
        return (base_name(dataset),)
    dims = list(dataset.dims)
    if not all(len(dim) for dim in dims) or not dims:
        raise FormatError(
            f"{dataset.file.filename} must have a scale on every axis of"
            f" {dataset.name}."
        )
    return tuple(base_name(dim[0]) for dim in dims)


def description_of(dataset: h5py.Dataset) -> dict[str, str]:
    """The attributes unit, symbol and description of a dataset in `/series`."""
    keys = ("unit", "symbol", "description")
    return {key: str(dataset.attrs[key]) for key in keys}


def base_name(dataset: h5py.Dataset) -> str:
    """The last part of a dataset's path."""
    return str(dataset.name).rpartition("/")[2]


def series_of(file: h5py.File) -> dict[str, Series]:
    """What the recorded quantities of a file are, by name."""
    group = group_at(file, "series")
    return {
        name: _series(dataset_at(group, name))
        for name in row_names(group)
        if name not in ROW_SERIES
    }


def warnings_of(file: h5py.File) -> tuple[str, ...]:
    """The messages that were kept while the file was written."""
    return tuple(str(message) for message in file.attrs.get("warnings", ()))


def _series(dataset: h5py.Dataset) -> Series:
    return Series(
        **description_of(dataset),
        dims=dims_of(dataset)[1:],
        shape=dataset.shape[1:],
        dtype=dataset.dtype.str,
    )


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise FormatError(f"{path} must be an mfsim file, got no file.")
    try:
        # The lock of HDF5 would fail on read-only and network folders, and while
        # this process writes the file.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" in str(error):
            return h5py.File(path, "r")
        raise FormatError(f"{path} {_NOT_MFSIM}") from error


def _check_version(file: h5py.File) -> None:
    version = file.attrs.get("format_version")
    if not isinstance(version, np.integer):
        raise FormatError(f"{file.filename} {_NOT_MFSIM}")
    if version > FORMAT_VERSION:
        raise FormatError(
            f"{file.filename} must have format version {FORMAT_VERSION} or lower, got"
            f" {version}; open it with a newer mfsim."
        )


def _check_link(file: h5py.File, name: str, link: object) -> None:
    """Refuse what would read another file, or more than this file holds."""
    if not isinstance(link, h5py.HardLink):
        raise FormatError(f"{file.filename} must hold {name} itself, got a link.")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        return
    if found.is_virtual or found.external:
        raise FormatError(
            f"{file.filename} must hold {name} itself, got a reference to other files."
        )
    if found.dtype.hasobject and found.shape != ():
        raise FormatError(
            f"{file.filename} must hold plain numbers in {name}, got {found.dtype}."
        )
    is_plain = found.id.get_create_plist().get_nfilters() == 0 and found.shape != ()
    if is_plain and found.nbytes > found.id.get_storage_size():
        raise FormatError(
            f"{file.filename} is damaged: {name} has {found.nbytes} bytes, of which"
            f" {found.id.get_storage_size()} are there."
        )


def check_hash(file: h5py.File, config_hash: str) -> None:
    """Require that a file was written with this configuration.

    Raises:
        ConfigError: If it was written with another one.
    """
    found = file.attrs.get("config_hash")
    if found != config_hash:
        raise ConfigError(
            f"{file.filename} must have been written with this configuration, whose"
            f" hash is {config_hash}, got {found}; pass --overwrite to start anew."
        )
