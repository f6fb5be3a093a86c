"""Datasets that grow by rows, and the rows that wait to be written into them."""

from collections.abc import Iterator, Mapping

import h5py
import numpy as np

from mfsim.series import Series
from mfsim.storage.layout import (
    ROW_SERIES,
    STATUSES,
    create_rows,
    dataset_at,
    group_at,
)
from mfsim.storage.reading import committed_rows, row_groups
from mfsim.storage.snapshots import remove_views, write_box


class Rows:
    """Waiting rows by dataset path, and how far each dataset has been written.

    HDF5 places rows in blocks. Rows that fit into blocks already placed change nothing
    but their bytes and a length; others change the structure of the file.

    Attributes:
        num_bytes: Bytes of the waiting rows.
    """

    num_bytes: int = 0

    def __init__(self, file: h5py.File, planned_snapshots: int) -> None:
        """Start from the lengths found in a file.

        Args:
            file: File with a skeleton, all datasets of a group of one length.
            planned_snapshots: Rows in a block of a snapshot that is yet to be made.
        """
        self._planned = planned_snapshots
        self._waiting: dict[str, list[np.ndarray]] = {}
        self._lengths: dict[str, int] = {}
        self._blocks: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._handles: dict[str, h5py.Dataset] = {}
        for group, names in row_groups(file).items():
            for name in names:
                self._note(f"{group}/{name}", dataset_at(file, f"{group}/{name}"))

    def add(self, group: str, row: dict[str, np.ndarray]) -> None:
        """Let one row wait.

        Args:
            group: Path of the group that holds the datasets.
            row: Values by dataset.

        Raises:
            ValueError: If a value has not the shape of those before it.
        """
        for name, value in row.items():
            expected = self._shapes.setdefault(f"{group}/{name}", value.shape)
            if value.shape != expected:
                raise ValueError(
                    f"{group}/{name} must have shape {expected}, got {value.shape}."
                )
        for name, value in row.items():
            self._waiting.setdefault(f"{group}/{name}", []).append(value)
            self.num_bytes += value.nbytes

    def outgrow(self) -> bool:
        """Whether the waiting rows need blocks that are not there."""
        return any(new > 0 for _, new in self._new_blocks())

    def growth(self) -> int:
        """Bytes of the blocks that the waiting rows need."""
        return sum(
            new * self._block(path) * self._waiting[path][0].nbytes
            for path, new in self._new_blocks()
        )

    def write(self, file: h5py.File) -> None:
        """Write the waiting rows behind the committed ones; again does no harm."""
        for path, rows in self._waiting.items():
            if path not in self._lengths:
                self._create(file, path, rows[0])
            dataset = self._dataset(file, path)
            self._blocks[path] = _block_length(dataset)
            _lengthen(dataset, self._lengths.get(path, 0), np.stack(rows))

    def write_or_withdraw(self, file: h5py.File) -> None:
        """Write into the file itself; what fails is not left for readers to see."""
        try:
            self.write(file)
        except (OSError, RuntimeError):
            for path in self._waiting:
                self._dataset(file, path).resize(self._lengths[path], axis=0)
            raise

    def committed(self) -> None:
        """Take the waiting rows as written."""
        for path, rows in self._waiting.items():
            self._lengths[path] = self._lengths.get(path, 0) + len(rows)
        self._waiting, self.num_bytes = {}, 0

    def _note(self, path: str, dataset: h5py.Dataset) -> None:
        self._lengths[path] = len(dataset)
        self._blocks[path] = _block_length(dataset)
        self._shapes[path] = dataset.shape[1:]

    def _dataset(self, file: h5py.File, path: str) -> h5py.Dataset:
        """Finding a dataset by its path takes longer than writing a row into it."""
        # A handle is false once its file is closed.
        if not self._handles.get(path):
            self._handles[path] = dataset_at(file, path)
        return self._handles[path]

    def _block(self, path: str) -> int:
        return self._blocks.get(path, self._planned)

    def _new_blocks(self) -> Iterator[tuple[str, int]]:
        for path, rows in self._waiting.items():
            block, length = self._block(path), self._lengths.get(path, 0)
            yield path, -(-(length + len(rows)) // block) + -length // block

    def _create(self, file: h5py.File, path: str, first: np.ndarray) -> None:
        folder, name = path.rsplit("/", 1)
        group = file.require_group(folder)
        create_rows(group, name, first.shape, first.dtype.str, self._planned)
        if path.endswith("/position/value"):
            write_box(group_at(file, folder.rpartition("/")[0]), first.shape[-1])


def _block_length(dataset: h5py.Dataset) -> int:
    return dataset.id.get_create_plist().get_chunk()[0]


def _lengthen(dataset: h5py.Dataset, start: int, rows: np.ndarray) -> None:
    """Write rows from `start` on; h5py's own indexing takes three times as long."""
    dataset.id.set_extent((start + len(rows), *rows.shape[1:]))
    target = dataset.id.get_space()
    target.select_hyperslab((start,) + (0,) * (rows.ndim - 1), rows.shape)
    dataset.id.write(h5py.h5s.create_simple(rows.shape), target, rows)


def rewind(file: h5py.File, step: int) -> None:
    """Drop what was written after a step, and what an ending had added."""
    remove_views(file)
    for path, names in row_groups(file).items():
        group = group_at(file, path)
        steps = dataset_at(group, "step")[: committed_rows(group, names)]
        count = int(np.count_nonzero(steps <= step))
        for name in names:
            dataset_at(group, name).resize(count, axis=0)
    file.attrs["status"] = STATUSES[0]
    file.attrs.pop("message", None)


def make_row(
    clocks: Mapping[str, float],
    values: Mapping[str, np.ndarray | float],
    series: Mapping[str, Series],
) -> dict[str, np.ndarray]:
    """One row of all series, NaN where no value is given.

    Args:
        clocks: The step and the times of the row.
        values: Values by series.
        series: What is recorded.

    Raises:
        ValueError: If a value is of no series.
    """
    if unknown := sorted(set(values) - set(series)):
        raise ValueError(f"values must be of {sorted(series)}, got {unknown}.")
    given = {**values, **clocks}
    specs = {**ROW_SERIES, **series}
    return {name: _entry(given.get(name), spec) for name, spec in specs.items()}


def _entry(value: np.ndarray | float | None, spec: Series) -> np.ndarray:
    if value is None:
        return np.full(spec.shape, np.nan, dtype=spec.dtype)
    return np.array(value, dtype=spec.dtype)
