"""An HDF5 file that is whole after every single write, and the lock beside it.

HDF5 spreads one change of structure (a new chunk, group or attribute) over many
writes, and a kill between two of them can leave a file that nothing opens. Hence two
kinds of edit: a change of structure is made on a copy, which then takes the final name
at once; in between, only bytes that HDF5 has already placed are overwritten (values of
rows that are not visible yet, then the lengths that make them visible).
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py

from mfsim.errors import ConfigError, MfsimError

# Headers of this oldest format carry no checksum: of a length that changes, any mixture
# of old and new bytes is a valid header. No chunk cache: values go to the file at once,
# before any length does. No HDF5 lock: it would shut readers out.
_OPTIONS: dict = {"libver": "earliest", "rdcc_nbytes": 0, "locking": False}

# Bytes left free on the disk beyond what an edit needs.
_MARGIN = 16 * 2**20


class RunLock:
    """An advisory lock on `<path>.lock`, freed by the system when its holder dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock; a missing folder is made.

        Args:
            path: The file that is to be written.

        Raises:
            ConfigError: If another run holds the lock, or the folder cannot be written.
        """
        self._path = Path(f"{path}.lock")
        while not self._acquire(path):
            pass

    def _acquire(self, path: Path) -> bool:
        descriptor = _open_lock(self._path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ConfigError(
                    f"{path} is being written by another run; wait for it to end or"
                    " choose another output."
                ) from None
            raise ConfigError(f"{path} cannot be locked: {error.strerror}.") from error
        # The last holder may have removed the file after it was opened here: then
        # this lock guards nothing, and a new one is taken.
        if not _is_same_file(descriptor, self._path):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Remove the lock file while it is still held, then let go; once is enough."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


class SafeFile:
    """One HDF5 file, open for writing, which a kill at any moment leaves readable."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened when first edited."""
        self.path = path
        self._temporary = Path(f"{path}.tmp")
        self._open: h5py.File | None = None

    @contextlib.contextmanager
    def created(self, num_bytes: int) -> Iterator[h5py.File]:
        """A new file, which takes the final name when the block ends well.

        Args:
            num_bytes: About how many bytes it will take.

        Raises:
            MfsimError: If the disk is full or the file cannot be written.
        """
        with self._replacing(num_bytes), _open(self._temporary, "w") as file:
            yield file

    @contextlib.contextmanager
    def restructured(self, num_bytes: int = 0) -> Iterator[h5py.File]:
        """A copy to be changed freely, which replaces the file when the block ends.

        Args:
            num_bytes: Bytes that will be added.

        Raises:
            MfsimError: If the disk is full or the copy cannot be written; the file
                itself is then as it was.
        """
        self.close()
        with _explained(self.path):
            num_bytes += self.path.stat().st_size
        with self._replacing(num_bytes):
            shutil.copyfile(self.path, self._temporary)
            with _open(self._temporary, "r+") as file:
                yield file

    @contextlib.contextmanager
    def in_place(self) -> Iterator[h5py.File]:
        """The file itself, for edits that only overwrite; flushed when the block ends.

        Raises:
            MfsimError: If the file cannot be written.
        """
        with _explained(self.path):
            if self._open is None:
                self._open = _open(self.path, "r+")
            file = self._open
            yield file
            file.flush()

    def close(self) -> None:
        """Close the file; the next edit opens it again."""
        if self._open is not None:
            file, self._open = self._open, None
            with _explained(self.path):
                file.close()

    @contextlib.contextmanager
    def _replacing(self, num_bytes: int) -> Iterator[None]:
        try:
            with _explained(self.path):
                _require_space(self.path.parent, num_bytes + _MARGIN)
                yield
                _reserve(self._temporary)
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _open(path: Path, mode: str) -> h5py.File:
    return h5py.File(path, mode, **_OPTIONS)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the system and HDF5 raise into one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error):
            free = shutil.disk_usage(path.parent).free
            raise MfsimError(_disk_full(path.parent, "more bytes", free)) from error
        reason = " ".join(str(error).split())
        raise MfsimError(f"{path} could not be written: {reason}.") from error


def _require_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise MfsimError(_disk_full(folder, f"{num_bytes} bytes", free))


def _disk_full(folder: Path, needed: str, free: int) -> str:
    return (
        f"{folder.absolute()} must have room for {needed}, {free} are free; make room"
        " and continue with --resume."
    )


def _reserve(path: Path) -> None:
    """Have the disk set aside every byte, so that later overwriting cannot fill it."""
    if not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, max(1, os.fstat(descriptor).st_size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def require_absent(path: Path, overwrite: bool) -> None:
    """Refuse to replace a file unless told to.

    Raises:
        ConfigError: If there is a file and it is not to be overwritten.
    """
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path} must not exist; pass --resume to continue it or --overwrite to"
            " replace it."
        )


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}.") from error


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))
