"""run(): one experiment or many, group by group, spread over cores or devices."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from mfsim.ensemble.group import Group
from mfsim.ensemble.grouping import make_groups
from mfsim.ensemble.member import Member, Task
from mfsim.ensemble.preparation import prepare
from mfsim.ensemble.program import Programs, numerics
from mfsim.errors import ConfigError, Diverged, MfsimError
from mfsim.experiment import Experiment
from mfsim.kernels.precision import require_precision
from mfsim.memory import memory_of
from mfsim.progress import Progress
from mfsim.storage import (
    Trajectory,
    open_sweep,
    open_trajectory,
    write_sweep_table,
)
from mfsim.sweep import Sweep

_FINISHED = ("completed", "diverged")


@dataclass(frozen=True)
class Outcome:
    """How a task ended: its status, a message for people, its last row of scalars."""

    task: Task
    status: str
    message: str = ""
    row: dict[str, float] | None = None


def run_tasks(
    tasks: Sequence[Task],
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    ended: Callable[[Outcome], None] = lambda outcome: None,
    programs: Programs | None = None,
) -> list[Outcome]:
    """Run tasks to their files; all are checked before the first begins.

    Args:
        tasks: What to run.
        resume: Continue what is there, skip what is finished.
        overwrite: Replace what is there.
        device: "cpu" or "gpu"; JAX's choice unless given.
        progress: Who listens.
        stop: Set it, and every run saves itself and ends as "interrupted".
        ended: Called, from any thread, with each outcome as it comes.
        programs: Where compiled programs are kept for later calls.

    Raises:
        ConfigError: If a task cannot be run, before anything is written.
    """
    progress, stop = progress or Progress(), stop or threading.Event()
    devices = pick_devices(device)
    with numerics(devices[0]):
        require_precision()
        outcomes = {}
        for task in tasks:
            if found := _finished(task, resume, overwrite):
                outcomes[task.name] = found
        members = prepare([task for task in tasks if task.name not in outcomes])
        if resume:
            _open_again(members)
        groups = make_groups(members, num_workers(devices), memory_of(devices[0]))
    programs = programs or Programs()
    for outcome in outcomes.values():
        ended(outcome)

    def work(number: int, group: list[Member]) -> None:
        where = devices[number % len(devices)]
        with numerics(where):
            _run_group(group, programs, progress, stop, overwrite)
        for member in group:
            outcome = _outcome(member)
            outcomes[member.task.name] = outcome
            ended(outcome)

    with ThreadPoolExecutor(num_workers(devices)) as pool:
        futures = [pool.submit(work, *item) for item in enumerate(groups)]
        try:
            # A timeout lets the main thread see signals while the others work.
            while wait(futures, timeout=0.2).not_done:
                pass
        except BaseException:
            stop.set()
            raise
    for future in futures:
        future.result()
    return [outcomes[task.name] for task in tasks]


def pick_devices(name: str | None) -> list[Any]:
    """The devices of one platform.

    Raises:
        ConfigError: If there is none of that platform.
    """
    try:
        return jax.devices(name)
    except RuntimeError as error:
        found = sorted({device.platform for device in jax.devices()})
        raise ConfigError(
            f"device must be one of {found} on this machine, got {name!r}."
        ) from error


def num_workers(devices: Sequence[Any]) -> int:
    """How many groups run at once: one a core on a CPU, else one a device."""
    if devices[0].platform != "cpu":
        return len(devices)
    # Only Linux tells which cores this process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_group(
    members: list[Member],
    programs: Programs,
    progress: Progress,
    stop: threading.Event,
    overwrite: bool,
) -> None:
    """One group from start to end; a failure ends the group and nothing else."""
    if stop.is_set():
        for member in members:
            member.interrupt()
        return
    ready = []
    for member in members:
        with _told([member], progress):
            member.open(resume=False, overwrite=overwrite)
            ready.append(member)
    if ready:
        with _told(ready, progress):
            Group(ready, programs, progress).run(stop)


@contextlib.contextmanager
def _told(members: list[Member], progress: Progress) -> Iterator[None]:
    """What fails here ends these members, and only what nobody foresaw goes on."""
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        for member in members:
            if member.status == "running":
                member.fail(message)
                progress.message(f"{member.task.name}: failed: {message}")
        if not isinstance(error, (MfsimError, OSError, MemoryError, RuntimeError)):
            raise


def _open_again(members: list[Member]) -> None:
    """Open the files that are there: where they stopped decides who goes together."""
    try:
        for member in members:
            if member.task.path.exists():
                member.open(resume=True, overwrite=False)
    except BaseException:
        for member in members:
            member.interrupt()
        raise


def _outcome(member: Member) -> Outcome:
    if member.status == "running":
        return Outcome(member.task, "interrupted", "interrupted before it began")
    return Outcome(member.task, member.status, member.message, _scalars(member.row))


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in sorted(row.items()) if np.ndim(v) == 0}


def _finished(task: Task, resume: bool, overwrite: bool) -> Outcome | None:
    """The outcome of a task that needs no run; None for one that does.

    Raises:
        ConfigError: If its file is in the way, or was made with another configuration.
    """
    if not task.path.exists() or overwrite:
        return None
    if not resume:
        raise ConfigError(
            f"{task.path} must not exist; pass --resume (resume=True) to continue it "
            "or --overwrite (overwrite=True) to replace it."
        )
    found = open_trajectory(task.path)
    if found.attributes["config_hash"] != task.experiment.fingerprint():
        raise ConfigError(
            f"{task.path} must have been made with this configuration to resume it, "
            "but its hash differs; undo the change, or pass --overwrite."
        )
    if found.status not in _FINISHED:
        return None
    last = found.series.isel(step=-1)
    row = _scalars({str(name): values.values for name, values in last.items()})
    message = str(found.attributes.get("message", ""))
    return Outcome(task, found.status, message, row)


def run(
    what: Experiment | Sweep,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Trajectory | xr.Dataset:
    """Run an experiment to the file `out`, or a sweep to the folder `out`.

    Args:
        what: An experiment, or a sweep as `mfsim.load` returns it.
        out: The HDF5 file to write, or the folder of a sweep's files.
        resume: Continue what is there, skip what is finished.
        overwrite: Replace what is there.
        device: "cpu" or "gpu"; JAX's choice unless given.
        progress: Who listens; nobody unless given.

    Returns:
        The trajectory, or all of them as one dataset with the swept axes as dimensions.

    Raises:
        ConfigError: If it cannot be run; nothing is written then.
        Diverged: If a single experiment diverges; what it had is kept.
        MfsimError: If a run fails on the way; what it had is kept.
    """
    if not isinstance(what, (Experiment, Sweep)):
        raise ConfigError(
            f"what must be an Experiment or a Sweep, got {what!r}; "
            "mfsim.load(path) makes one of a TOML file."
        )
    outcomes = run_all(
        what,
        Path(out),
        resume=resume,
        overwrite=overwrite,
        device=device,
        progress=progress,
    )
    for outcome in outcomes:
        if outcome.status == "failed":
            raise MfsimError(f"{outcome.task.path}: {outcome.message}")
    if not isinstance(what, Experiment):
        return open_sweep(out)
    if outcomes[0].status == "diverged":
        raise Diverged(f"{out}: {outcomes[0].message}")
    return open_trajectory(out)


def run_all(what: Experiment | Sweep, out: Path, **options: Any) -> list[Outcome]:
    """The same by outcomes, whatever happened; a sweep keeps its table up to date.

    Args:
        what: An experiment or a sweep.
        out: The HDF5 file to write, or the folder of a sweep's files.
        options: Those of `run_tasks`.
    """
    if isinstance(what, Experiment):
        return run_tasks([Task(out.stem, what, out)], **options)
    tasks = []
    for point in what.points:
        run_id = point.experiment.fingerprint()[:12]
        place = what.place(point)
        tasks.append(Task(run_id, point.experiment, out / f"{run_id}.h5", place))
    _check_folder(out, tasks)
    return run_tasks(tasks, ended=_Table(out / "sweep.csv", tasks), **options)


def _check_folder(folder: Path, tasks: Sequence[Task]) -> None:
    """Refuse a folder that holds points of another sweep, or in other places."""
    places = {task.name: task.sweep for task in tasks}
    for path in sorted(folder.glob("*.h5")):
        found = open_trajectory(path).attributes.get("sweep", "null")
        if path.stem not in places or _spot(json.loads(found)) != _spot(
            places[path.stem]
        ):
            raise ConfigError(
                f"{folder} must hold points of this sweep alone, got {path.name} of "
                "another; choose another --out or remove it."
            )


def _spot(place: Mapping[str, Any] | None) -> dict[str, Any]:
    """A place without the sizes of its sweep, which may have grown since."""
    return {key: value for key, value in (place or {}).items() if key != "sizes"}


class _Table:
    """sweep.csv: a line a point, rewritten whenever a point ends."""

    def __init__(self, path: Path, tasks: Sequence[Task]):
        self._path, self._lock = path, threading.Lock()
        self._rows = {task.name: _line(task, "waiting") for task in tasks}

    def __call__(self, outcome: Outcome) -> None:
        with self._lock:
            line = _line(outcome.task, outcome.status) | (outcome.row or {})
            self._rows[outcome.task.name] = line
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_sweep_table(self._path, list(self._rows.values()))


def _line(task: Task, status: str) -> dict[str, Any]:
    values = task.sweep["values"] if task.sweep else {}
    return {"run_id": task.name, "status": status, **values}
