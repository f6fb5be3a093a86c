"""Deep fully connected ReLU networks of finite width."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import count, real
from mfsim.networks.base import AbstractWeightNetwork

Weights = tuple[Float[Array, "_ _"], ...]
"""W_1 (m, d), W_2 ... W_{L-1} (m, m), W_L (1, m)."""


class DeepRelu(AbstractWeightNetwork):
    """f(x) = m^a W_L s(W_{L-1} ... s(W_1 x)), s the ReLU: L layers of width m.

    The start is W_l ~ N(0, 2/m) for l < L and W_L ~ N(0, 1/m), entry by entry: a
    signal keeps its mean square from layer to layer, and f is of order m^(a - 1/2).

    Fields:
        width: Hidden width m.
        depth: Number of weight matrices L; 2 is one hidden layer.
        scale_exponent: The exponent a of the output scale, from -2 to 2; the theory has
            (0, 1/2], of which 1/2 is the kernel regime.
        active: Neurons a hidden layer that are there, m in every formula; the others
            are zero for ever, so that networks of several widths share one program. All
            unless given.

    Source: Chen, Cao, Zou, Gu 2021, sec. 3; Cao, Gu 2019, sec. 3 has a = 1/2.
    """

    width: int = count()
    depth: int = count(2, at_least=2)
    scale_exponent: float = real(0.5, at_least=-2.0, at_most=2.0)
    active: float | None = real(None, at_least=1.0)

    def __check_init__(self):
        active = self.active
        if isinstance(active, float) and not (
            active <= self.width and active.is_integer()
        ):
            raise ValueError(
                f"active must be a whole number of at most the width {self.width}, "
                f"got {active:g}."
            )

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Weights:
        """Draw W_1, ..., W_L; the same for every scale exponent and padding."""
        keys = jax.random.split(key, self.depth)
        sizes = _shapes(int(self.neurons), self.depth, dim)
        drawn = (
            std * jax.random.normal(key, size, dtype)
            for key, size, std in zip(keys, sizes, self.prior_std(), strict=True)
        )
        return tuple(map(_pad, drawn, self.shapes(dim)))

    def shapes(self, dim: int) -> list[tuple[int, int]]:
        return _shapes(self.width, self.depth, dim)

    def prior_std(self) -> tuple[Any, ...]:
        """The standard deviations of the entries of W_1, ..., W_L at the start."""
        hidden, last = (2 / self.neurons) ** 0.5, (1 / self.neurons) ** 0.5
        return (hidden,) * (self.depth - 1) + (last,)

    def after_first(
        self, params: Weights, z: Float[Array, "n m"]
    ) -> Float[Array, " n"]:
        _, *hidden, last = params
        for weights in hidden:
            z = jax.nn.relu(z) @ weights.T
        return self.output_scale * (jax.nn.relu(z) @ last[0])

    @property
    def neurons(self) -> Any:
        """The m of every formula: the width, or how many of it are there."""
        return self.width if self.active is None else self.active

    @property
    def output_scale(self) -> Any:
        """The factor m^a of the output."""
        return self.neurons**self.scale_exponent

    @property
    def kernel_scale(self) -> Any:
        """m^(-2a), so that the kernel tends to one limit for every a."""
        return self.neurons ** (-2 * self.scale_exponent)

    @property
    def noise_objection(self) -> str | None:
        if self.active is None:
            return None
        return "network.active leaves neurons out, which noise would move; leave it out"

    def complain(self) -> list[str]:
        if 0 < self.scale_exponent <= 0.5:
            return []
        return [
            "scale_exponent is outside (0, 1/2], where no theorem holds, got "
            f"{self.scale_exponent:g}."
        ]


def _shapes(width: int, depth: int, dim: int) -> list[tuple[int, int]]:
    return [(width, dim), *[(width, width)] * (depth - 2), (1, width)]


def _pad(drawn: Float[Array, "_ _"], shape: tuple[int, int]) -> Float[Array, "_ _"]:
    rest = [(0, size - had) for size, had in zip(shape, drawn.shape, strict=True)]
    return jnp.pad(drawn, rest)
