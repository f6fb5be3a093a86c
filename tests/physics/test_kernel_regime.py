"""The kernel as a limit: of width, of alpha, and of what a network does in it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.datasets import Data, Digits
from mfsim.flows import ParticleFlow, State
from mfsim.integrators import ExponentialLangevin, NoisyGD
from mfsim.kernels import infinite_width_kernel, tangent_kernel
from mfsim.losses import Logistic
from mfsim.networks import DeepRelu, TwoLayer
from mfsim.observables import (
    KernelAlignment,
    KernelDrift,
    KernelSpectrum,
    Look,
    NtkGap,
    ResidualRecursion,
    Start,
)
from tests.physics.observing import observe

POINTS, DIM = 6, 10
KEY = jax.random.key(4)


def make_batch(size=1.0):
    """Points on the sphere with labels of +-size, and others to test on."""
    draws = np.random.default_rng(3)
    x = draws.standard_normal((POINTS + 4, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x[:POINTS], size * np.sign(draws.standard_normal(POINTS)), x[POINTS:]


def run(observables, *, step, stops, temperature=0.0, size=1.0, flow=None, **network):
    x, y, _ = make_batch(size)
    made = ParticleFlow(
        TwoLayer(**network), Digits(), temperature=temperature, **(flow or {})
    )
    kind = ExponentialLangevin if temperature else NoisyGD
    return observe(made, kind(step), (x, y), observables, stops, KEY)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda m: TwoLayer(width=m, antithetic=False, input_std=1.3),
        lambda m: DeepRelu(width=m, depth=2),
        lambda m: DeepRelu(width=m, depth=3),
        lambda m: DeepRelu(width=m, depth=5, scale_exponent=0.2),
    ],
    ids=["tanh", "depth 2", "depth 3", "depth 5"],
)
def test_wide_networks_have_the_kernel_of_infinite_width(make):
    # The Frobenius norm of the difference, root mean square over 24 draws, goes as
    # m^(-1/2); its standard error is some 10 % a width, which leaves 0.06 of a slope
    # over a factor of 16. The depth adds O(1/m), 0.05 more at m = 64.
    x, _, _ = make_batch()
    widths = [64, 256, 1024]
    errors = []
    for m in widths:
        network = make(m)
        limit = infinite_width_kernel(network, x)
        keys = jax.random.split(jax.random.key(0), 24)
        kernels = jax.jit(
            lambda keys, network=network: jax.lax.map(
                lambda key: tangent_kernel(network, network.init(key, DIM), x), keys
            )
        )(keys)
        squares = np.square(np.asarray(kernels) - limit[None]).sum(axis=(1, 2))
        errors.append(np.sqrt(squares.mean()) / np.linalg.norm(limit))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.12)
    # Of the mean the error is less by sqrt(24), so that no factor hides in it.
    bias = np.asarray(kernels).mean(axis=0) - limit
    assert np.linalg.norm(bias) < 0.6 * errors[-1] * np.linalg.norm(limit)


def slope(alphas, values):
    return np.polyfit(np.log(alphas), np.log(values), 1)[0]


@pytest.mark.slow
def test_drift_falls_faster_than_the_theorem_with_noise_and_decay_on():
    # p_t - p_0 is odd in u at first order and H is even: drift alpha^-2. The noise
    # moves weights by sqrt(2 lambda t) = 0.4 at alpha = 16; against the shadow, which
    # has the same noise, what is left of its fluctuation in H is small. Against the
    # start it is |theta_t - theta_0|/sqrt(m), which falls as 1/alpha.
    alphas = [16.0, 32.0, 64.0]

    def drifts(shadow):
        return [
            run(
                (KernelDrift(),),
                step=0.1 / alpha**2,
                stops=[200],
                temperature=1.0,
                width=2**14,
                alpha=alpha,
                flow={"shadow": shadow},
            )[0]
            for alpha in alphas
        ]

    rows, from_start = drifts(True), drifts(False)
    for name in ("kernel_drift", "kernel_drift_relative"):
        values = [row[name] for row in rows]
        assert slope(alphas, values) == pytest.approx(-2, abs=0.2)
    assert slope(alphas, [row["kernel_drift"] for row in from_start]) > -1.75


@pytest.mark.long
def test_gap_falls_as_the_fourth_power_down_to_its_floor():
    # Labels of size 2.8 need alpha well above 10. The floor lambda n/2m = 1.8e-7 is 5 %
    # of the gap at alpha = 64; at sqrt(m) = 128 the fourth power is as small as it, and
    # its chi^2 with 6 degrees is within 0.1 and 3 of its mean but for one in 400.
    temperature, width = 1e-3, 2**14
    gaps = [
        run(
            (NtkGap(),),
            step=0.02 / alpha**2,
            stops=[1000],
            temperature=temperature,
            size=2.8,
            width=width,
            alpha=alpha,
        )[0]["ntk_gap"]
        for alpha in (32.0, 64.0, 128.0)
    ]
    floor = temperature * POINTS / (2 * width)
    assert np.log2(gaps[1] / gaps[0]) == pytest.approx(-4, abs=0.4)
    assert gaps[1] > 10 * floor
    assert 0.1 * floor < gaps[2] < gaps[1] / 16 + 3 * floor


@pytest.mark.long
def test_noise_leaves_its_share_in_the_gap():
    # With small labels nothing else is left. Saves a relaxation apart are 160 draws of
    # chi^2 with 6 degrees: their mean is within 3 sqrt(2/960) = 14 % of what it should
    # be, and alpha^2/m = 6 % more.
    temperature, width = 0.1, 1024
    rows = run(
        (NtkGap(),),
        step=0.05 / 64,
        stops=list(range(2000, 34000, 200)),
        temperature=temperature,
        width=width,
        alpha=8.0,
        size=0.2,
    )
    gap = np.mean([row["ntk_gap"] for row in rows])
    floor = temperature * POINTS / (2 * width)
    assert gap == pytest.approx(floor, rel=0.2)


def test_random_features_are_their_kernel_to_rounding():
    # With w frozen f is linear in u, so that the discrete prediction is exact.
    for size in (0.05, 0.2):
        rows = run(
            (NtkGap(), ResidualRecursion()),
            step=size,
            stops=[1, 7, 200],
            width=64,
            alpha=3.0,
            trainable="output",
            antithetic=False,
        )
        for row in rows:
            assert row["ntk_gap"] < 1e-26
            assert row["residual_recursion"] < 1e-14
        assert rows[-1]["ntk_gap_infinite"] > 1e-5


def test_the_gap_is_that_of_a_linearised_network():
    # An independent run: f_0 + J (theta - theta_0) trained by gradient descent.
    x, y, other = make_batch()
    network = TwoLayer(width=32, alpha=2.0, antithetic=False)
    flow, step, steps = ParticleFlow(network, Digits()), 0.1, 40
    state = flow.init(KEY, DIM)
    data = Data(*(jnp.asarray(a) for a in (x, y, other, np.zeros(4))))
    look = {"train": np.zeros(POINTS), "test": np.zeros(4), "step": np.asarray(steps)}
    gap = NtkGap()
    reference = gap.reference(Start(flow, NoisyGD(step), data, state, {}))
    found = gap.finish(flow, look, reference)

    points = jnp.concatenate([data.x_train, data.x_test])
    jacobian = jax.jacrev(lambda params: network(params, points))(state.params)
    rows = np.concatenate(
        [np.asarray(a).reshape(POINTS + 4, -1) for a in jacobian], axis=1
    )
    start, theta = np.asarray(network(state.params, points)), np.zeros(rows.shape[1])
    for _ in range(steps):
        residual = (start + rows @ theta)[:POINTS] - y
        theta -= step * 32 * 2 * residual @ rows[:POINTS] / POINTS
    f = start + rows @ theta
    assert found["ntk_gap"] == pytest.approx(np.mean(f[:POINTS] ** 2), rel=1e-10)
    assert found["test_ntk_gap"] == pytest.approx(np.mean(f[POINTS:] ** 2), rel=1e-10)


def test_the_logistic_gap_has_a_part_of_second_order_in_the_step():
    # Random features again: only the steps differ from the kernel's gradient flow, by
    # O(step) in f. Curvature leaves a few per cent of step/time in the ratio.
    gaps = []
    for step in (0.02, 0.01):
        (row,) = run(
            (NtkGap(),),
            step=step,
            stops=[round(4 / step)],
            width=64,
            alpha=3.0,
            trainable="output",
            flow={"loss": Logistic()},
        )
        gaps.append(row["ntk_gap"])
    assert gaps[0] > 1e-8
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)


def test_recursion_error_is_that_of_the_definition():
    x, y, _ = make_batch()
    network = TwoLayer(width=32, alpha=2.0, antithetic=False)
    flow, step = ParticleFlow(network, Digits()), 0.2
    rows = observe(flow, NoisyGD(step), (x, y), (ResidualRecursion(),), [1, 2, 3], KEY)
    batch = jnp.asarray(x), jnp.asarray(y)
    carry = NoisyGD(step).init(flow, flow.init(jax.random.split(KEY)[0], DIM))
    total = 0.0
    for row in rows:
        kernel = tangent_kernel(network, carry.state.params, x)
        before = np.asarray(flow.predict(carry.state, batch[0])) - y
        carry = NoisyGD(step).advance(flow, batch, carry, 1, KEY)
        after = np.asarray(flow.predict(carry.state, batch[0])) - y
        change = 2 * network.alpha**2 * step / POINTS * kernel @ before
        error = np.sqrt(np.mean((after - before + change) ** 2))
        total += error
        size = np.sqrt(np.mean(change**2))
        assert row["residual_recursion"] == pytest.approx(error, rel=1e-9)
        assert row["residual_recursion_sum"] == pytest.approx(total, rel=1e-9)
        assert row["residual_recursion_relative"] == pytest.approx(error / size, 1e-9)
    assert total > 1e-3


def test_recursion_error_is_of_second_order_in_the_step():
    # One step from the same place: what is left is eta^2 theta''-terms, and eta^3.
    errors = [
        run((ResidualRecursion(),), step=step, stops=[1], width=64, antithetic=False)[0]
        for step in (0.02, 0.01)
    ]
    ratio = errors[0]["residual_recursion"] / errors[1]["residual_recursion"]
    assert ratio == pytest.approx(4, rel=0.05)


def test_spectrum_is_that_of_numpy():
    x, y, _ = make_batch()
    network = TwoLayer(width=32, alpha=2.0)
    (row,) = run((KernelSpectrum(num_leading=3),), step=0.1, stops=[5], **vars(network))
    flow = ParticleFlow(network, Digits())
    carry = NoisyGD(0.1).init(flow, flow.init(jax.random.split(KEY)[0], DIM))
    batch = jnp.asarray(x), jnp.asarray(y)
    carry = NoisyGD(0.1).advance(flow, batch, carry, 5, KEY)
    kernel = tangent_kernel(network, carry.state.params, x)
    values, vectors = np.linalg.eigh(kernel)
    np.testing.assert_allclose(row["kernel_eigenvalues"], values[:-4:-1], rtol=1e-9)
    shares = np.square(vectors.T @ y)[:-4:-1] / (y @ y)
    np.testing.assert_allclose(row["kernel_label_projections"], shares, rtol=1e-7)
    expected = {
        "kernel_lambda_min": values[0],
        "kernel_lambda_max": values[-1],
        "kernel_condition_number": values[-1] / values[0],
        "kernel_effective_rank": values.sum() ** 2 / np.sum(values**2),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-8)
    assert 0 < row["kernel_lambda_min_error"] < 1e-13


def test_kernel_observables_take_deep_networks():
    # Against the Jacobian, in the normalisation m^(-2a).
    x, y, _ = make_batch()
    network, keys = DeepRelu(width=64, depth=3), jax.random.split(KEY)
    before, now = (network.init(key, DIM) for key in keys)
    data = Data(*(jnp.asarray(a) for a in (x, y, x[:0], y[:0])))
    flow: Any = ParticleFlow(network, Digits())  # type: ignore[arg-type]

    @jax.jit
    def measure(state, initial):
        look = Look(flow, None, data, state, initial, jnp.asarray(1))
        return KernelDrift().measure(look), KernelAlignment().measure(look)

    drift, alignment = measure(State(now), State(before))

    def kernel(params):
        leaves = jax.tree.leaves(jax.jacrev(lambda p: network(p, data.x_train))(params))
        rows = np.concatenate([np.asarray(a).reshape(POINTS, -1) for a in leaves], 1)
        return rows @ rows.T / 64

    change = kernel(now) - kernel(before)
    assert drift["kernel_drift"] == pytest.approx(np.abs(change).max(), rel=1e-10)
    relative = np.linalg.norm(change) / np.linalg.norm(kernel(before))
    assert drift["kernel_drift_relative"] == pytest.approx(relative, rel=1e-10)
    share = y @ kernel(now) @ y / (y @ y) / np.linalg.norm(kernel(now))
    assert alignment["kernel_alignment"] == pytest.approx(share, rel=1e-10)
