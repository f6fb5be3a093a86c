"""Noisy gradient descent: the Euler-Maruyama scheme."""

from typing import Literal

import jax.numpy as jnp

from mfsim.component import count, real
from mfsim.integrators.langevin import AbstractLangevinStepper


class NoisyGD(AbstractLangevinStepper):
    """theta <- theta + eta (b - lambda theta/sigma^2) + sqrt(2 lambda eta) xi.

    Gradient descent where lambda = 0, stochastic gradient descent with a `batch_size`.
    Weak order 1; stable for eta < 2 n/(phi''_max alpha^2 lambda_max(H)).

    Fields:
        step: Step eta in the schedule's unit of time, or "auto".
        batch_size: Training points a step; all of them unless given.

    Source: Chen et al. 2020, Algorithm 1, in the time t = eta k.
    """

    step: float | Literal["auto"] = real(above=0.0)
    batch_size: int | None = count(None)

    def update(self, theta, force, noise, step, temperature, std):
        velocity = force - temperature / std**2 * theta
        return theta + step * velocity + jnp.sqrt(2 * temperature * step) * noise
