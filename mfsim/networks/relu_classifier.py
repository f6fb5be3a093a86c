"""Two-layer ReLU networks with an output for each class."""

from typing import Any, ClassVar

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from mfsim.component import count, static
from mfsim.networks.base import AbstractWeightNetwork, Weights


class ReluClassifier(AbstractWeightNetwork):
    """f(x) = V [U x + b]_+ + e: h hidden neurons, c outputs, no factor before them.

    The start is PyTorch's: every entry uniform on +-1/sqrt(fan-in), which is d for U
    and b, h for V and e. Row j of U is what neuron j takes in, column j of V what it
    gives out.

    Fields:
        width: Number of hidden neurons h.
        classes: Number of outputs c, one a class.
        bias: Whether there are biases b and e; else they are zero.

    Source: Neyshabur et al. 2019, sec. 1; the start is that of their program.
    """

    depth: ClassVar[int] = 2

    width: int = count()
    classes: int = count(10, at_least=2)
    bias: bool = static(False)

    def init(self, key: Key[Array, ""], dim: int, dtype: DTypeLike = float) -> Weights:
        """Draw U, V and the biases; U and V are the same with and without them."""
        fans = dim, self.width, dim, self.width
        drawn = zip(jax.random.split(key, 4), self.shapes(dim), fans, strict=False)
        return tuple(
            jax.random.uniform(key, shape, dtype, -(fan**-0.5), fan**-0.5)
            for key, shape, fan in drawn
        )

    def shapes(self, dim: int) -> list[tuple[int, ...]]:
        matrices: list[tuple[int, ...]] = [(self.width, dim)]
        matrices.append((self.classes, self.width))
        return [*matrices, (self.width,), (self.classes,)][: 4 if self.bias else 2]

    def after_first(
        self, params: Weights, z: Float[Array, "n h"]
    ) -> Float[Array, "n c"]:
        _, v, *biases = params
        if not biases:
            return jax.nn.relu(z) @ v.T
        hidden, out = biases
        return jax.nn.relu(z + hidden[None, :]) @ v.T + out[None, :]

    @property
    def num_outputs(self) -> int:
        return self.classes

    @property
    def neurons(self) -> int:
        return self.width

    @property
    def output_scale(self) -> float:
        return 1.0

    @property
    def kernel_scale(self) -> float:
        return 1.0

    def prior_std(self) -> tuple[Any, ...]:
        """Ones: its start is not the law that noise would keep, so it takes none."""
        return (1.0,) * len(self.block_names)

    @property
    def noise_objection(self) -> str:
        return "the start of a ReluClassifier is not Gaussian; use DeepRelu or TwoLayer"

    @property
    def block_names(self) -> list[str]:
        return ["layer_1", "layer_2", "bias_1", "bias_2"][: 4 if self.bias else 2]
