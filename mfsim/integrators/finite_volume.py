"""Finite volumes: the flow of a density on a grid, in implicit sweeps over its axes."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from mfsim.accounts import AbstractAccount
from mfsim.component import real
from mfsim.flows import DensityFlow
from mfsim.flows.base import Batch
from mfsim.flows.fluxes import JumpRates, jump_rates
from mfsim.integrators.base import Carry
from mfsim.integrators.grid_stepper import (
    AbstractGridStepper,
    Problem,
    box_complaints,
)
from mfsim.integrators.tridiagonal import Factors, factorise, solve

_GAMMA = 2 - math.sqrt(2)
"""Where the trapezoid ends: both stages of TR-BDF2 then have one matrix."""
_MAX_LEVEL = 20
"""A step is halved so many times at most."""
_SHARE = 0.1
"""Error over its tolerance below which the next piece of a step is twice as long."""
_MOST_BY_EULER = 1e-3
"""Share of the mass whose steps of first order do not show."""
_ROUNDING = 64 * float(np.finfo("float64").eps)


class Memory(NamedTuple):
    """What the integrator keeps beside the masses.

    Attributes:
        energy: Free energy of the masses.
        level: How many times the last piece of a step was halved.
        pieces: Pieces of steps taken so far.
        by_euler: Mass that went by backward Euler, summed over pieces and sweeps.
        boundary_mass: Largest mass in the outermost cells so far.
        peclet: Largest cell Peclet number so far.
        upwind: Pieces in which it was above 1.
        is_sound: Whether the energy has always fallen.
    """

    energy: Float[Array, ""]
    level: Int[Array, ""]
    pieces: Int[Array, ""]
    by_euler: Float[Array, ""]
    boundary_mass: Float[Array, ""]
    peclet: Float[Array, ""]
    upwind: Int[Array, ""]
    is_sound: Bool[Array, ""]


class FiniteVolume(AbstractGridStepper):
    """TR-BDF2 sweeps over the axes in a potential frozen at the middle of the step.

    The mean field is frozen at outputs half a step ahead, by their present rate; Strang
    splitting over the axes, exponentially fitted fluxes: second order in cells and
    step, mass kept, Gibbs states stationary to rounding. Lines of cells that go
    negative in a sweep are redone by backward Euler, which is positive at any step but
    of first order, and so is a step that raises the free energy; where it rises even
    so, the run ends.

    Fields:
        step: Step eta in the schedule's unit of time, or "auto".
        tolerance: Where given, a step is cut in halves until the free energy of every
            piece falls by its dissipation over that time, but for this share.

    Cost: 4 scans over the cells of an axis for every sweep, 2 d + 1 sweeps a step.
    Source: Bank et al. 1985, eqs. (26) to (28); Strang 1968.
    """

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
        sound = jnp.asarray(True)
        memory = Memory(energy, zero, zero, none, none, none, zero, sound)
        return Carry(state, zero, memory)

    def failure(self, memory: Memory) -> str | None:
        if memory.is_sound:
            return None
        how = "take half of it" if self.tolerance else "take half of it or a tolerance"
        return (
            "integrator.step must be small enough for the mean field to be frozen "
            f"over it, got {self.step:.3g}, in which the free energy rose; {how}."
        )

    def complain(self, memory: Memory) -> list[str]:
        found = box_complaints(memory.boundary_mass)
        if memory.upwind:
            found.append(
                f"flow.cells are too few for second order in {memory.upwind} of "
                f"{memory.pieces} steps: V rose by up to {memory.peclet:.2g} from cell "
                "to cell, and fluxes are upwind above 1; twice the cells halve that "
                "and the error."
            )
        if memory.by_euler > _MOST_BY_EULER * memory.pieces:
            share = memory.by_euler / memory.pieces
            found.append(
                f"integrator.step is too large for second order: {share:.2g} of the "
                "mass went by backward Euler, mean of all steps, to stay positive or "
                "to lower the free energy; take half of it."
            )
        return found

    def move(
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
        peclet = flow.cell_peclet(masses, start)
        potential = problem.potential(ahead)
        slack = _ROUNDING * (memory.energy + flow.temperature)

        def falls(energy: Array) -> Array:
            return energy <= memory.energy + slack

        def redo() -> tuple[Array, Array, Array]:
            safe, whole = strang(flow, masses, potential, step, _backward_euler)
            return safe, whole, problem.energy(safe)

        best, redone = strang(flow, masses, potential, step, _tr_bdf2)
        tried = best, redone, problem.energy(best)
        new, by_euler, energy = jax.lax.cond(falls(tried[2]), lambda: tried, redo)
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
            memory.by_euler + by_euler,
            jnp.maximum(memory.boundary_mass, flow.boundary_mass(new)),
            jnp.maximum(memory.peclet, peclet),
            memory.upwind + (peclet > 1).astype(jnp.int32),
            is_sound,
        )
        return jnp.where(is_sound, new, masses), after, error


Move = Callable[[Array], tuple[Array, Array]]
"""Masses a time later, and how much of them went by backward Euler in between."""
Scheme = Callable[[JumpRates, Any], Move]
"""Makes of rates along the first axis and a time what moves masses that far."""


def strang(
    flow: DensityFlow,
    masses: Float[Array, "..."],
    potential: Float[Array, "..."],
    step: Any,
    scheme: Scheme,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Half a step along every axis but the last, a step along that, and back again.

    Returns:
        The masses, and how much of them went by backward Euler, mean of the sweeps.
    """
    *outer, last = flow.moving_axes(masses.ndim - 1)
    sweeps = {k: _sweep(flow, potential, k, step / 2, scheme) for k in outer}
    sweeps[last] = _sweep(flow, potential, last, step, scheme)
    order = (*outer, last, *reversed(outer))
    by_euler = jnp.zeros((), masses.dtype)
    for axis in order:
        masses, more = sweeps[axis](masses)
        by_euler = by_euler + more / len(order)
    return masses, by_euler


