"""The audit's residuals: their size, their order in the step, and when they fail."""

import jax
import numpy as np
import pytest

from mfsim.accounts import PathBalance
from mfsim.datasets import SphereTeacher
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.integrators.stability import stable_step
from mfsim.networks import TwoLayer
from mfsim.observables import Audit
from tests.physics.observing import advance, observe

DATASET = SphereTeacher(dim=3, num_train=8, num_test=0)
WIDTH, ALPHA = 256, 4.0


def make(temperature):
    data = DATASET.load()
    network = TwoLayer(width=WIDTH, alpha=ALPHA, input_std=0.9, output_std=1.2)
    flow = ParticleFlow(network, DATASET, temperature=temperature)
    return flow, (data.x_train, data.y_train)


def audit(integrator, temperature, time):
    flow, batch = make(temperature)
    stops = [round(time / integrator.step)]
    (row,) = observe(flow, integrator, batch, (Audit(),), stops, jax.random.key(0))
    return row


def limit():
    flow, (x, _) = make(0.0)
    return float(
        stable_step(flow, flow.init(jax.random.key(1), 3), jax.numpy.asarray(x))
    )


@pytest.mark.slow
def test_residuals_are_of_first_order_in_the_step():
    # Without noise nothing else is left; halving a small step halves them.
    steps = [limit() / 40, limit() / 80]
    rows = [audit(NoisyGD(step), 0.0, 2.0) for step in steps]
    for name in ("audit_risk", "audit_outputs"):
        assert rows[0][name] / rows[1][name] == pytest.approx(2, rel=0.1)
    assert all(row["audit_passed"] == 1 for row in rows)
    # The force alone took the risk from 1 to what is left, so that a tenth of it is
    # the size; the residual is positive, (eta/2) E_S[phi'' f'^2] a unit of time.
    assert 0 < rows[0]["audit_risk"] < rows[0]["audit_risk_size"]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "passes"), [(0.1, 1), (0.25, 1), (0.75, 0)])
@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_a_large_step_fails(share, passes, temperature):
    kind = ExponentialLangevin if temperature else NoisyGD
    row = audit(kind(share * limit()), temperature, 5.0)
    assert row["audit_passed"] == passes
    assert (Audit().complain(row) is None) == bool(passes)


@pytest.mark.slow
def test_the_noise_has_the_size_that_is_stated():
    # 200 runs of a step so short that noise is all there is. Each residual over its
    # standard deviation has mean square 1; that of 200 Gaussians is 1 +- 0.1, and 4 of
    # these exclude a factor 2 in the variance. Outputs are dependent from point to
    # point, so that the mean over their 8 points is no sharper than one of them.
    flow, batch = make(0.3)
    integrator, account = ExponentialLangevin(limit() / 40), PathBalance(8)
    x, y = map(jax.numpy.asarray, batch)

    def one(key):
        start = flow.init(key, 3)
        carry = integrator.init(flow, start, (x, y), (account,))
        keys = jax.random.fold_in(key, 1)
        carry = advance((flow, integrator), (x, y), carry, 200, keys, (account,))
        sums = carry.ledger[0]
        change = flow.predict(carry.state, x) - flow.predict(start, x)
        return (change - sums.outputs.value) ** 2 / sums.outputs_variance.value

    keys = jax.random.split(jax.random.key(2), 200)
    ratios = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    assert np.mean(ratios) == pytest.approx(1, abs=0.4)
    assert np.mean(ratios, axis=0).min() > 0.6
