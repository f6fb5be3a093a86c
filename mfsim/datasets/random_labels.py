"""The inputs of another dataset with labels that mean nothing."""

import numpy as np
from jaxtyping import Float

from mfsim.component import count
from mfsim.datasets.base import AbstractDataset, stream
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError


class RandomLabels(AbstractDataset):
    """Labels by a fair coin or a fair die, on the inputs of another dataset.

    Attributes:
        dataset: Where the inputs come from, prepared as it says.
        num_classes: Number c of classes, labelled 0, ..., c - 1; unless given -1 or 1.
        seed: Of the labels; the inputs are drawn from the seed of `dataset`.
        prepare: What is done to the arrays, after the preparation of `dataset`.
    """

    dataset: AbstractDataset
    num_classes: int | None = count(None, at_least=2)
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def raw(self):
        try:
            data = self.dataset.load()
        except ConfigError as error:
            raise ConfigError(f"dataset.{error}") from error
        return data._replace(
            y_train=self._draw("random train labels", len(data.x_train)),
            y_test=self._draw("random test labels", len(data.x_test)),
        )

    def _draw(self, name: str, num: int) -> Float[np.ndarray, " n"]:
        c = self.num_classes
        faces = [-1.0, 1.0] if c is None else np.arange(float(c))
        return stream(self.seed, name).choice(faces, num)
