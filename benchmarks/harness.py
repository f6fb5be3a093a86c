"""Races: contenders timed in turns in one process, so that the machine is one for all.

Absolute times do not carry over from one machine or hour to another; ratios of times
taken in the same rounds do.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

_RESULTS = Path(__file__).parent / "results"
_PAUSE = 0.05
"""Seconds between turns, for the idle threads of one library to stop spinning."""


class Timing(NamedTuple):
    """Seconds of a contender: its first call, and a unit of work in every round."""

    first: float
    rounds: list[float]


def race(
    contenders: Mapping[str, Callable[[int], Any]],
    *,
    repeats: int = 7,
    min_seconds: float = 0.2,
    cpu_time: bool = False,
) -> dict[str, Timing]:
    """Time the contenders in turns A B C A B C, after each has compiled and warmed up.

    Args:
        contenders: Each does `count` units of work and returns what to wait for.
        repeats: Rounds.
        min_seconds: Least time of a turn, which sets its count.
        cpu_time: Count the seconds of this process instead of the wall clock's: on one
            core of a machine that others use, the steadier measure.
    """
    clock = time.process_time if cpu_time else time.perf_counter

    def seconds(work: Callable[[int], Any], count: int) -> float:
        began = clock()
        jax.block_until_ready(work(count))
        return clock() - began

    def calibrated(work: Callable[[int], Any]) -> int:
        count = 1
        while min_seconds and (taken := seconds(work, count)) < min_seconds:
            count = math.ceil(count * min(20, 1.2 * min_seconds / taken))
        return count

    first = {name: seconds(work, 1) for name, work in contenders.items()}
    counts = {name: calibrated(work) for name, work in contenders.items()}
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            time.sleep(_PAUSE)
            rounds[name].append(seconds(work, counts[name]) / counts[name])
    return {name: Timing(first[name], rounds[name]) for name in contenders}


def summarise(timings: Mapping[str, Timing], baseline: str) -> dict[str, dict]:
    """Least and median time, and how many times faster than the baseline.

    `ratio` is of the least times; `ratio_low` and `ratio_high` span the rounds.
    """
    base = timings[baseline].rounds
    table = {}
    for name, (first, rounds) in timings.items():
        ratios = [b / r for b, r in zip(base, rounds, strict=True)]
        table[name] = {
            "first": first,
            "min": min(rounds),
            "median": statistics.median(rounds),
            "ratio": min(base) / min(rounds),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
    return table


def show(title: str, table: Mapping[str, Mapping[str, float]], baseline: str) -> None:
    """Print a summary, the fastest first."""
    print(f"\n{title}\n{'':34}     min  median   first  times {baseline} (rounds)")
    for name, row in sorted(table.items(), key=lambda item: item[1]["min"]):
        low, high = row["ratio_low"], row["ratio_high"]
        times = "".join(f"{_in_units(row[k]):>8}" for k in ("min", "median", "first"))
        print(f"{name:34}{times}  {row['ratio']:.2f} ({low:.2f} to {high:.2f})")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count CPU seconds; run on one core, for a machine that others use",
    )
    return parser


def write(bench: str, cases: list[dict], **conditions: Any) -> Path:
    """Keep cases, versions and the machine under results/<date>-<device>-<bench>."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    machine = describe_machine()
    device = machine["gpu"] or machine["cpu"]
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = _RESULTS / f"{date}-{slug}-{bench}.json"
    record = {"date": date, "machine": machine, "versions": _versions()}
    record |= {"conditions": conditions, "cases": cases}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwrote {path.name}")
    return path


def describe_machine() -> dict[str, Any]:
    """What the ratios may depend on; nothing that names the machine."""
    device = jax.devices()[0]
    return {
        "cpu": _first_match("/proc/cpuinfo", r"model name\s*: (.*)")
        or platform.machine(),
        "avx512": bool(_first_match("/proc/cpuinfo", r"flags.*(avx512f)")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        ),
        "gpu": None if device.platform == "cpu" else device.device_kind,
        "load": round(os.getloadavg()[0], 1),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("mfsim", "jax", "jaxlib", "numpy", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _first_match(path: str, pattern: str) -> str | None:
    try:
        match = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return match and match[1].strip()


def _in_units(seconds: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds * 1e9:.3g}ns"
