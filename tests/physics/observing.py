"""Runs a flow by hand and measures observables on the way, without files."""

import jax
import jax.numpy as jnp
import numpy as np

from mfsim.datasets import Data
from mfsim.observables import Look, accounts_of


def observe(flow, integrator, batch, observables, stops, key):
    """One dictionary of finished series for each stop, a number of steps."""
    x, y = (jnp.asarray(a, float) for a in batch)
    data = Data(x, y, x[:0], y[:0])
    accounts = accounts_of(observables)
    start_key, noise_key = jax.random.split(key)
    state = flow.init(start_key, x.shape[1])
    carry = integrator.init(flow, state, (x, y), accounts)

    @jax.jit
    def advance(carry, steps):
        return integrator.advance(flow, (x, y), carry, steps, noise_key, accounts)

    @jax.jit
    def measure(carry):
        look = Look(
            *(flow, integrator, data, carry.state, state, carry.step, carry.ledger),
            observables,
        )
        return look.measure()

    rows = []
    for steps in np.diff([0, *stops]):
        carry = advance(carry, jnp.asarray(steps, jnp.int32))
        row = {}
        for observable, found in zip(observables, measure(carry), strict=True):
            arrays = {name: np.asarray(value) for name, value in found.items()}
            row |= observable.finish(flow, arrays)
        rows.append({name: float(value) for name, value in row.items()})
    return rows
