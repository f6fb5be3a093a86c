"""Overrides: the table of a TOML file, and values put in by their dotted paths."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mfsim.errors import ConfigError
from mfsim.formula import RANGE_KEYS

Overrides = Mapping[str, Any] | Sequence[str]
"""Values by dotted path, or lines PATH=VALUE."""


def override(table: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """A copy of a config's table with values put in as `load` does.

    Raises:
        ConfigError: If a path leads through something other than a table.
    """
    table = dict(table)
    for path, value in as_pairs(overrides).items():
        table = _override(table, path, value)
    return table


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        ConfigError: If there is none; does not name the file.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"must be a readable TOML file: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"must be UTF-8 text, got {error.reason}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"must be valid TOML: {error}.") from error
    if not table:
        raise ConfigError("must be a configuration, got an empty file.")
    return table


def as_pairs(overrides: Overrides) -> dict[str, Any]:
    """Overrides by path, a VALUE read as TOML, else as a string."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    return dict(map(_pair, [overrides] if isinstance(overrides, str) else overrides))


def _pair(line: str) -> tuple[str, Any]:
    path, equals, text = line.partition("=")
    if not equals:
        raise ConfigError(f"an override must read PATH=VALUE, got {line!r}.")
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    return path.strip(), table["value"] if list(table) == ["value"] else text


def _override(table: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    head, _, key = path.partition(".")
    if head != "sweep" or not key:
        return put(table, path, value)
    sweep = sweep_table(table.get("sweep", {}))
    axis, _, part = key.rpartition(".")
    if part in RANGE_KEYS and isinstance(sweep.get(axis), Mapping):
        key, value = axis, {**sweep[axis], part: value}
    return {**table, "sweep": {**sweep, key: value}}


def put(table: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the table with the value at a dotted path."""

    def within(table: Any, keys: Sequence[str]) -> Any:
        if not keys:
            return value
        if isinstance(table, str):
            table = {"kind": table}
        if not isinstance(table, Mapping):
            got = f"got {short(table)} on the way; set that as a whole"
            raise ConfigError(f"{path} must lead through tables, {got}.")
        return {**table, keys[0]: within(table.get(keys[0], {}), keys[1:])}

    return within(table, path.split("."))


def sweep_table(sweep: Any) -> Mapping[str, Any]:
    """The table of a sweep's axes, refused if it is none."""
    if not isinstance(sweep, Mapping):
        raise ConfigError(f"sweep must be a table of axes, got {sweep!r}.")
    return sweep


def short(value: Any) -> str:
    """A value on one line, as Kind(field=value)."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(short, value))}]"
    if not isinstance(value, Mapping):
        return str(value)
    fields = ", ".join(f"{k}={short(v)}" for k, v in value.items() if k != "kind")
    return f"{value.get('kind', '')}({fields})" if fields else str(value.get("kind"))
