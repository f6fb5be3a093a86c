"""DiffraxSolver against exact solutions, against itself on one path, and at failure.

Reals are arrays and shapes few, so that most runs share a compilation.
"""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mfsim.activations import Identity, Tanh
from mfsim.blocks import in_turn
from mfsim.datasets import Data, Digits
from mfsim.flows import ParticleFlow
from mfsim.integrators import DiffraxSolver, ExponentialLangevin
from mfsim.integrators.brownian_path import BrownianPath
from mfsim.networks import TwoLayer
from tests.physics.exact import FrozenFlow, GaussianFlow

WIDTH, DIM, SAMPLES, ALPHA = 16, 3, 5, 2.0
STD = {"input_std": 0.8, "output_std": 1.3}
DRAWS = np.random.default_rng(5)
X, Y = DRAWS.standard_normal((SAMPLES, DIM)) / 2, DRAWS.standard_normal(SAMPLES)
HORIZON = 1.0


def make_flow(temperature=0.0, activation=None, width=WIDTH, **options):
    activation = Identity() if activation is None else activation
    options = {"width": width, "alpha": ALPHA, **STD, **options}
    network = TwoLayer(activation=activation, **options)
    warm = jnp.asarray(temperature) if temperature else 0.0
    return ParticleFlow(network, Digits(), temperature=warm)


def solver(tolerance, step=HORIZON, **options):
    real = map(jnp.asarray, (step, tolerance, tolerance))
    step, rtol, atol = real
    return DiffraxSolver(step, rtol=rtol, atol=atol, **options)


@eqx.filter_jit
def advance(integrator, flow, batch, carry, steps, key):
    return integrator.advance(flow, batch, carry, steps, key)


def run(integrator, flow, start, key, steps=1, batch=(X, Y)):
    batch = tuple(map(jnp.asarray, batch))
    carry = integrator.init(flow, start)
    return advance(integrator, flow, batch, carry, jnp.asarray(steps), key)


def flat(params):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(params)])


def distance(a, b):
    """Root mean square over the parameters of two states."""
    return np.sqrt(np.mean((flat(a.params) - flat(b.params)) ** 2))


def second_moments(neurons):
    theta = np.concatenate([neurons.w, neurons.u[:, None]], axis=1)
    return theta.T @ theta / len(theta)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Tsit5", "Dopri8"])
def test_gradient_flow_of_the_identity_to_tolerance(name, key):
    # At temperature 0 the second moments of the particles close on themselves. Fewer
    # than a hundred inner steps of error below tolerance |theta|, in a flow that
    # contracts, move moments of order 1 by less than 100 tolerances. The estimate that
    # is held at the tolerance is of the order of the method: the error falls with
    # power 1 of it, up to the jumps of the number of steps.
    flow = make_flow()
    start = flow.init(key, DIM)
    exact = GaussianFlow(X, Y, ALPHA, 0.0, **STD)
    (limit,) = exact.covariance([HORIZON], second_moments(start.params))
    tolerances = np.array([1e-4, 1e-6, 1e-8, 1e-10])
    errors = []
    for tolerance in tolerances:
        end = run(solver(tolerance, solver=name), flow, start, key).state
        errors.append(np.abs(second_moments(end.params) - limit).max())
    np.testing.assert_array_less(errors, 100 * tolerances)
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.2)
    assert np.array_equal(flat(end.shadow), flat(start.params))


def test_small_steps_of_exponential_langevin_tend_to_it(key):
    # error = c step + c' step^2: the measured order is off 1 by O(step).
    flow = make_flow()
    start = flow.init(key, DIM)
    limit = run(solver(1e-12), flow, start, key).state
    errors = []
    for cut in (128, 256, 512):
        coarse = ExponentialLangevin(jnp.asarray(HORIZON / cut))
        errors.append(distance(run(coarse, flow, start, key, cut).state, limit))
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert ratios == pytest.approx([2, 2], abs=0.1)


