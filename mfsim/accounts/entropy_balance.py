"""The entropy balance: upper bounds on KL(p_t || p_0) from what the flow itself does.

    d/dt KL = S(t) - lambda I(t),   S = E[b . grad V_0 - div b],
                                    I = E |grad log(p_t/p_0)|^2 >= I_psi, 2 KL/sigma_max^2

so that whatever bounds I from below, integrated along the path, bounds KL from above.
Derivations: docs/numerics.md, "kl_upper".
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.accounts.base import AbstractAccount, Step, Sum, takes_all
from mfsim.divergences.gaussian import (
    Estimate,
    Pairs,
    affine_fisher,
    standard_error,
)
from mfsim.flows import AbstractFlow, State
from mfsim.flows.base import Batch
from mfsim.accounts.population import moving_coordinates, pairs_of, principal_axes

_SHARE = 0.1
"""Most that looks at I_psi may cost of a step, in multiplications."""
_ACTIVATION = 20
"""Multiplications that an activation and its derivatives are worth."""


class Kept(NamedTuple):
    """The balance, neuron by neuron, whose means are the bounds; `None` if absent.

    Attributes:
        axes: Directions of w on which I_psi is taken; all of them if None.
        free: The bound of production, but for I since the last look at it.
        decayed: The bound of production with log-Sobolev since the last look.
        fisher: I_psi at the last look.
        path: The bound of the path.
        least: Least of lambda kl_upper(s) + L(s) over looks at times s so far, and the
            standard error of kl_upper there.
    """

    axes: Float[Array, "d r"] | None
    free: Sum | None
    decayed: Sum | None
    fisher: Float[Array, " m"] | None
    path: Sum | None
    least: Estimate | None


class Bounds(NamedTuple):
    """Upper bounds on KL(p_t || p_0), in nats; infinite where one cannot be had."""

    production: Estimate
    path: Estimate
    energy: Estimate

    def least(self) -> Estimate:
        """The least of them."""
        values = jnp.stack([bound.value for bound in self])
        errors = jnp.stack([bound.error for bound in self])
        chosen = jnp.argmin(values)
        return Estimate(values[chosen], errors[chosen])


class EntropyBalance(AbstractAccount):
    """Bounds of production, path and energy on KL(p_t || p_0).

    Fields:
        fisher_every: Steps between looks at I_psi; unless given as many as keep its
            cost below a tenth of the steps'.

    Source: Chen et al. 2020, Lemma B.1, with log-Sobolev, Girsanov and Q decreasing.
    """

    fisher_every: int | None = eqx.field(static=True, default=None)

    def begin(
        self, flow: AbstractFlow, integrator: Any, batch: Batch, state: State
    ) -> Kept:
        leaf = jax.tree.leaves(state.params)[0]
        size, dtype = leaf.shape[0], leaf.dtype
        made = jax.eval_shape(flow.production, state, batch, batch[1])
        produces = made is not None and takes_all(integrator)
        diffuses = not _is_zero(flow)
        zeros = Sum.zeros((size,), dtype)
        empty = zeros.total
        return Kept(
            principal_axes(flow, batch, size) if diffuses and produces else None,
            zeros if produces else None,
            zeros if produces and diffuses else None,
            empty if produces and diffuses else None,
            zeros if diffuses else None,
            Estimate(empty.sum() + jnp.inf, empty.sum()) if diffuses else None,
        )

    def add(self, kept: Kept, step: Step) -> Kept:
        kept = _produce(kept, step, step.rates.production)
        if kept.path is None:
            return kept
        is_due = step.index % self.looks_every(kept, step) == 0
        kept = jax.lax.cond(is_due, lambda k: self._look(k, step), lambda k: k, kept)
        return kept._replace(path=kept.path.add(_path_terms(step)))

    def read(self, kept: Kept, now: Step) -> Bounds:
        """The bounds; the sums themselves stay as they are."""
        last = now.flow.production(now.state, now.batch, 0.5 * now.before)
        kept = _produce(kept, now, last)
        if kept.path is not None:
            kept = self._look(kept, now)
        pairs = now.flow.network.antithetic
        none = jnp.asarray(jnp.inf), jnp.asarray(jnp.nan)

        def bound(total: Sum | None) -> Estimate:
            if total is None:
                return Estimate(*none)
            terms = _wide(total.total) + _wide(total.lost)
            return Estimate(terms.mean(), standard_error(terms, pairs))

        production = bound(kept.free)
        if kept.path is None:
            return Bounds(production, Estimate(*none), Estimate(*none))
        energy = self._energy(kept, now)
        has_noise = jnp.asarray(now.flow.temperature) > 0
        path, energy = (
            Estimate(*(jnp.where(has_noise, a, b) for a, b in zip(e, none, strict=True)))
            for e in (bound(kept.path), energy if now.is_full else Estimate(*none))
        )
        return Bounds(production, path, energy)

    def _energy(self, kept: Kept, now: Step) -> Estimate:
        """From the decrease of Q; the risk of m neurons holds lambda n/2m of noise."""
        reached: Any = kept.least
        fallen = _wide(reached.value - now.rates.risk) / _wide(now.flow.temperature)
        noise = len(now.batch[1]) / (2 * now.flow.network.width)
        return Estimate(fallen + noise, _wide(reached.error))

    def looks_every(self, kept: Kept, step: Step) -> int:
        """Steps between looks at I_psi."""
        if self.fisher_every is not None:
            return self.fisher_every
        if kept.fisher is None:
            return 1
        samples, dim = step.batch[0].shape
        size = (dim if kept.axes is None else kept.axes.shape[1]) + 1
        look = 2 * size**2 + (0 if kept.axes is None else 2 * dim * size)
        return max(1, math.ceil(look / (_SHARE * samples * (2 * dim + _ACTIVATION))))

    def _look(self, kept: Kept, step: Step) -> Kept:
        """Settle with I_psi since the last look; keep the lesser of the bounds."""
        if kept.fisher is not None:
            kept = self._settle(kept, step)
        # Without noise there is no path; zero would pass for a bound.
        has_noise = step.flow.temperature > 0
        bounds = [jnp.where(has_noise, kept.path.value, jnp.inf)]
        bounds += [] if kept.free is None else [kept.free.value]
        means = jnp.stack([bound.mean() for bound in bounds])
        best = jnp.argmin(means)
        error = standard_error(jnp.stack(bounds)[best], step.flow.network.antithetic)
        reached = step.flow.temperature * means[best] + step.rates.risk
        is_less = reached < kept.least.value
        now = Estimate(reached.astype(error.dtype), error)
        least = jax.tree.map(lambda a, b: jnp.where(is_less, a, b), now, kept.least)
        return kept._replace(least=least)

    def _settle(self, kept: Kept, step: Step) -> Kept:
        fisher = _fisher(step, kept.axes).astype(kept.fisher.dtype)
        every = self.looks_every(kept, step)
        since = step.index - (step.index - 1) // every * every
        steps = jnp.where(step.index > 0, since, 0).astype(fisher.dtype)
        span = 0.5 * steps * step.integrator.step * step.flow.temperature
        settled = kept.free.add(-span * (kept.fisher + fisher))
        is_less = settled.value.mean() < kept.decayed.value.mean()
        chosen = jax.tree.map(
            lambda a, b: jnp.where(is_less, a, b), settled, kept.decayed
        )
        return kept._replace(free=chosen, decayed=chosen, fisher=fisher)


def _produce(kept: Kept, step: Step, rate: Array | None) -> Kept:
    """Production of one more step, at a rate.

    The force is frozen over a step, so that its trapezoid rule takes the slopes of the
    step at both ends: at a state, the mean of those before and after it.
    """
    if rate is None or kept.free is None:
        return kept
    made = (rate * step.integrator.step).astype(rate.dtype)
    free, decayed = kept.free.add(made), kept.decayed
    if decayed is not None:
        scale = jnp.where(step.index > 0, _sobolev(step) * step.integrator.step, 0.0)
        scale = scale.astype(rate.dtype)
        lost = jnp.expm1(-scale)
        weight = jnp.where(scale > 0, -lost / jnp.where(scale > 0, scale, 1), 1)
        decayed = decayed.add(lost * decayed.total + weight * made)
    return kept._replace(free=free, decayed=decayed)


def _is_zero(flow: AbstractFlow) -> bool:
    """Whether no member has noise: then there is nothing to keep of it."""
    return isinstance(flow.temperature, float) and flow.temperature == 0


def _wide(value: Any) -> Array:
    """In double precision where there is one."""
    return jnp.asarray(value).astype(float)


def _sobolev(step: Step) -> Any:
    """The rate 2 lambda/sigma_max^2 of log-Sobolev over the blocks that move."""
    std = step.flow.prior_std()
    moving, _ = eqx.partition(std, step.flow.network.trainable_mask(std))
    widest = jnp.max(jnp.stack([jnp.asarray(s) for s in jax.tree.leaves(moving)]))
    return 2 * step.flow.temperature / jnp.square(widest)


def _path_terms(step: Step) -> Array:
    """What a step adds to the bound of the path, neuron by neuron."""
    std, temperature = step.flow.prior_std(), step.flow.temperature
    safe = jnp.where(temperature > 0, temperature, 1.0)
    terms = [
        step.integrator.path_weight(safe, s) * work
        for work, s in zip(step.rates.work, std, strict=True)
        if work is not None
    ]
    total: Any = sum(terms)
    return jnp.where(temperature > 0, total, 0.0).astype(total.dtype)


def _fisher(step: Step, axes: Array | None) -> Array:
    """I_psi neuron by neuron, at the shadow-corrected moments."""
    pairs = pairs_of(step.flow, step.state, axes)
    functional = affine_fisher(pairs.std, moving_coordinates(step.flow, pairs))
    mean, covariance = pairs.moments()
    wide = _wide(mean), _wide(covariance)
    value, gradient = jax.value_and_grad(
        lambda m, c: functional(m, c), argnums=(0, 1)
    )(*wide)
    dtype = pairs.particles.dtype
    influence = pairs.influence(jax.tree.map(lambda a: a.astype(dtype), gradient))
    return value.astype(dtype) + influence
