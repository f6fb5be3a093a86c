"""Runs a density on a grid by hand, without files."""

import equinox as eqx
import jax
import jax.numpy as jnp

from mfsim.activations import Identity
from mfsim.datasets import ArrayFile
from mfsim.flows import DensityFlow, State
from mfsim.losses import SquaredError
from mfsim.networks import TwoLayer


def density_flow(activation=None, *, alpha=2.0, temperature=0.2, loss=None, **options):
    network = {k: options.pop(k) for k in list(options) if k not in ("cells", "extent")}
    return DensityFlow(
        TwoLayer(alpha=alpha, activation=activation or Identity(), **network),
        ArrayFile("points.npz"),
        loss or SquaredError(),
        temperature,
        **options,
    )


@eqx.filter_jit
def advance(physics, batch, carry, steps):
    flow, integrator = physics
    return integrator.advance(flow, batch, carry, steps, jax.random.key(0))


def evolve(flow, integrator, batch, stops, masses=None):
    """The carries at each stop, a number of steps."""
    x, y = (jnp.asarray(a, float) for a in batch)
    state = flow.init(jax.random.key(0), x.shape[1])
    if masses is not None:
        state = State(jnp.asarray(masses))
    physics = jax.tree.map(lambda r: jnp.asarray(r) if r else r, (flow, integrator))
    carries = [physics[1].init(physics[0], state, (x, y))]
    done = 0
    for stop in stops:
        count = jnp.asarray(stop - done, jnp.int32)
        carries.append(advance(physics, (x, y), carries[-1], count))
        done = stop
    return carries[1:]
