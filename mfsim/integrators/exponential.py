"""Exponential Langevin: the Ornstein-Uhlenbeck part exact, the force frozen."""

from typing import Any, Literal

import jax.numpy as jnp

from mfsim.component import count, real
from mfsim.integrators.langevin import AbstractLangevinStepper
from mfsim.integrators.noise import free_change


class ExponentialLangevin(AbstractLangevinStepper):
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
        free = free_change(theta, noise, step, temperature, std)
        return theta + (free + step * weight * force)

    def path_weight(self, temperature: Any, std: Any) -> Any:
        """(eta/4 lambda) tanh(a/2)/(a/2): exactly the chain's own, below eta/4 lambda.

        The step's two normal laws differ by (1 - e^{-a}) sigma^2 b/lambda in the mean
        and have variance sigma^2 (1 - e^{-2a}).
        """
        half = temperature * self.step / (2 * std**2)
        # 0/0 where a underflows.
        share = jnp.where(half > 0, jnp.tanh(half) / jnp.where(half > 0, half, 1), 1)
        return share * self.step / (4 * temperature)
