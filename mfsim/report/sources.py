"""What lies at the paths of a report: studies, finished runs, and what is skipped."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfsim.errors import FormatError
from mfsim.findings import FILE, StudyRecord, read_record
from mfsim.storage import Trajectory, open_trajectory


@dataclass(frozen=True)
class Study:
    """A study's folder and what was found in it."""

    folder: Path
    record: StudyRecord


@dataclass(frozen=True)
class Sources:
    """What a report is made of.

    Attributes:
        studies: Those found.
        runs: The completed runs that belong to no study.
        skipped: One line a file that is left out, and why.
    """

    studies: tuple[Study, ...]
    runs: tuple[Trajectory, ...]
    skipped: tuple[str, ...]


def find_sources(paths: Sequence[Path]) -> Sources:
    """Search files and folders; what cannot be used is skipped.

    Args:
        paths: Studies' folders, runs' files, sweeps' folders, folders of such.

    Raises:
        FormatError: If nothing can be used.
    """
    studies, runs, skipped = [], [], []
    every: dict[Path, Path] = {}
    for path in paths:
        found = list(_candidates(path))
        if not found:
            wanted = f"hold {FILE} or *.h5 files" if path.is_dir() else "be there"
            skipped.append(f"{path} must {wanted}, got none.")
        every |= {each.resolve(): each for each in found}
    for path in every.values():
        try:
            if path.name == FILE:
                studies.append(Study(path.parent, read_record(path)))
            else:
                run = open_completed(path)
                _ = run.config  # read here, where damage is skipped
                runs.append(run)
        except FormatError as error:
            skipped.append(str(error))
    if not studies and not runs:
        why = skipped[0] if skipped else "got no path."
        raise FormatError(f"paths must lead to a finished run or study: {why}")
    return Sources(tuple(studies), tuple(_in_order(runs)), tuple(skipped))


def open_completed(path: Path) -> Trajectory:
    """A run's file, its series read.

    Raises:
        FormatError: If it is no such file, or the run is not completed.
    """
    run = open_trajectory(path)
    if run.status != "completed":
        raise FormatError(f"{path} must be completed, got {run.status}.")
    if not run.series.sizes["step"]:
        raise FormatError(f"{path} must have rows, got none.")
    return run


def _in_order(runs: Sequence[Trajectory]) -> list[Trajectory]:
    """As given; the points of a sweep, whose names are hashes, by their places."""
    folders = list(dict.fromkeys(run.path.parent for run in runs))
    return sorted(runs, key=lambda run: (folders.index(run.path.parent), _place(run)))


def _place(run: Trajectory) -> list[int]:
    """Where in a sweep a run lies; a run that does not say it comes first."""
    try:
        sweep = json.loads(run.attributes["sweep"])
        return [int(sweep["index"][dim]) for dim in sweep["dims"]]
    except (KeyError, TypeError, ValueError):
        return []


def _candidates(path: Path) -> Iterator[Path]:
    """The files that a path leads to: findings, else runs; a study's runs are its own.

    A file that was named is one whatever its suffix, so that it is complained of.
    """
    if path.is_file():
        yield path
    for folder, folders, files in os.walk(path):
        folders.sort()
        if FILE in files:
            folders.clear()
            yield Path(folder) / FILE
        else:
            yield from (Path(folder) / n for n in sorted(files) if n.endswith(".h5"))
