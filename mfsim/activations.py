"""Activations h(z) of the networks, their derivatives and the bounds of these."""

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import erf
from jaxtyping import Array, Float

from mfsim.component import Component, real


class SmoothnessConstants(NamedTuple):
    """G_1 ... G_7: bounds of h and its derivatives over all z.

    Fields:
        g1, g2: |h(z)| <= g1 |z| + g2.
        g3: |h'(z)| <= g3.
        g4: |h''(z)| <= g4.
        g5: |(z h'(z))'| <= g5.
        g6: |h'''(z)| <= g6.
        g7: |h(z)| <= g7, infinite where h is unbounded.

    Source: Chen et al. 2020, assumptions of sec. 4.
    """

    g1: float
    g2: float
    g3: float
    g4: float
    g5: float
    g6: float
    g7: float


class AbstractActivation(Component):
    """A scalar function h, applied to every entry of an array."""

    smooth: ClassVar[bool] = True
    """Whether h'' exists; where it does not, what needs it is refused by name."""

    end_slopes: ClassVar[tuple[float, float]]
    """The limits of h(z)/z as z tends to -infinity and to infinity."""

    @property
    def constants(self) -> SmoothnessConstants | None:
        """The constants G_1 ... G_7; None where there are none, or none are known."""
        return None

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

    @property
    def constants(self):
        return SmoothnessConstants(0.0, 1.0, 1.0, 4 / 3**1.5, 1.0, 2.0, 1.0)

    def __call__(self, z):
        return jnp.tanh(z)


class Erf(AbstractActivation):
    """h(z) = erf z = (2/sqrt(pi)) int_0^z exp(-s^2) ds."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @property
    def constants(self):
        first = 2 / math.sqrt(math.pi)
        second = first * math.sqrt(2 / math.e)
        return SmoothnessConstants(0.0, 1.0, first, second, first, 2 * first, 1.0)

    def __call__(self, z):
        return erf(z)


class Softplus(AbstractActivation):
    """h(z) = log(1 + exp(beta z))/beta, which tends to Relu as beta grows."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 1.0)
    beta: float = real(1.0, above=0.0)

    @property
    def constants(self):
        # The supremum of s(z) + z s(z) s(-z), s the logistic function, at z = 2.3994.
        turn, third = 1.09984, self.beta**2 * 3**-1.5 / 2
        shift = math.log(2) / self.beta
        second = self.beta / 4
        return SmoothnessConstants(1.0, shift, 1.0, second, turn, third, math.inf)

    def __call__(self, z):
        return jax.nn.softplus(self.beta * z) / self.beta


class Sigmoid(AbstractActivation):
    """h(z) = 1/(1 + exp(-z))."""

    end_slopes: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @property
    def constants(self):
        return SmoothnessConstants(0.0, 1.0, 0.25, 3**-1.5 / 2, 0.25, 0.125, 1.0)

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

    @property
    def constants(self):
        return SmoothnessConstants(1.0, 0.0, 1.0, 0.0, 1.0, 0.0, math.inf)

    def __call__(self, z):
        return z