def _sweep(
    flow: DensityFlow, potential: Array, axis: int, time: Any, scheme: Scheme
) -> Move:
    """What moves masses along one axis, whose matrices are factorised once."""
    width = flow.widths(potential.ndim - 1)[axis]
    to_front = jnp.moveaxis(potential, axis, 0)
    move = scheme(jump_rates(to_front, 0, width, flow.temperature), time)

    def along(masses: Array) -> tuple[Array, Array]:
        moved, by_euler = move(jnp.moveaxis(masses, axis, 0))
        return jnp.moveaxis(moved, 0, axis), by_euler

    return along


def _factors(rates: JumpRates, time: Any) -> Factors:
    """Of 1 - time A, A the rates' matrix along the first axis."""
    nothing = jnp.zeros_like(rates.up[:1])
    up, down = (time * rate for rate in rates)
    up_here, up_below = jnp.concatenate([up, nothing]), jnp.concatenate([nothing, up])
    down_here = jnp.concatenate([nothing, down])
    down_above = jnp.concatenate([down, nothing])
    return factorise(-up_below, 1 + up_here + down_here, -down_above)


def _backward_euler(rates: JumpRates, time: Any) -> Move:
    factors = _factors(rates, time)
    return lambda masses: (solve(factors, masses), masses.sum())


def _tr_bdf2(rates: JumpRates, time: Any) -> Move:
    factors = _factors(rates, _GAMMA / 2 * time)
    new = 1 / (_GAMMA * (2 - _GAMMA))

    def move(masses: Array) -> tuple[Array, Array]:
        # (1 - cA)^{-1} (1 + cA) p = 2 (1 - cA)^{-1} p - p: the trapezoid.
        between = 2 * solve(factors, masses) - masses
        moved = solve(factors, new * between - (new - 1) * masses)

        def redo() -> tuple[Array, Array]:
            is_negative = (moved < 0).any(axis=0, keepdims=True)
            safe, _ = _backward_euler(rates, time)(masses)
            redone = jnp.where(is_negative, masses, 0.0).sum()
            return jnp.where(is_negative, safe, moved), redone

        none = jnp.zeros((), masses.dtype)
        return jax.lax.cond(moved.min() < 0, redo, lambda: (moved, none))

    return move
