"""Long runs settle where the dual oracle says."""

import jax
import numpy as np
import pytest

from mfsim.datasets import TwoClassSphere
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin
from mfsim.networks import TwoLayer
from mfsim.observables import KL, Certificate, FreeEnergy, OutputMoments, Risk
from mfsim.theory import long_time_limit
from tests.physics.observing import observe

WIDTH, TEMPERATURE = 4096, 0.1
DATASET = TwoClassSphere(dim=2, num_train=3, num_test=0, seed=2)


def settled(alpha):
    """Oracle, and series at times when the law stands still, apart by half a unit."""
    flow = ParticleFlow(
        TwoLayer(width=WIDTH, alpha=alpha),
        DATASET,
        temperature=TEMPERATURE,
    )
    data = DATASET.load()
    step = 0.3 / alpha**2
    # Relaxation takes 1/lambda = 10: the start is forgotten to e^-4 in the mean of u,
    # on which the outputs depend, and they are pinned by the data besides.
    stops = [round(t / step) for t in (40.0, *np.arange(41.0, 44.0, 0.5))]
    observables = Risk(), OutputMoments(), KL(), FreeEnergy(), Certificate()
    rows = observe(
        flow,
        ExponentialLangevin(step),
        (data.x_train, data.y_train),
        observables,
        stops,
        jax.random.key(3),
    )
    return long_time_limit(flow), rows


@pytest.mark.long
@pytest.mark.parametrize("alpha", [1.0, 4.0, 16.0])
def test_particles_settle_where_the_oracle_says(alpha):
    limit, rows = settled(alpha)
    assert limit.gap < 1e-10
    mean = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    # m particles hold lambda n/2m of noise in the risk, whose own fluctuation is as
    # large, and which meets f - y; the fixed point does not depend on the step.
    noise = TEMPERATURE * 3 / (2 * WIDTH)
    slack = 3 * noise + 2 * np.sqrt(limit.risk * noise)
    assert mean["train_risk"] == pytest.approx(limit.risk, abs=slack)
    outputs = limit.predictions
    spread = np.sqrt(2 * noise)
    assert mean["output_mean"] == pytest.approx(outputs.mean(), abs=0.01 + spread)
    assert mean["output_std"] == pytest.approx(outputs.std(), abs=0.01 + spread)
    # The bound of the outputs is tight at stationarity; 3 % as the design asks.
    assert mean["kl_lower_outputs"] == pytest.approx(limit.kl, rel=0.03)
    error = rows[0]["kl_lower_se"]
    assert mean["kl_lower"] == pytest.approx(limit.kl, rel=0.03, abs=error)
    # So is the dual, wherever the run stands.
    assert mean["dual_energy"] == pytest.approx(limit.energy, rel=1e-4)
    for row in rows:
        assert row["kl_upper"] > limit.kl - 3 * row["kl_upper_se"]
    lower, upper = mean["free_energy_lower"], mean["free_energy_upper"]
    assert lower - 3 * noise < limit.energy * 1.03
    assert upper > limit.energy - 3 * noise
    assert all(row["gap_upper"] > -3 * row["gap_upper_se"] for row in rows)
    assert all(row["dual_energy"] <= limit.energy + 1e-9 for row in rows)