@pytest.mark.slow
def test_one_path_whatever_tolerance_and_step(key):
    # 3e-5 against 1e-4 and above: the error of the reference is a fourth of theirs at
    # most. The estimate, (3/5) h |f_2 - f_1| = O(h^{3/2}), is held at the tolerance
    # and the error is O(h^{3/2}), so that their ratio is a constant: of order 1, as
    # estimates add up over H/h steps at random and each is O(h^{1/2}) above the error
    # of its step. Another path would be 1 away.
    flow = make_flow(0.3, Tanh())
    start = flow.init(key, DIM)
    fine = run(solver(3e-5, 0.25), flow, start, key, 4).state
    errors, steps = [], []
    for tolerance in (3e-2, 3e-3, 3e-4):
        ends = [
            run(solver(tolerance, HORIZON / cut), flow, start, key, cut)
            for cut in (3, 4)
        ]
        apart = [distance(end.state, fine) for end in ends]
        assert max(apart) < 3 * tolerance
        errors.append(np.mean(apart))
        steps.append(np.mean([end.memory.dt for end in ends]))
    # In the mean inner step of the last span: 3/2 of the noise and 2 of the drift,
    # where it would be 1 without the area and 0 for another path.
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 1.3 < order < 2.2


@pytest.mark.slow
def test_cuts_do_not_matter_to_the_bit(key):
    flow, integrator = make_flow(0.3, Tanh()), solver(1e-2, 0.1)
    whole = run(integrator, flow, flow.init(key, DIM), key, 10)
    half = run(integrator, flow, flow.init(key, DIM), key, 5)
    batch = jnp.asarray(X), jnp.asarray(Y)
    again = advance(integrator, flow, batch, half, jnp.asarray(5), key)
    both = zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True)
    assert all(np.array_equal(a, b) for a, b in both)
    assert not np.array_equal(flat(half.state), flat(whole.state))


def free_solution(start, std, temperature, path, cells):
    """theta(t) of dtheta = -a theta dt + sqrt(2 lambda) dW from cells of the path.

    By parts, with the exact integral of W over a cell and the weight e^{-a(t-s)} at
    its middle.
    """
    a, h = temperature / std**2, HORIZON / cells
    times = h * np.arange(cells + 1)
    parts = jax.lax.map(lambda t: path.evaluate(t, t + h, use_levy=True), times[:-1])
    w = np.cumsum(parts.W, axis=0)
    left = np.concatenate([np.zeros((1, w.shape[1])), w[:-1]])
    inside = h * (left + parts.W / 2 + parts.H)
    weight = np.exp(-a * (HORIZON - times[:-1, None] - h / 2))
    noise = w[-1] - a * np.sum(weight * inside, axis=0)
    return np.exp(-a * HORIZON) * start + np.sqrt(2 * temperature) * noise


@pytest.mark.slow
def test_without_force_it_is_the_exact_free_particle_and_keeps_the_prior(key):
    # Inputs at the origin and an odd activation: no force. The cells' error is
    # a h^{5/2}/7 a cell, 3e-4 over all; the solver's 3 tolerances, as above.
    temperature, tolerance = 0.3, 1e-3
    flow = make_flow(temperature, Tanh())
    ends = []
    for each in jax.random.split(key, 32):
        start = flow.init(each, DIM)
        batch = np.zeros_like(X), Y
        end = run(solver(tolerance), flow, start, each, 1, batch).state
        np.testing.assert_allclose(flat(end.params), flat(end.shadow), atol=1e-14)
        ends.append(end.params)
    path = BrownianPath(each, jnp.zeros(()), WIDTH * (DIM + 1))
    std = np.repeat([*STD.values()], [WIDTH * DIM, WIDTH])
    solved = free_solution(flat(start.params), std, temperature, path, 16)
    error = np.sqrt(np.mean((flat(end.params) - solved) ** 2))
    assert error < 3 * tolerance
    # Five standard errors sqrt(2/N) of the variance of N normals.
    for blocks, sigma in zip(zip(*ends, strict=True), STD.values(), strict=True):
        sample = np.stack(blocks)
        spread = 5 * np.sqrt(2 / sample.size)
        assert np.mean(sample**2) / sigma**2 == pytest.approx(1, abs=spread)


