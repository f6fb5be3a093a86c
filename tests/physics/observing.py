"""Runs a flow by hand and measures observables on the way, without files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mfsim.datasets import Data
from mfsim.observables import Look, Start, accounts_of


@eqx.filter_jit
def advance(physics, batch, carry, steps, key, accounts):
    flow, integrator = physics
    return integrator.advance(flow, batch, carry, steps, key, accounts)


@eqx.filter_jit
def measure(physics, data, carry, initial, observables):
    place = carry.state, initial, carry.step, carry.ledger
    return Look(*physics, data, *place, observables).measure()


def observe(flow, integrator, batch, observables, stops, key):
    """One dictionary of finished series for each stop, a number of steps.

    Flows that differ in reals alone share one program, as in an ensemble.
    """
    x, y = (jnp.asarray(a, float) for a in batch)
    data = Data(x, y, x[:0], y[:0])
    accounts = accounts_of(observables)
    start_key, noise_key = jax.random.split(key)
    state = flow.init(start_key, x.shape[1])
    physics = jax.tree.map(lambda r: jnp.asarray(r) if r else r, (flow, integrator))
    carry = physics[1].init(physics[0], state, (x, y), accounts)
    references = {
        each: each.reference(Start(flow, integrator, data, state, {}))
        for each in observables
    }
    rows = []
    for steps in np.diff([0, *stops]):
        count = jnp.asarray(steps, jnp.int32)
        carry = advance(physics, (x, y), carry, count, noise_key, accounts)
        found = measure(physics, data, carry, state, observables)
        row = {}
        for observable, part in zip(observables, found, strict=True):
            arrays = {name: np.asarray(value) for name, value in part.items()}
            reference = references[observable]
            row |= observable.finish(flow, arrays, reference)
        rows.append({name: np.asarray(value)[()] for name, value in row.items()})
    return rows
