"""Finite volumes: the flow of a density on a grid, in implicit sweeps over its axes."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mfsim.accounts import AbstractAccount
from mfsim.blocks import map_members
from mfsim.component import real
from mfsim.flows import AbstractFlow, DensityFlow, State
from mfsim.flows.base import Batch
from mfsim.flows.fluxes import JumpRates, jump_rates
from mfsim.integrators.base import AbstractIntegrator, Carry
from mfsim.integrators.tridiagonal import Factors, factorise, solve

_GAMMA = 2 - math.sqrt(2)
"""Where the trapezoid ends: both stages of TR-BDF2 then have one matrix."""
_MAX_LEVEL = 20
"""A step is halved so many times at most."""
_SHARE = 0.1
"""Error over its tolerance below which the next piece of a step is twice as long."""
_ROUNDING = 64 * float(np.finfo("float64").eps)
_MOST_BOUNDARY_MASS = 1e-6
_MOST_PECLET = 1.0


class Memory(NamedTuple):
    """What the integrator keeps beside the masses.

    Attributes:
        energy: Free energy of the masses.
        level: How many times the last piece of a step was halved.
        pieces: Pieces of steps taken so far.
        by_euler: Those of them that went by backward Euler.
        boundary_mass: Largest mass in the outermost cells so far.
        peclet: Largest cell Peclet number so far.
        is_sound: Whether the energy has always fallen.
    """

    energy: Float[Array, ""]
    level: Int[Array, ""]
    pieces: Int[Array, ""]
    by_euler: Int[Array, ""]
    boundary_mass: Float[Array, ""]
    peclet: Float[Array, ""]
    is_sound: Bool[Array, ""]


class Problem(NamedTuple):
    """What does not change along a run.

    Attributes:
        flow: The flow.
        features: h(w . x_i) on the grid.
        labels: y_i.
    """

    flow: DensityFlow
    features: Float[Array, "n ..."]
    labels: Float[Array, " n"]

    def potential(self, outputs: Float[Array, " n"]) -> Float[Array, "..."]:
        """V of the mean field at some outputs."""
        slopes = self.flow.loss.derivative(outputs, self.labels)
        return self.flow.potential(slopes, self.features)

    def foresee(
        self, masses: Float[Array, "..."], time: Any
    ) -> tuple[Float[Array, "..."], Float[Array, " n"]]:
        """V now, and the outputs a time ahead by their present rate."""
        outputs = self.flow.outputs(masses, self.features)
        potential = self.potential(outputs)
        rate = self.flow.outputs(self.flow.inflow(masses, potential), self.features)
        return potential, outputs + time * rate

    def dissipation(self, masses: Float[Array, "..."]) -> Float[Array, ""]:
        """-dQ/dt."""
        potential = self.potential(self.flow.outputs(masses, self.features))
        return self.flow.dissipation(masses, potential)

    def energy(self, masses: Float[Array, "..."]) -> Float[Array, ""]:
        """The free energy Q."""
        outputs = self.flow.outputs(masses, self.features)
        risk = self.flow.loss(outputs, self.labels).mean()
        return risk + self.flow.temperature * self.flow.kl(masses)


class FiniteVolume(AbstractIntegrator):
    """TR-BDF2 sweeps over the axes in a potential frozen at the middle of the step.

    The mean field is frozen at outputs half a step ahead, by their present rate; Strang
    splitting over the axes, exponentially fitted fluxes: second order in cells and
    step, mass kept, Gibbs states stationary to rounding. A step that goes negative or
    raises the free energy is redone by backward Euler, which is positive at any step
    but of first order; where the energy rises even so, the run ends.

    Fields:
        step: Step eta in the schedule's unit of time, or "auto".
        tolerance: Where given, a step is cut in halves until the free energy of every
            piece falls by its dissipation over that time, but for this share.

    Cost: 4 scans over the cells of an axis for every sweep, 2 d + 1 sweeps a step.
    Source: Bank et al. 1985, eqs. (26) to (28); Strang 1968.
    """

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = (DensityFlow,)

    step: float | Literal["auto"] = real(above=0.0)
    tolerance: float | None = real(None, above=0.0)

    def init(
        self,
        flow: Any,
        state: PyTree,
        data: Batch | None = None,
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        energy, zero = jnp.asarray(jnp.inf), jnp.asarray(0, jnp.int32)
        if data is not None:
            energy = flow.energy(state, data)
        none = jnp.zeros((), energy.dtype)
        memory = Memory(energy, zero, zero, zero, none, none, jnp.asarray(True))
        return Carry(state, zero, memory)

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

        def run(
            reals: PyTree, data: Batch, masses: Array, memory: Memory, count: Array
        ) -> tuple[Array, Memory]:
            integrator, flow = eqx.combine(reals, static)
            problem = Problem(flow, flow.features(data[0]), data[1])

            def step(_: Any, loop: tuple[Array, Memory]) -> tuple[Array, Memory]:
                return jax.lax.cond(
                    loop[1].is_sound,
                    lambda loop: integrator._step(problem, *loop),
                    lambda loop: loop,
                    loop,
                )

            return jax.lax.fori_loop(0, count, step, (masses, memory))

        count = jnp.asarray(num_steps, jnp.int32)
        args = reals, data, carry.state.params, carry.memory, count
        masses, memory = map_members(run, *args)
        return Carry(State(masses), carry.step + count, memory)

    def is_sound(self, memory: Memory) -> Bool[Array, ""]:
        return memory.is_sound

    def failure(self, memory: Memory) -> str | None:
        if memory.is_sound:
            return None
        how = "take half of it" if self.tolerance else "take half of it or a tolerance"
        return (
            "integrator.step must be small enough for the mean field to be frozen "
            f"over it, got {self.step:.3g}, in which the free energy rose; {how}."
        )

    def complain(self, memory: Memory) -> list[str]:
        found = grid_complaints(memory.boundary_mass, memory.peclet)
        if memory.by_euler > 0:
            found.append(
                f"{memory.by_euler} of {memory.pieces} steps went by backward Euler, "
                "of first order, as they went negative or raised the free energy; take "
                "a smaller integrator.step."
            )
        return found

    def _step(
        self, problem: Problem, masses: Array, memory: Memory
    ) -> tuple[Array, Memory]:
        """One step, or its pieces."""
        if self.tolerance is None:
            return self._piece(problem, masses, memory, self.step)[:2]
        end = 2**_MAX_LEVEL

        def is_going(loop: tuple[Array, Array, Memory]) -> Array:
            place, _, memory = loop
            return (place < end) & memory.is_sound

        def go(loop: tuple[Array, Array, Memory]) -> tuple[Array, Array, Memory]:
            place, masses, memory = loop
            length = end >> memory.level
            piece = jnp.asarray(self.step) * (length.astype(masses.dtype) / end)
            new, after, error = self._piece(problem, masses, memory, piece)
            is_good = (error <= 1) & after.is_sound
            # A longer piece begins at a multiple of its length.
            is_even = (place + length) % (2 * length) == 0
            coarser = (error <= _SHARE) & is_even & (memory.level > 0)
            level = memory.level + jnp.where(is_good, -coarser.astype(jnp.int32), 1)
            kept = jax.tree.map(lambda a, b: jnp.where(is_good, a, b), after, memory)
            kept = kept._replace(level=level, is_sound=level <= _MAX_LEVEL)
            masses = jnp.where(is_good, new, masses)
            return jnp.where(is_good, place + length, place), masses, kept

        loop = jnp.asarray(0, jnp.int32), masses, memory
        return jax.lax.while_loop(is_going, go, loop)[1:]

    def _piece(
        self, problem: Problem, masses: Array, memory: Memory, step: Any
    ) -> tuple[Array, Memory, Array]:
        """The masses a piece later, and by how many tolerances the energy is off."""
        flow = problem.flow
        start, ahead = problem.foresee(masses, step / 2)
        potential = problem.potential(ahead)
        slack = _ROUNDING * (memory.energy + flow.temperature)

        def falls(energy: Array) -> Array:
            return energy <= memory.energy + slack

        best = strang(flow, masses, potential, step, _tr_bdf2)
        energy = problem.energy(best)
        is_fine = falls(energy)

        def redo() -> tuple[Array, Array]:
            safe = strang(flow, masses, potential, step, _backward_euler)
            return safe, problem.energy(safe)

        new, energy = jax.lax.cond(is_fine, lambda: (best, energy), redo)
        is_sound = falls(energy)
        error = jnp.zeros_like(energy)
        if self.tolerance is not None:
            ends = problem.dissipation(masses) + problem.dissipation(new)
            lost = step * ends / 2
            drop = memory.energy - energy
            error = jnp.abs(drop - lost) / (self.tolerance * jnp.abs(drop) + slack)
        after = Memory(
            jnp.where(is_sound, energy, memory.energy),
            memory.level,
            memory.pieces + 1,
            memory.by_euler + jnp.where(is_fine, 0, 1),
            jnp.maximum(memory.boundary_mass, flow.boundary_mass(masses)),
            jnp.maximum(memory.peclet, flow.cell_peclet(masses, start)),
            is_sound,
        )
        return jnp.where(is_sound, new, masses), after, error


def grid_complaints(boundary_mass: Any, peclet: Any) -> list[str]:
    """What is wrong with the box and the cells, if anything."""
    found = []
    if boundary_mass > _MOST_BOUNDARY_MASS:
        found.append(
            f"flow.extent is too small: the outermost cells held {boundary_mass:.2g} "
            f"of the mass, more than {_MOST_BOUNDARY_MASS:.0e}; take a larger one."
        )
    if peclet > _MOST_PECLET:
        found.append(
            f"flow.cells are too few for second order: V rises by {peclet:.2g} from "
            "cell to cell, and fluxes are upwind above 1; take "
            f"{math.ceil(peclet)} times as many."
        )
    return found


Scheme = Callable[[JumpRates, Any], Callable[[Array], Array]]
"""Makes of rates along the first axis and a time what moves masses that far."""


def strang(
    flow: DensityFlow,
    masses: Float[Array, "..."],
    potential: Float[Array, "..."],
    step: Any,
    scheme: Scheme,
) -> Float[Array, "..."]:
    """Half a step along every axis but the last, a step along that, and back again."""
    *outer, last = flow.moving_axes(masses.ndim - 1)
    sweeps = {k: _sweep(flow, potential, k, step / 2, scheme) for k in outer}
    sweeps[last] = _sweep(flow, potential, last, step, scheme)
    for axis in (*outer, last, *reversed(outer)):
        masses = sweeps[axis](masses)
    return masses


def _sweep(
    flow: DensityFlow, potential: Array, axis: int, time: Any, scheme: Scheme
) -> Callable[[Array], Array]:
    """What moves masses along one axis, whose matrices are factorised once."""
    width = flow.widths(potential.ndim - 1)[axis]
    to_front = jnp.moveaxis(potential, axis, 0)
    move = scheme(jump_rates(to_front, 0, width, flow.temperature), time)
    return lambda masses: jnp.moveaxis(move(jnp.moveaxis(masses, axis, 0)), 0, axis)


def _factors(rates: JumpRates, time: Any) -> Factors:
    """Of 1 - time A, A the rates' matrix along the first axis."""
    nothing = jnp.zeros_like(rates.up[:1])
    up, down = (time * rate for rate in rates)
    up_here, up_below = jnp.concatenate([up, nothing]), jnp.concatenate([nothing, up])
    down_here = jnp.concatenate([nothing, down])
    down_above = jnp.concatenate([down, nothing])
    return factorise(-up_below, 1 + up_here + down_here, -down_above)


def _backward_euler(rates: JumpRates, time: Any) -> Callable[[Array], Array]:
    factors = _factors(rates, time)
    return lambda masses: solve(factors, masses)


def _tr_bdf2(rates: JumpRates, time: Any) -> Callable[[Array], Array]:
    factors = _factors(rates, _GAMMA / 2 * time)
    new = 1 / (_GAMMA * (2 - _GAMMA))

    def move(masses: Array) -> Array:
        # (1 - cA)^{-1} (1 + cA) p = 2 (1 - cA)^{-1} p - p: the trapezoid.
        between = 2 * solve(factors, masses) - masses
        moved = solve(factors, new * between - (new - 1) * masses)

        def redo() -> Array:
            is_negative = (moved < 0).any(axis=0, keepdims=True)
            return jnp.where(is_negative, _backward_euler(rates, time)(masses), moved)

        return jax.lax.cond(moved.min() < 0, redo, lambda: moved)

    return move