@pytest.mark.slow
def test_the_path_is_brownian(key):
    size = 4000
    path = BrownianPath(key, jnp.asarray(15.0), size)
    increment = jax.jit(lambda s, t: path.evaluate(s, t, use_levy=True))
    # Within a block, across its end at 16 and across three ends.
    for s, u, t in [(0.0, 0.3, 0.7), (0.2, 0.9, 2.5), (0.5, 1.1, 40.0)]:
        whole, first, last = (increment(*pair) for pair in [(s, t), (s, u), (u, t)])
        # Chen's relation, to roundings of the path and of its integral of order 100.
        np.testing.assert_allclose(whole.W, first.W + last.W, atol=1e-12)
        integral = [p.dt * (p.W / 2 + p.H) for p in (first, last)]
        integral = sum(integral) + last.dt * first.W
        np.testing.assert_allclose(
            whole.dt * (whole.W / 2 + whole.H), integral, atol=1e-11
        )
        # Five standard errors of variances t - s and (t - s)/12, and of correlations.
        for part in (whole, first, last):
            for sample, variance in ((part.W, part.dt), (part.H, part.dt / 12)):
                ratio = np.mean(np.square(sample)) / variance
                assert ratio == pytest.approx(1, abs=5 * np.sqrt(2 / size))
            assert abs(np.corrcoef(part.W, part.H)[0, 1]) < 5 / np.sqrt(size)
        assert abs(np.corrcoef(first.W, last.W)[0, 1]) < 5 / np.sqrt(size)


@pytest.mark.slow
def test_frozen_block_stays_and_the_other_is_exact(key):
    # With w frozen the outputs obey a linear equation; 100 tolerances, as above, times
    # alpha for the outputs.
    flow = make_flow(0.0, Tanh(), antithetic=True, trainable="output")
    start = flow.init(key, DIM)
    tolerance = 1e-9
    end = run(solver(tolerance), flow, start, key).state
    assert np.array_equal(end.params.w, start.params.w)
    h = np.tanh(X @ np.asarray(start.params.w).T)
    exact = FrozenFlow(h @ h.T / WIDTH, Y, ALPHA, 0.0, STD["output_std"])
    outputs = flow.predict(end, jnp.asarray(X))
    np.testing.assert_allclose(
        outputs, exact.outputs(HORIZON), atol=100 * ALPHA * tolerance
    )


@pytest.mark.slow
def test_frozen_block_meets_no_noise_and_the_shadow_no_force(key):
    # The other stochastic method, and its tolerance, as in the test of free particles.
    temperature, tolerance, std = 0.3, 1e-3, STD["output_std"]
    flow = make_flow(temperature, Tanh(), trainable="output")
    start = flow.init(key, DIM)
    end = run(solver(tolerance, solver="SRA1"), flow, start, key).state
    for population in end[:2]:
        assert np.array_equal(population.w, start.params.w)
    assert np.abs(end.params.u - end.shadow.u).max() > 0.1
    path = BrownianPath(key, jnp.zeros(()), WIDTH)
    solved = free_solution(flat(start.params.u), std, temperature, path, 16)
    assert np.sqrt(np.mean((end.shadow.u - solved) ** 2)) < 3 * tolerance


def members(flows, starts):
    """Flows and starts with a leading member axis."""
    reals, kept = eqx.partition(flows[0], eqx.is_array)
    reals = [eqx.partition(flow, eqx.is_array)[0] for flow in flows]
    return *(jax.tree.map(lambda *a: jnp.stack(a), *t) for t in (reals, starts)), kept


