"""Two-layer networks as interacting particles in the flow of loss + lambda KL."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.blocks import block_size, fold_blocks, map_blocks
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
)
from mfsim.losses import AbstractScalarLoss, SquaredError
from mfsim.networks import Neurons, TwoLayer

_CACHE_BYTES = 8 * 2**20
_LEAST_SAMPLES = 64
"""In a block, so that adding up its gradient, d numbers a neuron, costs little."""


class ParticleFlow(AbstractLangevinFlow):
    """dtheta = (b - lambda theta/sigma^2) dt + sqrt(2 lambda) dB for every neuron.

    b is -m times the gradient of the mean loss over the samples, so that time does not
    depend on the width; as m grows the law of the particles follows the Wasserstein
    gradient flow of Q(p) = E phi(f(p, x), y) + lambda KL(p || p_0).

    Fields:
        network: The two-layer network; its prior is p_0.
        dataset: Where the samples come from.
        loss: The loss phi.
        temperature: Strength lambda of noise and decay; 0 is plain gradient flow.
        block_mib: Most memory in MiB for the activations of one block of samples; 8,
            but at least that of 64 samples, unless given.
        shadow: Whether a population without the force goes along: same start, same
            noise, exact Ornstein-Uhlenbeck steps, so that its law is p_0 for ever.

    Source: Chen et al. 2020, eq. (3.3) and Algorithm 1.
    """

    network: TwoLayer
    dataset: AbstractDataset
    loss: AbstractScalarLoss = SquaredError()
    temperature: float = real(0.0, at_least=0.0)
    block_mib: int | None = count(None)
    shadow: bool = static(True)

    def __check_init__(self):
        check_loss(self)

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> State:
        params = self.network.init(key, dim, dtype)
        return State(params, params if self.shadow else None)

    def law(self, state: State) -> tuple[Neurons, None]:
        return state.params, None

    @property
    def sampling_noise(self) -> Any:
        """Lambda/2m: n fitted outputs of m neurons leave lambda n/2m in the risk."""
        return self.temperature / (2 * self.network.width)

    def force(self, state: State, batch: Batch) -> Neurons:
        """B = -m grad (1/n) sum_i phi(f(x_i), y_i): two GEMMs and one activation."""
        return self._force(state, batch)[0]

    def force_and_rates(self, state: State, batch: Batch) -> tuple[Neurons, Rates]:
        def watch(_: Neurons, f: Array, x: Array, y: Array) -> tuple[Array, Array]:
            # What remains of a risk after a fall is a small difference.
            wide = self.loss(f.astype(float), y.astype(float))
            return wide.sum(), f

        force, (risk, f) = self._force(state, batch, watch)
        slopes = self.loss.derivative(f, batch[1])
        return force, Rates(f, slopes, risk / batch[1].shape[0])

    def generate(
        self, state: State, x: Float[Array, "n d"], weights: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " m"]] | None:
        if self.network.trainable != "output" and not self.network.activation.smooth:
            return None
        block = self._samples_per_block(x.shape[0], state.params.u.dtype)

        def of_block(x: Array, weights: Array) -> tuple[Array, Array]:
            generated = self.network.generator(state.params, x)
            return weights @ generated, generated.mean(axis=1)

        by_neuron, by_sample = fold_blocks(of_block, (x, weights), block)
        return by_sample, by_neuron

    def twin_force(self, origin: Neurons, params: Neurons, batch: Batch) -> Neurons:
        model = Linearised(self.network, origin)
        return self._force(State(params), batch, model=model)[0]

    def mean_square(self, moved: Neurons) -> Float[Array, ""]:
        squares = (jnp.square(block).sum(dtype=float) for block in moved)
        return sum(squares) / self.network.width  # type: ignore[return-value]

    def _force(
        self,
        state: State,
        batch: Batch,
        watch: Any = None,
        model: Model | None = None,
    ) -> tuple[Neurons, Any]:
        samples = batch[1].shape[0]
        block = self._samples_per_block(samples, state.params.u.dtype)
        rate = -self.network.width / samples

        def loss(f: Array, y: Array) -> Array:
            # Scaled here: a product after the GEMM would keep it from its layout.
            return rate * self.loss(f, y)

        watched = () if watch is None else (watch,)
        return risk_gradient(
            model or self.network, loss, state.params, batch, block, *watched
        )

    @property
    def diffusion(self) -> Any:
        return self.temperature

    @property
    def kernel_rate(self) -> Any:
        return self.network.alpha**2

    def prior_std(self) -> Neurons:
        return self.network.prior_std()

    def predict(self, state: State, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        block = self._samples_per_block(x.shape[0], state.params.u.dtype)
        return map_blocks(lambda x: self.network(state.params, x), (x,), block)

    def energy(self, state: State, batch: Batch) -> Float[Array, ""]:
        """Mean loss + lambda mean V_0; the velocity is -m times its gradient."""
        x, y = batch
        risk = self.loss(self.predict(state, x), y).mean()
        return risk + self.temperature * self.mean_potential(state)

    def mean_potential(self, state: State) -> Float[Array, ""]:
        """Mean of V_0 = |w|^2/2 sigma_w^2 + u^2/2 sigma_u^2 over the particles."""
        std = self.prior_std()
        w, u = (
            jnp.square(block / s).sum()
            for block, s in zip(state.params, std, strict=True)
        )
        return (w + u) / (2 * self.network.width)

    def kernel_product(
        self, state: State, x: Float[Array, "n d"], v: Float[Array, " n"]
    ) -> Float[Array, " n"]:
        """H(p) v = (m/alpha^2) J J^T v."""
        block = self._samples_per_block(x.shape[0], state.params.u.dtype)
        product = kernel_product(self.network, state.params, x, v, block)
        return self.network.width / self.network.alpha**2 * product

    def export(self, state: State) -> dict[str, np.ndarray]:
        exported = {"particles/neurons": _coordinates(state.params)}
        if state.shadow is not None:
            exported["particles/shadow"] = _coordinates(state.shadow)
        return exported

    def plan(self, data: Data, dtype: DTypeLike) -> dict[str, int]:
        n, d = data.x_train.shape
        itemsize = jnp.dtype(dtype).itemsize
        block = self._samples_per_block(n, dtype)
        return {
            "state": (1 + self.shadow) * self.network.width * (d + 1) * itemsize,
            "block": block * self.network.width * itemsize,
            "samples_per_block": block,
        }

    def _samples_per_block(self, samples: int, dtype: DTypeLike) -> int:
        row = self.network.width * jnp.dtype(dtype).itemsize
        if self.block_mib is None:
            return block_size(samples, row, max(_CACHE_BYTES, _LEAST_SAMPLES * row))
        return block_size(samples, row, self.block_mib * 2**20)


def _coordinates(neurons: Neurons) -> np.ndarray:
    w, u = map(np.asarray, neurons)
    return np.concatenate([w, u[:, None]], axis=1)
