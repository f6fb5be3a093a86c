"""On a GPU: single precision there against double precision here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mfsim
from mfsim.flows import ParticleFlow, State
from mfsim.integrators import Carry
from mfsim.networks import Neurons

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu():
    try:
        return jax.devices("gpu")[0]
    except RuntimeError:
        pytest.skip("no GPU")


def trajectory(device, dtype):
    """Outputs after 50 steps without noise from one start."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 8)) / 8**0.5, dtype)
    y = jnp.asarray(np.sign(rng.normal(size=64)), dtype)
    w = jnp.asarray(rng.normal(size=(512, 8)), dtype)
    u = jnp.asarray(rng.normal(size=512), dtype)
    flow = ParticleFlow(network=mfsim.TwoLayer(width=512, alpha=4.0), dataset=None)
    integrator = mfsim.NoisyGD(step=0.05)
    with jax.default_device(device):
        x, y, w, u = (jax.device_put(a, device) for a in (x, y, w, u))
        neurons = Neurons(w, u)
        start = Carry(State(neurons, neurons), jnp.asarray(0, jnp.int32))
        end = integrator.advance(flow, (x, y), start, 50, jax.random.key(1))
        return np.asarray(flow.predict(end.state, x))


def test_single_precision_on_the_gpu_follows_double_precision_here(gpu):
    exact = trajectory(jax.devices("cpu")[0], jnp.float64)
    fast = trajectory(gpu, jnp.float32)
    # TF32 products round at 5e-4, float32 at 6e-8; 50 contracting steps add up to
    # less than 50 times that, on outputs of size 1.
    np.testing.assert_allclose(fast, exact, atol=50 * 5e-4)


def test_a_sweep_on_the_gpu_equals_the_cpu(gpu, tmp_path):
    table = {
        "flow": {
            "kind": "ParticleFlow",
            "temperature": 1e-3,
            "network": {"kind": "TwoLayer", "width": 64},
            "dataset": {"kind": "SphereTeacher", "dim": 4, "num_train": 20},
        },
        "integrator": {"kind": "ExponentialLangevin", "step": 0.01},
        "schedule": {"num_steps": 20, "saves": 3},
        "sweep": {"flow.network.alpha": [1.0, 2.0, 4.0], "seed": [0, 1]},
    }
    from mfsim.config import load_table

    sweep = load_table(table, tmp_path)
    here = mfsim.run(sweep, tmp_path / "cpu", device="cpu")
    there = mfsim.run(sweep, tmp_path / "gpu", device="gpu")
    np.testing.assert_allclose(there.train_risk, here.train_risk, rtol=1e-2)
