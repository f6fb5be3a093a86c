"""KL(p_t || p_0) between bounds: derivations and costs are in docs/numerics.md."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.accounts import EntropyBalance, takes_all
from mfsim.accounts.entropy_balance import Bounds
from mfsim.blocks import block_size, sum_blocks
from mfsim.component import count
from mfsim.divergences import gaussian
from mfsim.divergences.gaussian import Estimate, standard_error
from mfsim.divergences.nodes import Nodes, prior_nodes
from mfsim.divergences.partition import project_outputs
from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.observables import grid
from mfsim.observables.base import (
    BATCHES,
    AbstractObservable,
    Look,
    unaccounted,
    with_error,
)
from mfsim.observables.populations import all_pairs, few_pairs, need_shadow
from mfsim.series import Series

_BLOCK_BYTES = 2**23
_LEAST_CUTOFF = 1e-9
"""Least eigenvalue of Cov_0(F), over the largest, that Newton's method resolves."""

_TEXTS = {
    "kl_upper": ("KL^+", "Least of the upper bounds on KL(p_t || p_0)."),
    "kl_upper_production": (
        "KL^+_S",
        "Upper bound on KL(p_t || p_0): entropy produced, less a Fisher information.",
    ),
    "kl_upper_path": (
        "KL^+_b",
        "Upper bound on KL(p_t || p_0): that of the paths (Girsanov).",
    ),
    "kl_upper_energy": (
        "KL^+_Q",
        "Upper bound on KL(p_t || p_0): the free energy decreases.",
    ),
    "kl_lower": ("KL^-", "Greatest of the lower bounds on KL(p_t || p_0), and 0."),
    "kl_lower_outputs": (
        "KL^-_f",
        "Lower bound on KL(p_t || p_0): the least of any law with these outputs.",
    ),
    "kl_lower_moments": (
        "KL^-_C",
        "Lower bound on KL(p_t || p_0): that of the Gaussian of the same moments.",
    ),
    "kl_knn": ("KL_kNN", "Estimate of KL(p_t || p_0) from nearest neighbours."),
}


