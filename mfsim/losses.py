"""Losses phi(f, y) of a prediction f and a label y."""

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.component import Component


class AbstractLoss(Component):
    """A convex function of the prediction, applied point by point."""

    max_curvature: ClassVar[float]
    """The largest second derivative in f, which sets the stable step."""

    @abstractmethod
    def __call__(
        self, f: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The loss phi(f, y)."""

    @abstractmethod
    def derivative(
        self, f: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The derivative of phi in f."""

    @abstractmethod
    def check_labels(self, y: np.ndarray) -> None:
        """Raise ValueError, with the name `labels` first, if `y` does not suit."""


class SquaredError(AbstractLoss):
    """phi(f, y) = (f - y)^2, without a half (Chen et al. 2020, sec. 3)."""

    max_curvature: ClassVar[float] = 2.0

    def __call__(self, f, y):
        return jnp.square(f - y)

    def derivative(self, f, y):
        return 2 * (f - y)

    def check_labels(self, y):
        pass


class Logistic(AbstractLoss):
    """phi(f, y) = log(1 + exp(-y f)) for labels y = -1 or 1."""

    max_curvature: ClassVar[float] = 0.25

    def __call__(self, f, y):
        return jax.nn.softplus(-y * f)

    def derivative(self, f, y):
        return -y * jax.nn.sigmoid(-y * f)

    def check_labels(self, y):
        others = np.unique(y[np.abs(y) != 1])
        if others.size:
            raise ValueError(
                f"labels must be -1 or 1 for the Logistic loss, got {others[0]:g}; "
                "use SquaredError or relabel."
            )
