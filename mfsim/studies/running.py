"""run_study(): the experiments of a study, each once, and what they say."""

import dataclasses
import datetime
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import tomli_w
import xarray

from mfsim.component import describe
from mfsim.ensemble import Outcome, Programs, pick_devices, run_tasks
from mfsim.ensemble.member import Task
from mfsim.errors import ConfigError, MfsimError
from mfsim.findings import Findings, StudyRecord, write_record
from mfsim.progress import Progress
from mfsim.storage import Trajectory, join_sweep, open_trajectory
from mfsim.studies.base import AbstractStudy, study_name
from mfsim.sweep import Sweep

RUNS = "runs"
"""The folder of a study's folder that holds its runs, each named by its config."""


def run_study(
    study: AbstractStudy,
    folder: str | Path,
    *,
    is_quick: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> StudyRecord | None:
    """Run what is not there yet, analyse all of it, write `findings.json`.

    Args:
        study: The study.
        folder: Where its results are kept. A run that is there, by the hash of its
            configuration, is not run again; one that was interrupted goes on.
        is_quick: Whether to say that this is the small version.
        device: "cpu" or "gpu"; JAX's choice unless given.
        progress: Who listens.
        stop: Set it, and every run saves itself.

    Returns:
        What was found; None if it was stopped before all runs had ended.

    Raises:
        ConfigError: If an experiment cannot be run.
        MfsimError: If no run of a sweep completes.
    """
    began, done = time.monotonic(), _Done(Path(folder))
    stop, programs = stop or threading.Event(), Programs()
    wanted, runs = _planned(study), {}
    while new := done.add(wanted):
        outcomes = run_tasks(
            new,
            resume=True,
            device=device,
            progress=progress,
            stop=stop,
            programs=programs,
        )
        done.take(outcomes)
        if stop.is_set():
            return None
        runs = done.joined()
        with jax.enable_x64(True):
            wanted = study.refine(runs)
    outcomes = done.outcomes.values()
    record = StudyRecord(
        name=study_name(type(study)),
        question=study.question,
        is_quick=is_quick,
        config=tomli_w.dumps(describe(study)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=metadata.version("mfsim"),
        device=str(pick_devices(device)[0].device_kind),
        findings=_analyse(study, done, runs),
        wall_seconds=time.monotonic() - began,
        run_seconds=_seconds(done.runs.values()),
        statuses=dict(Counter(outcome.status for outcome in outcomes)),
        parts={n: list(map(_point, part.values())) for n, part in done.parts.items()},
    )
    write_record(record, Path(folder))
    return record


class _Done:
    """What was asked for so far, and what came of it.

    Attributes:
        parts: For each sweep its tasks, by their files.
        outcomes: How they ended.
        runs: Their files.
    """

    def __init__(self, folder: Path):
        self._folder = folder / RUNS
        self.parts: dict[str, dict[Path, Task]] = {}
        self.outcomes: dict[Path, Outcome] = {}
        self.runs: dict[Path, Trajectory] = {}

    def add(self, sweeps: Iterable[Sweep]) -> list[Task]:
        """Take what is asked for; the tasks that are new."""
        found = {}
        for sweep in sweeps:
            tasks = {task.path: task for task in _tasks(sweep, self._folder)}
            self.parts.setdefault(sweep.name, {}).update(tasks)
            found.update(tasks)
        return [task for path, task in found.items() if path not in self.outcomes]

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take how tasks ended."""
        for outcome in outcomes:
            path = outcome.task.path
            self.outcomes[path] = outcome
            if path.exists():
                self.runs[path] = open_trajectory(path)

    def joined(self) -> dict[str, xarray.Dataset]:
        """The runs of each sweep of which one completed."""
        found = {}
        for name, tasks in self.parts.items():
            status = {path: self.outcomes[path].status for path in tasks}
            whole = [path for path in tasks if status[path] == "completed"]
            if not whole:
                continue
            runs = join_sweep((self.runs[path], tasks[path].sweep) for path in whole)
            for path, task in tasks.items():
                runs.status[dict(task.sweep or {})["index"]] = status[path]
            placed = runs.assign_coords(_axes(list(tasks.values())))
            found[name] = placed.assign_attrs(folder=str(self._folder))
        return found


def _planned(study: AbstractStudy) -> tuple[Sweep, ...]:
    try:
        return study.experiments()
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _tasks(sweep: Sweep, folder: Path) -> list[Task]:
    tasks = []
    for point in sweep.points:
        run_id = point.experiment.fingerprint()[:12]
        path = folder / f"{run_id}.h5"
        tasks.append(Task(run_id, point.experiment, path, sweep.place(point)))
    return tasks


def _analyse(
    study: AbstractStudy, done: _Done, runs: Mapping[str, xarray.Dataset]
) -> Findings:
    """The findings, in float64, and a note on every run that did not complete."""
    for name, tasks in done.parts.items():
        if name not in runs:
            why = next(done.outcomes[path].message for path in tasks)
            raise MfsimError(
                f"{name} must have a run that completes, got none of "
                f"{len(tasks)}: {why}"
            )
    with jax.enable_x64(True):
        findings = study.analyse(runs)
    lost = [
        f"Run {o.task.name} {o.status} and is left out: {o.message}"
        for o in done.outcomes.values()
        if o.status != "completed"
    ]
    return dataclasses.replace(findings, notes=(*findings.notes, *lost))


def _axes(tasks: Sequence[Task]) -> dict[str, list[Any]]:
    """The values of each axis, also of those at which no run completed."""
    places = [dict(task.sweep or {}) for task in tasks]
    found = {}
    for dim, size in zip(places[-1]["dims"], places[-1]["sizes"], strict=True):
        values = {p["index"][dim]: p["values"].get(dim) for p in places}
        if len(values) == size and None not in values.values():
            found[dim] = [values[index] for index in range(size)]
    return found


def _seconds(runs: Iterable[Trajectory]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for run in runs:
        total.update(run.timing)
    return dict(total)


def _point(task: Task) -> dict[str, Any]:
    values = dict(task.sweep or {})["values"]
    return {"file": f"{RUNS}/{task.path.name}", "values": values}
