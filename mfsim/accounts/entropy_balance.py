"""The entropy balance: upper bounds on KL(p_t || p_0) from what the flow itself does.

    d/dt KL = S - lambda I,  S = E[b . grad V_0 - div b] = alpha E_S[phi' E_p AF],
                             I = E |grad log(p_t/p_0)|^2 >= I_psi, 2 KL/sigma_max^2

so that whatever bounds I from below, integrated along the path, bounds KL from above.
Derivations: docs/numerics.md, "kl_upper".
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mfsim.accounts.base import AbstractAccount, Step, Sum, takes_all
from mfsim.accounts.fisher import Fisher, affine_information
from mfsim.accounts.population import principal_axes
from mfsim.divergences.gaussian import Estimate, standard_error
from mfsim.flows import State
from mfsim.flows.base import Batch

_SHARE = 0.1
"""Most that looks may cost of the steps."""
_ACTIVATION, _GENERATOR = 20, 200
"""Multiplications that h and h' of a step, and A F of a look, are worth; measured."""
_OVERHEAD = 2_000_000
"""Multiplications that the small matrices of a look are worth."""
_EARLY = 20
"""Looks are at most a twentieth of the steps done apart."""


class Bound(NamedTuple):
    """A mean over the neurons, gathered along the path, and what each adds to it."""

    value: Sum
    influence: Sum

    def add(self, term: Array, influence: Array) -> "Bound":
        """The bound with one more term, and what each neuron adds to that."""
        return Bound(self.value.add(term), self.influence.add(influence))

    def estimate(self, antithetic: bool) -> Estimate:
        """The bound with its standard error."""
        error = standard_error(self.influence.wide, antithetic)
        return Estimate(self.value.wide, error)


class Production(NamedTuple):
    """Integrals of the rate S = alpha E_S[phi' E_p A F].

    Attributes:
        pushed: Integral of phi' since the last look, a number a sample.
        moment: The same weighted by the steps since.
        generated: E_p A F at the look.
        total: Integral of S.
        bound: What of it bounds KL.
    """

    pushed: Sum
    moment: Sum
    generated: Float[Array, " n"]
    total: Sum
    bound: Bound


class Kept(NamedTuple):
    """The balance at the last look, and what has gathered since; `None` if absent.

    Attributes:
        axes: Directions of w on which I_psi is taken; all of them if None.
        production: The bound of production; None without h'' or with batches.
        fisher: None without noise, as all below, or without production.
        path: The bound of the path.
        reached: Least of lambda kl_upper(s) + L(s) over looks at times s, and lambda
            times the standard error of kl_upper there; None with batches.
    """

    axes: Float[Array, "d r"] | None
    production: Production | None
    fisher: Fisher | None
    path: Bound | None
    reached: Estimate | None


class Bounds(NamedTuple):
    """Upper bounds on KL(p_t || p_0), in nats; infinite where one cannot be had.

    Attributes:
        production: Entropy produced, less what a bound on I takes.
        path: That of the paths.
        energy: From the decrease of the free energy.
    """

    production: Estimate
    path: Estimate
    energy: Estimate

    def least(self) -> Estimate:
        """The least of them, judged with an error added, as noise favours the noisy."""
        values = jnp.stack([bound.value for bound in self])
        errors = jnp.stack([bound.error for bound in self])
        chosen = jnp.argmin(values + jnp.nan_to_num(errors, nan=0.0))
        return Estimate(values[chosen], errors[chosen])


