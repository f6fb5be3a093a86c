"""Deep fully connected ReLU networks of finite width."""

from typing import Any

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import count, real
from mfsim.networks.base import AbstractNetwork

Weights = tuple[Float[Array, "_ _"], ...]
"""W_1 (m, d), W_2 ... W_{L-1} (m, m), W_L (1, m)."""


class DeepRelu(AbstractNetwork):
    """f(x) = m^a W_L s(W_{L-1} ... s(W_1 x)), s the ReLU: L layers of width m.

    The start is W_l ~ N(0, 2/m) for l < L and W_L ~ N(0, 1/m), entry by entry: a
    signal keeps its mean square from layer to layer, and f is of order m^(a - 1/2).

    Fields:
        width: Hidden width m.
        depth: Number of weight matrices L; 2 is one hidden layer.
        scale_exponent: The exponent a of the output scale, in (0, 1/2]; 1/2 is the
            kernel regime.

    Source: Chen, Cao, Zou, Gu 2021, sec. 3; Cao, Gu 2019, sec. 3 has a = 1/2.
    """

    width: int = count()
    depth: int = count(2, at_least=2)
    scale_exponent: float = real(0.5, above=0.0, at_most=0.5)

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Weights:
        """Draw W_1, ..., W_L; the same for every scale exponent."""
        m = self.width
        shapes = [(m, dim), *[(m, m)] * (self.depth - 2), (1, m)]
        variances = [2 / m] * (self.depth - 1) + [1 / m]
        keys = jax.random.split(key, self.depth)
        return tuple(
            variance**0.5 * jax.random.normal(key, shape, dtype)
            for key, shape, variance in zip(keys, shapes, variances, strict=True)
        )

    def __call__(self, params: Weights, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        *hidden, last = params
        for weights in hidden:
            x = jax.nn.relu(x @ weights.T)
        return self.output_scale * (x @ last[0])

    @property
    def output_scale(self) -> Any:
        """The factor m^a of the output."""
        return self.width**self.scale_exponent

    @property
    def kernel_scale(self) -> Any:
        """m^(-2a), so that the kernel tends to one limit for every a."""
        return self.width ** (-2 * self.scale_exponent)

    def trainable_mask(self, params: Weights) -> Any:
        return (True,) * len(params)
