"""The parts of a page: a study, or runs side by side, with all that they embed."""

import base64
import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsim.errors import FormatError
from mfsim.figures import chart_files
from mfsim.figures.families import is_seed
from mfsim.findings import FILE, Chart, Curve, Map, Panel, StudyRecord, Table
from mfsim.report.comparison import comparison_tables
from mfsim.report.explorer import Point, explorer_data
from mfsim.report.groups import flat, group_runs, short_names, telling
from mfsim.report.numbers import compact
from mfsim.report.regimes import RULE
from mfsim.report.sources import Study, open_completed
from mfsim.storage import Trajectory

Data = dict[str, Any]


@dataclass(frozen=True)
class Download:
    """A file within the page."""

    name: str
    type: str
    content: bytes

    @property
    def uri(self) -> str:
        """The file as an address."""
        return f"data:{self.type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Figure:
    """A chart, its data for drawing, and its pictures."""

    chart: Chart
    data: Data
    picture: Download
    paper: Download


@dataclass(frozen=True)
class Sheet:
    """A table and its CSV."""

    table: Table
    file: Download


@dataclass(frozen=True)
class StudySection:
    """A study: what was found, its pictures, what its runs did."""

    record: StudyRecord
    figures: tuple[Figure, ...]
    sheets: tuple[Sheet, ...]
    file: Download
    explorers: tuple[Data, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonSection:
    """Any runs side by side."""

    files: tuple[str, ...]
    sheets: tuple[Sheet, ...]
    rule: str
    explorers: tuple[Data, ...]


def study_section(study: Study) -> StudySection:
    """All that a page shows of a study; a run that cannot be read is left out."""
    findings = study.record.findings
    explorers, skipped = [], []
    for name, places in study.record.parts.items():
        points = []
        for place in places:
            try:
                run = open_completed(study.folder / place["file"])
                points.append(Point(run, place["values"]))
            except FormatError as error:
                skipped.append(str(error))
        if points:
            explorers.append(explorer_data(name, points))
    plain = json.loads((study.folder / FILE).read_text(encoding="utf-8"))
    text = json.dumps(plain, ensure_ascii=False)
    return StudySection(
        study.record,
        tuple(_figure(chart) for chart in findings.charts),
        tuple(_sheet(table) for table in findings.tables),
        Download(f"{study.record.name}.json", "application/json", text.encode()),
        tuple(explorers),
        tuple(skipped),
    )


def comparison_section(runs: Sequence[Trajectory]) -> ComparisonSection:
    """All that a page shows of runs that belong to no study."""
    groups = group_runs(runs)
    names = short_names(telling(groups))
    points = []
    for group in groups:
        told = {name: group.config.get(key, "–") for key, name in names.items()}
        for run in group.runs:
            seeds = {k: v for k, v in flat(run.config).items() if is_seed(k)}
            points.append(Point(run, told | seeds))
    tables = comparison_tables(groups)
    return ComparisonSection(
        tuple(str(run.path) for run in runs),
        tuple(_sheet(table) for table in tables if table.rows),
        RULE,
        (explorer_data("All", points),),
    )


def csv_text(table: Table) -> str:
    """A table as CSV; an empty cell where there is no value."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return stream.getvalue()


def write_files(section: StudySection, folder: Path) -> None:
    """Write the tables and the pictures of a study into its folder."""
    files = [("tables", sheet.file) for sheet in section.sheets]
    for figure in section.figures:
        files += [("figures", figure.picture), ("figures", figure.paper)]
    for kind, file in files:
        if Path(file.name).name != file.name:
            raise FormatError(f"name must be that of a file, got {file.name!r}.")
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / file.name).write_bytes(file.content)


def _figure(chart: Chart) -> Figure:
    files = chart_files(chart)
    return Figure(
        chart,
        _chart_data(chart),
        Download(f"{chart.name}.png", "image/png", files[".png"]),
        Download(f"{chart.name}.pdf", "application/pdf", files[".pdf"]),
    )


def _sheet(table: Table) -> Sheet:
    return Sheet(
        table, Download(f"{table.name}.csv", "text/csv", csv_text(table).encode())
    )


def _chart_data(chart: Chart) -> Data:
    drawn = (chart.map,) if chart.map else chart.panels
    return {"name": chart.name, "panels": [_panel_data(each) for each in drawn]}


def _panel_data(drawn: Panel | Map) -> Data:
    if isinstance(drawn, Map):
        return dataclasses.asdict(drawn) | _numbers(drawn, ("x", "y"))
    return dataclasses.asdict(drawn) | {
        "curves": [_curve_data(curve) for curve in drawn.curves]
    }


def _curve_data(curve: Curve) -> Data:
    told = {"label": curve.label, "look": curve.look}
    return told | _numbers(curve, ("x", "y", "low", "high"))


def _numbers(drawn: Curve | Map, names: Sequence[str]) -> Data:
    """Rows of numbers, to five digits."""
    rows = {name: getattr(drawn, name) for name in names}
    return {k: None if row is None else compact(row) for k, row in rows.items()}
