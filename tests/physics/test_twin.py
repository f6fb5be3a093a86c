"""The linearised twin: second order in the displacement, and the kernel's own descent.

All in double precision: what is compared to rounding is 1e-10 of numbers of order one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mfsim
from mfsim.flows import LinearisedFlow, ParticleFlow, WeightFlow
from mfsim.flows.base import Linearised
from mfsim.losses import Logistic
from mfsim.networks import DeepRelu, TwoLayer
from mfsim.observables import (
    ActivationFlips,
    KernelDrift,
    LayerDistance,
    NtkGap,
    ResidualRecursion,
    TwinGap,
)
from tests.physics.observing import observe

N, DIM = 10, 5
DRAWS = np.random.default_rng(2)
X = DRAWS.standard_normal((N, DIM))
X /= np.linalg.norm(X, axis=1, keepdims=True)
Y = DRAWS.choice([-1.0, 1.0], N)


def slope(sizes, values):
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_without_a_flip_the_error_is_of_second_order(depth, key):
    """Then f is a polynomial in the weights: the error is c_2 s^2 + ... + c_L s^L."""
    network = DeepRelu(16, depth)
    start, moves = (network.init(k, DIM, float) for k in jax.random.split(key))
    x = jnp.asarray(X)
    sizes = 2.0 ** -np.arange(14, 18)

    @jax.jit
    def error(size):
        there = jax.tree.map(lambda w, d: w + size * d, start, moves)
        distance = network(there, x) - Linearised(network, start)(there, x)
        patterns = [_signs(params, x) for params in (start, there)]
        flips = sum(jnp.sum(a != b) for a, b in zip(*patterns, strict=True))
        return jnp.abs(distance).max(), flips

    errors, flips = zip(*map(error, jnp.asarray(sizes)), strict=True)
    assert not any(flips)
    # c_3 s/c_2 is below 1e-3 at s = 2^-14; rounding, 1e-16/s^2, is smaller.
    assert abs(slope(sizes, errors) - 2) < 1e-3


def _signs(params, x):
    found = []
    for weights in params[:-1]:
        x = x @ weights.T
        found.append(x > 0)
        x = jnp.maximum(x, 0.0)
    return found


def test_the_gap_of_trained_networks_is_of_second_order(key):
    """Labels a distance s from the first outputs move weights by O(s).

    Of m n pairs of neuron and point a share O(s) flips, and each adds O(s/m^(1/2)) to
    the output beside the tangent: the order is 2 with flips, too.
    """
    flow, sizes, rows = WeightFlow(DeepRelu(128, 3), None), [0.4, 0.2, 0.1, 0.05], []
    start_key, _ = jax.random.split(key)
    state = flow.init(start_key, DIM)
    first = np.asarray(flow.predict(state, jnp.asarray(X)))
    listed = TwinGap(), LayerDistance(), ActivationFlips()
    integrator = mfsim.NoisyGD(0.1 / 128)
    for size in sizes:
        batch = X, first + size * Y
        rows += observe(flow, integrator, batch, listed, [60], key)
    distances = [row["layer_radius"] for row in rows]
    assert abs(slope(sizes, distances) - 1) < 0.05
    assert rows[0]["activation_flips"].min() > 0
    order = slope(distances, [row["twin_gap"] ** 0.5 for row in rows])
    # A few flips of 2560 pairs make the order uncertain by some tenth.
    assert abs(order - 2) < 0.2


def test_the_twin_beside_a_network_is_a_linearised_flow(key):
    network, integrator = DeepRelu(32, 3), mfsim.NoisyGD(0.01)
    listed = NtkGap(), KernelDrift()
    (beside,) = observe(
        WeightFlow(network, None), integrator, (X, Y), (TwinGap(),), [40], key
    )
    (alone,) = observe(
        LinearisedFlow(network, None), integrator, (X, Y), listed, [40], key
    )
    assert alone["kernel_drift"] < 1e-13
    # With full batches and no noise both are the descent of their kernel.
    assert beside["twin_descent_gap"] < 1e-24
    assert alone["ntk_gap"] < 1e-24
    assert beside["twin_gap"] > 1e-6
    np.testing.assert_allclose(beside["kernel_descent_gap"], beside["twin_gap"])


def test_every_step_of_the_twin_is_one_of_its_kernel(key):
    flow = LinearisedFlow(DeepRelu(32, 3), None, Logistic())
    listed = (ResidualRecursion(),)
    (row,) = observe(flow, mfsim.NoisyGD(0.05), (X, Y), listed, [40], key)
    assert row["residual_recursion_sum"] < 1e-12


def test_two_layers_have_a_twin_too(key):
    """Antithetic pairs leave f_lin - f of order 1/alpha^2 at one kernel time."""
    gaps = []
    for alpha in (4.0, 8.0):
        flow = ParticleFlow(TwoLayer(64, alpha=alpha), None)
        integrator = mfsim.NoisyGD(0.2 / alpha**2)
        (row,) = observe(flow, integrator, (X, Y), (TwinGap(),), [30], key)
        assert row["twin_descent_gap"] < 1e-24
        gaps.append(row["twin_gap"])
    # Its square is of fourth order, with 1/alpha^2 of it as the next.
    assert abs(np.log2(gaps[0] / gaps[1]) - 4) < 0.5


def test_random_features_are_their_own_twin_and_flow_as_steps_shrink(key):
    flow, gaps = ParticleFlow(TwoLayer(32, trainable="output"), None), []
    for step, count in ((0.02, 50), (0.01, 100)):
        (row,) = observe(flow, mfsim.NoisyGD(step), (X, Y), (TwinGap(),), [count], key)
        assert max(row["twin_gap"], row["kernel_descent_gap"]) < 1e-24
        gaps.append(row["kernel_flow_gap"] ** 0.5)
    # Euler's method: of first order in the step, 0.01 kappa of it as the next.
    assert abs(np.log2(gaps[0] / gaps[1]) - 1) < 0.05
