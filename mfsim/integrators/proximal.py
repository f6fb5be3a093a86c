"""Proximal steps: the next law has least free energy plus cost of the way to it."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Bool, Float, Int, PyTree

from mfsim.accounts import AbstractAccount
from mfsim.component import real
from mfsim.datasets import Data
from mfsim.flows import DensityFlow, State
from mfsim.flows.base import Batch
from mfsim.integrators.base import Carry
from mfsim.integrators.grid_stepper import (
    AbstractGridStepper,
    Problem,
    box_complaints,
)

_MAX_AXES = 2
_LEAST_WIDTH = 0.75
"""Of the plan, in cells: sampled there, its variance is 7e-4 off; at 0.5, 14 %."""
_KERNEL_ARRAYS = 2
"""Of the size of the masses times the cells of an axis."""
_TOLERANCE = 1e-9
"""Mass that an iteration may still move, as a share of what the step has moved."""
_ROUNDING = 1e-12
_MAX_ITERATIONS = 500
_LINEAR_TOLERANCE = 1e-2
_LINEAR_ITERATIONS = 20
_TINY = float(np.finfo("float64").tiny)


class Memory(NamedTuple):
    """What the integrator keeps beside the masses.

    Attributes:
        energy: Free energy of the masses.
        boundary_mass: Largest mass in the outermost cells so far.
        is_sound: Whether every step was found.
    """

    energy: Float[Array, ""]
    boundary_mass: Float[Array, ""]
    is_sound: Bool[Array, ""]


class _Guess(NamedTuple):
    """The end of a step, as far as it is known.

    Attributes:
        masses: p.
        outputs: Those at which the mean field is taken.
        scaling: Log of the plan's scaling on the side of p.
        own: Log of the scaling of the plan from p to itself.
        moved: Mass that the last iteration moved.
        count: Iterations done.
    """

    masses: Float[Array, "..."]
    outputs: Float[Array, " n"]
    scaling: Float[Array, "..."]
    own: Float[Array, "..."]
    moved: Float[Array, ""]
    count: Int[Array, ""]


class Proximal(AbstractGridStepper):
    """Steps p <- argmin_q S(q, p) + Q(q), S nearly W2^2/(2 step): Jordan et al. 1998.

    S(q, p) = OT(q, p) - (OT(q, q) + OT(p, p))/2 is the Sinkhorn divergence, where OT
    adds epsilon sum pi log pi to the cost |theta - theta'|^2/(2 step). Alone, that term
    would diffuse with epsilon/2; the divergence is at least 0 and convex in q, so that
    the step has one minimum, the free energy cannot rise and Gibbs states stand still,
    whatever epsilon is. The mean field is that at the end of the step. First order in
    the step; the error by epsilon is smaller, of order step epsilon^2 in S.

    Fields:
        step: Step eta in the schedule's unit of time, or "auto".
        epsilon: At most twice the temperature, which it is by default. The plan's
            standard deviation sqrt(step epsilon) has to span 0.75 cells.

    Cost: some 30 iterations a step, each of 6 cells^3 exponentials on two axes: 0.15 s
    a step of 64 cells an axis, 3 s of 128, on one core.
    Source: Jordan, Kinderlehrer and Otto 1998, eq. (13); Feydy et al. 2019, theorem 1.
    """

    step: float | Literal["auto"] = real(above=0.0)
    epsilon: float | None = real(None, above=0.0)

    def check(self, flow: Any, data: Data) -> None:
        """Refuse three axes, and an epsilon whose blur exceeds the flow's diffusion."""
        dim = data.x_train.shape[1]
        if dim + 1 > _MAX_AXES:
            raise ValueError(
                f"kind must suit inputs of dimension {dim}, got Proximal, which takes "
                f"{_MAX_AXES - 1}; set prepare.pca = 1 in the dataset, or take "
                "FiniteVolume."
            )
        most = 2 * flow.temperature
        if self.epsilon is not None and self.epsilon > most:
            raise ValueError(
                f"epsilon must be at most twice the temperature, {most:.3g}, "
                f"got {self.epsilon:.3g}; leave it out for that."
            )
        least, step = self.least_step(flow, data), float(self.step)
        if step < least:
            raise ValueError(
                f"step must be {least / step:.3g} times as large for the plan from law "
                f"to law to span {_LEAST_WIDTH} cells, got {step:.3g} in flow time; or "
                f"take {math.sqrt(least / step):.3g} times as many flow.cells."
            )

    def least_step(self, flow: Any, data: Data) -> float:
        """That whose plan is so narrow that the cells hardly resolve it."""
        dim = data.x_train.shape[1]
        widest = max(flow.widths(dim)[axis] for axis in flow.moving_axes(dim))
        return (_LEAST_WIDTH * widest) ** 2 / self._epsilon(flow) * (1 + 1e-9)

    def plan(self, flow: Any, data: Data) -> int:
        """The exponentials of one product with the kernel."""
        dim = data.x_train.shape[1]
        return _KERNEL_ARRAYS * 8 * flow.cells ** (dim + 2)

    def init(
        self,
        flow: Any,
        state: PyTree,
        data: Batch | None = None,
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        energy = jnp.asarray(jnp.inf)
        if data is not None:
            energy = flow.energy(state, data)
        none = jnp.zeros((), energy.dtype)
        memory = Memory(energy, none, jnp.asarray(True))
        return Carry(state, jnp.asarray(0, jnp.int32), memory)

    def failure(self, memory: Memory) -> str | None:
        if memory.is_sound:
            return None
        return (
            "integrator.step must be small enough for the mean field at its end to be "
            f"found, got {float(self.step):.3g}; take half of it."
        )

    def complain(self, memory: Memory) -> list[str]:
        return box_complaints(memory.boundary_mass)

    def _epsilon(self, flow: Any) -> Any:
        return 2 * flow.temperature if self.epsilon is None else self.epsilon

    def move(
        self, problem: Problem, masses: Array, memory: Memory
    ) -> tuple[Array, Memory]:
        """One step, or none where its end is not found."""
        end = self._end(problem, masses)
        new = end.masses / end.masses.sum()
        energy = problem.energy(new)
        slack = _ROUNDING * (memory.energy + problem.flow.temperature)
        # Comparisons with NaN are false.
        is_sound = ~_is_moving(end, masses) & (energy <= memory.energy + slack)
        after = Memory(
            jnp.where(is_sound, energy, memory.energy),
            jnp.maximum(memory.boundary_mass, problem.flow.boundary_mass(new)),
            is_sound,
        )
        return jnp.where(is_sound, new, masses), after

    def _end(self, problem: Problem, masses: Array) -> _Guess:
        """The minimum, by one fixed-point iteration for plan, blur and mean field."""
        flow, epsilon = problem.flow, self._epsilon(problem.flow)
        step: Any = self.step
        kernel = _log_kernel(flow, masses.ndim - 1, step, epsilon)
        settle = _damping(problem, masses, step)
        stiff = flow.temperature + epsilon / 2
        power = (flow.temperature - epsilon / 2) / stiff
        before = jnp.log(jnp.maximum(masses, _TINY))

        def iterate(guess: _Guess) -> _Guess:
            # Scaled to end in the masses before, whatever the other scaling is, the
            # plan keeps the mass.
            carried = kernel(before - kernel(guess.scaling))
            log_masses = guess.scaling + carried
            new = jnp.exp(log_masses)
            own = (guess.own + log_masses - kernel(guess.own)) / 2
            gap = flow.outputs(new, problem.features) - guess.outputs
            outputs = guess.outputs + settle(gap)
            # epsilon/2 of the blur are part of the diffusion; this is the rest.
            rest = epsilon * (own - log_masses / 2)
            pull = flow.temperature * problem.potential(outputs) - rest
            scaling = -pull / stiff - power * carried
            moved = jnp.abs(new - guess.masses).sum()
            return _Guess(new, outputs, scaling, own, moved, guess.count + 1)

        def is_going(guess: _Guess) -> Array:
            return _is_moving(guess, masses) & (guess.count < _MAX_ITERATIONS)

        _, foreseen = problem.foresee(masses, step)
        outputs = flow.outputs(masses, problem.features)
        ahead = outputs + settle(foreseen - outputs)
        much, none = jnp.full((), jnp.inf, masses.dtype), jnp.asarray(0, jnp.int32)
        start = _Guess(masses, ahead, before / 2, before / 2, much, none)
        return jax.lax.while_loop(is_going, iterate, start)


def _is_moving(guess: _Guess, before: Float[Array, "..."]) -> Bool[Array, ""]:
    """Whether iterations still move mass; a NaN counts as such."""
    total = jnp.abs(guess.masses - before).sum()
    return ~(guess.moved <= _TOLERANCE * total + _ROUNDING)


def _damping(problem: Problem, masses: Array, step: Any) -> Callable[[Array], Array]:
    """Newton's method for the outputs, by what a step's drift does to them.

    A change v of the outputs moves those at the end by -rate H v to first order, H the
    tangent kernel: the fixed point is approached by (1 + rate H)^-1.
    """
    flow, x = problem.flow, problem.inputs
    rate = step * flow.kernel_rate * flow.loss.max_curvature / x.shape[0]

    def response(v: Array) -> Array:
        return v + rate * flow.kernel_product(State(masses), x, v)

    limits = {"tol": _LINEAR_TOLERANCE, "maxiter": _LINEAR_ITERATIONS}

    def settle(gap: Array) -> Array:
        return cg(response, gap, **limits)[0]

    return settle


def _log_kernel(
    flow: DensityFlow, dim: int, step: Any, epsilon: Any
) -> Callable[[Array], Array]:
    """Makes log sum_j exp(g_j - cost_ij/epsilon) of g, along the axes that move.

    In logs, as potentials range over thousands of nats in the corners of a box.
    """
    # Loading ott-jax takes a second that a run without it should not pay, and warns of
    # a library that nothing here uses.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "JAXopt", DeprecationWarning)
        from ott.geometry.grid import Grid

    moving = flow.moving_axes(dim)
    # The cost is the squared distance in these coordinates.
    scaled = [flow.centres(dim)[axis] / jnp.sqrt(2 * step) for axis in moving]

    def apply(g: Array) -> Array:
        # The library mixes integers with floats and ranks with ranks.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            zeros, flat = jnp.zeros((g.size,), g.dtype), epsilon * g.ravel()
            geometry = Grid(scaled, epsilon=epsilon)
            found, _ = geometry.apply_lse_kernel(zeros, flat, epsilon, axis=1)
            return found.reshape(g.shape) / epsilon

    for axis in set(range(dim + 1)) - set(moving):
        apply = jax.vmap(apply, in_axes=axis, out_axes=axis)
    return apply
