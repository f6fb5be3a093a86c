"""Two classes on the unit sphere, apart by a margin."""

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, betaincinv

from mfsim.component import count, real
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.draws import uniform_on_sphere
from mfsim.datasets.prepare import Prepare


class TwoClassSphere(AbstractDataset):
    """y = sign(v.x), x uniform on the part of the unit sphere where |v.x| >= margin.

    Points of different classes are at least 2 margin apart.

    Attributes:
        dim: Dimension d of the inputs, at least 2.
        num_train: Number n of training points.
        num_test: Number of test points.
        margin: Least |v.x|, from 0 to below 1; at large d, |v.x| hardly exceeds it.
        seed: Of the direction v, the inputs and the labels, each in its own stream.
        prepare: What is done to the arrays.
    """

    dim: int = count(at_least=2)
    num_train: int = count()
    num_test: int = count(1000, at_least=0)
    margin: float = real(0.1, at_least=0.0)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.margin >= 1:
            raise ValueError(f"margin must be below 1, got {self.margin}.")
        if self._mass() == 0:
            raise ValueError(
                f"margin must leave some of the sphere in dim = {self.dim}, "
                f"got {self.margin}; lower it."
            )

    def raw(self):
        return Data(
            *self._draw("train", self.num_train), *self._draw("test", self.num_test)
        )

    def direction(self) -> Float[np.ndarray, " d"]:
        """The unit vector v between the classes."""
        return uniform_on_sphere(stream(self.seed, "teacher"), 1, self.dim)[0]

    def _draw(
        self, part: str, num: int
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        v = self.direction()
        y = stream(self.seed, f"{part} labels").choice([-1.0, 1.0], num)
        across = stream(self.seed, f"{part} inputs").standard_normal((num, self.dim))
        across -= np.outer(across @ v, v)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        along = self._heights(stream(self.seed, f"{part} heights").random(num))
        return np.outer(y * along, v) + np.sqrt(1 - along**2)[:, None] * across, y

    def _mass(self) -> float:
        return betainc((self.dim - 1) / 2, 0.5, 1 - self.margin**2)

    def _heights(self, uniform: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """|v.x| by inversion: 1 - (v.x)^2 ~ Beta((d - 1)/2, 1/2), cut at the margin."""
        beta = betaincinv((self.dim - 1) / 2, 0.5, uniform * self._mass())
        return np.maximum(np.sqrt(1 - beta), self.margin)
