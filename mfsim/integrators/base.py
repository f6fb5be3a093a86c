"""What an integrator is, and the loop that every fixed-step integrator runs."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PyTree

from mfsim.accounts import AbstractAccount, Step
from mfsim.blocks import map_members
from mfsim.component import Component
from mfsim.datasets import Data
from mfsim.flows import AbstractFlow, LinearisedFlow, ParticleFlow, WeightFlow
from mfsim.flows.base import AbstractLangevinFlow, Batch, turn
from mfsim.integrators.noise import free_change, normal


class Carry(NamedTuple):
    """All that a trajectory needs to go on.

    Attributes:
        state: The state of the flow.
        step: Steps done.
        memory: What the integrator itself remembers, such as an adaptive step.
        ledger: What each account keeps of the path.
    """

    state: PyTree
    step: Int[Array, ""]
    memory: PyTree = ()
    ledger: tuple[PyTree, ...] = ()


LANGEVIN_FLOWS = ParticleFlow, WeightFlow, LinearisedFlow
"""Flows of parameters, by a force and by noise."""


class AbstractIntegrator(Component):
    """Cuts the time of the flows that it declares to take."""

    flows: ClassVar[tuple[type[AbstractFlow], ...]]
    """The kinds of flow that it takes."""

    freezes_force: ClassVar[bool] = False
    """Whether a step goes by the force at its beginning: gradient descent where there
    is no noise. Accounts rest on that; other integrators ignore those they are given.
    """

    follows_flow: ClassVar[bool] = True
    """Whether a step eta goes as far as the flow in a time eta, not with momentum."""

    step: eqx.AbstractVar[float | str]
    """The step in flow time, once resolved."""

    @property
    def auto_share(self) -> float:
        """The share of gradient descent's step that "auto" stands for."""
        return 1.0

    @property
    def stable_share(self) -> Any:
        """The largest stable step over that of gradient descent."""
        return 1.0

    def check(self, flow: AbstractFlow, data: Data) -> None:
        """Refuse what cannot be integrated, once data and step are known.

        Raises:
            ValueError: Begins with the field's name; says what to do.
        """

    def least_step(self, flow: AbstractFlow, data: Data) -> float:
        """The shortest step in flow time that it can take."""
        return 0.0

    def plan(self, flow: AbstractFlow, data: Data) -> int:
        """Bytes of the large arrays that a step holds besides what the flow plans."""
        return 0

    @abstractmethod
    def init(
        self,
        flow: AbstractFlow,
        state: PyTree,
        data: Batch | None = None,
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        """The carry at step 0; what is accounted for needs the data."""

    @abstractmethod
    def advance(
        self,
        flow: AbstractFlow,
        data: Batch,
        carry: Carry,
        num_steps: Int[Array, ""] | int,
        key: Key[Array, ""],
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        """Go `num_steps` steps on; any cut of the steps into calls gives one result.

        Args:
            flow: What moves.
            data: The training points.
            carry: Where it is.
            num_steps: How far to go.
            key: Of the noise and the order of batches, the same in every call.
            accounts: Those that `carry` was made with: what is kept along the path.
        """

    def is_sound(self, memory: PyTree) -> Bool[Array, ""]:
        """Whether a run may go on, by what the integrator remembers."""
        return jnp.asarray(True)

    def failure(self, memory: PyTree) -> str | None:
        """Why a run that is not sound has failed and what to change, on the host."""
        return None

    def complain(self, memory: PyTree) -> list[str]:
        """What is wrong with a run that has ended, on the host."""
        return []


class AbstractStepper(AbstractIntegrator):
    """A fixed step: step k moves by a force and by noise drawn from (key, k).

    With a `batch_size` the force is averaged over that many training points, drawn
    without replacement and reshuffled every epoch; points beyond the last whole batch
    of an epoch wait for a later one.
    """

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = LANGEVIN_FLOWS
    batch_size: eqx.AbstractVar[int | None]

    def remember(self, flow: AbstractLangevinFlow, params: PyTree) -> PyTree:
        """What it keeps from step to step, at the start; nothing unless overridden."""
        return ()

    @abstractmethod
    def push(
        self,
        flow: AbstractLangevinFlow,
        params: PyTree,
        force: PyTree,
        noise: PyTree,
        memory: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """Parameters and memory after one step.

        Args:
            flow: What moves.
            params: Where it is.
            force: The data part of its velocity; `None` where a block is frozen.
            noise: Standard normals for the blocks that move; zeros where it is cold.
            memory: As `remember` began it.
        """

    def init(
        self,
        flow: Any,
        state: PyTree,
        data: Batch | None = None,
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        memory = self.remember(flow, state.params)
        carry = Carry(state, jnp.asarray(0, jnp.int32), memory)
        if not self._kept(accounts) or data is None:
            return carry
        kept = tuple(each.begin(flow, self, data, state) for each in accounts)
        return carry._replace(ledger=kept)

    def advance(
        self,
        flow: Any,
        data: Batch,
        carry: Carry,
        num_steps: Int[Array, ""] | int,
        key: Key[Array, ""],
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        reals, static = eqx.partition((self, flow), eqx.is_array)
        accounts = self._kept(accounts)

        def move(reals: PyTree, *args: Any) -> PyTree:
            stepper, flow = eqx.combine(reals, static)
            return _moved(stepper, flow, accounts, *args)

        # Members that share noise meet at every step; without it each goes its way.
        take = _alone if flow.is_cold else map_members

        def go(
            reals: PyTree, data: Batch, inner: PyTree, k: Array, end: Array, key: Array
        ) -> PyTree:
            noise_key, batch_key = jax.random.split(key)
            stepper, flow = eqx.combine(reals, static)

            def step(k: Array, loop: tuple[PyTree, Any]) -> tuple[PyTree, Any]:
                inner, order = loop
                batch, order = stepper._batch(data, batch_key, k, order)
                noise = _draw(flow, inner[0].params, noise_key, k)
                return take(move, reals, batch, k, inner, noise), order

            order = stepper._order(data, batch_key, k)
            return jax.lax.fori_loop(k, end, step, (inner, order))[0]

        end = carry.step + jnp.asarray(num_steps, carry.step.dtype)
        inner = turn(carry.state), turn(carry.memory), carry.ledger
        run = map_members if flow.is_cold else _alone
        turned, memory, ledger = run(go, reals, data, inner, carry.step, end, key)
        return Carry(turn(turned), end, turn(memory), ledger)

    def _kept(self, accounts: tuple[AbstractAccount, ...]) -> tuple:
        """The accounts, of a step that goes by the force at its beginning."""
        return accounts if self.freezes_force else ()

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


def _moved(
    stepper: Any, flow: Any, accounts: Any, batch: Batch, k: Array, at: Any, noise: Any
) -> tuple[PyTree, PyTree, tuple[PyTree, ...]]:
    """State and memory, their matrices turned, and ledger, by those before step k."""
    turned, memory, ledger = at
    state = turn(turned)
    if accounts:
        force, rates = flow.force_and_rates(state, batch)
        now = Step(flow, stepper, batch, k, state, force, rates)
        both = zip(accounts, ledger, strict=True)
        ledger = tuple(account.add(kept, now) for account, kept in both)
        stepper = _after(stepper, accounts, ledger)
    else:
        force = flow.force(state, batch)
    params, memory = stepper.push(flow, turned.params, turn(force), noise, memory)
    shadow = _follow(flow, stepper, turned.shadow, noise)
    return turned._replace(params=params, shadow=shadow), memory, ledger


def _after(
    stepper: AbstractStepper,
    accounts: tuple[AbstractAccount, ...],
    ledger: tuple[PyTree, ...],
) -> AbstractStepper:
    """The stepper, of which the step waits until accounts have looked at the state.

    XLA would copy all parameters at every step where it does not see the order.
    """
    step: Any = stepper.step
    for account, kept in zip(accounts, ledger, strict=True):
        if (flag := account.has_looked(kept)) is not None:
            step = jnp.where(flag, step, jnp.nan)
    return eqx.tree_at(lambda s: s.step, stepper, step)


def _alone(f: Callable[..., PyTree], *args: PyTree) -> PyTree:
    return f(*args)


def _follow(flow: Any, stepper: Any, shadow: PyTree, noise: PyTree) -> PyTree:
    """The shadow after one step with the noise of the parameters and no force."""
    if shadow is None or flow.is_cold:
        return shadow
    moving, frozen, std = partition(flow, shadow)

    def update(theta: Array, noise: Array, std: Any) -> Array:
        return theta + free_change(theta, noise, stepper.step, flow.diffusion, std)

    return eqx.combine(jax.tree.map(update, moving, noise, std), frozen)


def partition(flow: AbstractFlow, params: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """Blocks that move, blocks that do not, and the prior's spread of the former."""
    mask = flow.network.trainable_mask(params)
    return *eqx.partition(params, mask), eqx.partition(flow.prior_std(), mask)[0]


def _draw(flow: AbstractFlow, params: PyTree, key: Array, k: Array) -> PyTree:
    """Standard normals for the blocks that move; exact zeros where temperature is 0."""
    moving, _, _ = partition(flow, params)
    leaves, tree = jax.tree.flatten(moving)
    if flow.is_cold:
        return tree.unflatten([0.0] * len(leaves))
    keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
    return tree.unflatten(
        [normal(i, k, a.shape, a.dtype) for i, a in zip(keys, leaves, strict=True)]
    )
