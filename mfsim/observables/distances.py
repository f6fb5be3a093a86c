"""Other distances of the law of the neurons from p_0: W2, chi^2, kernel mean."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mfsim.component import count, real, static
from mfsim.divergences import gaussian
from mfsim.divergences.gaussian import Estimate, Pairs, standard_error
from mfsim.divergences.mmd import mmd_terms
from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.observables import grid
from mfsim.observables.base import AbstractObservable, with_error
from mfsim.observables.kl import KL, absent_bounds, flatten
from mfsim.observables.populations import all_pairs, few_pairs, need_shadow
from mfsim.series import Series

_MOST_BYTES = 4 * 2**30
_ASSIGNMENT_ARRAYS = 2
_BLOCKS = {"": slice(None), "_w": slice(None, -1), "_u": slice(-1, None)}
"""Names of the parts of a neuron and their coordinates."""
_SLICE_SEED = 0


class Wasserstein(AbstractObservable):
    """Bracket of W2(p_t, p_0): w2_lower, w2, w2_upper with errors, and sliced_w2.

    w2_upper is the lesser of w2_upper_coupling, the root mean square distance of the
    neurons from their shadow, and w2_upper_talagrand, sigma_max sqrt(2 kl_upper). w2 is
    the optimal transport from neurons to their shadow. What ends in _w or _u is of the
    law of w or of u alone, in _se a standard error. On a grid w2 alone, between the
    law and p_0 themselves: exact along one axis, else a Sinkhorn divergence.

    Fields:
        max_pairs: Neurons, with their shadow, that w2 and sliced_w2 transport.
        exact_below: Below so many, w2 is exact; else a Sinkhorn divergence.
        directions: Directions of sliced_w2.
        blocks: Whether w and u are taken apart as well; one more transport a save.

    Source: docs/numerics.md; Gelbrich 1990; Otto and Villani 2000.
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)
    builds_on: ClassVar = (KL,)

    max_pairs: int = count(2000, at_least=4)
    exact_below: int = count(2500, at_least=0)
    directions: int = count(100)
    blocks: bool = static(True)

    def declare(self, flow, integrator, data):
        if isinstance(flow, DensityFlow):
            return self._declare_on_grid()
        need_shadow(self, flow)
        self._check_memory(flow.network.width)
        declared: dict[str, Series | str] = {}
        for part, what in (("", ""), ("_w", " of w"), ("_u", " of u")):
            if part and not self.blocks:
                continue
            law = f"W2 between the law{what} and that at p_0"
            texts = {
                "w2_lower": ("W2^-", f"Lower bound on {law}: its moments (Gelbrich)."),
                "w2": ("W2", f"W2 from the neurons to their shadow{what}."),
                "w2_upper": ("W2^+", f"Upper bound on {law}, the lesser of two."),
                "w2_upper_coupling": (
                    "d(theta, shadow)",
                    f"Root mean square distance from the shadow{what}.",
                ),
            }
            for name, (symbol, text) in texts.items():
                declared |= with_error(name + part, "parameter", symbol, text)
        text = "Upper bound on W2(p_t, p_0): sigma_max sqrt(2 kl_upper) (Talagrand)."
        talagrand = with_error("w2_upper_talagrand", "parameter", "T^+", text)
        reason = absent_bounds(flow, integrator).get("kl_upper")
        declared |= dict.fromkeys(talagrand, reason) if reason else talagrand
        text = f"Root mean square W2 of projections on {self.directions} directions."
        return declared | {"sliced_w2": Series("parameter", "SW2", text)}

    def _declare_on_grid(self) -> dict[str, Series | str]:
        parts = {"": "law", "_w": "law of w", "_u": "law of u"}
        return {
            f"w2{part}": Series("parameter", "W2", f"W2 between the {what} and p_0's.")
            for part, what in parts.items()
            if not part or self.blocks
        }

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return {"masses": look.state.params}
        pairs, few = look.once(all_pairs), look.once(few_pairs)
        kl = look.series(KL)
        found = {}
        for part in _BLOCKS if self.blocks else [""]:
            std = _widest(look.flow, part)
            coupling = _root(_coupling(pairs, _BLOCKS[part]))
            bound = Estimate(kl["kl_upper"], kl["kl_upper_se"])
            talagrand = _root(Estimate(*(2 * std**2 * a for a in bound)))
            found[f"w2_upper{part}"] = _lesser(coupling, talagrand)
            found[f"w2_upper_coupling{part}"] = coupling
            found[f"w2_lower{part}"] = _root(_gelbrich(few, _BLOCKS[part]))
            if not part:
                found["w2_upper_talagrand"] = talagrand
        chosen = pairs.first(self.max_pairs)
        rows = {"particles": chosen.particles, "shadow": chosen.shadow}
        return flatten(found) | rows

    def finish(self, flow, found, reference):
        if isinstance(flow, DensityFlow):
            return grid.transport(found["masses"], flow, self.blocks)
        from mfsim.divergences import wasserstein

        particles, shadow = found.pop("particles"), found.pop("shadow")
        for part in _BLOCKS if self.blocks else [""]:
            a, b = particles[:, _BLOCKS[part]], shadow[:, _BLOCKS[part]]
            value, error = self._transport(a, b, flow.network.antithetic)
            found |= {f"w2{part}": value, f"w2{part}_se": error}
        dim = particles.shape[1]
        directions = wasserstein.random_directions(self.directions, dim, _SLICE_SEED)
        squared = wasserstein.sliced(particles, shadow, directions)
        return found | {"sliced_w2": math.sqrt(squared)}

    def _transport(
        self, a: np.ndarray, b: np.ndarray, antithetic: bool
    ) -> tuple[float, float]:
        """W2 and its standard error; NaN where Sinkhorn does not converge."""
        from mfsim.divergences import wasserstein

        if a.shape[1] == 1:
            order, costs = np.argsort(a[:, 0]), np.empty(len(a))
            costs[order] = np.square(a[order, 0] - np.sort(b[:, 0]))
        elif len(a) < self.exact_below:
            costs = wasserstein.assignment_costs(a, b)
        else:
            squared, converged = wasserstein.sinkhorn_divergence(a, b)
            # Its plan has no costs by neuron: those of the coupling spread alike.
            costs = np.square(a - b).sum(axis=1)
            costs += (squared if converged else np.nan) - costs.mean()
        if antithetic:
            costs = costs.reshape(2, -1).mean(axis=0)
        # A Sinkhorn divergence may be below zero by rounding; NaN stays NaN.
        value = float(np.sqrt(np.maximum(costs.mean(), 0.0)))
        error = float(np.std(costs, ddof=1)) / math.sqrt(len(costs))
        return value, 0.0 if value == 0 else error / (2 * value)

    def _check_memory(self, width: int) -> None:
        from mfsim.divergences.wasserstein import sinkhorn_bytes

        pairs = min(self.max_pairs, width)
        exact = pairs < self.exact_below
        needed = 8 * _ASSIGNMENT_ARRAYS * pairs**2 if exact else sinkhorn_bytes(pairs)
        if needed > _MOST_BYTES:
            most = int(pairs * math.sqrt(_MOST_BYTES / needed))
            raise ValueError(
                f"max_pairs must be at most {most}, so that the costs of all pairs fit "
                f"in {_MOST_BYTES >> 30} GiB, got {pairs}, which need "
                f"{needed / 2**30:.3g} GiB; w2_lower and w2_upper use every neuron."
            )


