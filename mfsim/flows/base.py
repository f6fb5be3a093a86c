"""What a flow is: the velocity of a state, and what can be read off the state."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, PyTree

from mfsim.blocks import fold_blocks, map_blocks
from mfsim.component import Component, kinds
from mfsim.datasets import AbstractDataset, Data
from mfsim.losses import AbstractLoss
from mfsim.networks import AbstractNetwork

Batch = tuple[Float[Array, "n d"], Float[Array, " n"]]
"""Inputs and labels of the points that one force is averaged over."""


class State(NamedTuple):
    """What moves and, where it is on, its shadow.

    Attributes:
        params: The parameters of a network, or the masses of a grid's cells.
        shadow: The free population that began with `params` and meets the same noise
            without the force, so that its law is the prior for ever; or None.
        origin: The parameters about which the outputs are linear, which stand still;
            None where they are the network's own.
    """

    params: Any
    shadow: Any = None
    origin: Any = None


class Rates(NamedTuple):
    """What a look at the force tells besides.

    Attributes:
        outputs: f_i of every sample.
        slopes: phi'(f_i, y_i) of every sample.
        risk: Mean loss over the samples.
    """

    outputs: Float[Array, "n *c"]
    slopes: Float[Array, "n *c"]
    risk: Float[Array, ""]


class AbstractFlow(Component):
    """The gradient flow of loss + temperature KL(p || p_0), by the state it moves."""

    dtype: ClassVar[str | None] = None
    """The one precision it is computed in, whatever the experiment's; None if any."""

    size: ClassVar[str] = "network.width"
    """The field that memory grows with."""

    network: eqx.AbstractVar[AbstractNetwork]
    loss: eqx.AbstractVar[AbstractLoss]
    dataset: eqx.AbstractVar[AbstractDataset]
    temperature: eqx.AbstractVar[float]

    def check(self, data: Data) -> None:
        """Refuse data that the flow cannot take.

        Raises:
            ValueError: Begins with the field's name; says what to do.
        """
        return

    @abstractmethod
    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> State:
        """The state at t = 0: the prior, or a draw from it."""

    @abstractmethod
    def law(self, state: State) -> tuple[PyTree, Float[Array, " m"] | None]:
        """Parameters of the network and their masses; None where all have the same."""

    @property
    def is_cold(self) -> bool:
        """Whether there is no noise; members of a group all have some, or none."""
        return isinstance(self.temperature, float) and self.temperature == 0

    @property
    @abstractmethod
    def sampling_noise(self) -> Any:
        """What each fitted output adds to n times the risk, by its own noise."""

    @property
    @abstractmethod
    def kernel_rate(self) -> Any:
        """Kernel time per unit of flow time, alpha^2 of two-layer networks."""

    @property
    @abstractmethod
    def diffusion(self) -> Any:
        """The diffusion coefficient D of the noise, and of the decay D/std^2."""

    @abstractmethod
    def prior_std(self) -> PyTree:
        """Standard deviation of the prior, block by block."""

    @abstractmethod
    def mean_potential(self, state: State) -> Float[Array, ""]:
        """Mean over the law of the prior's quadratic potential V_0."""

    def complain(self) -> list[str]:
        """What is questionable about it, though it runs."""
        return []

    @abstractmethod
    def predict(self, state: State, x: Float[Array, "n d"]) -> Float[Array, "n *c"]:
        """The outputs f(x) at a state, in blocks of samples."""

    @abstractmethod
    def energy(self, state: State, batch: Batch) -> Float[Array, ""]:
        """The objective of which the velocity is minus the (scaled) gradient."""

    @abstractmethod
    def kernel_product(
        self, state: State, x: Float[Array, "n d"], v: Float[Array, "n *c"]
    ) -> Float[Array, "n *c"]:
        """The tangent kernel times a vector, without forming the kernel."""

    @abstractmethod
    def export(self, state: State) -> dict[str, np.ndarray]:
        """The state as the arrays of a file, by the path of their group."""

    def axes(self, dim: int) -> dict[str, np.ndarray]:
        """Coordinates of the axes of what is exported, by name; none of neurons."""
        return {}

    @abstractmethod
    def plan(self, data: Data, dtype: DTypeLike) -> dict[str, int]:
        """What a step allocates, in bytes by name, `state` among them."""


