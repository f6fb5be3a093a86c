"""Exponential Langevin: the Ornstein-Uhlenbeck part exact, the force frozen."""

from typing import Literal

import jax.numpy as jnp

from mfsim.component import count, real
from mfsim.integrators.base import AbstractStepper


class ExponentialLangevin(AbstractStepper):
    """theta <- e^{-a} theta + eta (1 - e^{-a})/a b + sigma sqrt(1 - e^{-2a}) xi.

    a = lambda eta/sigma^2, block by block. With no data p_0 is invariant exactly;
    lambda = 0 is gradient descent. Weak order 1, as b is frozen over the step.

    Fields:
        step: Step eta in the schedule's unit of time, or "auto".
        batch_size: Training points a step; all of them unless given.
    """

    step: float | Literal["auto"] = real(above=0.0)
    batch_size: int | None = count(None)

    def update(self, theta, force, noise, step, temperature, std):
        a = temperature * step / std**2
        weight = jnp.where(a > 0, -jnp.expm1(-a) / jnp.where(a > 0, a, 1), 1)
        spread = std * jnp.sqrt(-jnp.expm1(-2 * a))
        # Rounding e^{-a} to 1 would lose the decay; expm1 keeps it.
        return theta + (jnp.expm1(-a) * theta + step * weight * force + spread * noise)
