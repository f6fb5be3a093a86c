"""What a flow is: the velocity of a state, and what can be read off the state."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, PyTree

from mfsim.blocks import map_blocks, sum_blocks
from mfsim.component import Component
from mfsim.datasets import AbstractDataset, Data
from mfsim.losses import AbstractLoss
from mfsim.networks import AbstractNetwork

Batch = tuple[Float[Array, "n d"], Float[Array, " n"]]
"""Inputs and labels of the points that one force is averaged over."""


class AbstractFlow(Component):
    """dstate = velocity dt + sqrt(2 temperature) dB on the blocks that move."""

    network: eqx.AbstractVar[AbstractNetwork]
    loss: eqx.AbstractVar[AbstractLoss]
    dataset: eqx.AbstractVar[AbstractDataset]
    temperature: eqx.AbstractVar[float]

    @abstractmethod
    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> PyTree:
        """The state at t = 0, drawn from the prior."""

    @abstractmethod
    def force(self, state: PyTree, batch: Batch) -> PyTree:
        """The data part b of the velocity; `None` where a block is frozen."""

    @abstractmethod
    def velocity(self, state: PyTree, batch: Batch) -> PyTree:
        """The force and the decay towards the prior; `None` where frozen."""

    @property
    @abstractmethod
    def noise_scale(self) -> Any:
        """The diffusion coefficient sqrt(2 temperature), per sqrt(time)."""

    @property
    @abstractmethod
    def kernel_rate(self) -> Any:
        """Kernel time per unit of flow time, alpha^2 of two-layer networks."""

    @abstractmethod
    def prior_std(self) -> PyTree:
        """Standard deviation of the prior, block by block."""

    @abstractmethod
    def params(self, state: PyTree) -> PyTree:
        """The network's parameters at a state."""

    @abstractmethod
    def trainable_mask(self, state: PyTree) -> PyTree:
        """The tree of the state with True where a block moves, False where frozen."""

    @abstractmethod
    def mean_potential(self, state: PyTree) -> Float[Array, ""]:
        """Mean over the particles of the prior's quadratic potential V_0."""

    @abstractmethod
    def predict(self, state: PyTree, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The outputs f(x) at a state, in blocks of samples."""

    @abstractmethod
    def energy(self, state: PyTree, batch: Batch) -> Float[Array, ""]:
        """The objective of which the velocity is minus the (scaled) gradient."""

    @abstractmethod
    def kernel_product(
        self, state: PyTree, x: Float[Array, "n d"], v: Float[Array, " n"]
    ) -> Float[Array, " n"]:
        """The tangent kernel times a vector, without forming the kernel."""

    @abstractmethod
    def export(self, state: PyTree) -> dict[str, np.ndarray]:
        """The state as the arrays of a file, by the path of their group."""

    @abstractmethod
    def plan(self, data: Data, dtype: DTypeLike) -> dict[str, int]:
        """What a step allocates, in bytes by name, and its rows a block."""


def turn(tree: PyTree) -> PyTree:
    """Every matrix transposed, neurons along the minor axis, or back.

    Loops hold matrices so because XLA then draws noise and multiplies faster.
    """
    return jax.tree.map(jnp.transpose, tree)


def risk_gradient(
    network: AbstractNetwork, loss: Any, params: PyTree, batch: Batch, block: int
) -> PyTree:
    """Gradient of the summed loss in the trainable blocks, `None` in the others.

    Samples come in blocks: a block's activations are used while still in cache.
    """
    turned = turn(params)
    moving, frozen = eqx.partition(turned, network.trainable_mask(turned))

    def total(moving: PyTree, x: Array, y: Array) -> Array:
        return loss(network(turn(eqx.combine(moving, frozen)), x), y).sum()

    def gradient(x: Array, y: Array) -> PyTree:
        return jax.grad(total)(moving, x, y)

    return turn(sum_blocks(gradient, batch, block))


def kernel_product(
    network: AbstractNetwork, params: PyTree, x: Array, v: Array, block: int
) -> Array:
    """J J^T v for the Jacobian J of the outputs, one block of samples at a time."""
    moving, frozen = eqx.partition(params, network.trainable_mask(params))
    pulled = risk_gradient(network, lambda f, v: f * v, params, (x, v), block)

    def push(x: Array) -> Array:
        def outputs(moving: PyTree) -> Array:
            return network(eqx.combine(moving, frozen), x)

        return jax.jvp(outputs, (moving,), (pulled,))[1]

    return map_blocks(push, (x,), block)
