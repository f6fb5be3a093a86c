"""The inputs of another dataset with labels that mean nothing."""

import numpy as np
from jaxtyping import Float

from mfsim.component import count
from mfsim.datasets.base import AbstractDataset, stream
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError


class RandomLabels(AbstractDataset):
    """y = -1 or 1 by a fair coin, on the inputs of another dataset.

    Attributes:
        dataset: Where the inputs come from, prepared as it says.
        seed: Of the labels; the inputs are drawn from the seed of `dataset`.
        prepare: What is done to the arrays, after the preparation of `dataset`.
    """

    dataset: AbstractDataset
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def raw(self):
        try:
            data = self.dataset.load()
        except ConfigError as error:
            raise ConfigError(f"dataset.{error}") from error
        return data._replace(
            y_train=self._coins("random train labels", len(data.x_train)),
            y_test=self._coins("random test labels", len(data.x_test)),
        )

    def _coins(self, name: str, num: int) -> Float[np.ndarray, " n"]:
        return stream(self.seed, name).choice([-1.0, 1.0], num)
