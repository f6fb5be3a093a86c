"""Findings: what a study has to say, as plain data that any reader can draw.

A study makes them, `mfsim.report` writes and draws them. Both ends need no JAX.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cattrs

from mfsim.errors import FormatError

FILE = "findings.json"
"""The file of a study's folder that says what was found."""

Scale = Literal["linear", "log"]
Look = Literal["both", "line", "points", "reference"]
Cell = str | float | None


@dataclass(frozen=True)
class Verdict:
    """One claim of the theory, held against what was measured.

    Attributes:
        claim: What is claimed, one sentence with its setting (alpha, lambda, m, n,
            seeds).
        predicted: The theory's value, and the tolerance if there is one, as text.
        measured: What was measured; None if it could not be.
        interval: Its 95 % interval.
        holds: Whether the claim holds; None where there is too little to say.
        note: The bound of the theorem beside it, the residual of a poor fit, why there
            is nothing to say.
    """

    claim: str
    predicted: str
    measured: float | None = None
    interval: tuple[float, float] | None = None
    holds: bool | None = None
    note: str = ""

    @property
    def word(self) -> str:
        """What it says, in words."""
        return {True: "holds", False: "does not hold", None: "cannot say"}[self.holds]


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words; None where there is no value.

    Attributes:
        name: File name, without suffix.
        title: One sentence.
        columns: Their headings, with units.
        rows: Cells, in the order of the columns.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Curve:
    """Values over an axis, perhaps with intervals.

    Attributes:
        label: For the legend.
        x: Places.
        y: Values; NaN where there is none.
        low: Lower ends of the intervals.
        high: Upper ends.
        look: A line with markers, a line, markers, or a thin dashed line for what a
            theory or a publication says.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    look: Look = "both"


@dataclass(frozen=True)
class Mark:
    """A vertical line, perhaps with an interval, and what it says."""

    x: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over one axis.

    Attributes:
        x_label: Of the axis, with its unit.
        y_label: Of the values, with their unit.
        curves: What is drawn.
        title: Above it; may be empty.
        x_scale: Of the axis.
        y_scale: Of the values.
        marks: Vertical lines.
    """

    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    title: str = ""
    x_scale: Scale = "log"
    y_scale: Scale = "log"
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Map:
    """Regions over two axes: a phase diagram.

    Attributes:
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
        x: Horizontal places of the points.
        y: Vertical places of the points.
        region: Name of each point's region.
        regions: The names, in the order of the legend.
        title: Above it; may be empty.
    """

    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    region: tuple[str, ...]
    regions: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """Panels beside each other: one figure.

    Attributes:
        name: File name, without suffix.
        caption: What it shows, with alpha, lambda, m, n, seeds and what bars are.
        panels: From left to right, or the one map.
    """

    name: str
    caption: str
    panels: tuple[Panel, ...] = ()
    map: Map | None = None


@dataclass(frozen=True)
class Findings:
    """All that a study found; notes are sentences for the reader."""

    verdicts: tuple[Verdict, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyRecord:
    """A study that was run: what, where, how long, and what was found.

    Attributes:
        name: Its name on the command line.
        question: What it asks.
        is_quick: Whether it is the small version.
        config: Its configuration, as TOML.
        created: When, ISO 8601.
        version: Of mfsim.
        device: What it ran on.
        wall_seconds: How long the last command took; less where runs were there.
        run_seconds: Seconds of all its runs, by what they were spent on.
        statuses: How many runs ended how.
        parts: For each sweep, the points: {"file": path, "values": swept values}; a
            path is relative to the folder of the record.
        findings: What was found.
    """

    name: str
    question: str
    is_quick: bool
    config: str
    created: str
    version: str
    device: str
    wall_seconds: float
    run_seconds: dict[str, float]
    statuses: dict[str, int]
    parts: dict[str, list[dict[str, Any]]]
    findings: Findings = field(default_factory=Findings)


def write_record(record: StudyRecord, folder: Path) -> Path:
    """Write a record as JSON into its folder, in one stroke."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(dataclasses.asdict(record)), indent=1, allow_nan=False)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def read_record(path: Path) -> StudyRecord:
    """The record in a file.

    Raises:
        FormatError: If it is no such file.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return _converter.structure(table, StudyRecord)
    except OSError as error:
        raise FormatError(f"{path} must be readable: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, cattrs.BaseValidationError) as error:
        raise FormatError(
            f"{path} must be the findings of a study, got something else."
        ) from error


def _plain(value: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _cell(value: Any, _: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return float(value)


def _number(value: Any, _: Any) -> float:
    return math.nan if value is None else float(value)


_converter = cattrs.Converter()
_converter.register_structure_hook_func(lambda hint: hint == Cell, _cell)
_converter.register_structure_hook(float, _number)
