"""Sweep: experiments on a grid of swept values."""

from dataclasses import dataclass
from typing import Any

from mfsim.experiment import Experiment


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
        experiment: The complete experiment.
        index: Its place along every dimension.
        values: The swept value by coordinate name; a table or list as a short string.
    """

    experiment: Experiment
    index: dict[str, int]
    values: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The experiments of a config with [sweep], the last axis fastest.

    Attributes:
        name: File name of the config, without suffix.
        dims: Size of every dimension, in order of appearance. It is called after the
            last name of its path, or after the whole path where that is shared or is
            one of the row scales step, time, kernel_time; it has `_index` appended
            where the values depend on another axis.
        coords: The dimensions that every coordinate lies on, its own last.
        points: The points.
    """

    name: str
    dims: dict[str, int]
    coords: dict[str, tuple[str, ...]]
    points: tuple[Point, ...]

    def place(self, point: Point) -> dict[str, Any]:
        """Where a point lies, as its file keeps it."""
        return {
            "dims": list(self.dims),
            "sizes": list(self.dims.values()),
            "index": point.index,
            "values": point.values,
            "coords": {name: list(dims) for name, dims in self.coords.items()},
        }
