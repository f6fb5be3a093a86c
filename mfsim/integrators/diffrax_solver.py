"""Diffrax's adaptive solvers, of high order, on a Brownian path that no step changes.

The reference that other integrators are held against, not the workhorse: with noise
most of the time goes into finding the path at the times the solver asks for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mfsim.accounts import AbstractAccount
from mfsim.blocks import map_members
from mfsim.component import count, real, static
from mfsim.datasets import Data
from mfsim.flows import AbstractFlow, State
from mfsim.flows.base import Batch
from mfsim.integrators.base import LANGEVIN_FLOWS, AbstractIntegrator, Carry
from mfsim.integrators.brownian_path import FINEST, BrownianPath

_SOLVED = diffrax.RESULTS.successful
_WITHOUT_NOISE = ("Tsit5", "Dopri8")
_WITH_NOISE = ("ShARK", "SRA1")
_LEAST_STEPS = 8
"""An inner step spans so many of the shortest intervals of the path."""


class Memory(NamedTuple):
    """What is remembered between spans.

    Attributes:
        dt: Mean inner step of the last span, with which the next begins.
        least: Least of these so far with noise; infinite without.
        result: How the spans so far ended, in diffrax's terms.
    """

    dt: Float[Array, ""]
    least: Float[Array, ""]
    result: Any


class DiffraxSolver(AbstractIntegrator):
    """dtheta = (b - lambda theta/sigma^2) dt + sqrt(2 lambda) dB, to a tolerance.

    Diffrax solves every span of length `step` by adaptive inner steps: Runge-Kutta
    methods of order 5 and 8 without noise, stochastic ones of strong order 1.5 with it.
    The error of an inner step over atol + rtol |theta|, in root mean square, stays
    below 1. B(t) depends on the seed and on t alone, and the shadow meets the same B:
    solutions of different tolerances, steps and temperatures are of one path.

    Fields:
        step: Span in the schedule's unit of time after which a row can be saved, or
            "auto": a stable step of gradient descent, shorter than it needs to be.
        solver: "Tsit5" or "Dopri8" at temperature 0, "ShARK" or "SRA1" above; the first
            of these unless given.
        rtol: Relative tolerance of an inner step; float32 gains nothing below 1e-7, and
            fails at last. With noise the cost grows like its power -2/3.
        atol: Absolute tolerance of an inner step. Unit: parameter.
        max_steps: Most inner steps, rejected ones included, a span.

    Source: Jelincic, Foster, Kidger 2024 (arXiv 2405.06464) for the path; Foster, dos
        Reis, Strange 2023 (arXiv 2210.17543), eq. (6.1), for ShARK.
    """

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = LANGEVIN_FLOWS

    step: float | Literal["auto"] = real(above=0.0)
    solver: Literal["Tsit5", "Dopri8", "ShARK", "SRA1"] | None = static(None)
    rtol: float = real(1e-6, above=0.0)
    atol: float = real(1e-6, above=0.0)
    max_steps: int = count(2**14)

    def check(self, flow: AbstractFlow, data: Data) -> None:
        self._method(flow)

    def init(
        self,
        flow: AbstractFlow,
        state: PyTree,
        data: Batch | None = None,
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        dt = jnp.zeros((), jax.tree.leaves(state)[0].dtype)
        memory = Memory(dt, dt + jnp.inf, jax.tree.map(jnp.asarray, _SOLVED))
        return Carry(state, jnp.asarray(0, jnp.int32), memory)

    def advance(
        self,
        flow: Any,
        data: Batch,
        carry: Carry,
        num_steps: Int[Array, ""] | int,
        key: Key[Array, ""],
        accounts: tuple[AbstractAccount, ...] = (),
    ) -> Carry:
        reals, kept = eqx.partition((self, flow), eqx.is_array)
        end = carry.step + jnp.asarray(num_steps, carry.step.dtype)

        def go(reals: PyTree, data: Batch, carry: Carry, end: Array, key: Any) -> Any:
            integrator, flow = eqx.combine(reals, kept)
            dt = jax.lax.cond(
                carry.step == 0,
                lambda: integrator._first_step(flow, data, carry.state),
                lambda: carry.memory.dt,
            )
            span = partial(integrator._span, flow, data, key)
            so_far = carry.state, carry.memory._replace(dt=dt)
            return jax.lax.fori_loop(carry.step, end, span, so_far)

        state, memory = map_members(go, reals, data, carry, end, key)
        return carry._replace(state=state, step=end, memory=memory)

    def is_sound(self, memory: Memory) -> Bool[Array, ""]:
        return memory.result == _SOLVED

    def failure(self, memory: Memory) -> str | None:
        if self.is_sound(memory):
            return None
        advice = diffrax.RESULTS[jax.tree.map(np.asarray, memory.result)]
        return (
            f"integrator.max_steps must be enough for a span of {self.step:.2g}, got "
            f"{self.max_steps}; take more, a smaller integrator.step or larger "
            f"integrator.rtol and atol. Diffrax says: {advice}"
        )

    def complain(self, memory: Memory) -> list[str]:
        if memory.least > _LEAST_STEPS * FINEST:
            return []
        return [
            f"integrator.step took inner steps of {float(memory.least):.2g} in flow "
            f"time, where the noise is smooth below {FINEST:.2g}; take larger "
            "integrator.rtol and atol, or ExponentialLangevin."
        ]

    def _first_step(self, flow: Any, data: Batch, state: State) -> Array:
        """The time in which the velocity moves the state by a hundredth of itself.

        Source: Hairer, Norsett, Wanner 1993, "Solving ODEs I", section II.4.
        """
        parts = _moving(flow, state)[0].params, flow.velocity(state, data)
        size, speed = (jnp.linalg.norm(ravel_pytree(part)[0]) for part in parts)
        # 0/0 where nothing moves: fmin passes over NaN.
        return jnp.fmin(0.01 * size / speed, jnp.asarray(self.step, size.dtype))

    def _span(
        self, flow: Any, data: Batch, key: Any, k: Array, so_far: tuple[State, Memory]
    ) -> tuple[State, Memory]:
        """The state after span k; as it was where this or an earlier span failed."""
        state, memory = so_far
        dtype = memory.dt.dtype
        moving, frozen = _moving(flow, state)
        sound = self.is_sound(memory)
        # Nothing to be done once failed: a span of no length takes no step.
        end = jnp.where(sound, jnp.asarray(self.step, dtype), 0)
        solution = diffrax.diffeqsolve(
            self._terms(flow, frozen, k, key, moving),
            getattr(diffrax, self._method(flow))(),
            jnp.zeros_like(end),
            end,
            memory.dt,
            moving,
            args=data,
            stepsize_controller=self._controller(flow, dtype),
            max_steps=self.max_steps,
            throw=False,
        )
        result = diffrax.RESULTS.where(sound, solution.result, memory.result)
        reached = jax.tree.map(lambda a: a[0], solution.ys)
        dt = end / solution.stats["num_accepted_steps"].astype(dtype)
        moving, dt = jax.tree.map(
            lambda new, old: jnp.where(result == _SOLVED, new, old),
            (reached, dt),
            (moving, memory.dt),
        )
        least = memory.least if flow.is_cold else jnp.minimum(memory.least, dt)
        return eqx.combine(moving, frozen), Memory(dt, least, result)

    def _terms(
        self, flow: Any, frozen: State, k: Array, key: Any, moving: State
    ) -> diffrax.AbstractTerm:
        def drift(t: Any, moving: State, batch: Batch) -> State:
            state = eqx.combine(moving, frozen)
            free = _free(flow, moving.shadow)
            return moving._replace(params=flow.velocity(state, batch), shadow=free)

        if flow.is_cold:
            return diffrax.ODETerm(drift)
        start = k.astype(float) * jnp.asarray(self.step, float)
        flat, split = ravel_pytree(moving.params)
        path = BrownianPath(key, start, flat.size)
        scale = jnp.asarray(flow.noise_scale, flat.dtype)
        still = jax.tree.map(lambda _: None, moving)
        noise = _Noise(path, scale, split, still, moving.shadow is not None)
        return diffrax.MultiTerm(diffrax.ODETerm(drift), noise)

    def _controller(self, flow: Any, dtype: Any) -> diffrax.PIDController:
        rtol, atol = (jnp.asarray(real, dtype) for real in (self.rtol, self.atol))
        # The error along a path scatters: a slower control rejects fewer steps.
        p, i = (0.0, 1.0) if flow.is_cold else (0.1, 0.3)
        return diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=p, icoeff=i)

    def _method(self, flow: AbstractFlow) -> str:
        """The solver's name in diffrax.

        Raises:
            ValueError: If it is not one for the flow's temperature.
        """
        legal = _WITHOUT_NOISE if flow.is_cold else _WITH_NOISE
        chosen = legal[0] if self.solver is None else self.solver
        if chosen not in legal:
            where = "at temperature 0" if flow.is_cold else "at a temperature above 0"
            raise ValueError(
                f"solver must be one of {list(legal)} {where}, got {chosen!r}; leave "
                f"it out to have {legal[0]}."
            )
        return chosen


class _Noise(diffrax.AbstractTerm):
    """sqrt(2 lambda) dB, the same for the parameters and their shadow."""

    path: BrownianPath
    scale: Array
    split: Callable[[Array], PyTree] = eqx.field(static=True)
    still: State
    shadowed: bool = eqx.field(static=True)

    def vf(self, t: Any, y: Any, args: Any) -> Array:
        return self.scale

    def contr(self, t0: Any, t1: Any, **options: Any) -> Any:
        return self.path.evaluate(t0, t1, **options)

    def prod(self, vf: Array, control: Array) -> State:
        noise = self.split(vf * control.astype(vf.dtype))
        shadow = noise if self.shadowed else None
        return self.still._replace(params=noise, shadow=shadow)


def _moving(flow: Any, state: State) -> tuple[State, State]:
    """What is integrated and what is not; without noise a shadow stands still."""
    mask = flow.network.trainable_mask(state.params)
    follows = state.shadow is not None and not flow.is_cold
    still, fixed = (jax.tree.map(lambda _: False, t) for t in state[1:])
    return eqx.partition(state, State(mask, mask if follows else still, fixed))


def _free(flow: Any, shadow: PyTree) -> PyTree:
    """The drift of a neuron that no force acts on."""
    if not jax.tree.leaves(shadow):
        return shadow
    std, _ = eqx.partition(flow.prior_std(), flow.network.trainable_mask(shadow))
    return jax.tree.map(lambda a, std: -flow.diffusion / std**2 * a, shadow, std)
