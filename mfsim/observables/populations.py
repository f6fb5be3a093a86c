"""The neurons and their shadow as observables look at them, once a save."""

from typing import Any

from jaxtyping import Array, Float

from mfsim.accounts.population import pairs_of, principal_axes
from mfsim.divergences.gaussian import Pairs
from mfsim.flows import ParticleFlow
from mfsim.observables.base import AbstractObservable, Look

_LEAST_WIDTH = 4
"""Two antithetic pairs."""


def all_pairs(look: Look) -> Pairs:
    """Every coordinate of the neurons and their shadow."""
    return pairs_of(look.flow, look.state).widened()


def few_pairs(look: Look) -> Pairs:
    """In coordinates few enough for covariances: `principal_axes` of w, and u."""
    return pairs_of(look.flow, look.state, look.once(_axes)).widened()


def _axes(look: Look) -> Float[Array, "d r"] | None:
    batch = look.data.x_train, look.data.y_train
    return principal_axes(look.flow, batch, look.flow.network.width)


def need_shadow(observable: AbstractObservable, flow: Any) -> None:
    """Refuse a flow without neurons, with too few, or without their shadow.

    Raises:
        ValueError: Names the observable, what it needs and what there is instead.
    """
    name = type(observable).__name__
    if not isinstance(flow, ParticleFlow):
        raise ValueError(
            f"{name} must be given a flow of kind ParticleFlow, got "
            f"{type(flow).__name__}; leave it out: on a grid KL, FreeEnergy, ChiSquare "
            "and Wasserstein are exact."
        )
    if flow.network.width < _LEAST_WIDTH:
        raise ValueError(
            f"{name} must be given at least {_LEAST_WIDTH} neurons for its standard "
            f"errors, got {flow.network.width}; take a larger width."
        )
    if not flow.shadow:
        raise ValueError(
            f"{name} must have the shadow population, got flow.shadow = false; set it "
            "to true, or leave the observable out and record Displacement."
        )
