"""Activations h(z) of the networks, with their derivatives."""

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, Float

from mfsim.component import Component, real


class AbstractActivation(Component):
    """A scalar function h, applied to every entry of an array."""

    smooth: ClassVar[bool] = True
    """Whether h'' exists; where it does not, what needs it is refused by name."""

    end_slopes: ClassVar[tuple[float, float]]
    """The limits of h(z)/z as z tends to -infinity and to infinity."""

    @abstractmethod
    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The value h(z)."""

    def value_and_derivative(
        self, z: Float[Array, "..."]
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """h(z) and h'(z) in one pass."""
        return jax.jvp(self, (z,), (jnp.ones_like(z),))

    def derivative(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The derivative h'(z)."""
        return self.value_and_derivative(z)[1]

    def second_derivative(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """The second derivative h''(z); meaningless where `smooth` is false."""
        return jax.jvp(self.derivative, (z,), (jnp.ones_like(z),))[1]


class Tanh(AbstractActivation):
    """h(z) = tanh z."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def __call__(self, z):
        return jnp.tanh(z)


class Erf(AbstractActivation):
    """h(z) = erf z = (2/sqrt(pi)) int_0^z exp(-s^2) ds."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def __call__(self, z):
        return erf(z)


class Softplus(AbstractActivation):
    """h(z) = log(1 + exp(beta z))/beta, which tends to Relu as beta grows."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 1.0)
    beta: float = real(1.0, above=0.0)

    def __call__(self, z):
        return jax.nn.softplus(self.beta * z) / self.beta


class Sigmoid(AbstractActivation):
    """h(z) = 1/(1 + exp(-z))."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def __call__(self, z):
        return jax.nn.sigmoid(z)


class Relu(AbstractActivation):
    """h(z) = max(z, 0), with h'(0) = 0."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 1.0)
    smooth: ClassVar[bool] = False

    def __call__(self, z):
        return jax.nn.relu(z)


class Identity(AbstractActivation):
    """h(z) = z: the exactly solvable network."""

    end_slopes: ClassVar[tuple[float, float]] = (1.0, 1.0)

    def __call__(self, z):
        return z
