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

from mfsim.component import describe
from mfsim.ensemble import Outcome, pick_devices, run_tasks
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
    began, folder = time.monotonic(), Path(folder)
    parts = {sweep.name: _tasks(sweep, folder / RUNS) for sweep in _sweeps(study)}
    tasks = {task.path: task for part in parts.values() for task in part}
    stop = stop or threading.Event()
    outcomes = run_tasks(
        list(tasks.values()), resume=True, device=device, progress=progress, stop=stop
    )
    if stop.is_set():
        return None
    runs = {path: open_trajectory(path) for path in tasks if path.exists()}
    findings = _analyse(study, parts, runs, outcomes)
    record = StudyRecord(
        name=study_name(type(study)),
        question=study.question,
        is_quick=is_quick,
        config=tomli_w.dumps(describe(study)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=metadata.version("mfsim"),
        device=str(pick_devices(device)[0].device_kind),
        wall_seconds=time.monotonic() - began,
        run_seconds=_seconds(runs.values()),
        statuses=dict(Counter(outcome.status for outcome in outcomes)),
        parts={name: list(map(_point, part)) for name, part in parts.items()},
        findings=findings,
    )
    write_record(record, folder)
    return record


def _sweeps(study: AbstractStudy) -> tuple[Sweep, ...]:
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
    study: AbstractStudy,
    parts: Mapping[str, Sequence[Task]],
    runs: Mapping[Path, Trajectory],
    outcomes: Sequence[Outcome],
) -> Findings:
    """The findings, in float64, and a note on every run that did not complete."""
    joined = {}
    for name, tasks in parts.items():
        found = [(runs[t.path], t.sweep) for t in tasks if t.path in runs]
        whole = [(run, place) for run, place in found if run.status == "completed"]
        if not whole:
            paths = {task.path for task in tasks}
            why = next(o.message for o in outcomes if o.task.path in paths)
            raise MfsimError(
                f"{name} must have a run that completes, got none of "
                f"{len(tasks)}: {why}"
            )
        joined[name] = join_sweep(whole).assign_coords(_axes(tasks))
    with jax.enable_x64(True):
        findings = study.analyse(joined)
    lost = [
        f"Run {o.task.name} {o.status} and is left out: {o.message}"
        for o in outcomes
        if o.status != "completed"
    ]
    return dataclasses.replace(findings, notes=(*findings.notes, *lost))


def _axes(tasks: Sequence[Task]) -> dict[str, list[Any]]:
    """The values of each axis, also of those at which no run completed."""
    places = [dict(task.sweep or {}) for task in tasks]
    found = {}
    for dim, size in zip(places[0]["dims"], places[0]["sizes"], strict=True):
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
