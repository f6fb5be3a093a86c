"""write_study() and write_report(): from what lies in folders to a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mfsim.errors import FormatError, MfsimError
from mfsim.findings import FILE, read_record
from mfsim.report.page import render
from mfsim.report.sections import comparison_section, study_section, write_files
from mfsim.report.sources import Study, find_sources

PAGE = "report.html"
"""The page in a study's folder."""


class Report(NamedTuple):
    """A page that was written.

    Attributes:
        path: Where it is.
        skipped: One line a file that was left out, and why.
    """

    path: Path
    skipped: tuple[str, ...]


def write_study(folder: str | Path) -> Path:
    """Write the tables, figures and page of a study that was run.

    Args:
        folder: It holds `findings.json`; `tables/*.csv`, `figures/*.png`,
            `figures/*.pdf` and `report.html` come beside it.

    Returns:
        Where the page is.

    Raises:
        FormatError: If there are no findings.
        MfsimError: If a file cannot be written.
    """
    folder = Path(folder)
    record = read_record(folder / FILE)
    section = study_section(Study(folder, record))
    try:
        write_files(section, folder)
    except OSError as error:
        raise MfsimError(f"{folder} must be writable: {error.strerror}.") from error
    return _put(folder / PAGE, render(record.name, [section], None, section.skipped))


def write_report(paths: Sequence[str | Path], out: str | Path) -> Report:
    """Write one page on studies and on any other finished runs, side by side.

    Args:
        paths: Studies' folders, runs' files, sweeps' folders, folders of such.
        out: The page.

    Returns:
        Where the page is, and what was left out.

    Raises:
        FormatError: If nothing can be read.
        MfsimError: If the page cannot be written.
    """
    sources = find_sources([Path(path) for path in paths])
    studies, skipped = [], list(sources.skipped)
    for study in sources.studies:
        try:
            studies.append(study_section(study))
            skipped += studies[-1].skipped
        # Findings that were written by hand, or cut, fail somewhere in the drawing.
        except (ValueError, TypeError, KeyError, IndexError) as error:
            why = " ".join(str(error).split())
            skipped.append(f"{study.folder / FILE} must be whole findings, got {why}.")
    if not studies and not sources.runs:
        raise FormatError(skipped[-1])
    comparison = comparison_section(sources.runs) if sources.runs else None
    names = [section.record.name for section in studies]
    names += [f"{len(sources.runs)} runs"] if sources.runs else []
    text = render(", ".join(names), studies, comparison, skipped)
    return Report(_put(Path(out), text), tuple(skipped))


def _put(path: Path, text: str) -> Path:
    """Write a page in one stroke."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise MfsimError(f"{path} must be writable: {error.strerror}.") from error
    return path