class EntropyBalance(AbstractAccount):
    """Bounds of production, path and energy on KL(p_t || p_0).

    phi' and |b|^2 are summed at every step. E_p A F and I_psi, which take a pass of
    their own, are looked at now and then and are linear between looks.

    Fields:
        fisher_every: Steps between looks. Unless given, a twentieth of the steps so
            far, and no more than keep the looks' cost below a tenth of the steps'.

    Source: Chen et al. 2020, Lemma B.1, with log-Sobolev, Girsanov and Q decreasing.
    """

    fisher_every: int | None = eqx.field(static=True, default=None)

    def begin(self, flow: Any, integrator: Any, batch: Batch, state: State) -> Kept:
        u = state.params.u
        one, many = Sum.zeros((), u.dtype), Sum.zeros(u.shape, u.dtype)
        samples, bound = Sum.zeros(batch[1].shape, u.dtype), Bound(one, many)
        production = fisher = axes = None
        can_produce = jax.eval_shape(flow.generate, state, *batch) is not None
        if can_produce and takes_all(integrator):
            production = Production(samples, samples, samples.total, one, bound)
        if flow.is_cold:
            return Kept(None, production, None, None, None)
        if production is not None:
            axes = principal_axes(flow, batch, len(u))
            fisher = Fisher(one.total, many.total)
        zero = jnp.zeros((), float)
        # Steps on batches are no descent of Q.
        reached = Estimate(zero + jnp.inf, zero) if takes_all(integrator) else None
        return Kept(axes, production, fisher, bound, reached)

    def add(self, kept: Kept, step: Step) -> Kept:
        spacing = self.spacing(kept, step, step.index)
        is_due = step.index % spacing == 0
        kept = jax.lax.cond(is_due, lambda k: self._look(k, step), lambda k: k, kept)
        if kept.path is not None:
            value = kept.path.value.add(_path_term(step))
            kept = kept._replace(path=kept.path._replace(value=value))
        if kept.production is None:
            return kept
        pushed = step.integrator.step * step.rates.slopes
        # The force is frozen over the step, whose middle counts.
        middle = (step.index % spacing).astype(pushed.dtype) + 0.5
        production = kept.production._replace(
            pushed=kept.production.pushed.add(pushed),
            moment=kept.production.moment.add(middle * pushed),
        )
        return kept._replace(production=production)

    def read(self, kept: Kept, now: Step) -> tuple[Bounds, Array | None]:
        """The bounds, and the integral of S; the sums themselves stay as they are."""
        kept, antithetic = self._look(kept, now), now.flow.network.antithetic
        none = Estimate(jnp.asarray(jnp.inf), jnp.asarray(jnp.nan))
        production, path, energy, produced = none, none, none, None
        if kept.production is not None:
            production = kept.production.bound.estimate(antithetic)
            produced = kept.production.total.wide
        if kept.path is not None:
            path = kept.path.estimate(antithetic)
        if kept.reached is not None:
            energy = _energy(kept.reached, now)
        return Bounds(production, path, energy), produced

    def spacing(self, kept: Kept, step: Step, index: Int[Array, ""]) -> Int[Array, ""]:
        """Steps from one look to the next at a time: multiples of it are looks."""
        if self.fisher_every is not None:
            return jnp.full_like(index, self.fisher_every)
        samples, dim = step.batch[0].shape
        width = len(step.state.params.u)
        size = (dim if kept.axes is None else kept.axes.shape[1]) + 1
        project = 0 if kept.axes is None else 2 * dim * size
        look = samples * width * (dim + _GENERATOR) + (2 * size**2 + project) * width
        steps = _SHARE * samples * width * (2 * dim + _ACTIVATION)
        # Powers of two, so that every look of a wider spacing is one of a narrower.
        most = (max(1, math.ceil((look + _OVERHEAD) / steps)) - 1).bit_length()
        grown = [jnp.where(index >= _EARLY * 2**i, 2**i, 1) for i in range(most + 1)]
        return jnp.max(jnp.stack(grown)).astype(index.dtype)

    def _look(self, kept: Kept, step: Step) -> Kept:
        """Settle what has gathered since the last look, and look again."""
        last = jnp.maximum(step.index - 1, 0)
        spacing = self.spacing(kept, step, last)
        since = step.index - last // spacing * spacing
        if kept.path is not None:
            terms = _path_term(step, by_neuron=True)
            gathered = since.astype(terms.dtype) * (terms - terms.mean())
            influence = kept.path.influence.add(gathered)
            kept = kept._replace(path=kept.path._replace(influence=influence))
        if kept.production is not None:
            kept = _settle(kept, kept.production, step, since)
        if kept.reached is not None:
            kept = kept._replace(reached=_reach(kept, kept.reached, step))
        return kept


