"""Program: what all experiments of one shape compile to."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key, PyTree

from mfsim.blocks import in_turn
from mfsim.datasets import Data
from mfsim.experiment import Experiment
from mfsim.flows import AbstractFlow
from mfsim.integrators import AbstractIntegrator, Carry
from mfsim.integrators.stability import stable_step
from mfsim.observables import AbstractObservable, Look, accounts_of, train_outputs

TOGETHER = Carry(state=0, step=None, memory=0, ledger=0)  # type: ignore[arg-type]
"""Members of a group are in step: one step count, hence one draw of noise, for all."""


class Measurement(NamedTuple):
    """What a save looks at, one row a member.

    Attributes:
        found: What each observable measured.
        risk: The training risk.
        stable_step: The largest stable step there; NaN where it is not watched.
    """

    found: list[dict[str, Array]]
    risk: Float[Array, " g"]
    stable_step: Float[Array, " g"]


class Shape(NamedTuple):
    """All that a compiled program depends on; experiments of one shape share it."""

    static: Any
    observables: tuple[AbstractObservable, ...]
    arrays: tuple[tuple[int, ...], ...]
    members: int
    dtype: str
    together: bool
    device: int


def physics(experiment: Experiment) -> tuple[AbstractFlow, AbstractIntegrator]:
    """Flow without its dataset and integrator with its step in flow time."""
    flow = eqx.tree_at(lambda f: f.dataset, experiment.flow, None)
    return flow, eqx.tree_at(
        lambda i: i.step, experiment.integrator, experiment.flow_step
    )


@contextlib.contextmanager
def numerics(device: Any) -> Iterator[None]:
    """On a device, with float64 at hand and no product in less than its own precision.

    JAX keeps these settings by thread.
    """
    with (
        jax.enable_x64(True),
        jax.default_device(device),
        jax.default_matmul_precision("highest"),
    ):
        yield


def stack(components: Sequence[PyTree], dtype: DTypeLike) -> PyTree:
    """The reals of components of one shape as arrays with a leading member axis.

    A real that is exactly zero in all of them stays a Python number, so that a program
    without noise does not draw any.
    """

    def join(*reals: float) -> Any:
        return jnp.asarray(reals, dtype) if any(reals) else 0.0

    return jax.tree.map(join, *components)


def to_arrays(data: Data, dtype: DTypeLike) -> Data:
    """The data as JAX arrays of the run's precision."""
    return Data(*(jnp.asarray(a, dtype) for a in data))  # type: ignore[arg-type]


class Program:
    """The compiled functions of one shape, traced once and called from any thread.

    Args:
        shape: What the program depends on.
        args: Stacked reals, data, carry and key of some group of this shape.
    """

    def __init__(self, shape: Shape, args: tuple[PyTree, Data, Carry, Key[Array, ""]]):
        reals, data, carry, key = args
        each = jax.vmap if shape.together else _one_by_one
        accounts = accounts_of(shape.observables)

        def advance(
            reals: PyTree, data: Data, carry: Carry, steps: Array, key: Array
        ) -> tuple[Carry, Bool[Array, " g"]]:
            def one(reals: PyTree, carry: Carry) -> tuple[Carry, Array]:
                flow, integrator = eqx.combine(reals, shape.static)
                batch = (data.x_train, data.y_train)
                carry = integrator.advance(flow, batch, carry, steps, key, accounts)
                sound = integrator.is_sound(carry.memory)
                return carry, _is_finite(carry.state) & sound

            axes = (0, TOGETHER)
            return jax.vmap(one, in_axes=axes, out_axes=(TOGETHER, 0))(reals, carry)

        def measure(
            reals: PyTree, data: Data, carry: Carry, initial: PyTree
        ) -> Measurement:
            def one(member: tuple[PyTree, PyTree, PyTree, PyTree]) -> Measurement:
                reals, state, ledger, initial = member
                flow, integrator = eqx.combine(reals, shape.static)
                look = Look(
                    *(flow, integrator, data, state, initial, carry.step, ledger),
                    shape.observables,
                )
                return _measure(look)

            return each(one)((reals, carry.state, carry.ledger, initial))

        steps = jnp.asarray(0, jnp.int32)
        with in_turn(not shape.together):
            self.advance = _compile(advance, reals, data, carry, steps, key)
        self.measure = _compile(measure, reals, data, carry, carry.state)


def _compile(function: Any, *args: Any) -> Any:
    return jax.jit(function).lower(*args).compile()


def _one_by_one(function: Any) -> Any:
    return lambda members: jax.lax.map(function, members)


def _is_finite(tree: PyTree) -> Bool[Array, ""]:
    flags = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(flags).all()


def _measure(look: Look) -> Measurement:
    outputs, y = look.once(train_outputs), look.data.y_train
    risk = look.flow.loss(outputs, y).mean(dtype=jnp.float64)
    return Measurement(look.measure(), risk, _limit(look))


def _limit(look: Look) -> Float[Array, ""]:
    """The largest stable step; NaN where it is not watched."""
    integrator, x = look.integrator, look.data.x_train

    def limit() -> Array:
        batch_size = getattr(integrator, "batch_size", None)
        found = stable_step(look.flow, look.state, x, batch_size)
        return found * integrator.stable_share

    if integrator.follows_flow:
        return limit()
    # Power iterations over batches cost as much as an epoch, of which each has a save.
    return jax.lax.cond(look.step == 0, limit, lambda: jnp.full((), jnp.nan, x.dtype))


class Programs:
    """The programs compiled so far, one a shape, shared between threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._programs: dict[Shape, Program] = {}

    def get(self, shape: Shape, args: tuple) -> Program:
        """The program of a shape, compiled on first use."""
        with self._lock:
            if shape not in self._programs:
                self._programs[shape] = Program(shape, args)
            return self._programs[shape]
