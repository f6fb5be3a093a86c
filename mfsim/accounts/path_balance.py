"""The balance of risk and outputs along the path: do the accounts of a run close?

    dL/dt   = -E|b|^2 + lambda S + (lambda alpha^2/m) E_S[phi''_i H_ii],
    df_i/dt = -(alpha^2/n) [H phi']_i + alpha lambda E[A F_i]

up to martingales of variances (2 lambda/m) E|b|^2 and (2 lambda alpha^2/m) H_ii. The
integral of S is kept by the entropy balance.
Derivation: docs/numerics.md, "Audit".
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.accounts.base import AbstractAccount, Step, Sum
from mfsim.flows import State
from mfsim.flows.base import Batch

_RISK_SHARE = 0.1
"""Of what the force took from the risk; steps of a quarter of the limit leave 25 %."""
_OUTPUT_SHARE = 1 / 6
"""Of the first-order effect of a step on the outputs, which the sums allow for."""


class Rate(NamedTuple):
    """Rates of the risk and of some outputs, and of the variance of their noise.

    `work` is E|b|^2, what the force alone takes from the risk.
    """

    risk: Float[Array, ""]
    risk_variance: Float[Array, ""]
    outputs: Float[Array, " a"]
    outputs_variance: Float[Array, " a"]
    work: Float[Array, ""]


class Kept(NamedTuple):
    """Rates at the start, and all rates integrated since."""

    first: Rate
    sums: Any


class Balance(NamedTuple):
    """How much the risk and the outputs should have changed, and to within what.

    Attributes:
        risk: Change of the risk that the rates explain, but for lambda S.
        risk_size: Standard deviation of its noise, and a tenth of what the force took.
        outputs: The same of each output.
        outputs_size: Likewise, with a share of what one step does to it.
    """

    risk: Float[Array, ""]
    risk_size: Float[Array, ""]
    outputs: Float[Array, " a"]
    outputs_size: Float[Array, " a"]


class PathBalance(AbstractAccount):
    """Integrates the rates of the risk and of the outputs on the first training points.

    Fields:
        num_points: How many points. The mean of H_ii over them stands for that over
            all points in the Ito term of the risk.
    """

    num_points: int = eqx.field(static=True)

    def begin(
        self, flow: Any, integrator: Any, batch: Batch, state: State
    ) -> Kept:
        def rate(shape: tuple[int, ...]) -> Rate:
            zero, many = jnp.zeros((), batch[1].dtype), jnp.zeros(shape, batch[1].dtype)
            return Rate(zero, zero, many, many, zero)

        first = rate(batch[1][: self.num_points].shape)
        return Kept(first, jax.tree.map(lambda a: Sum.zeros(a.shape, a.dtype), first))

    def add(self, kept: Kept, step: Step) -> Kept:
        rate = self._rate(step)
        dt = step.integrator.step
        sums = Rate(*(s.add(dt * r) for s, r in zip(kept.sums, rate, strict=True)))
        first = jax.tree.map(
            lambda a, b: jnp.where(step.index == 0, a, b), rate, kept.first
        )
        return Kept(first, sums)

    def read(self, kept: Kept, now: Step) -> Balance:
        """Integrals so far, and how far noise and a good step may take them off.

        The sums take each rate at the beginning of its step: of the outputs this is
        right to first order, as the force is frozen over a step. Of the risk it leaves
        (eta/2) E_S[phi'' f'^2] a unit of time, the larger the longer the step.
        """
        rate = self._rate(now)
        risk, risk_variance, outputs, outputs_variance, work = (
            s.value for s in kept.sums
        )
        shift = now.integrator.step / 2 * jnp.abs(rate.outputs - kept.first.outputs)
        shift = jnp.where(now.index > 0, shift, 0.0).astype(outputs.dtype)
        return Balance(
            risk,
            jnp.sqrt(risk_variance) + _RISK_SHARE * work,
            outputs,
            jnp.sqrt(outputs_variance) + _OUTPUT_SHARE * shift,
        )

    def _rate(self, step: Step) -> Rate:
        flow, network = step.flow, step.flow.network
        x, y = (a[: self.num_points] for a in step.batch)
        drift, diagonal, generated = _at_points(step, x)
        noise = flow.temperature * network.alpha**2 / network.width
        forces = [force for force in step.force if force is not None]
        work: Any = sum(jnp.square(force).sum() / len(force) for force in forces)
        curvature = flow.loss.curvature(flow.predict(step.state, x), y)
        return Rate(
            -work + noise * (curvature * diagonal).mean(),
            2 * flow.temperature / network.width * work,
            drift + network.alpha * flow.temperature * generated,
            2 * noise * diagonal,
            work,
        )


def _at_points(step: Step, x: Array) -> tuple[Array, Array, Array]:
    """E[b . grad alpha F], H_ii and E[A F] at some points."""
    network, (w, u) = step.flow.network, step.state.params
    std, moves = network.prior_std(), network.trainable_mask(step.state.params)
    activation = network.activation
    z = x @ w.T
    h, slope = activation.value_and_derivative(z)
    size = jnp.square(x).sum(axis=1)
    drift = jnp.zeros_like(z)
    diagonal, generated = jnp.zeros_like(size), jnp.zeros_like(z)
    if moves.w:
        drift += (x @ step.force.w.T) * slope * u[None, :]
        diagonal += size * (jnp.square(slope) @ jnp.square(u)) / len(u)
        generated -= z * slope / std.w**2
        if activation.smooth:
            generated += size[:, None] * activation.second_derivative(z)
    if moves.u:
        drift += h * step.force.u[None, :]
        diagonal += jnp.square(h).mean(axis=1)
        generated -= h / std.u**2
    return network.alpha * drift.mean(axis=1), diagonal, generated @ u / len(u)
