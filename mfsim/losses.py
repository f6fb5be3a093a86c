"""Losses phi(f, y) of a prediction f and a label y."""

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py, xlogy
from jaxtyping import Array, Float

from mfsim.component import Component


class AbstractLoss(Component):
    """A convex function of what a network puts out at a point, given its label."""

    of_classes: ClassVar[bool] = False
    """Whether it takes an output for each class, and the class's number as label."""

    max_curvature: ClassVar[float]
    """The largest second derivative in f, which sets the stable step."""

    @abstractmethod
    def __call__(
        self, f: Float[Array, "*n c"], y: Float[Array, "*n"]
    ) -> Float[Array, "*n"]:
        """The loss phi(f, y); of one output `f` has the shape of `y`."""

    @abstractmethod
    def derivative(
        self, f: Float[Array, "*n c"], y: Float[Array, "*n"]
    ) -> Float[Array, "*n c"]:
        """The derivative of phi in f."""

    @abstractmethod
    def check_labels(self, y: np.ndarray) -> None:
        """Raise ValueError, with the name `labels` first, if `y` does not suit."""


class AbstractScalarLoss(AbstractLoss):
    """A convex function of one output, applied point by point."""

    @abstractmethod
    def curvature(
        self, f: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The second derivative of phi in f."""

    @abstractmethod
    def conjugate(
        self, g: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The convex conjugate phi*(g; y) = sup_f (g f - phi(f, y)); may be infinite.

        Fenchel and Young: phi(f, y) + phi*(g; y) >= g f, equal at g = phi'(f, y).
        """

    @abstractmethod
    def conjugate_derivative(
        self, g: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The derivative of phi* in g, inverse to that of phi in f."""

    @abstractmethod
    def conjugate_curvature(
        self, g: Float[Array, "..."], y: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The second derivative of phi* in g."""


class SquaredError(AbstractScalarLoss):
    """phi(f, y) = (f - y)^2, without a half (Chen et al. 2020, sec. 3)."""

    max_curvature: ClassVar[float] = 2.0

    def __call__(self, f, y):
        return jnp.square(f - y)

    def derivative(self, f, y):
        return 2 * (f - y)

    def curvature(self, f, y):
        return jnp.full_like(f - y, 2.0)

    def conjugate(self, g, y):
        return jnp.square(g) / 4 + g * y

    def conjugate_derivative(self, g, y):
        return g / 2 + y

    def conjugate_curvature(self, g, y):
        return jnp.full_like(g - y, 0.5)

    def check_labels(self, y):
        pass


class Logistic(AbstractScalarLoss):
    """phi(f, y) = log(1 + exp(-y f)) for labels y = -1 or 1.

    With s = -y g: phi* = s log s + (1 - s) log(1 - s) on [0, 1], infinite outside.
    """

    max_curvature: ClassVar[float] = 0.25

    def __call__(self, f, y):
        return jax.nn.softplus(-y * f)

    def derivative(self, f, y):
        return -y * jax.nn.sigmoid(-y * f)

    def curvature(self, f, y):
        return jnp.square(y) * jax.nn.sigmoid(f) * jax.nn.sigmoid(-f)

    def conjugate(self, g, y):
        s = -y * g
        inside = (s >= 0) & (s <= 1)
        s = jnp.where(inside, s, 0.5)
        return jnp.where(inside, xlogy(s, s) + xlog1py(1 - s, -s), jnp.inf)

    def conjugate_derivative(self, g, y):
        s = -y * g
        return -y * (jnp.log(s) - jnp.log1p(-s))

    def conjugate_curvature(self, g, y):
        s = -y * g
        return 1 / (s * (1 - s))

    def check_labels(self, y):
        others = np.unique(y[np.abs(y) != 1])
        if others.size:
            raise ValueError(
                f"labels must be -1 or 1 for the Logistic loss, got {others[0]:g}; "
                "use SquaredError or relabel."
            )


class SoftmaxCrossEntropy(AbstractLoss):
    """phi(f, y) = log sum_k exp(f_k) - f_y for c outputs and labels 0, ..., c - 1."""

    of_classes: ClassVar[bool] = True
    # Of p_k (1 - p_k) the largest is 1/4; along e_j - e_k the Hessian reaches 1/2.
    max_curvature: ClassVar[float] = 0.5

    def __call__(self, f, y):
        return -of_label(jax.nn.log_softmax(f, axis=-1), y)

    def derivative(self, f, y):
        is_label = jax.nn.one_hot(y.astype(jnp.int32), f.shape[-1], dtype=f.dtype)
        return jax.nn.softmax(f, axis=-1) - is_label

    def check_labels(self, y):
        wrong = y[(y < 0) | (y != np.round(y))]
        if wrong.size:
            raise ValueError(
                "labels must be the numbers 0, 1, ... of classes for the "
                f"SoftmaxCrossEntropy loss, got {wrong[0]:g}; relabel, of images by "
                "labels = 'classes', of RandomLabels by its number of classes."
            )


def of_label(
    f: Float[Array | np.ndarray, "*n c"], y: Float[Array | np.ndarray, "*n"]
) -> Float[Array, "*n"]:
    """The output of each point's own class."""
    return jnp.take_along_axis(f, y.astype(jnp.int32)[..., None], axis=-1)[..., 0]
