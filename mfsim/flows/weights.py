"""Deep networks of finite width: their weights descend the training risk."""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.blocks import block_size, map_blocks
from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset, Data
from mfsim.flows.base import (
    AbstractLangevinFlow,
    Batch,
    Linearised,
    Model,
    Rates,
    State,
    check_loss,
    kernel_product,
    risk_gradient,
    turn,
)
from mfsim.losses import AbstractLoss, SquaredError
from mfsim.networks import AbstractWeightNetwork
from mfsim.networks.base import Weights

_BLOCK_MIB = 64


class AbstractWeightFlow(AbstractLangevinFlow):
    """What flows of weights share: all but which outputs they descend by.

    A neuron of a hidden layer is its weights times sqrt(m), so that its law is that of
    a particle; noise of strength lambda moves a weight by sqrt(2 lambda/m) dB.
    """

    network: eqx.AbstractVar[AbstractWeightNetwork]
    block_mib: eqx.AbstractVar[int | None]

    @abstractmethod
    def model(self, state: State) -> Model:
        """The network by which outputs are made at a state."""

    def check(self, data: Data) -> None:
        if not self.loss.of_classes:
            return
        labels, classes = np.append(data.y_train, data.y_test), self.network.num_outputs
        if labels.max() >= classes:
            raise ValueError(
                "network.classes must be above the largest label, "
                f"{labels.max():g}, got {classes}; raise it, or number classes from 0."
            )

    def law(self, state: State) -> tuple[Weights, None]:
        return (state.params if state.origin is None else state.origin), None

    @property
    def sampling_noise(self) -> Any:
        """Lambda/2m: each of n fitted outputs is a mode of energy lambda/2m."""
        return self.diffusion / 2

    @property
    def diffusion(self) -> Any:
        """Lambda/m, in weights that are neurons over sqrt(m)."""
        return self.temperature / self.network.neurons

    @property
    def kernel_rate(self) -> Any:
        return self.network.output_scale**2

    def prior_std(self) -> tuple[Any, ...]:
        return self.network.prior_std()

    def force_and_rates(self, state: State, batch: Batch) -> tuple[Weights, Rates]:
        def watch(_: Weights, f: Array, x: Array, y: Array) -> tuple[Array, Array]:
            # What remains of a risk after a fall is a small difference.
            wide = self.loss(f.astype(float), y.astype(float))
            return wide.sum(), f

        force, (risk, f) = self._force(self.model(state), state.params, batch, watch)
        slopes = self.loss.derivative(f, batch[1])
        return force, Rates(f, slopes, risk / batch[1].shape[0])

    def twin_force(self, origin: Weights, params: Weights, batch: Batch) -> Weights:
        return self._force(Linearised(self.network, origin), params, batch)[0]

    def generate(
        self, state: State, x: Float[Array, "n d"], weights: Float[Array, " n"]
    ) -> None:
        """None: the ReLU has no h''."""
        return

    def mean_square(self, moved: Weights) -> Float[Array, ""]:
        """The sum over all weights: neurons are rows times sqrt(m), m of them."""
        squares = [jnp.square(block).sum(dtype=float) for block in moved]
        return jnp.stack(squares).sum()

    def predict(self, state: State, x: Float[Array, "n d"]) -> Float[Array, "n *c"]:
        model, block = self.model(state), self._samples_per_block(x)
        return map_blocks(lambda x: model(state.params, x), (x,), block)

    def energy(self, state: State, batch: Batch) -> Float[Array, ""]:
        """Mean loss + lambda mean V_0; the velocity is minus its gradient."""
        x, y = batch
        risk = self.loss(self.predict(state, x), y).mean()
        return risk + self.temperature * self.mean_potential(state)

    def mean_potential(self, state: State) -> Float[Array, ""]:
        """Mean over m neurons of V_0 = |theta|^2/2 sigma^2, layer by layer."""
        both = zip(state.params, self.prior_std(), strict=True)
        squares = jnp.stack([jnp.square(block / std).sum() for block, std in both])
        return squares.sum() / (2 * self.network.neurons)

    def kernel_product(
        self, state: State, x: Float[Array, "n d"], v: Float[Array, "n *c"]
    ) -> Float[Array, "n *c"]:
        """Theta v = m^(-2a) J J^T v."""
        block = self._samples_per_block(x)
        product = kernel_product(self.model(state), state.params, x, v, block)
        return self.network.kernel_scale * product

    def export(self, state: State) -> dict[str, np.ndarray]:
        names = self.network.block_names
        shadows = [f"shadow_{number}" for number in range(1, len(names) + 1)]
        both = [*zip(names, state.params, strict=True)]
        both += zip(shadows, state.shadow or (), strict=False)
        return {f"weights/{name}": np.asarray(block) for name, block in both}

    def complain(self) -> list[str]:
        return [f"flow.network.{complaint}" for complaint in self.network.complain()]

    def plan(self, data: Data, dtype: DTypeLike) -> dict[str, int]:
        n, d = data.x_train.shape
        itemsize = jnp.dtype(dtype).itemsize
        numbers = sum(math.prod(shape) for shape in self.network.shapes(d))
        copies = 1 + (self.shadow and not self.is_cold) + self._keeps_origin
        block = self._samples_per_block(jax.ShapeDtypeStruct((n, d), dtype))
        return {
            "state": copies * numbers * itemsize,
            "block": block * self._numbers_per_sample(d) * itemsize,
            "samples_per_block": block,
        }

    @property
    @abstractmethod
    def _keeps_origin(self) -> bool:
        """Whether a state holds the start as well."""

    def _force(
        self, model: Model, params: Weights, batch: Batch, *watch: Any
    ) -> tuple[Weights, Any]:
        samples = batch[1].shape[0]

        def loss(f: Array, y: Array) -> Array:
            return -self.loss(f, y) / samples

        block = self._samples_per_block(batch[0])
        return risk_gradient(model, loss, params, batch, block, *watch)

    def _samples_per_block(self, x: Any) -> int:
        samples, dim = x.shape
        row = self._numbers_per_sample(dim) * jnp.dtype(x.dtype).itemsize
        return block_size(samples, row, (self.block_mib or _BLOCK_MIB) * 2**20)

    def _numbers_per_sample(self, dim: int) -> int:
        hidden = 2 * (self.network.depth - 1) * self.network.width
        # Linearised outputs carry their tangents along.
        return (1 + self._keeps_origin) * (hidden + dim)


