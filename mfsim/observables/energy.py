"""The free energy between bounds, and how far it can still be from its minimum."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mfsim.component import count
from mfsim.divergences.gaussian import Estimate
from mfsim.divergences.nodes import prior_nodes
from mfsim.divergences.partition import Dual, dual, maximise
from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.observables import grid
from mfsim.observables.base import AbstractObservable, Look, train_outputs, with_error
from mfsim.observables.kl import KL, absent_bounds, flatten
from mfsim.observables.populations import need_shadow
from mfsim.series import Series

_SOUGHT, _CHECK = 2, 3
"""Seeds of the draws on which the dual is maximised, and on which it bounds."""


class FreeEnergy(AbstractObservable):
    """Bounds on Q = L + lambda KL(p_t || p_0): free_energy_lower, free_energy_upper.

    L is the training risk of the neurons. On a grid exactly: free_energy Q and its
    dissipation -dQ/dt.

    Source: Chen et al. 2020, eq. (3.3).
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)
    builds_on: ClassVar = (KL,)

    def declare(self, flow, integrator, data):
        if isinstance(flow, DensityFlow):
            return grid.FREE_ENERGY
        need_shadow(self, flow)
        lower = with_error(
            "free_energy_lower", "loss", "Q^-", "Training risk + lambda kl_lower."
        )
        upper = with_error(
            "free_energy_upper", "loss", "Q^+", "Training risk + lambda kl_upper."
        )
        reason = _no_upper(flow, integrator)
        return lower | (dict.fromkeys(upper, reason) if reason else upper)

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return grid.free_energy(look)
        kl = look.series(KL)
        return flatten(
            {
                f"free_energy_{side}": _free_energy(look, kl, f"kl_{side}")
                for side in ("lower", "upper")
            }
        )


class Certificate(AbstractObservable):
    """How far Q(p_t) can still be from its minimum over all laws: gap_upper.

    gap_upper = free_energy_upper - dual_energy, where dual_energy, below every Q(p), is
    the largest dual that is found, at least 0. It is found at the slopes phi'(f_i) of
    the present outputs and, where there are few points, by Newton's method. On a grid
    dual_energy is the least free energy there, of the Gibbs law; where that is not
    found the dual at these slopes alone.

    Fields:
        max_points: Training points for which Newton's method is still taken.
        num_samples: Draws of w for the dual where quadrature is out of reach.

    Source: Nitanda et al. 2022, sec. 3.2.
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)
    builds_on: ClassVar = (KL,)

    max_points: int = count(100, at_least=0)
    num_samples: int = count(8192, at_least=64)

    def declare(self, flow, integrator, data):
        if isinstance(flow, DensityFlow):
            return grid.CERTIFICATE
        need_shadow(self, flow)
        text = "Lower bound on the free energy of every law, by duality."
        bound: dict[str, Any] = {"dual_energy": Series("loss", "D", text)}
        text = "Upper bound on how far the free energy is from its minimum."
        gap = with_error("gap_upper", "loss", "Q^+ - D", text)
        if flow.temperature == 0:
            reason = "the temperature is 0, and the dual divides by it"
            return dict.fromkeys(bound | gap, reason)
        reason = _no_upper(flow, integrator)
        return bound | (dict.fromkeys(gap, reason) if reason else gap)

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return grid.certificate(look)
        energy = _free_energy(look, look.series(KL), "kl_upper")
        lower = self._dual(look)
        gap = Estimate(energy.value - lower, energy.error)
        return flatten({"gap_upper": gap}) | {"dual_energy": lower}

    def reference(self, start):
        is_grid = isinstance(start.flow, DensityFlow)
        return grid.least_energy(start) if is_grid else None

    def finish(self, flow, found, reference):
        if reference is None:
            return found
        energy = found["gap_upper"] + found["dual_energy"]
        return {"gap_upper": energy - reference, "dual_energy": np.asarray(reference)}

    def _dual(self, look: Look) -> Array:
        flow, network = look.flow, look.flow.network
        x, y = look.data.x_train.astype(float), look.data.y_train.astype(float)
        temperature = jnp.asarray(flow.temperature, float)
        reals = {
            "alpha": jnp.asarray(network.alpha, float),
            "temperature": jnp.where(temperature > 0, temperature, 1.0),
            "output_std": jnp.asarray(network.output_std, float),
        }

        def at(g: Array, seed: int) -> Dual:
            nodes = prior_nodes(
                network.activation,
                jnp.asarray(network.input_std, float),
                x,
                key=jax.random.key(seed),
                num_samples=self.num_samples,
            )
            frozen = network.trainable == "output"
            return dual(g, y, nodes, loss=flow.loss, frozen_input=frozen, **reals)

        slopes = flow.loss.derivative(look.once(train_outputs).astype(float), y)
        # Both losses are nowhere negative, so 0 is a bound as well.
        lower = jnp.maximum(at(slopes, _CHECK).lower, 0.0)
        if len(y) > self.max_points:
            return lower
        start = jax.lax.while_loop(
            lambda g: ~jnp.isfinite(at(g, _SOUGHT).value),
            lambda g: g / 2,
            flow.loss.derivative(jnp.zeros_like(y), y),
        )
        best = maximise(lambda g: at(g, _SOUGHT)[:3], start)
        found = jnp.fmax(lower, at(best.point, _CHECK).lower)
        return jnp.where(best.converged, found, jnp.nan)


def _no_upper(flow: Any, integrator: Any) -> str | None:
    """Why there is no upper bound on lambda KL; none is needed without noise."""
    if flow.temperature == 0:
        return None
    return absent_bounds(flow, integrator).get("kl_upper")


def _free_energy(look: Look, kl: dict[str, Array], name: str) -> Estimate:
    f, y = (a.astype(float) for a in (look.once(train_outputs), look.data.y_train))
    risk = look.flow.loss(f, y).mean()
    temperature = jnp.asarray(look.flow.temperature, float)
    value, error = (
        jnp.where(temperature > 0, temperature * kl[key], 0.0)
        for key in (name, f"{name}_se")
    )
    # The noise of n outputs in the risk, of chi^2 type.
    noise = temperature * math.sqrt(len(y) / 2) / look.flow.network.width
    return Estimate(risk + value, jnp.hypot(error, noise))
