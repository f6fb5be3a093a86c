"""The Fisher information that affine fields see, of the neurons against p_0."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.accounts.base import Step
from mfsim.accounts.population import moving_coordinates, pairs_of
from mfsim.divergences.gaussian import Functional, affine_fisher


class Fisher(NamedTuple):
    """I_psi of a state, and what each neuron adds to it."""

    value: Float[Array, ""]
    influence: Float[Array, " m"]


def affine_information(step: Step, axes: Array | None) -> Fisher:
    """I_psi of the neurons less that of their shadow, whose true value is zero.

    Each is D(D + 2)/m too high, as psi is fitted to the sample that it is tried on.
    """
    pairs = pairs_of(step.flow, step.state, axes)
    moves = moving_coordinates(step.flow, pairs)
    functional = affine_fisher(pairs.std.astype(float), moves)
    both = [_of_sample(functional, a) for a in (pairs.particles, pairs.shadow)]
    return jax.tree.map(jnp.subtract, *both)


def _of_sample(functional: Functional, points: Array) -> Fisher:
    """A functional of the moments of a sample, and what each point adds to it."""
    mean = points.mean(axis=0)
    centred = points - mean[None, :]
    covariance = centred.T @ centred / len(points)
    moments = mean.astype(float), covariance.astype(float)
    value, gradient = jax.value_and_grad(functional, argnums=(0, 1))(*moments)
    in_mean, in_covariance = (a.astype(points.dtype) for a in gradient)
    quadratic = ((centred @ in_covariance) * centred).sum(axis=1)
    influence = centred @ in_mean + quadratic - quadratic.mean()
    return Fisher(value.astype(points.dtype), influence)
