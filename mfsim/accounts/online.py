"""Samples judged before they are learned from, and an iterate drawn at random."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from mfsim.accounts.base import AbstractAccount, Step
from mfsim.flows import State
from mfsim.flows.base import Batch, turn

_NEVER = 2.0**31 - 1
"""Runs have fewer steps."""


class Online(NamedTuple):
    """What the samples so far have told.

    Attributes:
        error: Mean over them of [y f <= 0], each before the step that it takes part in.
        risk: Mean loss likewise.
        iterate: Parameters drawn uniformly from those before each step.
    """

    error: Float[Array, ""]
    risk: Float[Array, ""]
    iterate: PyTree


class _Kept(NamedTuple):
    errors: Float[Array, ""]
    risks: Float[Array, ""]
    iterate: PyTree
    next: Int[Array, ""]


class OnlineError(AbstractAccount):
    """Sums the errors of every batch before its step, and keeps a random iterate.

    W^(k) replaces the iterate with probability 1/(k + 1). So the next to do so is that
    of step floor((k + 1)/U), U uniform on (0, 1]: in k steps some log k draws.

    Fields:
        seed: Of the draws, one for each k that is chosen.

    Source: Li 1994, "Reservoir-sampling algorithms of time complexity O(n(1 +
    log(N/n)))", with a reservoir of one.
    """

    seed: int = eqx.field(static=True, default=0)

    def begin(self, flow: Any, integrator: Any, batch: Batch, state: State) -> _Kept:
        zero = jnp.zeros((), float)
        return _Kept(zero, zero, turn(state.params), jnp.asarray(0, jnp.int32))

    def add(self, kept: _Kept, step: Step) -> _Kept:
        key = jax.random.key(self.seed, impl="threefry2x32")
        iterate, after = jax.lax.cond(
            step.index == kept.next,
            lambda now, *_: (now, following(key, step.index)),
            lambda _, *before: before,
            *(turn(step.state.params), kept.iterate, kept.next),
        )
        errors, risks = kept.errors + _error(step), kept.risks + step.rates.risk
        return _Kept(errors, risks, iterate, after)

    def has_looked(self, kept: _Kept) -> Bool[Array, ""]:
        """The next iterate is one of a later step."""
        return kept.next > 0

    def read(self, kept: _Kept, now: Step) -> Online:
        """The means; before the first step those over all training points."""
        done = jnp.maximum(now.index, 1).astype(float)
        begun = now.index > 0
        error = jnp.where(begun, kept.errors / done, _error(now))
        risk = jnp.where(begun, kept.risks / done, now.rates.risk)
        return Online(error, risk, turn(kept.iterate))


def following(key: Key[Array, ""], index: Int[Array, ""]) -> Array:
    """The next step after that of an index whose iterate is chosen."""
    share = 1 - jax.random.uniform(jax.random.fold_in(key, index), dtype=float)
    after = jnp.floor((index + 1).astype(float) / share)
    return jnp.minimum(after, _NEVER).astype(jnp.int32)


def _error(step: Step) -> Float[Array, ""]:
    return (step.rates.outputs * step.batch[1] <= 0).mean(dtype=float)
