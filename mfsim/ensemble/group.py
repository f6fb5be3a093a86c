"""Group: members that go through time together, in one compiled program."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, PyTree

from mfsim.ensemble.member import Member
from mfsim.ensemble.program import (
    TOGETHER,
    Measurement,
    Programs,
    Shape,
    physics,
    stack,
    to_arrays,
)
from mfsim.integrators import Carry
from mfsim.observables import accounts_of
from mfsim.progress import Progress

_CHUNK_SECONDS = 0.5
"""How long an interruption may have to wait for a chunk to end."""


class Group:
    """Members of one shape, seed, dataset and time grid: they share every draw.

    Args:
        members: The runs, their files open.
        programs: Where compiled programs are kept.
        progress: Who listens.
    """

    def __init__(
        self,
        members: Sequence[Member],
        programs: Programs,
        progress: Progress | None = None,
    ):
        self.members = list(members)
        self._progress = progress or Progress()
        phases = "compiling", "advancing", "measuring", "writing"
        self._timing: dict[str, float] = dict.fromkeys(phases, 0.0)
        first = self.members[0]
        dtype = jnp.dtype(first.experiment.dtype)
        reals = stack([physics(m.experiment) for m in self.members], dtype)
        self._reals, self._static = eqx.partition(reals, eqx.is_array)
        self._data = to_arrays(first.data, dtype)
        self._key = first.experiment.key("steps")
        starts = [_start(member) for member in self.members]
        self._initial = _stack(starts)
        self._carry = self._continued()
        self._host: PyTree = None
        (device,) = jnp.zeros(()).devices()
        shape = Shape(
            self._static,
            first.experiment.observables,
            tuple(a.shape for a in self._data),
            len(self.members),
            first.experiment.dtype,
            together=device.platform != "cpu",
            device=device.id,
        )
        self._steps_a_chunk = 1
        with self._timed("compiling"):
            args = (self._reals, self._data, self._carry, self._key)
            self._program = programs.get(shape, args)

    def run(self, stop: threading.Event) -> None:
        """Go through all saves until every member has ended or `stop` is set."""
        step = int(self._carry.step)
        saves = self.members[0].saves
        for member in self.members:
            self._progress.begin(member.task.name, step, int(saves[-1]))
        if not self.refer(stop):
            return self._interrupt(step)
        first = self.measure(self._begin())
        for member, risk in zip(self.members, first.risk, strict=True):
            member.first_risk = float(risk)
        if self.members[0].start is None:
            self._save(0, first)
        self._end_stopped(step)
        for target in saves[saves > step]:
            step = self._advance(step, int(target), stop)
            if step < target and self._running():
                return self._interrupt(step)
            self._save(step, self.measure())
            self._settle(step)
            if not self._running():
                return None
        for j, member in self._running():
            self._end(j, member, "completed", member.message)
        return None

    def refer(self, stop: threading.Event | None = None) -> bool:
        """Let members work out what they need of their start, unless interrupted."""
        shared: dict[Any, Any] = {}
        with self._timed("measuring"):
            for j, member in enumerate(self.members):
                if stop is not None and stop.is_set():
                    return False
                member.measured.refer(_member(self._initial, j), shared)
        return True

    def advance(self, count: int) -> Bool[np.ndarray, " g"]:
        """Go `count` steps on; says which members are still finite."""
        with self._timed("advancing"):
            self._carry, finite = self._program.advance(
                self._reals,
                self._data,
                self._carry,
                jnp.asarray(count, jnp.int32),
                self._key,
            )
            self._host = None
            return np.asarray(finite)

    def measure(self, carry: Carry | None = None) -> Measurement:
        """What a save looks at, at a carry, the present one unless given."""
        carry = self._carry if carry is None else carry
        with self._timed("measuring"):
            measured = self._program.measure(
                self._reals, self._data, carry, self._initial
            )
            return jax.tree.map(np.asarray, measured)

    def row(self, j: int, measured: Measurement) -> dict[str, np.ndarray]:
        """The series of a member at a save."""
        with self._timed("measuring"):
            row = self.members[j].measured.row(_member(measured.found, j))
        return row | {"stable_step": np.asarray(measured.stable_step[j])}

    def _begin(self) -> Carry:
        """The carry at the start."""
        experiment = self.members[0].experiment
        batch = self._data.x_train, self._data.y_train
        accounts = accounts_of(experiment.observables)

        def begin(state: PyTree, reals: PyTree) -> Carry:
            flow, integrator = eqx.combine(reals, self._static)
            return integrator.init(flow, state, batch, accounts)

        axes: Any = TOGETHER
        return jax.vmap(begin, out_axes=axes)(self._initial, self._reals)

    def _continued(self) -> Carry:
        """The carry at the start, or where the members' checkpoints stopped."""
        carry = self._begin()
        kept = [member.start for member in self.members if member.start is not None]
        if not kept:
            return carry
        tree = jax.tree.structure(_saved(carry))
        saved = _stack([jax.tree.unflatten(tree, leaves) for _, leaves in kept])
        step = jnp.asarray(kept[0][0], carry.step.dtype)
        return Carry(saved[0], step, *saved[1:])

    def _running(self) -> list[tuple[int, Member]]:
        return [(j, m) for j, m in enumerate(self.members) if m.status == "running"]

    def _advance(self, step: int, target: int, stop: threading.Event) -> int:
        """Chunks of steps up to `target`, fewer where interrupted or all diverged."""
        while step < target and self._running() and not stop.is_set():
            count = min(target - step, self._steps_a_chunk)
            began = time.monotonic()
            finite = self.advance(count)
            seconds = (time.monotonic() - began) / count
            step += count
            self._steps_a_chunk = max(1, int(_CHUNK_SECONDS / max(seconds, 1e-9)))
            for j, member in self._running():
                if not finite[j]:
                    self._diverge(j, member, step)
                    continue
                self._progress.update(member.task.name, step, member.risk)
            # A checkpoint at a save that has no row yet would let it be skipped.
            if step < target:
                self._settle(step)
        return step

    def _settle(self, step: int) -> None:
        """Checkpoints together, so that members resume in step, else commits."""
        running = self._running()
        is_due = any(member.is_due for _, member in running)
        with self._timed("writing"):
            for j, member in running:
                if is_due:
                    member.checkpoint(step, self._fetch(j)())
                else:
                    member.settle()

    def _save(self, step: int, measured: Measurement) -> None:
        for j, member in self._running():
            risk = float(measured.risk[j])
            if member.has_exploded(risk):
                self._diverge(j, member, step)
                continue
            row = self.row(j, measured)
            with self._timed("writing"):
                member.record(step, row, risk, self._fetch(j))
            self._progress.update(member.task.name, step, risk)
        self._end_stopped(step)

    def _end_stopped(self, step: int) -> None:
        for j, member in self._running():
            if member.has_stopped:
                rule = member.experiment.schedule.stop
                self._end(j, member, "completed", f"stopped at step {step}: {rule}")

    def _fetch(self, j: int) -> Callable[[], PyTree]:
        """Fetches a member's state and memory; the whole group's only once a chunk."""
        return lambda: _member(self._on_host(), j)

    def _on_host(self) -> PyTree:
        if self._host is None:
            self._host = jax.tree.map(np.asarray, _saved(self._carry))
        return self._host

    def _interrupt(self, step: int) -> None:
        for j, member in self._running():
            # A checkpoint before the first row would let it be skipped.
            if member.row:
                member.checkpoint(step, self._fetch(j)())
            self._end(j, member, "interrupted", f"interrupted at step {step}")

    def _diverge(self, j: int, member: Member, step: int) -> None:
        member.diverge(step, self._share(), self._fetch(j)()[1])
        self._progress.message(f"{member.task.name}: {member.message}")
        self._progress.end(member.task.name, member.status)

    def _end(self, j: int, member: Member, status: str, message: str) -> None:
        memory = self._fetch(j)()[1]
        member.finish(status, self._share(), message, memory)
        if message:
            self._progress.message(f"{member.task.name}: {message}")
        self._progress.end(member.task.name, status)
        for text in member.complaints:
            self._progress.message(f"{member.task.name}: warning: {text}")

    def _share(self) -> dict[str, float]:
        """Seconds a member, which go together and so cannot be told apart."""
        return {what: s / len(self.members) for what, s in self._timing.items()}

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._timing[what] += time.monotonic() - began


def _start(member: Member) -> Any:
    experiment = member.experiment
    dim = member.data.x_train.shape[1]
    return experiment.flow.init(
        experiment.key("init"), dim, jnp.dtype(experiment.dtype)
    )


def _member(tree: PyTree, j: int) -> Any:
    """One member's rows of arrays with a leading member axis."""
    return jax.tree.map(lambda a: a[j], tree)


def _saved(carry: Carry) -> tuple[PyTree, ...]:
    """What a checkpoint keeps of a carry besides the step."""
    return carry.state, carry.memory, carry.ledger


def _stack(states: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
