"""The entropy balance: upper bounds on KL(p_t || p_0) from what the flow itself does.

    d/dt KL = S(t) - lambda I(t),   S = E[b . grad V_0 - div b] = alpha E_S[phi' E_p AF],
                                    I = E |grad log(p_t/p_0)|^2 >= I_psi, 2 KL/sigma_max^2

so that whatever bounds I from below, integrated along the path, bounds KL from above.
Derivations: docs/numerics.md, "kl_upper".
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mfsim.accounts.base import AbstractAccount, Step, Sum, takes_all
from mfsim.accounts.population import moving_coordinates, pairs_of, principal_axes
from mfsim.divergences.gaussian import Estimate, affine_fisher, standard_error
from mfsim.flows import AbstractFlow, State
from mfsim.flows.base import Batch

_SHARE = 0.1
"""Most that looks may cost of the steps."""
_ACTIVATION, _GENERATOR = 20, 200
"""Multiplications that h and h' of a step, and A F of a look, are worth; measured."""
_OVERHEAD = 2_000_000
"""Multiplications that the small matrices of a look are worth."""
_PER_TIME = 20
"""Looks while time goes from t to 2t, as long as they are not too many."""


class Kept(NamedTuple):
    """The balance at the last look, and what has gathered since; `None` if absent.

    A bound is a mean over the neurons: its influence is what each adds to it.

    Attributes:
        axes: Directions of w on which I_psi is taken; all of them if None.
        pushed: Integral of phi' since the look, a number a sample.
        moment: The same weighted by the steps since.
        generated: E_p A F at the look.
        produced: Integral of S.
        production: The bound of production, U.
        production_influence: Of U.
        fisher: I_psi at the look.
        fisher_influence: Of I_psi.
        path: The bound of the path.
        path_influence: Of it.
        reached: Least of lambda kl_upper(s) + L(s) over looks at times s, and the
            standard error of kl_upper there.
    """

    axes: Float[Array, "d r"] | None
    pushed: Sum | None
    moment: Sum | None
    generated: Float[Array, " n"] | None
    produced: Sum | None
    production: Sum | None
    production_influence: Sum | None
    fisher: Float[Array, ""] | None
    fisher_influence: Float[Array, " m"] | None
    path: Sum | None
    path_influence: Sum | None
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
        chosen = jnp.argmin(values + jnp.nan_to_num(errors))
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

    def begin(
        self, flow: AbstractFlow, integrator: Any, batch: Batch, state: State
    ) -> Kept:
        u = state.params.u
        made = jax.eval_shape(flow.generate, state, *batch)
        produces = made is not None and takes_all(integrator)
        diffuses = not _is_cold(flow)
        one, many = Sum.zeros((), u.dtype), Sum.zeros(u.shape, u.dtype)
        samples = Sum.zeros(batch[1].shape, u.dtype)
        has_fisher = produces and diffuses
        return Kept(
            axes=principal_axes(flow, batch, len(u)) if has_fisher else None,
            pushed=samples if produces else None,
            moment=samples if produces else None,
            generated=samples.total if produces else None,
            produced=one if produces else None,
            production=one if produces else None,
            production_influence=many if produces else None,
            fisher=one.total if has_fisher else None,
            fisher_influence=many.total if has_fisher else None,
            path=one if diffuses else None,
            path_influence=many if diffuses else None,
            reached=Estimate(one.total + jnp.inf, one.total) if diffuses else None,
        )

    def add(self, kept: Kept, step: Step) -> Kept:
        spacing = self.spacing(kept, step, step.index)
        is_due = step.index % spacing == 0
        kept = jax.lax.cond(is_due, lambda k: self._look(k, step), lambda k: k, kept)
        dt = step.integrator.step
        if kept.path is not None:
            kept = kept._replace(path=kept.path.add(_path_term(step)))
        if kept.pushed is None:
            return kept
        slopes = step.rates.slopes
        # The force is frozen over the step, whose middle counts.
        middle = (step.index % spacing).astype(slopes.dtype) + 0.5
        return kept._replace(
            pushed=kept.pushed.add(dt * slopes),
            moment=kept.moment.add(dt * middle * slopes),
        )

    def read(self, kept: Kept, now: Step) -> tuple[Bounds, Any]:
        """The bounds and the integral of S; the sums themselves stay as they are."""
        kept = self._look(kept, now)
        none = Estimate(jnp.asarray(jnp.inf), jnp.asarray(jnp.nan))
        production = _bound(now, kept.production, kept.production_influence) or none
        produced = None if kept.produced is None else _wide(kept.produced.value)
        if kept.path is None:
            return Bounds(production, none, none), produced
        path = _bound(now, kept.path, kept.path_influence)
        energy = _energy(kept, now) if now.is_full else none
        has_noise = jnp.asarray(now.flow.temperature) > 0
        path, energy = (
            jax.tree.map(lambda a, b: jnp.where(has_noise, a, b), bound, none)
            for bound in (path, energy)
        )
        return Bounds(production, path, energy), produced

    def spacing(self, kept: Kept, step: Step, index: Int[Array, ""]) -> Int[Array, ""]:
        """Steps from one look to the next at a time: multiples of it are looks."""
        if self.fisher_every is not None:
            return jnp.full_like(index, self.fisher_every)
        samples, dim = step.batch[0].shape
        width = len(step.state.params.u)
        size = (dim if kept.axes is None else kept.axes.shape[1]) + 1
        project = 0 if kept.axes is None else 2 * dim * size
        fisher = (2 * size**2 + project) * width
        look = samples * width * (dim + _GENERATOR) + fisher + _OVERHEAD
        steps = look / (_SHARE * samples * width * (2 * dim + _ACTIVATION))
        # Powers of two, so that every look of a wider spacing is one of a narrower.
        most = 2 ** max(0, math.ceil(math.log2(steps)))
        grown = [jnp.where(index >= _PER_TIME * s, s, 1) for s in _powers(most)]
        return jnp.max(jnp.stack(grown)).astype(index.dtype)

    def _look(self, kept: Kept, step: Step) -> Kept:
        """Settle what has gathered since the last look, and look again."""
        last = jnp.maximum(step.index - 1, 0)
        spacing = self.spacing(kept, step, last)
        since = step.index - last // spacing * spacing
        if kept.path_influence is not None:
            terms = _path_term(step, by_neuron=True)
            gathered = since.astype(terms.dtype) * (terms - terms.mean())
            influence = kept.path_influence.add(gathered)
            kept = kept._replace(path_influence=influence)
        if kept.pushed is not None:
            kept = _settle(kept, step, since)
        if kept.reached is not None:
            kept = kept._replace(reached=_reach(kept, step))
        return kept


