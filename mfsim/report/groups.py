"""Runs that differ in their seeds alone, together, and what tells them from others."""

import itertools
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mfsim.figures.families import is_seed
from mfsim.storage import Trajectory

Flat = dict[str, Any]

STEP = "integrator.step"
SAME_STEP = 1.5
"""Steps within this factor are one "auto" step, which follows the data of a seed."""


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, but for seeds.

    Attributes:
        name: A letter.
        runs: They.
        config: Dotted paths and values, without seeds; of the step, its range where
            it follows the data.
    """

    name: str
    runs: tuple[Trajectory, ...]
    config: Flat

    def finals(self, series: str) -> dict[str, float]:
        """The last values of a series of one number a save, by the run's seeds."""
        found = {}
        for run in self.runs:
            array = run.series.variables.get(series)
            if array is not None and array.ndim == 1:
                value = float(array.values[-1])
                if np.isfinite(value):
                    seeds = _seeds(flat(run.config))
                    found[str(run.path) if seeds in found else seeds] = value
        return found


def group_runs(runs: Sequence[Trajectory]) -> list[Group]:
    """Groups in the order of their first runs."""
    flats = {run.path: flat(run.config) for run in runs}
    found: dict[str, list[Trajectory]] = {}
    for run in runs:
        config = flats[run.path]
        shared = {k: v for k, v in config.items() if not is_seed(k) and k != STEP}
        found.setdefault(json.dumps(shared, sort_keys=True), []).append(run)
    parts = [p for together in found.values() for p in _by_step(together, flats)]
    return [
        Group(name, tuple(part), _shared([flats[run.path] for run in part]))
        for name, part in zip(_letters(), parts, strict=False)
    ]


def flat(config: Mapping[str, Any], prefix: str = "") -> Flat:
    """Values by dotted path; a list is one value, written as JSON."""
    found: Flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            is_list = isinstance(value, list)
            found[prefix + key] = json.dumps(value) if is_list else value
    return found


def differing(configs: Sequence[Flat]) -> list[str]:
    """The paths that do not have one value in all of these."""
    paths = dict.fromkeys(path for config in configs for path in config)
    return [
        path
        for path in paths
        if any(config.get(path) != configs[0].get(path) for config in configs)
    ]


def telling(groups: Sequence[Group]) -> list[str]:
    """The paths that tell groups apart; a step is none if the others do it alone."""
    paths = differing([group.config for group in groups])
    others = [path for path in paths if path != STEP]
    found = {json.dumps([group.config.get(p) for p in others]) for group in groups}
    return others if len(found) == len(groups) else paths


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last words of paths, as many as tell them apart."""
    names = {}
    for path in paths:
        words = path.split(".")
        tails = (".".join(words[-n:]) for n in range(1, len(words) + 1))
        names[path] = next((t for t in tails if _ends(paths, t) == 1), path)
    return names


def _ends(paths: Sequence[str], tail: str) -> int:
    return sum(f".{path}".endswith(f".{tail}") for path in paths)


def _by_step(
    runs: Sequence[Trajectory], flats: Mapping[Any, Flat]
) -> list[list[Trajectory]]:
    """One part where steps are alike and follow from the seeds, else one a step."""
    by_step: dict[Any, list[Trajectory]] = {}
    of_seeds: dict[str, Any] = {}
    is_one = True
    for run in runs:
        config = flats[run.path]
        step = config.get(STEP)
        seeds = _seeds(config)
        is_one &= of_seeds.setdefault(seeds, step) == step
        by_step.setdefault(step, []).append(run)
    if len(by_step) == 1:
        return [list(runs)]
    is_one &= all(isinstance(step, int | float) for step in by_step)
    if is_one and max(by_step) <= SAME_STEP * min(by_step):
        return [list(runs)]
    return list(by_step.values())


def _seeds(config: Flat) -> str:
    return json.dumps({k: v for k, v in config.items() if is_seed(k)}, sort_keys=True)


def _shared(configs: Sequence[Flat]) -> Flat:
    shared = {k: v for k, v in configs[0].items() if not is_seed(k)}
    steps = [config[STEP] for config in configs if STEP in config]
    if len(set(steps)) > 1:
        shared[STEP] = f"{min(steps):.3g} to {max(steps):.3g}"
    return shared


def _letters() -> Iterator[str]:
    """A to Z, then AA, AB, …."""
    for size in itertools.count(1):
        for letters in itertools.product(string.ascii_uppercase, repeat=size):
            yield "".join(letters)
