"""The parity of a few of many bits."""

import numpy as np
from jaxtyping import Float

from mfsim.component import count
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.prepare import Prepare


class Parity(AbstractDataset):
    """y = product of the signs of the first k inputs, x in {-1, 1}^d / sqrt(d).

    The bits are drawn independently, so at small d a test point may also be a training
    point. As p_0 does not tell inputs apart, the first k stand for any k.

    Attributes:
        dim: Dimension d of the inputs.
        num_train: Number n of training points.
        num_test: Number of test points.
        order: Number k of inputs that count.
        seed: Of the inputs, training and test in their own streams.
        prepare: What is done to the arrays.
    """

    dim: int = count()
    num_train: int = count()
    num_test: int = count(1000, at_least=0)
    order: int = count(2)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.order > self.dim:
            raise ValueError(
                f"order must be at most dim = {self.dim}, got {self.order}; lower it."
            )

    def raw(self):
        train = self._bits("train inputs", self.num_train)
        test = self._bits("test inputs", self.num_test)
        y_train, y_test = self._parity(train), self._parity(test)
        return Data(train / self.dim**0.5, y_train, test / self.dim**0.5, y_test)

    def _bits(self, name: str, num: int) -> Float[np.ndarray, "n d"]:
        return stream(self.seed, name).choice([-1.0, 1.0], (num, self.dim))

    def _parity(self, bits: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        return bits[:, : self.order].prod(axis=1)