def _powers(most: int) -> list[int]:
    return [2**i for i in range(most.bit_length())]


def _settle(kept: Kept, step: Step, since: Array) -> Kept:
    """Production since the last look, less the larger bound on what noise took."""
    pushed: Any = kept.pushed
    generated, by_neuron = step.flow.generate(step.state, step.batch[0], pushed.value)
    dtype = generated.dtype
    rate = (step.flow.network.alpha / generated.shape[0]) * jnp.ones((), dtype)
    steps = jnp.maximum(since, 1).astype(dtype)
    change = (generated - kept.generated) / steps
    made = rate * (pushed.value @ kept.generated + kept.moment.value @ change)
    influence = rate * (by_neuron - by_neuron.mean())
    kept = kept._replace(
        pushed=jax.tree.map(jnp.zeros_like, pushed),
        moment=jax.tree.map(jnp.zeros_like, kept.moment),
        generated=generated,
        produced=kept.produced.add(made),
    )
    if kept.fisher is None:
        return kept._replace(
            production=kept.production.add(made),
            production_influence=kept.production_influence.add(influence),
        )
    fisher = _fisher(step, kept.axes)
    span = since.astype(dtype) * step.integrator.step
    taken, taken_influence = (
        0.5 * span * step.flow.temperature * (before + after)
        for before, after in zip(
            (kept.fisher, kept.fisher_influence), fisher, strict=True
        )
    )
    lost, weight = _decay(_sobolev(step) * span)
    by_fisher, by_sobolev = made - taken, lost * kept.production.value + weight * made
    is_fisher = by_fisher < by_sobolev
    decayed = lost * kept.production_influence.value + weight * influence
    change = jnp.where(is_fisher, influence - taken_influence, decayed)
    return kept._replace(
        production=kept.production.add(jnp.minimum(by_fisher, by_sobolev)),
        production_influence=kept.production_influence.add(change),
        fisher=fisher[0],
        fisher_influence=fisher[1],
    )


