"""Configurations: TOML, overrides and [sweep] turned into experiments.

A sweep is the cartesian product of its axes. The key of an axis is a dotted path, or
several joined by ", " that take one value together; its values are a list, or a range
{from, to, num, scale} whose ends are numbers or formulas. On a field that takes whole
numbers the values of a range are rounded to the nearest.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsim.component import Component, build, describe
from mfsim.errors import ConfigError
from mfsim.experiment import Experiment
from mfsim.formula import Range, read_range, takes_int
from mfsim.overrides import (
    Overrides,
    as_pairs,
    override,
    put,
    read_toml,
    short,
    sweep_table,
)
from mfsim.sweep import Point, Sweep

_MOST_POINTS = 100_000
_ROW_SCALES = ("step", "time", "kernel_time")


def load(path: str | Path, overrides: Overrides = ()) -> Experiment | Sweep:
    """Read the experiment, or the sweep of experiments, of a TOML file.

    Args:
        path: The TOML file. Relative paths of input files, also those given by an
            override, are relative to its folder, and absolute once loaded.
        overrides: Values by dotted path, or lines "PATH=VALUE", whose VALUE is read as
            TOML, else as a string. Tables that are missing are made, a kind's short
            form is expanded, a list is replaced whole. "sweep.PATH" sets an axis,
            "sweep.PATH.num" a part of its range.

    Raises:
        ConfigError: If anything in it cannot be run; names the file.
    """
    path, pairs = Path(path), as_pairs(overrides)
    try:
        return load_table(read_toml(path), path.parent, pairs, name=path.stem)
    except ConfigError as error:
        # A quoted TOML key may hold a line break, and a message quotes keys.
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error


def load_table(
    table: Mapping[str, Any], base: Path, overrides: Overrides = (), name: str = "sweep"
) -> Experiment | Sweep:
    """`load` for a dictionary, with `base` as the folder of relative paths.

    Raises:
        ConfigError: If anything in it cannot be run; names the dotted path.
    """
    pairs = as_pairs(overrides)
    table = override(table, pairs)
    legal = [field.name for field in dataclasses.fields(Experiment)] + ["sweep"]
    for key in [key for key in table if key not in legal]:
        raise ConfigError(f"{key!r} is not a top-level key; these are {legal}.")
    if "sweep" not in table:
        return _anchor(build(Experiment, table), base)
    axes = _axes(table.pop("sweep"))
    _refuse_overlap(axes, pairs)
    return _expand(name, axes, table, base)


def _anchor(value: Any, base: Path) -> Any:
    """The same component with every relative path in it put under `base`."""
    if isinstance(value, Path):
        return value if value.is_absolute() else _resolve(base / value)
    if isinstance(value, tuple):
        return tuple(_anchor(item, base) for item in value)
    if not isinstance(value, Component):
        return value
    old = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    new = {name: _anchor(item, base) for name, item in old.items()}
    moved = {n: v for n, v in new.items() if v is not old[n] and v != old[n]}
    return dataclasses.replace(value, **moved) if moved else value


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} must be a path: {error}.") from error


@dataclass(frozen=True, eq=False)
class _Axis:
    """An axis as written: the paths that share its values, and the values."""

    label: str
    paths: tuple[str, ...]
    size: int
    values: Sequence[Any] | Range

    def needs(self, other: "_Axis") -> bool:
        """Whether the other axis moves the numbers that the ends are made of."""
        if not isinstance(self.values, Range) or not self.values.names:
            return False
        table = self.paths[0].rpartition(".")[0]
        used = {_join(table, name) for name in self.values.names}
        # A kind, here or further up, decides the defaults that a name may stand for.
        above = {f"{p}.kind" for p in itertools.accumulate(table.split("."), _join)}
        return not (used | above).isdisjoint(other.paths)

    def put(self, place: int, table: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """The table with the value of a place at every path, and that of the first."""
        if not isinstance(self.values, Range):
            chosen = [self.values[place]] * len(self.paths)
        else:
            number = self.values.value(place, table, self.paths[0])
            whole = [takes_int(table, path) for path in self.paths]
            chosen = [round(number) if w else number for w in whole]
        for path, value in zip(self.paths, chosen, strict=True):
            table = put(table, path, value)
        return table, chosen[0]


def _axes(sweep: Any) -> list[_Axis]:
    axes = [_axis(key, value) for key, value in sweep_table(sweep).items()]
    if not axes:
        raise ConfigError("sweep must have an axis, got none; give one or drop it.")
    if (num := math.prod(axis.size for axis in axes)) > _MOST_POINTS:
        raise ConfigError(f"sweep must have at most {_MOST_POINTS} points, got {num}.")
    return axes


def _axis(key: str, value: Any) -> _Axis:
    label = f'sweep."{key}"' if "," in key else f"sweep.{key}"
    paths = tuple(path.strip() for path in key.split(","))
    if isinstance(value, (list, tuple)) and value:
        return _Axis(label, paths, len(value), value)
    if isinstance(value, Mapping):
        values = read_range(label, value)
        return _Axis(label, paths, values.size, values)
    raise ConfigError(
        f"{label} must be a non-empty list or {{from, to, num, scale}}, got {value!r}."
    )


def _refuse_overlap(axes: Sequence[_Axis], overridden: Iterable[str]) -> None:
    """Refuse what would silently win over something else that was asked for."""
    swept = [(axis, path) for axis in axes for path in axis.paths]
    for (axis, path), (_, other) in itertools.permutations(swept, 2):
        if f"{path}.".startswith(f"{other}."):
            wrong = f"{axis.label} must not be or lie within another swept path"
            raise ConfigError(f"{wrong}, got {other}; sweep fields beside each other.")
    for (axis, path), other in itertools.product(swept, overridden):
        if f"{other}.".startswith(f"{path}."):
            raise ConfigError(f"{other} is swept; override {axis.label} instead.")


def _expand(
    name: str, axes: Sequence[_Axis], table: dict[str, Any], base: Path
) -> Sweep:
    names, needed = _names(axes), _needed(axes)
    dim = {a: names[a] + "_index" * bool(needed[a]) for a in axes}
    points = []
    for places in itertools.product(*(range(axis.size) for axis in axes)):
        place = dict(zip(axes, places, strict=True))
        point, chosen = table, {}
        for axis in needed:
            point, chosen[axis] = axis.put(place[axis], point)
        try:
            experiment = _anchor(build(Experiment, point), base)
        except ConfigError as error:
            where = ", ".join(f"{a.paths[0]} = {short(chosen[a])}" for a in axes)
            raise ConfigError(f"{error} At the sweep's point {where}.") from error
        index = {dim[a]: place[a] for a in axes}
        values = {names[a]: _coordinate(chosen[a]) for a in axes}
        points.append(Point(experiment, index, values))
    _refuse_equal(points, {dim[a]: a.label for a in axes})
    on = {a: [dim[b] for b in axes if b in needed[a]] + [dim[a]] for a in axes}
    coords = {names[a]: tuple(on[a]) for a in axes}
    return Sweep(name, {dim[a]: a.size for a in axes}, coords, tuple(points))


def _names(axes: Sequence[_Axis]) -> dict[_Axis, str]:
    last = {axis: axis.paths[0].rpartition(".")[2] for axis in axes}
    # A sweep is read into one table with the series of its runs, on their own scales.
    taken = [*last.values(), *_ROW_SCALES]
    return {a: n if taken.count(n) == 1 else a.paths[0] for a, n in last.items()}


def _needed(axes: Sequence[_Axis]) -> dict[_Axis, set[_Axis]]:
    """All that every axis depends on; every axis comes after what it depends on."""
    needed: dict[_Axis, set[_Axis]] = {}
    # Lists first: one may hold the kind that says which fields are whole numbers.
    waiting = sorted(axes, key=lambda axis: isinstance(axis.values, Range))
    while waiting:
        direct = {a: {b for b in axes if a.needs(b)} for a in waiting}
        ready = [a for a in waiting if direct[a] <= set(needed)]
        if not ready:
            cycle = [axis.label for axis in waiting]
            raise ConfigError(f"{cycle[0]} must not depend on itself, got {cycle}.")
        for axis in ready:
            needed[axis] = direct[axis].union(*(needed[b] for b in direct[axis]))
            waiting.remove(axis)
    return needed


def _refuse_equal(points: Sequence[Point], labels: Mapping[str, str]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        # As text: the hash of a module leaves out its static fields, so all collide.
        first = seen.setdefault(repr(describe(point.experiment)), point)
        if first is not point:
            dim = next(d for d in labels if first.index[d] != point.index[d])
            raise ConfigError(
                f"{labels[dim]} must give different experiments, got equal ones at "
                f"places {first.index[dim]} and {point.index[dim]} (from 0)."
            )


def _coordinate(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else short(value)


def _join(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name
