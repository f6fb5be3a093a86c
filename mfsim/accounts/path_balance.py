"""The balance of risk and outputs along the path: do the accounts of a run close?

    dL/dt   = -E|b|^2 + lambda S + (lambda alpha^2/m) E_S[phi''_i H_ii],
    df_i/dt = -(alpha^2/n) [H phi']_i + alpha lambda E[A F_i]

up to martingales of variances (2 lambda/m) E|b|^2 and (2 lambda alpha^2/m) H_ii. The
integral of S is kept by the entropy balance.
Derivation: docs/numerics.md, "Audit".
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.accounts.base import AbstractAccount, Step, Sum
from mfsim.blocks import block_size, map_blocks
from mfsim.flows import State
from mfsim.flows.base import Batch

_BLOCK_BYTES = 2**23
_SHARE = 0.1
"""Of what the force did: a good step leaves it over, three times it are a fault."""


class Rate(NamedTuple):
    """Of the risk and of some outputs, rates and those of the variance of their noise.

    `work` is E|b|^2, what the force alone takes from the risk, `drift` the size of what
    it does to the outputs.
    """

    risk: Any
    risk_variance: Any
    outputs: Any
    outputs_variance: Any
    work: Any
    drift: Any


class Balance(NamedTuple):
    """How much the risk and the outputs should have changed, and to within what.

    Attributes:
        risk: Change of the risk that the rates explain, but for lambda S.
        risk_size: Standard deviation of its noise, and a tenth of what the force took.
        outputs: The same of each output.
        outputs_size: Likewise.
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

    def begin(self, flow: Any, integrator: Any, batch: Batch, state: State) -> Rate:
        labels = batch[1][: getattr(integrator, "batch_size", None)]
        labels = labels[: self.num_points]
        one, many = (Sum.zeros(shape, labels.dtype) for shape in ((), labels.shape))
        return Rate(one, one, many, many, one, many)

    def add(self, kept: Rate, step: Step) -> Rate:
        dt, rate = step.integrator.step, self._rate(step)
        return Rate(*(s.add(dt * r) for s, r in zip(kept, rate, strict=True)))

    def read(self, kept: Rate, now: Step) -> Balance:
        """Integrals so far, and how far noise and a good step may take them off.

        The sums take each rate at the beginning of its step, which leaves terms of
        first order in the step, such as (eta/2) E_S[phi'' f'^2] a unit of time of the
        risk: the larger the longer the step.
        """
        sums = Rate(*(s.wide for s in kept))
        return Balance(
            sums.risk,
            jnp.sqrt(sums.risk_variance) + _SHARE * sums.work,
            sums.outputs,
            jnp.sqrt(sums.outputs_variance) + _SHARE * sums.drift,
        )

    def _rate(self, step: Step) -> Rate:
        flow, network = step.flow, step.flow.network
        x, y = (a[: self.num_points] for a in step.batch)
        drift, diagonal, generated = _at_points(step, x)
        noise = flow.temperature * network.alpha**2 / network.width
        forces = [force for force in step.force if force is not None]
        work: Any = sum(jnp.square(force).sum() / len(force) for force in forces)
        curvature = flow.loss.curvature(step.rates.outputs[: self.num_points], y)
        return Rate(
            -work + noise * (curvature * diagonal).mean(),
            2 * flow.temperature / network.width * work,
            drift + network.alpha * flow.temperature * generated,
            2 * noise * diagonal,
            work,
            jnp.abs(drift),
        )


def _at_points(step: Step, x: Array) -> tuple[Array, Array, Array]:
    """E[b . grad alpha F], H_ii and E[A F] at some points, in blocks of them."""
    network, (w, u) = step.flow.network, step.state.params
    moves = network.trainable_mask(step.state.params)

    def of_block(x: Array) -> tuple[Array, Array, Array]:
        h, slope = network.activation.value_and_derivative(x @ w.T)
        drift, diagonal = jnp.zeros_like(h), jnp.zeros_like(h[:, 0])
        if moves.w:
            drift += (x @ step.force.w.T) * slope * u[None, :]
            size = jnp.square(x).sum(axis=1)
            diagonal += size * (jnp.square(slope) @ jnp.square(u)) / len(u)
        if moves.u:
            drift += h * step.force.u[None, :]
            diagonal += jnp.square(h).mean(axis=1)
        # Without noise it is not needed, nor can it be had of every activation.
        generated = jnp.zeros_like(diagonal)
        if not step.flow.is_cold:
            generated = network.generator(step.state.params, x).mean(axis=1)
        return network.alpha * drift.mean(axis=1), diagonal, generated

    block = block_size(len(x), 8 * len(u), _BLOCK_BYTES)
    return map_blocks(of_block, (x,), block)
