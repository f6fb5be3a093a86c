"""Text for people: what a file holds, and what kinds there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mfsim import findings
from mfsim.errors import ConfigError
from mfsim.storage import Trajectory, open_sweep, open_trajectory

_SYMBOLS = {"depth": "L", "width": "m", "scale_exponent": "a", "alpha": "alpha"}
_MOST_NUMBERS = 12
"""Of an array, such as one of layers, that is written out."""


def describe_path(path: Path) -> str:
    """What a run's file, or the folder of a sweep or a study, holds."""
    if (path / findings.FILE).is_file():
        return describe_record(findings.read_record(path / findings.FILE))
    return _describe_sweep(path) if path.is_dir() else _describe_run(path)


def _describe_run(path: Path) -> str:
    found = open_trajectory(path)
    series = found.series
    lines = [
        f"{path}: {found.status}"
        + (
            f" ({found.attributes['message']})"
            if found.attributes.get("message")
            else ""
        )
    ]
    lines += [
        f"  {k}: {v}" for k, v in sorted(found.attributes.items()) if k != "message"
    ]
    lines += _network(found.config)
    rows = series.sizes.get("step", 0)
    if rows:
        last = series.isel(step=-1)
        lines.append(
            f"{rows} rows to step {int(last.step)}, t = {float(last.time):.4g}, "
            f"tau = {float(last.kernel_time):.4g}; last row:"
        )
        lines += [
            f"  {_value(last[name])}" for name in sorted(map(str, last.data_vars))
        ]
    lines += [f"  {name}: absent, {why}" for name, why in sorted(found.absent.items())]
    lines += [
        f"snapshots {name}: {dict(a.sizes)}" for name, a in found.snapshots.items()
    ]
    lines += [f"warning: {text}" for text in found.warnings]
    lines += [f"{what}: {s:.3g} s" for what, s in found.timing.items()]
    return "\n".join(lines)


def _network(config: Mapping[str, Any]) -> list[str]:
    """Kind and sizes of a run's network, if the configuration tells them."""
    flow = config.get("flow", {})
    network = dict(flow.get("network", {}))
    if "cells" in flow:
        # A density has no neurons.
        network.pop("width", None)
    padded = []
    if "active" in network:
        padded = [f"padded to {network['width']}"]
        network["width"] = network["active"]
    sizes = [f"{s} = {network[key]:g}" for key, s in _SYMBOLS.items() if key in network]
    sizes += padded
    return [f"network {', '.join([network['kind'], *sizes])}"] if network else []


def _value(array) -> str:
    text = array.attrs.get("description", "")
    unit = array.attrs.get("unit", "1")
    if array.size > _MOST_NUMBERS or array.ndim > 1:
        shown = f"array {array.shape}"
    else:
        numbers = ", ".join(f"{number:.6g}" for number in array.values.flat)
        shown = f"({numbers})" if array.ndim else numbers
        shown += "" if unit == "1" else f" {unit}"
    return f"{array.name} = {shown}  ({text})"


def _describe_sweep(path: Path) -> str:
    sweep = open_sweep(path)
    states, numbers = np.unique(sweep.status.values, return_counts=True)
    counts = ", ".join(f"{n} {s}" for s, n in zip(states, numbers, strict=True))
    axes = [f"  {name}: {size}" for name, size in sweep.status.sizes.items()]
    names = sorted(str(name) for name in sweep.data_vars)
    return "\n".join([f"{path}: {counts}; axes", *axes, "series " + ", ".join(names)])


def describe_record(record: findings.StudyRecord) -> str:
    """What a study asked, ran and found."""
    states = ", ".join(f"{n} {status}" for status, n in record.statuses.items())
    version = ", quick version" if record.is_quick else ""
    lines = [f"{record.name}{version}: {record.question}", f"runs: {states}"]
    for verdict in record.findings.verdicts:
        lines += [f"{verdict.word:14} {verdict.claim}"]
        lines += [f"{'':14} predicted {verdict.predicted}; {_measured(verdict)}"]
    return "\n".join([*lines, *(f"note: {note}" for note in record.findings.notes)])


def _measured(verdict: findings.Verdict) -> str:
    words = []
    if verdict.measured is not None:
        words.append(f"measured {verdict.measured:.4g}")
    if verdict.interval is not None:
        words[-1] += " ({:.4g} to {:.4g})".format(*verdict.interval)
    return "; ".join([*words, *([verdict.note] if verdict.note else [])])


def config_text(path: Path) -> str:
    """The config that a run's file keeps, as TOML."""
    return Trajectory(path).config_text


def describe_kinds(family: str | None) -> str:
    """The kinds of a family, or of all, with the first line of their docstrings.

    Raises:
        ConfigError: If there is no such family.
    """
    import mfsim.studies  # noqa: F401  so that every kind is loaded
    from mfsim.component import families, kinds

    known = families()
    if family is not None and family.lower() not in known:
        raise ConfigError(f"family must be one of {sorted(known)}, got {family!r}.")
    chosen = [family.lower()] if family else sorted(known)
    lines = []
    for name in chosen:
        lines.append(name)
        for kind, cls in kinds(known[name]).items():
            lines.append(f"  {kind:22} {(cls.__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)
