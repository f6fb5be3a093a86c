"""What steps of Langevin dynamics share: block by block, by force, decay and noise."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from mfsim.flows.base import AbstractLangevinFlow
from mfsim.integrators.base import AbstractStepper, partition


class AbstractLangevinStepper(AbstractStepper):
    """A step that goes by the force at its beginning and remembers nothing."""

    freezes_force: ClassVar[bool] = True

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

    def push(
        self,
        flow: AbstractLangevinFlow,
        params: PyTree,
        force: PyTree,
        noise: PyTree,
        memory: PyTree,
    ) -> tuple[PyTree, PyTree]:
        return self.move(flow, params, force, noise), memory

    def path_weight(self, temperature: Any, std: Any) -> Any:
        """KL in nats that a step adds a neuron for |b|^2 = 1: Girsanov's rate."""
        return self.step / (4 * temperature)

    def move(
        self, flow: AbstractLangevinFlow, params: PyTree, force: PyTree, noise: PyTree
    ) -> PyTree:
        """The parameters after one step; `noise` as in `update`."""
        moving, frozen, std = partition(flow, params)
        step: Any = self.step

        def update(*args: Any) -> Array:
            theta, force, noise, std = args
            return self.update(theta, force, noise, step, flow.diffusion, std)

        return eqx.combine(jax.tree.map(update, moving, force, noise, std), frozen)
