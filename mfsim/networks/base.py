"""What a network is: `init` draws parameters, a call evaluates them."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import Component


class AbstractNetwork(Component):
    """A function of its input, with parameters held outside it."""

    width: eqx.AbstractVar[int]

    @abstractmethod
    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Any:
        """Draw the parameters for inputs of dimension `dim`."""

    @abstractmethod
    def __call__(self, params: Any, x: Float[Array, "n d"]) -> Float[Array, "n *c"]:
        """The outputs f(x_1), ..., f(x_n): numbers, or a row of c for each point."""

    @property
    def num_outputs(self) -> int:
        """How many numbers it puts out at a point."""
        return 1

    def output_shape(self, samples: int) -> tuple[int, ...]:
        """The shape of the outputs at so many points."""
        return (samples,) if self.num_outputs == 1 else (samples, self.num_outputs)

    @property
    @abstractmethod
    def kernel_scale(self) -> Any:
        """The factor c in the tangent kernel c <grad f(x), grad f(y)>."""

    @abstractmethod
    def trainable_mask(self, params: Any) -> Any:
        """The tree of `params` with True where a block moves, False where frozen."""


Weights = tuple[Float[Array, "..."], ...]
"""W_1, ..., W_L, then biases if any."""


class AbstractWeightNetwork(AbstractNetwork):
    """A network whose parameters are matrices W_1, ..., W_L, then biases if any."""

    depth: eqx.AbstractVar[int]

    @abstractmethod
    def after_first(self, params: Any, z: Float[Array, "n m"]) -> Float[Array, "n *c"]:
        """The outputs by z = W_1 x, what the first matrix makes of the inputs."""

    def __call__(self, params: Any, x: Float[Array, "n d"]) -> Float[Array, "n *c"]:
        return self.after_first(params, x @ params[0].T)

    @abstractmethod
    def shapes(self, dim: int) -> list[tuple[int, ...]]:
        """The shapes of the parameters for inputs of dimension `dim`."""

    @abstractmethod
    def prior_std(self) -> tuple[Any, ...]:
        """The standard deviations of the prior, block by block."""

    @property
    @abstractmethod
    def neurons(self) -> Any:
        """The number of hidden neurons a layer, by which noise is scaled."""

    @property
    @abstractmethod
    def output_scale(self) -> Any:
        """The factor of the output."""

    @property
    def noise_objection(self) -> str | None:
        """Why it takes no noise, if it does not, and what to do."""
        return None

    @property
    def block_names(self) -> list[str]:
        """What the parameters are called in a file, in order."""
        return [f"layer_{number}" for number in range(1, self.depth + 1)]

    def complain(self) -> list[str]:
        """What the theory does not cover."""
        return []

    def trainable_mask(self, params: Any) -> Any:
        return (True,) * len(params)
