"""Writing the file of one run: rows, snapshots, checkpoints, the ending."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from mfsim.series import Series
from mfsim.storage import checkpoint as checkpoints
from mfsim.storage.layout import (
    STATUSES,
    DataFile,
    group_at,
    kept_bytes,
    write_skeleton,
)
from mfsim.storage.reading import (
    check_hash,
    open_for_reading,
    series_of,
    warnings_of,
)
from mfsim.storage.rows import Rows, make_row, rewind
from mfsim.storage.safe_file import RunLock, SafeFile, require_absent
from mfsim.storage.snapshots import element_path, write_views

# Room for headers, names and indices; small beside any data worth counting.
_SKELETON_BYTES = 2**20

# Rows waiting for a commit take memory: beyond this they are committed at once.
_MAX_WAITING_BYTES = 64 * 2**20

_MAX_WARNINGS = 100


class Recorder:
    """Writes one run's file; all that is committed outlives a kill at any moment.

    Attributes:
        path: The file.
        checkpoint: The step and the arrays to continue from, after `resume`; None if
            the run must start over.
    """

    path: Path
    checkpoint: checkpoints.Checkpoint | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RunLock(path)
        self._file = SafeFile(path)
        self._last_step = self._last_snapshot = -1
        self._series: dict[str, Series] = {}
        self._rows: Rows
        self._warnings: list[str] = []
        self._has_warned = False

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        attributes: Mapping[str, str | int | float],
        config: str,
        series: Mapping[str, Series],
        absent: Mapping[str, str],
        data: Mapping[str, np.ndarray | DataFile],
        axes: Mapping[str, np.ndarray] | None = None,
        sweep: Mapping | None = None,
        overwrite: bool = False,
        planned_rows: int = 256,
        planned_snapshots: int = 1,
    ) -> Self:
        """Begin a file; an older one stays until the new one is whole.

        Args:
            path: Where; missing folders are made.
            attributes: Root attributes, `config_hash` among them.
            config: The whole configuration as TOML text.
            series: The quantities that will be recorded, by name.
            absent: Why a quantity is left out, by name.
            data: Training and test arrays, or references to large ones.
            axes: Coordinates of the axes of a density, in its order, by name.
            sweep: Where this run lies in its sweep; see `open_sweep`.
            overwrite: Replace an existing file.
            planned_rows: Rows expected; room for them is taken together.
            planned_snapshots: Snapshots expected; likewise.

        Raises:
            ConfigError: If the file exists or is being written, or its folder cannot
                be used.
            MfsimError: If the disk is full or the file cannot be written.
        """
        path = Path(path)
        recorder = cls(path)
        with recorder._closed_on_error():
            require_absent(path, overwrite)
            with recorder._file.created(_SKELETON_BYTES + kept_bytes(data)) as file:
                write_skeleton(
                    file,
                    attributes=attributes,
                    config=config,
                    series=series,
                    absent=absent,
                    data=data,
                    axes=axes or {},
                    sweep=sweep,
                    planned_rows=planned_rows,
                )
                recorder._series = dict(series)
                recorder._rows = Rows(file, planned_snapshots)
        return recorder

    @classmethod
    def resume(
        cls, path: str | Path, *, config_hash: str, planned_snapshots: int = 1
    ) -> Self:
        """Continue a file from its last whole checkpoint; later rows are dropped.

        Args:
            path: An existing file.
            config_hash: Hash of the present configuration.
            planned_snapshots: Snapshots expected, where none was taken yet.

        Raises:
            ConfigError: If the file is being written or has another configuration.
            FormatError: If it is not a readable mfsim file.
            MfsimError: If the disk is full or the file cannot be written.
        """
        path = Path(path)
        with open_for_reading(path) as file:
            check_hash(file, config_hash)
        recorder = cls(path)
        with recorder._closed_on_error():
            with open_for_reading(path) as file:
                recorder.checkpoint = checkpoints.read_checkpoint(file)
                recorder._warnings = list(warnings_of(file))
            step = recorder.checkpoint[0] if recorder.checkpoint else -1
            with recorder._file.restructured() as file:
                rewind(file, step)
                recorder._series = series_of(file)
                recorder._rows = Rows(file, planned_snapshots)
            recorder._last_step = recorder._last_snapshot = step
        return recorder

    def append(
        self,
        step: int,
        time: float,
        kernel_time: float,
        values: Mapping[str, np.ndarray | float],
    ) -> None:
        """Add one row; it is in the file after the next `commit`.

        Args:
            step: Steps taken; above that of the row before.
            time: Flow time.
            kernel_time: Kernel time.
            values: Values by series; a series without one gets NaN.

        Raises:
            ValueError: If a name is unknown, a shape differs, or steps do not grow.
            MfsimError: As for `commit`.
        """
        _check_grows("row", self._last_step, step)
        clocks = {"step": step, "time": time, "kernel_time": kernel_time}
        row = make_row(clocks, values, self._series)
        self._rows.add("series", row)
        self._last_step = step
        self._commit_if_large()

    def snapshot(
        self, step: int, time: float, arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Keep full states; they are in the file after the next `commit`.

        Args:
            step: Steps taken; above that of the snapshot before.
            time: Flow time.
            arrays: By path: "particles/neurons" (m, d + 1) is written as H5MD, others,
                such as "weights/layer_1" or "density", as a plain group.

        Raises:
            ValueError: If steps do not grow or a shape changes.
            MfsimError: As for `commit`.
        """
        _check_grows("snapshot", self._last_snapshot, step)
        clocks = {"step": np.array(step), "time": np.array(time, dtype="float64")}
        for name, array in arrays.items():
            self._rows.add(element_path(name), {**clocks, "value": np.array(array)})
        self._last_snapshot = step
        self._commit_if_large()

    def save_checkpoint(self, step: int, leaves: Sequence[np.ndarray]) -> None:
        """Commit, then keep what is needed to continue from here.

        Args:
            step: Steps taken.
            leaves: The arrays of the state, in an order the caller knows.

        Raises:
            MfsimError: As for `commit`; an earlier checkpoint is then intact.
        """
        self.commit()
        leaves = [np.asarray(leaf) for leaf in leaves]
        with self._file.in_place() as file:
            if fits := checkpoints.slots_fit(file, leaves):
                checkpoints.write_checkpoint(file, step, leaves)
        if not fits:
            num_bytes = 2 * sum(leaf.nbytes for leaf in leaves) + _SKELETON_BYTES
            with self._file.restructured(num_bytes) as file:
                checkpoints.create_slots(file, leaves)
                checkpoints.write_checkpoint(file, step, leaves)

    def commit(self) -> None:
        """Put all that was handed over into the file, safe from a kill.

        Raises:
            MfsimError: If the disk is full or the file cannot be written; what was
                committed before is intact.
        """
        if self._rows.outgrow() or self._has_warned:
            with self._file.restructured(self._rows.growth()) as file:
                self._write(file)
        elif self._rows.num_bytes:
            with self._file.in_place() as file:
                self._rows.write_or_withdraw(file)
        self._rows.committed()

    def warn(self, message: str) -> None:
        """Keep a message for readers of the file, from the next `commit` on.

        The same message is kept once, and no more than a hundred are.
        """
        if message not in self._warnings and len(self._warnings) < _MAX_WARNINGS:
            self._warnings.append(message)
            self._has_warned = True

    def finish(
        self, status: str, timing: Mapping[str, float], message: str = ""
    ) -> None:
        """Commit, write the ending, close and unlock, whatever the outcome.

        Args:
            status: "completed", "diverged", "interrupted" or "failed".
            timing: Seconds spent, by what they were spent on.
            message: Why the run ended, for people.

        Raises:
            ValueError: If the status is none of these.
            MfsimError: As for `commit`.
        """
        if status not in STATUSES[1:]:
            legal = list(STATUSES[1:])
            raise ValueError(f"status must be one of {legal}, got {status!r}.")
        with self, self._file.restructured(self._rows.growth()) as file:
            self._write(file)
            file.attrs["status"] = status
            file.attrs["message"] = message
            group_at(file, "timing").attrs.update(timing)
            write_views(file)

    def close(self) -> None:
        """Close and unlock without an ending; what is not committed is lost."""
        try:
            self._file.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, file: h5py.File) -> None:
        self._rows.write(file)
        if self._warnings:
            file.attrs["warnings"] = self._warnings
        self._has_warned = False

    def _commit_if_large(self) -> None:
        if self._rows.num_bytes > _MAX_WAITING_BYTES:
            self.commit()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _check_grows(what: str, last: int, step: int) -> None:
    if step <= last:
        raise ValueError(f"step of a {what} must be above {last}, got {step}.")