def run_group(integrator, flows, starts, key, steps, turns):
    reals, states, kept = members(flows, starts)
    batch = jnp.asarray(X), jnp.asarray(Y)

    def one(reals, state):
        flow = eqx.combine(reals, kept)
        carry = integrator.init(flow, state)
        return integrator.advance(flow, batch, carry, steps, key)

    with in_turn(turns):
        return jax.jit(jax.vmap(one))(reals, states)


@pytest.mark.slow
def test_members_in_turn_are_as_alone(key):
    flows = [make_flow(temperature, Tanh()) for temperature in (0.2, 0.4)]
    start, integrator = flows[0].init(key, DIM), solver(1e-2, 0.25)
    group = run_group(integrator, flows, [start, start], key, 4, turns=True)
    for j, flow in enumerate(flows):
        alone = run(integrator, flow, start, key, 4)
        # The same operations up to the compiler's order of them.
        both = zip(jax.tree.leaves(group), jax.tree.leaves(alone), strict=True)
        assert all(np.allclose(a[j], b, rtol=1e-9, atol=1e-11) for a, b in both)


def stiff(alpha):
    return eqx.tree_at(lambda f: f.network.alpha, make_flow(), jnp.asarray(alpha))


@pytest.mark.slow
def test_a_member_that_fails_stays_where_it_was_and_alone(key):
    flows = [stiff(1.0), stiff(300.0)]
    start = flows[0].init(key, DIM)
    integrator = DiffraxSolver(0.25, rtol=1e-6, atol=1e-6, max_steps=20)
    group = run_group(integrator, flows, [start, start], key, 4, turns=False)
    ends = [jax.tree.map(lambda a: np.asarray(a)[j], group) for j in range(2)]  # noqa: B023
    assert [bool(integrator.is_sound(end.memory)) for end in ends] == [True, False]
    assert integrator.failure(ends[0].memory) is None
    message = integrator.failure(ends[1].memory)
    assert message.startswith("integrator.max_steps must be enough for a span of 0.25")
    assert "got 20;" in message
    assert message.endswith("Try increasing `max_steps`.")
    assert np.array_equal(flat(ends[1].state.params), flat(start.params))
    alone = run(integrator, flows[0], start, key, 4)
    np.testing.assert_allclose(
        flat(ends[0].state.params), flat(alone.state.params), rtol=1e-9
    )
    assert distance(ends[0].state, start) > 0.1
    assert [int(group.step[j]) for j in range(2)] == [4, 4]


def test_single_precision_loses_rounding_alone(key):
    flow = make_flow()
    start = flow.init(key, DIM)
    narrow, x, y = jax.tree.map(lambda a: a.astype(np.float32), (start, X, Y))
    integrator = DiffraxSolver(HORIZON, rtol=1e-7, atol=1e-7)
    end = run(integrator, flow, narrow, key, 1, (x, y)).state
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(end))
    # Some tens of steps of an error of 1e-7 and a rounding of 6e-8 each, |theta| = 1.
    exact = run(solver(1e-12), flow, start, key).state
    assert 0 < distance(end, exact) < 3e-6


@pytest.mark.parametrize(
    ("name", "temperature", "advice"),
    [
        ("ShARK", 0.0, "['Tsit5', 'Dopri8'] at temperature 0, got 'ShARK'; leave it"),
        ("Dopri8", 0.3, "['ShARK', 'SRA1'] at a temperature above 0, got 'Dopri8'"),
    ],
)
def test_a_solver_goes_with_its_temperature(name, temperature, advice):
    flow = make_flow(temperature)
    message = f"solver must be one of {advice}"
    with pytest.raises(ValueError, match=re.escape(message)):
        DiffraxSolver(0.1, solver=name).check(flow, Data(X, Y, X, Y))
