"""Member: one experiment on its way to its file."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from mfsim.datasets import Data
from mfsim.ensemble.measured import Measured
from mfsim.ensemble.provenance import provenance
from mfsim.errors import MfsimError
from mfsim.experiment import Experiment, hash_file
from mfsim.series import Series
from mfsim.storage import MAX_DATA_BYTES, DataFile, Recorder, open_trajectory

_COMMIT_SECONDS = 0.5
_CHECKPOINT_SECONDS = 5.0
_CHECKPOINT_SHARE = 0.05
"""Seconds between checkpoints; more where one takes long, for a small share of time."""

STATE_COPIES = 6
"""States held at once: start, now, next, force, noise and a file's copy."""

_EXPLODED = 100.0
"""A risk so many times that of the start, or of f = 0 with the noise of n outputs, is
no training any more."""


@dataclass(frozen=True)
class Task:
    """One experiment to run: its name, its file, and its place in a sweep."""

    name: str
    experiment: Experiment
    path: Path
    sweep: Mapping[str, Any] | None = None


class Member:
    """One experiment, its open file, and how far it is.

    Attributes:
        task: What was asked for.
        experiment: The same with a number as its step.
        data: Its arrays.
        measured: Its observables at work.
        start: Step and state leaves to continue from; None at the beginning.
        first_risk: The training risk at step 0, by which divergence is judged.
        status: "running" until it has ended.
        complaints: What is wrong with the run, once it has ended.
    """

    def __init__(self, task: Task, experiment: Experiment, data: Data):
        self.task, self.experiment, self.data = task, experiment, data
        self.measured = Measured(experiment, data)
        total = experiment.total_steps
        self.saves = experiment.schedule.save_steps(total)
        self._snapshots = experiment.schedule.snapshot_steps(total)
        self.status, self.message = "running", ""
        self.start: tuple[int, Sequence[np.ndarray]] | None = None
        self.risk = self.first_risk = float("nan")
        self.row: dict[str, np.ndarray] = {}
        self.complaints: list[str] = []
        self._missing: Counter[str] = Counter()
        shape = experiment.flow.network.output_shape(len(data.y_train))
        outputs: Any = np.zeros(shape)
        self._idle_risk = float(experiment.flow.loss(outputs, data.y_train).mean())
        self._idle_risk += experiment.flow.sampling_noise * len(outputs)
        # Outputs of 0 are rounding, which may grow a hundredfold and be rounding still.
        rounding = np.finfo(experiment.dtype).eps * float(experiment.flow.kernel_rate)
        self._idle_risk = max(self._idle_risk, rounding)
        self._stable_step = experiment.flow_step
        self._saved_at, self._committed_at = time.monotonic(), float("-inf")
        self._pause, self._is_waiting = _CHECKPOINT_SECONDS, False
        self._recorder: Recorder
        self.is_open = False

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Create the file, or continue the one that is there; once open, do nothing."""
        if self.is_open:
            return
        path, planned = self.task.path, len(self._snapshots)
        if resume and path.exists():
            self._recorder = Recorder.resume(
                path,
                config_hash=self.task.experiment.fingerprint(),
                planned_snapshots=planned,
            )
            self.start, self.is_open = self._recorder.checkpoint, True
            rows = open_trajectory(path).series
            if rows.sizes["step"]:
                last = rows.isel(step=-1)
                self.row = {str(name): a.values for name, a in last.items()}
                self.risk = float(self.row.get("train_risk", self.risk))
                for name, array in rows.items():
                    holes = np.isnan(array.values.reshape(len(array), -1))
                    self._missing[str(name)] = int(holes.any(axis=1).sum())
            return
        declared = self.measured.declared
        series = {k: v for k, v in declared.items() if isinstance(v, Series)}
        absent = {k: v for k, v in declared.items() if isinstance(v, str)}
        self._recorder = Recorder.create(
            path,
            attributes=self._attributes(),
            config=self.experiment.to_toml(),
            series=series,
            absent=absent,
            data=self._kept_data(),
            axes=self.experiment.flow.axes(self.data.x_train.shape[1]),
            sweep=self.task.sweep,
            overwrite=overwrite,
            planned_rows=len(self.saves),
            planned_snapshots=max(1, planned),
        )
        self.is_open = True

    def _kept_data(self) -> dict[str, Any]:
        """The arrays, or where they came from if they are large."""
        files = self.experiment.flow.dataset.files()
        arrays: dict[str, Any] = self.data._asdict()
        for name, array in self.data._asdict().items():
            if len(files) == 1 and array.nbytes > MAX_DATA_BYTES:
                arrays[name] = DataFile(str(files[0]), hash_file(files[0]))
        return arrays

    def _attributes(self) -> dict[str, str | int]:
        experiment = self.experiment
        (device,) = jnp.zeros(()).devices()
        return {
            "config_hash": self.task.experiment.fingerprint(),
            "dtype": experiment.dtype,
            "seed": experiment.seed,
            "device": f"{device.platform}: {device.device_kind}",
            **provenance(),
        }

    def record(
        self,
        step: int,
        row: dict[str, np.ndarray],
        risk: float,
        state: Callable[[], PyTree],
    ) -> None:
        """Take the row of a save and its snapshot; the last of them is settled at once.

        Args:
            step: Steps done.
            row: The series.
            risk: The training risk.
            state: Fetches state and memory, which most saves do not need.
        """
        time_ = self.experiment.flow_step * step
        self._watch_stability(step, row)
        declared = self.measured.declared
        row = {k: v for k, v in row.items() if isinstance(declared[k], Series)}
        self.risk, self.row = risk, row
        self._missing.update(k for k, v in row.items() if np.isnan(v).any())
        rate = float(self.experiment.flow.kernel_rate)
        self._recorder.append(step, time_, rate * time_, row)
        is_last = step == self.saves[-1] or self.has_stopped
        if step in self._snapshots or (is_last and self._snapshots):
            arrays = self.experiment.flow.export(state()[0])
            self._recorder.snapshot(step, time_, arrays)
        self._is_waiting = True
        if is_last:
            self.checkpoint(step, state())

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved_at > self._pause

    def settle(self) -> None:
        """Commit the rows that have waited long enough."""
        now = time.monotonic()
        if self._is_waiting and now - self._committed_at > _COMMIT_SECONDS:
            self._recorder.commit()
            self._committed_at, self._is_waiting = now, False

    @property
    def num_snapshots(self) -> int:
        """How many full states are kept, unless the run is stopped."""
        return len(self._snapshots)

    @property
    def has_stopped(self) -> bool:
        """Whether the last row meets the schedule's `stop`."""
        return self.experiment.schedule.is_met(self.row)

    def checkpoint(self, step: int, state: PyTree) -> None:
        """Keep what is needed to go on from here to the bit."""
        began = time.monotonic()
        self._recorder.save_checkpoint(step, jax.tree.leaves(state))
        self._saved_at = self._committed_at = time.monotonic()
        self._is_waiting = False
        taken = self._saved_at - began
        self._pause = max(_CHECKPOINT_SECONDS, taken / _CHECKPOINT_SHARE)

    def has_exploded(self, risk: float) -> bool:
        """Whether a training risk is beyond all training."""
        reference = max(self.first_risk, self._idle_risk)
        return not np.isfinite(risk) or risk > _EXPLODED * (reference or np.inf)

    def diverge(self, step: int, timing: Mapping[str, float], memory: PyTree) -> None:
        """End the run as diverged; its rows so far stay."""
        failure = self.experiment.integrator.failure(memory)
        message = self._past_stability(step) if failure is None else failure
        self.finish("diverged", timing, message, memory)

    def _past_stability(self, step: int) -> str:
        if not self.experiment.integrator.freezes_force:
            return (
                f"integrator.step must let the run stay finite, which it was not near "
                f"step {step}; take half of it."
            )
        given = float(self.experiment.integrator.step)
        limit = np.fmin(self._stable_step * self.experiment.time_rate, given)
        unit = self.experiment.schedule.unit
        return (
            f"integrator.step must be below {limit:.2g} in {unit} "
            f"time where it diverged, near step {step}, got "
            f"{given:.2g}; try half that or step = 'auto'."
        )

    def finish(
        self, status: str, timing: Mapping[str, float], message: str, memory: PyTree
    ) -> None:
        """End the run: status, timing and message go into the file, which closes.

        Args:
            status: As in the file.
            timing: Seconds by phase.
            message: Why, if it is worth saying.
            memory: The integrator's, which may tell what is wrong.
        """
        if self.row and status != "interrupted":
            self._report(memory)
        self._recorder.finish(status, timing, message)
        self.status, self.message = status, message

    def _report(self, memory: PyTree) -> None:
        """Warn of what integrator and observables complain about, and of holes."""
        complaints = self.experiment.integrator.complain(memory)
        for text in (*self.experiment.flow.complain(), *complaints):
            self._complain(text)
        for observable in self.experiment.observables:
            if text := observable.complain(self.row):
                self._complain(text)
        for observable, reason in self.measured.refused.items():
            self._complain(f"{type(observable).__name__}: {reason}")
        for name, rows in sorted((+self._missing).items()):
            if name.endswith("_se") and self._missing[name.removesuffix("_se")]:
                continue  # Said of the series itself.
            self._complain(f"{name} could not be had at {rows} saves: it is NaN.")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)
        self._recorder.warn(text)

    def fail(self, message: str) -> None:
        """End the run as failed, in its file if that can still be written."""
        self.status, self.message = "failed", message
        if not self.is_open:
            return
        try:
            self._recorder.finish("failed", {}, message)
        except (MfsimError, OSError, RuntimeError, ValueError):
            self._recorder.close()

    def interrupt(self) -> None:
        """End the run as it stands in its file, if that is open."""
        self.status, self.message = "interrupted", "interrupted before it went on"
        if self.is_open:
            self._recorder.finish("interrupted", {}, self.message)

    def _watch_stability(self, step: int, row: dict[str, np.ndarray]) -> None:
        if np.isnan(row["stable_step"]):
            return
        self._stable_step = float(row["stable_step"])
        if self.message:
            return
        if not np.isfinite(self._stable_step):
            advice = "a smaller step" if step else "a wider network or another seed"
            self._warn(
                f"the tangent kernel is zero at step {step}: no neuron responds to any "
                f"training input and nothing moves any more; take {advice}."
            )
        integrator = self.experiment.integrator
        explicit = integrator.freezes_force or not integrator.follows_flow
        if explicit and self.experiment.flow_step > self._stable_step:
            self._warn(
                f"step {self.experiment.flow_step:.2g} in flow time is past the stable "
                f"{self._stable_step:.2g} that H(p_t) allows at step {step}; results "
                "from there on may be of another solution, take a smaller step."
            )

    def _warn(self, message: str) -> None:
        self.message = message
        self._recorder.warn(message)
