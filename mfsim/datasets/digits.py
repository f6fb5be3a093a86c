"""The handwritten digits that come with scikit-learn."""

import numpy as np
from jaxtyping import Float

from mfsim.component import count, static
from mfsim.datasets.base import AbstractDataset, Data, stream
from mfsim.datasets.images import Labels, label
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError


class Digits(AbstractDataset):
    """1797 handwritten digits, 8x8 pixels from 0 to 1: two classes, or all ten.

    Attributes:
        classes: The two digits labelled -1 and 1, in this order; without it all ten,
            labelled (digit - 4.5)/4.5, from -1 to 1.
        num_train: Number n of training images; three quarters unless given.
        num_test: Number of test images; a quarter unless given, or what is left.
            It does not change which images are trained on.
        labels: "scaled", as said, or "classes": numbers 0, 1, ... of the classes, as
            SoftmaxCrossEntropy wants them.
        seed: Of the split into training and test images.
        prepare: What is done to the arrays.

    Source: scikit-learn `load_digits`, the test part of the UCI ML hand-written digits
    (Alpaydin, Kaynak 1998); needs no download.
    """

    classes: tuple[int, int] | None = static(None)
    num_train: int | None = count(None)
    num_test: int | None = count(None, at_least=0)
    labels: Labels = static("scaled")
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.classes is None:
            return
        if len(set(self.classes)) != 2 or not set(self.classes) <= set(range(10)):
            raise ValueError(
                f"classes must be two different digits from 0 to 9, got {self.classes}."
            )

    def raw(self):
        x, y = self._labelled()
        order = stream(self.seed, "split").permutation(len(y))
        num_train, num_test = self._sizes(len(y))
        # The test set is taken from the far end, so that neither size moves the other.
        train, test = order[:num_train], order[::-1][:num_test]
        return Data(x[train], y[train], x[test], y[test])

    def _labelled(self) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        x, digits = np.asarray(pixels) / 16, np.asarray(digits)
        if self.classes is not None:
            kept = np.isin(digits, self.classes)
            x, digits = x[kept], digits[kept]
        return x, label(digits, self.classes, self.labels)

    def _sizes(self, total: int) -> tuple[int, int]:
        num_train = total - total // 4 if self.num_train is None else self.num_train
        if num_train > total:
            raise ConfigError(
                f"num_train must be at most {total}, the images of these classes, "
                f"got {num_train}."
            )
        left = total - num_train
        num_test = min(total // 4, left) if self.num_test is None else self.num_test
        if num_test > left:
            raise ConfigError(
                f"num_test must be at most {left}, as {num_train} of {total} images "
                f"are trained on, got {num_test}; lower num_train."
            )
        return num_train, num_test