class WeightFlow(AbstractWeightFlow):
    """dW = -grad_W (L_S + lambda E V_0) dt + sqrt(2 lambda/m) dB for all weights.

    L_S is the mean loss over the samples, so that a step eta of gradient descent is a
    time eta; with a `batch_size` of 1 and one pass, NoisyGD is the online SGD of the
    papers. At lambda > 0 W_l decays at the rate lambda/sigma_l^2, sigma_l^2 = 2, of the
    last layer 1, and its law at the start, N(0, sigma_l^2/m), stays as it is without
    data. Depth 2 is `ParticleFlow` with alpha = m^a, w = sqrt(m) W_1, u = sqrt(m) W_2.

    Fields:
        network: The network of weights.
        dataset: Where the samples come from.
        loss: The loss phi.
        temperature: Strength lambda of noise and decay; 0 is plain gradient flow.
        block_mib: Most memory in MiB for the activations of one block of samples; 64
            unless given.
        shadow: Whether, at lambda > 0, weights without the force go along: same start,
            same noise, exact Ornstein-Uhlenbeck steps.

    Source: Chen, Cao, Zou, Gu 2021, Algorithms 1 and 2.
    """

    network: AbstractWeightNetwork
    dataset: AbstractDataset
    loss: AbstractLoss = SquaredError()
    temperature: float = real(0.0, at_least=0.0)
    block_mib: int | None = count(None)
    shadow: bool = static(True)

    def __check_init__(self):
        check_parts(self)

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> State:
        params = self.network.init(key, dim, dtype)
        return State(params, params if self.shadow and not self.is_cold else None)

    def model(self, state: State) -> AbstractWeightNetwork:
        return self.network

    def force(self, state: State, batch: Batch) -> Weights:
        if batch[1].shape[0] > 1:
            return self._force(self.network, state.params, batch)[0]
        return self._force_of_one(state.params, batch)

    def _force_of_one(self, params: Weights, batch: Batch) -> Weights:
        """The force of one sample, so that a loop need not copy the weights.

        Every layer's force depends on the last of the signals that go backwards, that
        of W_1: then XLA sees that a loop has read all weights before it changes any.
        """
        x, y = batch
        turned = turn(params)

        def loss(rest: Weights, z: Array) -> Array:
            f = self.network.after_first(turn((turned[0], *rest)), z)
            return -self.loss(f, y).sum()

        rest, back = jax.grad(loss, (0, 1))(turned[1:], x @ turned[0])
        force = turn((x.T @ back, *rest))
        # Zero, but not to a compiler, which has to reckon with infinities.
        last = 0 * back[0, 0]
        return jax.tree.map(lambda layer: layer + last, force)

    @property
    def _keeps_origin(self) -> bool:
        return False


def check_parts(flow: AbstractWeightFlow) -> None:
    """Refuse a network, a loss and a temperature that do not go together.

    Raises:
        ValueError: If they do not; begins with the field's name.
    """
    check_loss(flow)
    given, objection = flow.temperature, flow.network.noise_objection
    if objection is not None and given > 0:
        raise ValueError(f"temperature must be 0, got {given:g}: {objection}.")
