"""What a network is: `init` draws parameters, a call evaluates them."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import Component


class AbstractNetwork(Component):
    """A scalar function of its input, with parameters held outside it."""

    width: eqx.AbstractVar[int]

    @abstractmethod
    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Any:
        """Draw the parameters for inputs of dimension `dim`."""

    @abstractmethod
    def __call__(self, params: Any, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The outputs f(x_1), ..., f(x_n)."""

    @property
    @abstractmethod
    def kernel_scale(self) -> Any:
        """The factor c in the tangent kernel c <grad f(x), grad f(y)>."""

    @abstractmethod
    def trainable_mask(self, params: Any) -> Any:
        """The tree of `params` with True where a block moves, False where frozen."""
