"""Experiment and Schedule: what is run, with which seed and precision, saved when."""

import dataclasses
import functools
import hashlib
import json
import math
import re
import zlib
from pathlib import Path
from typing import Literal

import equinox as eqx
import jax
import numpy as np
import tomli_w
from jaxtyping import Array, Int, Key

from mfsim.component import Component, count, describe, real, static
from mfsim.errors import ConfigError
from mfsim.flows import AbstractFlow
from mfsim.integrators import AbstractIntegrator
from mfsim.observables import AbstractObservable, Displacement, Risk

_STOP = re.compile(r"\s*([a-z]\w*)\s*(<=|>=|<|>)\s*(\S+)\s*")
_RELATIONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class Schedule(Component):
    """When a run ends and when it is saved.

    Fields:
        horizon: End time in `unit`; or else
        num_steps: the number of steps; or else
        epochs: the number of passes over the training points, of those batches of a
            pass that are whole.
        unit: "flow", t = eta k, or "kernel", tau = alpha^2 t: of horizon and step.
        saves: Rows of the series, start and end among them; fewer if steps are fewer.
        spacing: "linear" or "log" spacing of the saves.
        snapshots: Full states kept, start and end among them; 0 keeps none.
        stop: End at the first save where a series meets this, as "train_risk < 1e-6".
    """

    horizon: float | None = real(None, above=0.0)
    num_steps: int | None = count(None)
    epochs: int | None = count(None)
    unit: Literal["flow", "kernel"] = static("flow")
    saves: int = count(100, at_least=2)
    spacing: Literal["linear", "log"] = static("linear")
    snapshots: int = count(5, at_least=0)
    stop: str | None = static(None)

    def __check_init__(self):
        ends = "horizon", "num_steps", "epochs"
        given = [name for name in ends if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"horizon or num_steps or epochs must be given, one of them, got "
                f"{' and '.join(given) or 'none'}."
            )
        if self.snapshots == 1:
            raise ValueError(
                "snapshots must be 0 or at least 2 (start and end), got 1."
            )
        if self.stop is not None:
            self.stop_rule()

    @property
    def longest(self) -> float:
        """The longest step that makes sense: the horizon, if there is one."""
        return math.inf if self.horizon is None else self.horizon

    def total_steps(self, step: float) -> int:
        """Steps of size `step`, in the schedule's unit, that reach the horizon.

        Of epochs only the data tell how many they are: `in_steps`.
        """
        if self.epochs is not None:
            raise ValueError("epochs must be made steps first, by in_steps.")
        if self.horizon is None:
            return self.num_steps or 0
        # A quotient that misses a whole number by rounding alone takes no further step.
        return max(1, math.ceil(self.horizon / step * (1 - 1e-9)))

    def in_steps(self, steps_per_epoch: int) -> "Schedule":
        """The same schedule with a number of steps for a number of epochs."""
        if self.epochs is None:
            return self
        steps = self.epochs * steps_per_epoch
        if steps >= 2**31:
            raise ValueError(
                f"epochs must be below 2^31 steps, {steps_per_epoch} each, got "
                f"{self.epochs}."
            )
        return dataclasses.replace(self, epochs=None, num_steps=steps)

    def save_steps(self, total: int) -> Int[np.ndarray, " t"]:
        """The steps after which a row is saved, from 0 to `total`."""
        rows = min(self.saves, total + 1)
        if self.spacing == "linear" or rows < 3:
            steps = np.linspace(0, total, rows)
        else:
            steps = np.concatenate([[0], np.geomspace(1, total, rows - 1)])
        return np.unique(np.rint(steps).astype(np.int64))

    def snapshot_steps(self, total: int) -> set[int]:
        """Those of the save steps at which the whole state is kept."""
        steps = self.save_steps(total)
        places = np.linspace(0, len(steps) - 1, min(self.snapshots, len(steps)))
        return {int(steps[i]) for i in np.rint(places).astype(int)}

    def stop_rule(self) -> tuple[str, str, float]:
        """The series, relation and level of `stop`."""
        match = _STOP.fullmatch(self.stop or "")
        try:
            name, relation, level = match.groups()  # type: ignore[union-attr]
            if math.isfinite(float(level)):
                return name, relation, float(level)
        except (AttributeError, ValueError):
            pass
        raise ValueError(
            f"stop must read SERIES <|<=|>|>= NUMBER, as 'train_risk < 1e-6', "
            f"got {self.stop!r}."
        )

    def is_met(self, row: dict[str, np.ndarray]) -> bool:
        """Whether the stop rule, if any, holds of a saved row."""
        if self.stop is None:
            return False
        name, relation, level = self.stop_rule()
        return bool(_RELATIONS[relation](row[name], level))


