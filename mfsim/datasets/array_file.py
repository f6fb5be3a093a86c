"""Arrays from a file of the user's own."""

import csv
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import numpy as np

from mfsim.component import count
from mfsim.datasets.arrays import check
from mfsim.datasets.base import AbstractDataset, Data
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError

_NAMES = ("x_train", "y_train", "x_test", "y_test")


class ArrayFile(AbstractDataset):
    """Arrays x_train (n, d), y_train (n,), optional x_test, y_test of a file.

    A .npz or .h5 file holds arrays of these names at its top level; others are not
    read, pickled arrays and links to other files are refused. A .csv file has a header
    row and one point a row: the inputs, then the label in the last column; a column
    called `split`, wherever it stands, says `train` or `test`.

    Attributes:
        path: The .npz, .csv or .h5 file; in a config, relative to the config.
        seed: Of the subset that `prepare` may draw; nothing else here is random.
        prepare: What is done to the arrays.
    """

    path: Path = eqx.field(static=True, converter=Path)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.path.suffix.lower() not in _READERS:
            raise ValueError(
                f"path must end in one of {list(_READERS)}, got {str(self.path)!r}."
            )

    def raw(self):
        if not self.path.is_file():
            raise ConfigError(f"path must be an existing file, got {str(self.path)!r}.")
        try:
            return check(_assemble(_READERS[self.path.suffix.lower()](self.path)))
        except ConfigError as error:
            raise ConfigError(f"path {str(self.path)!r}: {error}") from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(
                f"path must be a readable {self.path.suffix} file, "
                f"got {str(self.path)!r}: {reason}"
            ) from error


def _assemble(arrays: dict[str, np.ndarray]) -> Data:
    dim = arrays["x_train"].shape[-1:]
    return Data(
        x_train=arrays["x_train"],
        y_train=_flat(arrays["y_train"]),
        x_test=arrays.get("x_test", np.empty((0, *dim))),
        y_test=_flat(arrays.get("y_test", np.empty(0))),
    )


def _flat(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _wanted(found: list[str]) -> tuple[str, ...]:
    wanted = _NAMES if {"x_test", "y_test"} & set(found) else _NAMES[:2]
    for name in wanted:
        if name not in found:
            raise ConfigError(f"{name} must be in the file, which has {found[:9]}.")
    return wanted


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ConfigError("x_train must be in an archive as numpy.savez writes it.")
        return {name: archive[name] for name in _wanted(archive.files)}


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        return {name: _own_array(file, name) for name in _wanted(list(file))}


def _own_array(file, name: str) -> np.ndarray:
    import h5py

    # The link is looked at before it is followed: following opens the other file.
    link = file.get(name, getlink=True)
    item = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
        raise ConfigError(
            f"{name} must be a dataset stored in the file itself, got "
            f"{type(item or link).__name__}; copy the array into the file."
        )
    return np.asarray(item[()])


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if row]
    columns = [name for name in header if name != "split"]
    if len(columns) < 2 or header.count("split") > 1 or all(map(_is_number, header)):
        raise ConfigError(
            "the first line must be a header of the inputs' names, the label's and, "
            f"if wanted, one `split`, got {header}."
        )
    points = {"train": [], "test": []}
    for line, row in rows:
        part, numbers = _parse_row(header, line, row)
        points[part].append(numbers)
    arrays = {}
    for part in ("train", "test") if points["test"] else ("train",):
        table = np.array(points[part]).reshape(-1, len(columns))
        arrays |= {f"x_{part}": table[:, :-1], f"y_{part}": table[:, -1]}
    return arrays


def _parse_row(header: list[str], line: int, row: list[str]) -> tuple[str, list[float]]:
    if len(row) != len(header):
        raise ConfigError(
            f"line {line} must have {len(header)} columns as the header has, "
            f"got {len(row)}."
        )
    numbers, part = [], "train"
    for name, cell in zip(header, map(str.strip, row), strict=True):
        if name == "split":
            part = cell
        elif _is_number(cell):
            numbers.append(float(cell))
        else:
            raise ConfigError(
                f"line {line} must have a number in column {name!r}, got {cell!r}."
            )
    if part not in ("train", "test"):
        raise ConfigError(f"line {line} must have split train or test, got {part!r}.")
    return part, numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".h5": _read_h5,
}