def _decay(exponent: Array) -> tuple[Array, Array]:
    """e^-c - 1, and (1 - e^-c)/c: decay, and the share that stays of what is made."""
    lost = jnp.expm1(-exponent)
    is_any = exponent > 0
    return lost, jnp.where(is_any, -lost / jnp.where(is_any, exponent, 1), 1)


def _reach(kept: Kept, step: Step) -> Estimate:
    """The least of lambda kl_upper + L so far."""
    has_noise = jnp.asarray(step.flow.temperature) > 0
    bounds = [(jnp.where(has_noise, kept.path.value, jnp.inf), kept.path_influence)]
    if kept.production is not None:
        bounds.append((kept.production.value, kept.production_influence))
    values = jnp.stack([value for value, _ in bounds])
    best = jnp.argmin(values)
    influence = jnp.stack([influence.value for _, influence in bounds])[best]
    error = standard_error(influence, step.flow.network.antithetic)
    # Without noise there is no path: its bound is 0 times infinity.
    energy = jnp.where(has_noise, step.flow.temperature * values[best], 0.0)
    now = Estimate((energy + step.rates.risk).astype(error.dtype), error)
    is_less: Bool[Array, ""] = now.value < kept.reached.value
    return jax.tree.map(lambda a, b: jnp.where(is_less, a, b), now, kept.reached)


def _bound(now: Step, value: Sum | None, influence: Sum | None) -> Estimate | None:
    if value is None:
        return None
    terms = _wide(influence.value)
    error = standard_error(terms, now.flow.network.antithetic)
    return Estimate(_wide(value.value), error)


def _energy(kept: Kept, now: Step) -> Estimate:
    """From the decrease of Q; the risk of m neurons holds lambda n/2m of noise."""
    reached: Any = kept.reached
    temperature = jnp.asarray(now.flow.temperature)
    safe = _wide(jnp.where(temperature > 0, temperature, 1.0))
    fallen = _wide(reached.value - now.rates.risk) / safe
    noise = len(now.batch[1]) / (2 * now.flow.network.width)
    return Estimate(fallen + noise, _wide(reached.error))


def _is_cold(flow: AbstractFlow) -> bool:
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


def _path_term(step: Step, *, by_neuron: bool = False) -> Array:
    """What a step adds to the bound of the path, in the mean or neuron by neuron."""
    temperature = jnp.asarray(step.flow.temperature)
    safe = jnp.where(temperature > 0, temperature, 1.0)
    total: Any = 0.0
    for force, std in zip(step.force, step.flow.prior_std(), strict=True):
        if force is not None:
            if by_neuron:
                squares = jnp.square(force).sum(axis=tuple(range(1, force.ndim)))
            else:
                # A product, as XLA on a CPU adds up one by one.
                squares = jnp.tensordot(force.T, force.T, force.ndim) / len(force)
            weight = step.integrator.path_weight(safe, std)
            total = total + (weight * squares).astype(force.dtype)
    return jnp.where(temperature > 0, total, 0.0).astype(total.dtype)


def _fisher(step: Step, axes: Array | None) -> tuple[Array, Array]:
    """I_psi at the shadow-corrected moments, and the influence of every neuron."""
    pairs = pairs_of(step.flow, step.state, axes)
    functional = affine_fisher(_wide(pairs.std), moving_coordinates(step.flow, pairs))
    moments = tuple(map(_wide, pairs.moments()))
    value, gradient = jax.value_and_grad(functional, argnums=(0, 1))(*moments)
    dtype = pairs.particles.dtype
    influence = pairs.influence(jax.tree.map(lambda a: a.astype(dtype), gradient))
    return value.astype(dtype), influence
