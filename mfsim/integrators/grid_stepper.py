"""What integrators of densities on a grid share: the problem, the loop, complaints."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mfsim.accounts import AbstractAccount
from mfsim.blocks import map_members
from mfsim.flows import AbstractFlow, DensityFlow, State
from mfsim.flows.base import Batch
from mfsim.integrators.base import AbstractIntegrator, Carry

_MOST_BOUNDARY_MASS = 1e-6


class Problem(NamedTuple):
    """What does not change along a run.

    Attributes:
        flow: The flow.
        inputs: x_i.
        features: h(w . x_i) on the grid.
        labels: y_i.
    """

    flow: DensityFlow
    inputs: Float[Array, "n d"]
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


class AbstractGridStepper(AbstractIntegrator):
    """Moves masses by one step after another, until its memory is not sound."""

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = (DensityFlow,)

    @abstractmethod
    def move(
        self, problem: Problem, masses: Float[Array, "..."], memory: Any
    ) -> tuple[Float[Array, "..."], Any]:
        """The masses after one step, and whether more may follow: `memory.is_sound`."""

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
            reals: PyTree, data: Batch, masses: Array, memory: Any, count: Array
        ) -> tuple[Array, Any]:
            integrator, flow = eqx.combine(reals, static)
            problem = Problem(flow, data[0], flow.features(data[0]), data[1])

            def step(_: Any, loop: tuple[Array, Any]) -> tuple[Array, Any]:
                return jax.lax.cond(
                    loop[1].is_sound,
                    lambda loop: integrator.move(problem, *loop),
                    lambda loop: loop,
                    loop,
                )

            return jax.lax.fori_loop(0, count, step, (masses, memory))

        count = jnp.asarray(num_steps, jnp.int32)
        args = reals, data, carry.state.params, carry.memory, count
        masses, memory = map_members(run, *args)
        return Carry(State(masses), carry.step + count, memory)

    def is_sound(self, memory: Any) -> Bool[Array, ""]:
        return memory.is_sound


def box_complaints(boundary_mass: Any) -> list[str]:
    """What is wrong with the box, if anything."""
    if boundary_mass <= _MOST_BOUNDARY_MASS:
        return []
    return [
        f"flow.extent is too small: the outermost cells held {boundary_mass:.2g} of "
        f"the mass, more than {_MOST_BOUNDARY_MASS:.0e}; take a larger one, and more "
        "flow.cells by as much."
    ]