def _settle(kept: Kept, before: Production, step: Step, since: Array) -> Kept:
    """Production since the last look, less the larger bound on what noise took."""
    pushed = before.pushed.value
    generated, by_neuron = step.flow.generate(step.state, step.batch[0], pushed)
    rate = step.flow.network.alpha / generated.shape[0]
    steps = jnp.maximum(since, 1).astype(generated.dtype)
    change = before.moment.value @ ((generated - before.generated) / steps)
    made = rate * (pushed @ before.generated + change)
    influence = rate * (by_neuron - by_neuron.mean())
    bound, fisher = before.bound, kept.fisher
    if fisher is None:
        bound = bound.add(made, influence)
    else:
        after = affine_information(step, kept.axes)
        span = since.astype(generated.dtype) * step.integrator.step
        half = 0.5 * span * step.flow.temperature
        taken = Fisher(*(half * (a + b) for a, b in zip(fisher, after, strict=True)))
        bound = _least(bound, made, influence, taken, _sobolev(step) * span)
        fisher = after
    empty = jax.tree.map(jnp.zeros_like, before.pushed)
    total = before.total.add(made)
    return kept._replace(
        production=Production(empty, empty, generated, total, bound), fisher=fisher
    )


def _least(
    bound: Bound, made: Array, influence: Array, taken: Fisher, exponent: Array
) -> Bound:
    """The lesser of the bounds by I_psi and by log-Sobolev, U' = S - 2 lambda U/s^2."""
    lost = jnp.expm1(-exponent)
    # At the first look no time has gone by.
    is_later = exponent > 0
    weight = jnp.where(is_later, -lost / jnp.where(is_later, exponent, 1.0), 1.0)
    by_fisher = made - taken.value
    by_sobolev = lost * bound.value.value + weight * made
    decayed = lost * bound.influence.value + weight * influence
    change = jnp.where(by_fisher < by_sobolev, influence - taken.influence, decayed)
    return bound.add(jnp.minimum(by_fisher, by_sobolev), change)


def _reach(kept: Kept, before: Estimate, step: Step) -> Estimate:
    """The least of lambda kl_upper + L so far.

    Judged with an error added: the lowest excursion of a noisy sum is no bound.
    """
    antithetic, temperature = step.flow.network.antithetic, _wide(step.flow.temperature)
    production = None if kept.production is None else kept.production.bound
    bounds = [bound for bound in (kept.path, production) if bound is not None]
    found = [bound.estimate(antithetic) for bound in bounds]
    values, errors = (jnp.stack(each) for each in zip(*found, strict=True))
    best = jnp.argmin(values + errors)
    energy = temperature * values[best] + step.rates.risk
    now = Estimate(energy, temperature * errors[best])
    is_less = now.value + now.error < before.value + before.error
    return jax.tree.map(lambda a, b: jnp.where(is_less, a, b), now, before)


def _energy(reached: Estimate, now: Step) -> Estimate:
    """From the decrease of Q; the risk of m neurons holds lambda n/2m of noise.

    The noise of n modes, of chi^2 type, has mean n/2m and deviation (n/2)^1/2/m.
    """
    temperature, width = _wide(now.flow.temperature), now.flow.network.width
    samples = len(now.batch[1])
    fallen = (reached.value - now.rates.risk) / temperature
    noise = math.sqrt(samples / 2) / width
    error = jnp.hypot(reached.error / temperature, jnp.asarray(noise, float))
    return Estimate(fallen + samples / (2 * width), error)


def _wide(value: Any) -> Array:
    """In double precision where there is one."""
    return jnp.asarray(value).astype(float)


def _sobolev(step: Step) -> Any:
    """The rate 2 lambda/sigma_max^2 of log-Sobolev over the blocks that move."""
    std = step.flow.prior_std()
    moving, _ = eqx.partition(std, step.flow.network.trainable_mask(std))
    widest = jnp.max(jnp.stack([jnp.asarray(s) for s in jax.tree.leaves(moving)]))
    return 2 * step.flow.temperature / jnp.square(widest)


def _path_term(step: Step, *, by_neuron: bool = False) -> Array:
    """What a step adds to the bound of the path, in the mean or neuron by neuron."""
    total: Any = 0.0
    for force, std in zip(step.force, step.flow.prior_std(), strict=True):
        if force is None:
            continue
        if by_neuron:
            squares = jnp.square(force).sum(axis=tuple(range(1, force.ndim)))
        else:
            # A product, as XLA on a CPU adds up one by one.
            squares = jnp.tensordot(force.T, force.T, force.ndim) / len(force)
        weight = step.integrator.path_weight(step.flow.temperature, std)
        total = total + (weight * squares).astype(force.dtype)
    return total