class Experiment(Component):
    """A flow, an integrator, a schedule and observables: one run.

    Fields:
        flow: What is learned and how it moves.
        integrator: How time is cut.
        schedule: When the run ends and when it is saved.
        observables: What is recorded.
        seed: Seed of the start, the noise and the order of batches.
        dtype: Precision of the run.
    """

    flow: AbstractFlow
    integrator: AbstractIntegrator
    schedule: Schedule
    observables: tuple[AbstractObservable, ...] = (Risk(), Displacement())
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    dtype: Literal["float32", "float64"] = static("float32")

    def __check_init__(self):
        integrator = f"integrator {type(self.integrator).__name__}"
        self._check_taken(integrator, self.integrator.flows)
        for i, each in enumerate(self.observables):
            what = f"observables[{i}] {type(each).__name__}"
            self._check_taken(what, each.flows)
            outputs = self.flow.network.num_outputs
            if outputs > 1 and not each.of_many_outputs:
                raise ValueError(
                    f"{what} must be given a network of one output, got "
                    f"{type(self.flow.network).__name__} with {outputs}."
                )

    def _check_taken(self, what: str, flows: tuple[type[AbstractFlow], ...]) -> None:
        if not isinstance(self.flow, flows):
            taken = " or ".join(flow.__name__ for flow in flows)
            raise ValueError(
                f"{what} must be given a flow of kind {taken}, got "
                f"{type(self.flow).__name__}."
            )

    def key(self, name: str) -> Key[Array, ""]:
        """The random key of one named use, such as `init`."""
        root = jax.random.key(self.seed, impl="threefry2x32")
        return jax.random.fold_in(root, zlib.crc32(name.encode()))

    @property
    def time_rate(self) -> float:
        """Units of the schedule's time per unit of flow time."""
        return self.flow.kernel_rate if self.schedule.unit == "kernel" else 1.0

    @property
    def flow_step(self) -> float:
        """The step in flow time; the step must be a number by now."""
        return float(self.integrator.step) / self.time_rate

    @property
    def total_steps(self) -> int:
        """How many steps the run takes unless it is stopped."""
        return self.schedule.total_steps(float(self.integrator.step))

    def with_step(self, step: float) -> "Experiment":
        """The same experiment with a number, in the schedule's unit, as its step."""
        return eqx.tree_at(lambda e: e.integrator.step, self, step)

    def to_toml(self) -> str:
        """The configuration as text, defaults filled in."""
        return tomli_w.dumps(describe(self))

    def fingerprint(self) -> str:
        """Hash of the configuration, with input files by content and not by path.

        Raises:
            ConfigError: If an input file is missing or cannot be read.
        """
        table = describe(self)
        try:
            files = self.flow.dataset.files()
        except ConfigError as error:
            raise ConfigError(f"flow.dataset.{error}") from error
        table["files"] = {str(path): hash_file(path) for path in files}
        text = json.dumps(table, sort_keys=True)
        for path, content in table["files"].items():
            text = text.replace(json.dumps(path), json.dumps(content))
        # Nor does the folder that they were looked for in count.
        for folder in {folder for path in files for folder in path.parents}:
            text = text.replace(json.dumps(str(folder)), '"folder"')
        return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, computed once while its size and time stay.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        stat = path.stat()
        return _hash_once(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ConfigError(
            f"flow.dataset.path must be a readable file, got {str(path)!r}: "
            f"{error.strerror}."
        ) from error


# A sweep over images asks for each of its points, and their files are large.
@functools.lru_cache(maxsize=64)
def _hash_once(path: Path, size: int, time_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
