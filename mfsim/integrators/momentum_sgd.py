"""Stochastic gradient descent with momentum."""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from mfsim.component import count, real, static
from mfsim.datasets import Data
from mfsim.flows import AbstractFlow
from mfsim.flows.base import AbstractLangevinFlow
from mfsim.integrators.base import AbstractStepper, partition


class MomentumSGD(AbstractStepper):
    """v <- mu v + b, theta <- theta + eta v: the heavy ball, without noise.

    b is the force on the batch of a step, for weights minus the gradient of its risk.
    It goes up to 1/(1 - mu) times as far as without momentum, so that eta is taken that
    much less; t = eta k still. Flows with a temperature are refused.

    Fields:
        step: Step eta in the schedule's unit of time, or "auto": 1 - mu times that of
            gradient descent.
        momentum: The share mu of the velocity v that a step keeps; below 1.
        nesterov: Whether it is Nesterov's: theta <- theta + eta (mu v + b), v the new,
            in parameters that are ahead, as optax and PyTorch have them.
        batch_size: Training points a step; all of them unless given.

    Source: Sutskever, Martens, Dahl, Hinton 2013, sec. 2, v being theirs over eta; the
        optimiser is `optax.sgd`.
    """

    follows_flow: ClassVar[bool] = False

    step: float | Literal["auto"] = real(above=0.0)
    momentum: float = real(0.9, at_least=0.0)
    nesterov: bool = static(False)
    batch_size: int | None = count(None)

    def __check_init__(self):
        if isinstance(self.momentum, float) and self.momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {self.momentum:g}.")

    @property
    def auto_share(self) -> float:
        return 1 - self.momentum

    @property
    def stable_share(self) -> Any:
        # Where a root of z^2 - (1 + mu - h) z + mu, or of Nesterov's, comes to -1.
        mu = self.momentum
        return (1 + mu) / (1 + 2 * mu) if self.nesterov else 1 + mu

    def check(self, flow: AbstractFlow, data: Data) -> None:
        if not flow.is_cold:
            raise ValueError(
                "kind MomentumSGD must be given a flow of temperature 0, as it draws "
                f"no noise, got {flow.temperature:g}; use NoisyGD."
            )

    def plan(self, flow: AbstractFlow, data: Data) -> int:
        """The velocity, at most: in float64, and as large as all of a state."""
        return flow.plan(data, "float64")["state"]

    def remember(self, flow: AbstractLangevinFlow, params: PyTree) -> PyTree:
        return self._optimiser().init(partition(flow, params)[0])

    def push(
        self,
        flow: AbstractLangevinFlow,
        params: PyTree,
        force: PyTree,
        noise: PyTree,
        memory: PyTree,
    ) -> tuple[PyTree, PyTree]:
        moving, frozen, _ = partition(flow, params)
        gradient = jax.tree.map(jnp.negative, force)
        change, memory = self._optimiser().update(gradient, memory, moving)
        return eqx.combine(optax.apply_updates(moving, change), frozen), memory

    def _optimiser(self) -> optax.GradientTransformation:
        step: Any = self.step
        return optax.sgd(step, self.momentum, self.nesterov)
