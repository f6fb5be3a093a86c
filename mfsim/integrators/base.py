"""What an integrator is, and the loop that every fixed-step integrator runs."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from mfsim.blocks import map_members
from mfsim.component import Component
from mfsim.flows import AbstractFlow, ParticleFlow
from mfsim.flows.base import Batch, turn
from mfsim.integrators.noise import normal


class Carry(NamedTuple):
    """All that a trajectory needs to go on.

    Attributes:
        state: The state of the flow.
        step: Steps done.
        memory: What the integrator itself remembers, such as an adaptive step.
    """

    state: PyTree
    step: Int[Array, ""]
    memory: PyTree = ()


class AbstractIntegrator(Component):
    """Cuts the time of the flows that it declares to take."""

    flows: ClassVar[tuple[type[AbstractFlow], ...]]
    """The kinds of flow that it takes."""

    step: eqx.AbstractVar[float | str]
    """The step in flow time, once resolved."""

    @abstractmethod
    def init(self, flow: AbstractFlow, state: PyTree) -> Carry:
        """The carry at step 0."""

    @abstractmethod
    def advance(
        self,
        flow: AbstractFlow,
        data: Batch,
        carry: Carry,
        num_steps: Int[Array, ""] | int,
        key: Key[Array, ""],
    ) -> Carry:
        """Go `num_steps` steps on; any cut of the steps into calls gives one result."""


class AbstractStepper(AbstractIntegrator):
    """A fixed step: step k moves by a force and by noise drawn from (key, k).

    With a `batch_size` the force is averaged over that many training points, drawn
    without replacement and reshuffled every epoch; points beyond the last whole batch
    of an epoch wait for a later one.
    """

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = (ParticleFlow,)
    batch_size: eqx.AbstractVar[int | None]

    @abstractmethod
    def update(
        self,
        theta: Float[Array, "..."],
        force: Float[Array, "..."],
        noise: Float[Array, "..."] | float,
        step: float,
        temperature: float,
        std: float,
    ) -> Float[Array, "..."]:
        """One block of parameters after one step; `noise` is standard normal."""

    def init(self, flow: AbstractFlow, state: PyTree) -> Carry:
        return Carry(state, jnp.asarray(0, jnp.int32))

    def advance(
        self,
        flow: AbstractFlow,
        data: Batch,
        carry: Carry,
        num_steps: Int[Array, ""] | int,
        key: Key[Array, ""],
    ) -> Carry:
        noise_key, batch_key = jax.random.split(key)
        reals, static = eqx.partition((self, flow), eqx.is_array)

        def move(reals: PyTree, batch: Batch, turned: PyTree, noise: PyTree) -> PyTree:
            stepper, flow = eqx.combine(reals, static)
            state = turn(turned)
            force = turn(flow.force(state, batch))
            return stepper._move(flow, turned, force, noise)

        def step(_: Any, loop: tuple[PyTree, Array, Any]) -> tuple[PyTree, Array, Any]:
            turned, k, order = loop
            batch, order = self._batch(data, batch_key, k, order)
            noise = _draw(flow, turned, noise_key, k)
            turned = map_members(move, reals, batch, turned, noise)
            return turned, k + 1, order

        order = self._order(data, batch_key, carry.step)
        loop = turn(carry.state), carry.step, order
        turned, k, _ = jax.lax.fori_loop(0, num_steps, step, loop)
        return carry._replace(state=turn(turned), step=k)

    def _move(
        self, flow: AbstractFlow, state: PyTree, force: PyTree, noise: PyTree
    ) -> PyTree:
        mask = flow.trainable_mask(state)
        moving, frozen = eqx.partition(state, mask)
        std, _ = eqx.partition(flow.prior_std(), mask)

        step: Any = self.step

        def update(*args: Any) -> Array:
            theta, force, noise, std = args
            return self.update(theta, force, noise, step, flow.temperature, std)

        return eqx.combine(jax.tree.map(update, moving, force, noise, std), frozen)

    def _batch(self, data: Batch, key: Array, k: Array, order: Any) -> tuple[Any, Any]:
        if self.batch_size is None:
            return data, order
        per_epoch = data[0].shape[0] // self.batch_size
        place = k % per_epoch
        order = jax.lax.cond(
            place == 0, lambda: self._order(data, key, k), lambda: order
        )
        rows = jax.lax.dynamic_slice_in_dim(
            order, place * self.batch_size, self.batch_size
        )
        return (data[0][rows], data[1][rows]), order

    def _order(self, data: Batch, key: Array, k: Array) -> Any:
        """The permutation of the samples in the epoch of step k; nothing if full."""
        if self.batch_size is None:
            return None
        samples = data[0].shape[0]
        epoch = k // (samples // self.batch_size)
        return jax.random.permutation(jax.random.fold_in(key, epoch), samples)


def _draw(flow: AbstractFlow, state: PyTree, key: Array, k: Array) -> PyTree:
    """Standard normals for the blocks that move; exact zeros where temperature is 0."""
    moving, _ = eqx.partition(state, flow.trainable_mask(state))
    leaves, tree = jax.tree.flatten(moving)
    if isinstance(flow.temperature, float) and flow.temperature == 0:
        return tree.unflatten([0.0] * len(leaves))
    keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
    return tree.unflatten(
        [normal(i, k, a.shape, a.dtype) for i, a in zip(keys, leaves, strict=True)]
    )
