"""plan(): what a config would cost, measured on a few steps, before it is run."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from mfsim.ensemble import num_workers, pick_devices
from mfsim.ensemble.group import Group
from mfsim.ensemble.grouping import likeness, make_groups, member_bytes
from mfsim.ensemble.member import Member, Task
from mfsim.ensemble.preparation import measuring_bytes, prepare
from mfsim.ensemble.program import Programs, numerics
from mfsim.experiment import Experiment
from mfsim.memory import memory_of
from mfsim.series import Series
from mfsim.sweep import Sweep

_TRIAL_SECONDS = 0.5


def plan(what: Experiment | Sweep, *, device: str | None = None) -> str:
    """The resolved config, sizes, steps, memory and time, as text; writes nothing.

    Raises:
        ConfigError: If it could not be run.
    """
    points = (
        [what] if isinstance(what, Experiment) else [p.experiment for p in what.points]
    )
    devices = pick_devices(device)
    with numerics(devices[0]):
        members = prepare([Task(str(i), e, Path(str(i))) for i, e in enumerate(points)])
        workers = num_workers(devices)
        groups = make_groups(members, workers, memory_of(devices[0]))
        seconds = sum(_estimate(groups)) / min(workers, len(groups))
        lines = [members[0].experiment.to_toml()]
        if len(members) > 1:
            lines[0] += f"\n# ... and {len(members) - 1} more points of the sweep"
        largest = max(members, key=member_bytes)
        lines += _sizes(largest, max(map(len, groups)))
        lines += _left_out(largest)
        lines += _warnings(members)
        lines.append(_steps(members))
    lines.append(
        f"time      about {_duration(seconds)} on {workers} x {devices[0].platform}, "
        "once compiled"
    )
    return "\n".join(lines)


def _sizes(member: Member, together: int) -> list[str]:
    data, flow = member.data, member.experiment.flow
    n, d = data.x_train.shape
    bytes_ = flow.plan(data, member.experiment.dtype)
    block = bytes_.pop("samples_per_block", None)
    if measuring := measuring_bytes(member.experiment, data):
        bytes_["measuring"] = measuring
    arrays = ", ".join(f"{name} {_size(b)}" for name, b in bytes_.items())
    blocks = f"; {block} samples a block, by flow.block_mib" if block else ""
    row = sum(
        8 * int(np.prod(s.shape, dtype=int))
        for s in member.measured.declared.values()
        if isinstance(s, Series)
    )
    kept = member.num_snapshots * bytes_["state"] + len(member.saves) * row
    return [
        f"data      {n} training and {len(data.y_test)} test points in {d} dimensions",
        f"memory    {arrays}, {together} runs together{blocks}",
        f"file      {len(member.saves)} rows, {member.num_snapshots} snapshots: about "
        f"{_size(kept)} each",
    ]


def _left_out(member: Member) -> list[str]:
    """The series that cannot be had, by the reason why."""
    names: dict[str, list[str]] = {}
    for name, series in member.measured.declared.items():
        if isinstance(series, str):
            names.setdefault(series, []).append(name)
    return [f"left out  {', '.join(each)}: {why}" for why, each in names.items()]


def _warnings(members: list[Member]) -> list[str]:
    """What is questionable about the flows, each once."""
    texts = (text for each in members for text in each.experiment.flow.complain())
    return [f"warning   {text}" for text in dict.fromkeys(texts)]


def _steps(members: list[Member]) -> str:
    steps = [member.experiment.total_steps for member in members]
    sizes = sorted({float(member.experiment.integrator.step) for member in members})
    span = f"{steps[0]}" if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)}"
    step = (
        f"{sizes[0]:.2g}" if len(sizes) == 1 else f"{sizes[0]:.2g} to {sizes[-1]:.2g}"
    )
    unit = members[0].experiment.schedule.unit
    return f"steps     {span} of {step} in {unit} time, {len(members)} runs"


def _estimate(groups: list[list[Member]]) -> list[float]:
    """Seconds a group, from a trial of one group of every shape."""
    programs, costs, seconds = Programs(), {}, []
    for members in groups:
        first = members[0]
        shape, _ = likeness(first)
        if shape not in costs:
            costs[shape] = _trial(Group(members, programs))
        step, save = costs[shape]
        seconds.append(step * first.experiment.total_steps + save * len(first.saves))
    return seconds


def _trial(group: Group) -> tuple[float, float]:
    """Seconds a step and seconds a save, each once warm."""
    count = 1
    while (taken := _time(lambda n=count: group.advance(n))) < _TRIAL_SECONDS / 4:
        count *= 2
    group.refer()

    def save() -> None:
        measured = group.measure()
        for j in range(len(group.members)):
            group.row(j, measured)

    save()
    return taken / count, _time(save)


def _time(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.2g} min"