class ChiSquare(AbstractObservable):
    """Lower bound on chi^2(p_t || p_0) by affine-quadratic tests: chi2_lower.

    On a grid exactly: chi2.

    Source: docs/numerics.md; the variational form of chi^2.
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)

    def declare(self, flow, integrator, data):
        if isinstance(flow, DensityFlow):
            return grid.CHI_SQUARE
        need_shadow(self, flow)
        text = "Lower bound on chi^2(p_t || p_0) from means and covariances."
        return with_error("chi2_lower", "1", "chi^2^-", text)

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return grid.chi2(look)
        pairs = look.once(few_pairs)
        chi2 = gaussian.estimate(gaussian.chi_square(pairs.std), pairs)
        return flatten({"chi2_lower": chi2})


class MMD(AbstractObservable):
    """Maximum mean discrepancy of p_t from p_0, Gaussian kernel: mmd, mmd_squared.

    In units of the prior's standard deviations; mmd_squared is unbiased, so that it may
    fall below zero, and mmd the root of what is above. The same of the shadow, whose
    true value is zero, is taken away.

    Fields:
        bandwidth: Length of the kernel over sqrt(d + 1), a coordinate's share of the
            distance between two neurons.
        max_particles: Neurons, with their shadow, that are looked at.

    Source: Gretton et al. 2012, eq. (3), with the means over p_0 exact.
    """

    flows: ClassVar = (ParticleFlow,)

    bandwidth: float = real(1.0, above=0.0)
    max_particles: int = count(2000, at_least=4)

    def declare(self, flow, integrator, data):
        need_shadow(self, flow)
        text = "Maximum mean discrepancy of the neurons from p_0"
        return {
            "mmd": Series("1", "MMD", f"{text}."),
            **with_error("mmd_squared", "1", "MMD^2", f"Square of the {text.lower()}."),
        }

    def measure(self, look):
        pairs = look.once(all_pairs).whitened().first(self.max_particles)
        length = self.bandwidth * math.sqrt(pairs.particles.shape[1])

        def terms(points: Array) -> Array:
            return mmd_terms(points, length, antithetic=pairs.antithetic)

        difference = terms(pairs.particles) - terms(pairs.shadow)
        squared = difference.mean()
        error = standard_error(difference, pairs.antithetic)
        root = jnp.sqrt(jnp.maximum(squared, 0.0))
        return {"mmd": root, "mmd_squared": squared, "mmd_squared_se": error}


def _widest(flow: Any, part: str) -> Any:
    """sigma_max over the blocks of a part that move; 0 if none does."""
    std, moves = flow.prior_std(), flow.network.trainable_mask(flow.prior_std())
    parts = {"": ("w", "u"), "_w": ("w",), "_u": ("u",)}[part]
    spreads = [float(getattr(moves, b)) * jnp.asarray(getattr(std, b)) for b in parts]
    return jnp.max(jnp.stack(spreads)).astype(float)


def _coupling(pairs: Pairs, part: slice) -> Estimate:
    """Mean square distance from the shadow."""
    squares = jnp.square(pairs.particles - pairs.shadow)[:, part].sum(axis=1)
    return Estimate(squares.mean(), standard_error(squares, pairs.antithetic))


def _gelbrich(pairs: Pairs, part: slice) -> Estimate:
    particles, shadow, std = pairs.particles, pairs.shadow, pairs.std[part]
    own = Pairs(particles[:, part], shadow[:, part], std, pairs.antithetic)
    return gaussian.estimate(gaussian.gelbrich(std), own)


def _root(square: Estimate) -> Estimate:
    """The root of a square and, by the delta method, its error."""
    value = jnp.sqrt(jnp.maximum(square.value, 0.0))
    # Near 0 and below the root moves by that of the error.
    most = jnp.sqrt(square.error)
    safe = jnp.where(value > 0, value, 1.0)
    error = jnp.where(value > 0, square.error / (2 * safe), most)
    return Estimate(value, jnp.minimum(error, most))


def _lesser(a: Estimate, b: Estimate) -> Estimate:
    """The lesser of two bounds, of which the second may be none."""
    is_first = ~(b.value < a.value)
    return jax.tree.map(lambda x, y: jnp.where(is_first, x, y), a, b)
