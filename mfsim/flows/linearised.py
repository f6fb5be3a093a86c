"""The linearised twin of a deep network: its outputs to first order in the weights."""

from jax.typing import DTypeLike
from jaxtyping import Array, Key

from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset
from mfsim.flows.base import Batch, Linearised, State
from mfsim.flows.weights import AbstractWeightFlow, check_parts
from mfsim.losses import AbstractLoss, SquaredError
from mfsim.networks import AbstractWeightNetwork
from mfsim.networks.base import Weights


class LinearisedFlow(AbstractWeightFlow):
    """WeightFlow with the outputs f(W_0) + <grad f(W_0), W - W_0>.

    A run of the same seed, dataset and integrator has the start, the order of the data
    and the noise of that of `WeightFlow`: its twin. Its tangent kernel stands still.

    Fields:
        network: The network of weights.
        dataset: Where the samples come from.
        loss: The loss phi.
        temperature: Strength lambda of noise and decay; 0 is plain gradient flow.
        block_mib: Most memory in MiB for the activations of one block of samples; 64
            unless given.
        shadow: Whether, at lambda > 0, weights without the force go along.

    Cost: a step costs about twice that of the network.
    Source: Lee et al. 2019, sec. 2.2.
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
        shadow = params if self.shadow and not self.is_cold else None
        return State(params, shadow, origin=params)

    def model(self, state: State) -> Linearised:
        return Linearised(self.network, state.origin)

    def force(self, state: State, batch: Batch) -> Weights:
        return self._force(self.model(state), state.params, batch)[0]

    @property
    def _keeps_origin(self) -> bool:
        return True