class AbstractLangevinFlow(AbstractFlow):
    """dparams = (b - D params/std^2) dt + sqrt(2 D) dB on the blocks that move.

    b is the force, D the diffusion coefficient and std the prior's spread.
    """

    shadow: eqx.AbstractVar[bool]

    @abstractmethod
    def force(self, state: State, batch: Batch) -> PyTree:
        """The data part b of the velocity; `None` where a block is frozen."""

    @abstractmethod
    def force_and_rates(self, state: State, batch: Batch) -> tuple[PyTree, Rates]:
        """The force, and what the same pass over the batch tells besides."""

    @abstractmethod
    def twin_force(self, origin: PyTree, params: PyTree, batch: Batch) -> PyTree:
        """The force on parameters of which the outputs are linear about `origin`."""

    @abstractmethod
    def mean_square(self, moved: PyTree) -> Float[Array, ""]:
        """Mean over the neurons of |theta|^2 of parameters, or of their changes."""

    @abstractmethod
    def generate(
        self, state: State, x: Float[Array, "n d"], weights: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " m"]] | None:
        """A F, A the generator of the free particle, where f = alpha E_p F.

        Returns:
            E_p A F_i by sample, and sum_i weights_i A F_i by neuron; None where the
            activation has no h''.
        """

    def velocity(self, state: State, batch: Batch) -> PyTree:
        """The force and the decay towards the prior; `None` where frozen."""
        mask = self.network.trainable_mask(state.params)
        moving, std = (eqx.filter(t, mask) for t in (state.params, self.prior_std()))

        def decayed(theta: Array, force: Array, std: Any) -> Array:
            return force - self.diffusion / std**2 * theta

        return jax.tree.map(decayed, moving, self.force(state, batch), std)

    @property
    def noise_scale(self) -> Any:
        """The strength sqrt(2 D) of the noise, per sqrt(time)."""
        return jnp.sqrt(2 * self.diffusion)


def check_loss(flow: AbstractFlow) -> None:
    """Refuse a loss of classes for a network of one output, or the reverse.

    Raises:
        ValueError: If it is so.
    """
    of_classes = flow.network.num_outputs > 1
    if flow.loss.of_classes != of_classes:
        every = kinds(AbstractLoss).items()
        suited = [name for name, loss in every if loss.of_classes == of_classes]
        raise ValueError(
            f"loss must be {' or '.join(suited)} for a {type(flow.network).__name__}, "
            f"got {type(flow.loss).__name__}."
        )


def turn(tree: PyTree) -> PyTree:
    """Every matrix transposed, neurons along the minor axis, or back.

    Loops hold matrices so because XLA then draws noise and multiplies faster.
    """
    return jax.tree.map(jnp.transpose, tree)


class Linearised(eqx.Module):
    """f(W_0) + <grad f(W_0), W - W_0>, a network that is linear in its parameters W.

    Attributes:
        network: The network f.
        origin: The parameters W_0.
    """

    network: AbstractNetwork
    origin: PyTree

    def __call__(self, params: PyTree, x: Float[Array, "n d"]) -> Float[Array, "n *c"]:
        """The outputs at parameters W: one forward pass carries value and tangent."""
        moved = jax.tree.map(jnp.subtract, params, self.origin)
        value, change = jax.jvp(
            lambda params: self.network(params, x), (self.origin,), (moved,)
        )
        return value + change

    def trainable_mask(self, params: PyTree) -> PyTree:
        """That of the network."""
        return self.network.trainable_mask(params)


Model = AbstractNetwork | Linearised


def risk_gradient(
    network: Model,
    loss: Callable[[Array, Array], Array],
    params: PyTree,
    batch: tuple[Float[Array, "n d"], Float[Array, "n *c"]],
    block: int,
    watch: Callable[..., tuple[PyTree, PyTree]] = lambda *_: (None, None),
) -> tuple[PyTree, PyTree]:
    """Gradient of the summed loss in the trainable blocks, `None` in the others.

    Samples come in blocks: a block's activations are used while still in cache.

    Args:
        network: The network, or its linearisation.
        loss: Takes outputs and labels.
        params: Where the gradient is taken.
        batch: Inputs, and what the loss is told of each, such as labels.
        block: Samples a block.
        watch: Takes (params, f, x, y) of a block; gives what is to be summed over
            blocks and what is to be joined.

    Returns:
        The gradient, and the pair of what was watched.
    """
    turned = turn(params)
    moving, frozen = eqx.partition(turned, network.trainable_mask(turned))

    def total(moving: PyTree, x: Array, y: Array) -> tuple[Array, PyTree]:
        params = turn(eqx.combine(moving, frozen))
        f = network(params, x)
        return loss(f, y).sum(), watch(params, f, x, y)

    def gradient(x: Array, y: Array) -> tuple[PyTree, PyTree]:
        gradients, (sums, rows) = jax.grad(total, has_aux=True)(moving, x, y)
        return (gradients, sums), rows

    (gradients, sums), rows = fold_blocks(gradient, batch, block)
    return turn(gradients), (sums, rows)


def kernel_product(
    network: Model, params: PyTree, x: Array, v: Array, block: int
) -> Array:
    """J J^T v for the Jacobian J of the outputs, one block of samples at a time."""
    moving, frozen = eqx.partition(params, network.trainable_mask(params))
    pulled, _ = risk_gradient(network, lambda f, v: f * v, params, (x, v), block)

    def push(x: Array) -> Array:
        def outputs(moving: PyTree) -> Array:
            return network(eqx.combine(moving, frozen), x)

        return jax.jvp(outputs, (moving,), (pulled,))[1]

    return map_blocks(push, (x,), block)