class KL(AbstractObservable):
    """Two-sided bracket of KL(p_t || p_0): kl_lower, kl_knn, kl_upper, with errors.

    On a grid exactly: kl, its fisher_information I and entropy_production S, of which
    d kl/dt = S - lambda I.

    kl_upper is the least of kl_upper_production, kl_upper_path and kl_upper_energy;
    kl_lower the greatest of 0, kl_lower_outputs and kl_lower_moments; kl_knn lies
    between them where kl_in_order is 1. Standard errors end in _se.

    Fields:
        fisher_every: Steps between looks at the Fisher information and at the means
            that entropy production takes; unless given a twentieth of the steps so far,
            and no more than keep the looks' cost below a tenth of the steps'.
        max_points: Outputs on the first so many training points bound from below.
        num_samples: Draws of w for that bound where quadrature is out of reach.
        max_particles: Neurons, with their shadow, whose neighbours are looked for.
        neighbours: Which nearest neighbour.

    Source: Chen et al. 2020, Lemma B.1; docs/numerics.md.
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)

    fisher_every: int | None = count(None)
    max_points: int = count(100)
    num_samples: int = count(8192, at_least=64)
    max_particles: int = count(2000, at_least=8)
    neighbours: int = count(4)

    def declare(self, flow, integrator, data):
        if isinstance(flow, DensityFlow):
            return grid.KL
        need_shadow(self, flow)
        used = min(self.max_particles, flow.network.width)
        used -= used % 2 if flow.network.antithetic else 0
        if self.neighbours >= used:
            raise ValueError(
                f"neighbours must be below the {used} neurons that are looked at, got "
                f"{self.neighbours}; take fewer neighbours or a larger width."
            )
        why_not = absent_bounds(flow, integrator)
        declared: dict[str, Series | str] = {}
        for name, (symbol, text) in _TEXTS.items():
            both = with_error(name, "nat", symbol, text)
            reason = why_not.get(name)
            declared |= both if reason is None else dict.fromkeys(both, reason)
        text = "1 if kl_lower <= kl_knn <= kl_upper, each within 3 errors, else 0."
        return declared | {"kl_in_order": Series("1", "[KL^- < KL_kNN < KL^+]", text)}

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return grid.kl(look)
        upper = _no_bounds()
        if look.integrator.freezes_force:
            upper, _ = look.read(*self.accounts())
        outputs, moments = self._from_outputs(look), _from_moments(look)
        found = {f"kl_upper_{kind}": v for kind, v in upper._asdict().items()}
        found["kl_upper"] = upper.least()
        found |= {"kl_lower_outputs": outputs, "kl_lower_moments": moments}
        found["kl_lower"] = _greatest(outputs, moments)
        pairs = look.once(all_pairs).whitened().first(self.max_particles)
        rows = {"particles": pairs.particles, "shadow": pairs.shadow}
        return flatten(found) | rows

    def finish(self, flow, found, reference):
        if isinstance(flow, DensityFlow):
            return found
        # Only here: scikit-learn takes a second to load.
        from mfsim.divergences.nearest_neighbours import kl_terms

        rows = found.pop("particles"), found.pop("shadow")
        terms = kl_terms(*rows, self.neighbours)
        # Neighbours share distances; what that adds is not in the error.
        units = terms.reshape(2, -1).mean(axis=0) if flow.network.antithetic else terms
        knn, error = terms.mean(), np.std(units, ddof=1) / np.sqrt(len(units))
        return found | {
            "kl_knn": knn,
            "kl_knn_se": error,
            "kl_in_order": _is_in_order(knn, error, found),
        }

    def complain(self, row):
        low, high = row.get("kl_lower", -np.inf), row.get("kl_upper", np.inf)
        errors = (row.get(f"kl_{side}_se", 0.0) for side in ("lower", "upper"))
        error = np.hypot(*map(np.nan_to_num, errors))
        if not low > high + 3 * error:
            return None
        return (
            f"kl_lower = {low:.3g} is above kl_upper = {high:.3g} by more than three "
            "errors: the neurons are too few to stand for their law, or the step is "
            "too large; take a larger width, as bounds want m >> alpha^2."
        )

    def accounts(self):
        return (EntropyBalance(self.fisher_every),)

    def _from_outputs(self, look: Look) -> Estimate:
        """The least KL of any law with the network's outputs; NaN if not found.

        Noise in the outputs of m neurons adds up to 1/2m a dimension, which is taken
        away. Outputs that are not zero at the start are taken less the shadow's.
        """
        flow, x = look.flow, look.data.x_train[: self.max_points]
        network, temperature = flow.network, jnp.asarray(flow.temperature)
        nodes, check = (self._nodes(flow, x.astype(float), seed) for seed in (0, 1))
        populations = look.state if not network.antithetic else look.state[:1]
        f = [flow.predict(look.state._replace(params=p), x) for p in populations]
        outputs = (f[0] if len(f) == 1 else f[0] - f[1]).astype(float)
        best = project_outputs(
            outputs / jnp.asarray(network.alpha, float),
            nodes,
            check,
            jnp.asarray(network.output_std, float),
            network.trainable == "output",
            max(_LEAST_CUTOFF, 10 * float(jnp.finfo(f[0].dtype).eps)),
        )
        rank = jnp.where(temperature > 0, best.rank, 0.0)
        # Of chi^2 type: its mean goes, its deviation is in the error.
        noise, spread = 0.5 * rank / network.width, jnp.sqrt(rank / 2) / network.width
        missed = jnp.where(best.converged, 0.0, jnp.nan)
        error = jnp.hypot(self._output_error(look, x, best.coefficients), spread)
        return Estimate(best.value - noise + missed, error + missed)

    def _output_error(self, look: Look, x: Array, c: Array) -> Array:
        """Standard error of c.f/alpha: that of free neurons or of all, if smaller.

        Outputs that fit the data no longer move with the free ones.
        """
        antithetic = look.flow.network.antithetic
        both = look.state.params, look.state.shadow
        now, free = (_along(look, x, c, neurons) for neurons in both)
        own, against = (standard_error(a, antithetic) for a in (now, now - free))
        return jnp.minimum(own, against)

    def _nodes(self, flow: ParticleFlow, x: Array, seed: int) -> Nodes:
        std = jnp.asarray(flow.network.input_std, float)
        return prior_nodes(
            flow.network.activation,
            std,
            x,
            key=jax.random.key(seed),
            num_samples=self.num_samples,
        )


def _no_bounds() -> Bounds:
    none = Estimate(jnp.asarray(jnp.inf), jnp.asarray(jnp.nan))
    return Bounds(none, none, none)


def absent_bounds(flow: ParticleFlow, integrator: Any) -> dict[str, str]:
    """The upper bounds that cannot be had, and why."""
    network, is_cold = flow.network, flow.temperature == 0
    cold = "the temperature is 0, and they divide by it"
    absent = {}
    if not integrator.freezes_force:
        bounds = ("kl_upper_production", "kl_upper_path", "kl_upper_energy")
        return dict.fromkeys((*bounds, "kl_upper"), unaccounted(integrator) or "")
    if not takes_all(integrator):
        absent |= {"kl_upper_production": BATCHES, "kl_upper_energy": BATCHES}
    if network.trainable != "output" and not network.activation.smooth:
        kind = type(network.activation).__name__
        absent["kl_upper_production"] = f"the activation {kind} has no h''"
    if is_cold:
        absent |= {"kl_upper_path": cold, "kl_upper_energy": cold}
    if len(absent) == 3:
        reasons = "; ".join(dict.fromkeys(absent.values()))
        absent["kl_upper"] = f"no upper bound can be had: {reasons}"
    return absent


def flatten(found: dict[str, Estimate]) -> dict[str, Array]:
    """Values and standard errors under the names of their series."""
    values = {name: each.value for name, each in found.items()}
    return values | {f"{name}_se": each.error for name, each in found.items()}


def _from_moments(look: Look) -> Estimate:
    pairs = look.once(few_pairs)
    return gaussian.estimate(gaussian.gaussian_kl(pairs.std), pairs)


def _greatest(*bounds: Estimate) -> Estimate:
    """The greatest bound that was found, judged less an error; at least 0."""
    values = jnp.stack([b.value for b in bounds])
    errors = jnp.stack([b.error for b in bounds])
    best = jnp.argmax(jnp.nan_to_num(values - errors, nan=-jnp.inf))
    is_bound = values[best] > 0
    return Estimate(
        jnp.where(is_bound, values[best], 0.0), jnp.where(is_bound, errors[best], 0.0)
    )


def _along(
    look: Look, x: Float[Array, "n d"], c: Float[Array, " n"], neurons: Any
) -> Float[Array, " m"]:
    """Sum over i of c_i F_i, one number a neuron."""
    activation, (w, u) = look.flow.network.activation, neurons

    def of_block(x: Array, c: Array) -> Array:
        return c @ activation(x @ w.T)

    block = block_size(len(c), 8 * len(u), _BLOCK_BYTES)
    return (u * sum_blocks(of_block, (x, c.astype(u.dtype)), block)).astype(float)


def _is_in_order(knn: float, error: float, found: dict[str, np.ndarray]) -> float:
    """Whether lower <= kNN <= upper, and lower <= upper, to within three errors."""
    low, low_error = found["kl_lower"], found["kl_lower_se"]
    high, high_error = found["kl_upper"], np.nan_to_num(found["kl_upper_se"])
    pairs = [(low, low_error, knn, error), (knn, error, high, high_error)]
    pairs.append((low, low_error, high, high_error))
    order = all(a <= b + 3 * np.hypot(ae, be) for a, ae, b, be in pairs)
    return float(order) if np.isfinite(knn) else np.nan
