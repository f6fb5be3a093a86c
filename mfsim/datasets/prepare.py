"""What is done to the arrays of any dataset before they are used."""

import numpy as np
from jaxtyping import Float

from mfsim.component import Component, count, static
from mfsim.datasets.arrays import Data
from mfsim.datasets.draws import stream
from mfsim.errors import ConfigError


class Prepare(Component):
    """Subset, then PCA, then unit norm, then bias; each is off unless asked for.

    Attributes:
        unit_norm: Divide each input by its norm: x <- x/|x|.
        pca: Number r of principal directions V (d, r) kept: x <- V^T (x - mean), with
            mean and V from the training inputs alone, directions by falling variance,
            the largest entry of each positive.
        bias: Append a constant last input 1; after `unit_norm`, so that |x|^2 = 2.
        subset: Number of training points kept, drawn with the dataset's seed, in their
            order; a smaller subset is part of a larger one. The test set stays.
    """

    unit_norm: bool = static(False)
    pca: int | None = count(None)
    bias: bool = static(False)
    subset: int | None = count(None)

    def apply(self, data: Data, seed: int) -> Data:
        """The prepared arrays; those of `data` are left as they are.

        Raises:
            ConfigError: If the data do not admit it; the message begins with
                `prepare.` and the field's name.
        """
        if self.subset is not None:
            data = _subset(data, self.subset, seed)
        if self.pca is not None:
            data = _project(data, self.pca)
        if self.unit_norm:
            data = data._replace(
                x_train=_unit_rows("x_train", data.x_train),
                x_test=_unit_rows("x_test", data.x_test),
            )
        if self.bias:
            data = data._replace(
                x_train=_with_bias(data.x_train), x_test=_with_bias(data.x_test)
            )
        return data


def _subset(data: Data, size: int, seed: int) -> Data:
    num_train = len(data.x_train)
    if size > num_train:
        raise ConfigError(
            f"prepare.subset must be at most {num_train}, the number of training "
            f"points, got {size}."
        )
    kept = np.sort(stream(seed, "subset").permutation(num_train)[:size])
    return data._replace(x_train=data.x_train[kept], y_train=data.y_train[kept])


def _project(data: Data, rank: int) -> Data:
    mean, directions = _principal_directions(data.x_train, rank)
    return data._replace(
        x_train=(data.x_train - mean) @ directions,
        x_test=(data.x_test - mean) @ directions,
    )


def _principal_directions(
    x: Float[np.ndarray, "n d"], rank: int
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d r"]]:
    from sklearn.decomposition import PCA

    most = min(len(x) - 1, x.shape[1])
    if rank > most:
        raise ConfigError(
            f"prepare.pca must be at most {most} (inputs of dimension {x.shape[1]}, "
            f"{len(x)} training points, one less once centred), got {rank}."
        )
    if np.all(x == x[0]):
        raise ConfigError(
            "prepare.pca must have inputs that differ, got one input repeated; "
            "leave pca out."
        )
    fit = PCA(n_components=rank, svd_solver="full").fit(x)
    directions = np.asarray(fit.components_).T
    # scikit-learn has changed its sign convention between releases.
    largest = np.abs(directions).argmax(axis=0)
    return fit.mean_, directions * np.sign(directions[largest, np.arange(rank)])


def _unit_rows(name: str, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    largest = np.abs(x).max(axis=1, keepdims=True)
    zero = np.flatnonzero(largest == 0)
    if zero.size:
        raise ConfigError(
            f"prepare.unit_norm must have inputs other than zero, got {name} row "
            f"{zero[0]} (from 0); remove that row."
        )
    # Dividing by the largest entry first keeps the squares from over- or underflowing.
    x = x / largest
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _with_bias(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
    return np.hstack([x, np.ones((len(x), 1))])
