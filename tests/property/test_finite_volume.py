"""What holds of every run on a grid: mass, sign, falling energy, one result."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfsim.activations import Relu, Softplus, Tanh
from mfsim.datasets import ArrayFile
from mfsim.flows import DensityFlow, State
from mfsim.integrators import FiniteVolume
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import TwoLayer

N = 4
each_activation = pytest.mark.parametrize(
    "activation", [Tanh(), Softplus(), Relu()], ids=lambda a: type(a).__name__
)
problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "alpha": st.floats(0.25, 6.0),
        "temperature": st.floats(0.02, 2.0),
        "size": st.floats(0.1, 2.0),
        "share": st.floats(0.05, 0.5),
    }
)
STEPS = 25


def make(activation, dim, cells, loss=None):
    """A flow whose reals are arrays, so that one program serves all problems."""
    network = TwoLayer(activation=activation)
    dataset = ArrayFile("points.npz")
    return DensityFlow(network, dataset, loss or SquaredError(), 1.0, cells=cells)


def run(flow, integrator, problem, dim):
    """The masses and energies after every step, and the memory at the end."""
    rng = np.random.default_rng(problem["seed"])
    x = problem["size"] * rng.uniform(-1, 1, size=(N, dim))
    y = np.sign(rng.normal(size=N))
    # A share of the step at which the linear mean field would grow.
    u2 = np.square(np.linalg.norm(x, axis=1)).sum() * 2 + N
    step = problem["share"] * N / (problem["alpha"] ** 2 * u2)
    reals = [problem["alpha"], problem["temperature"], step, x, y]
    return _trajectory(flow, integrator, *map(jnp.asarray, reals))


def _trajectory(flow, integrator, alpha, temperature, step, x, y):
    def replaced(part, **reals):
        # Not `replace`, whose checks would meet arrays.
        part = object.__new__(type(part)), part
        for field in dataclasses.fields(part[1]):
            value = reals.get(field.name, getattr(part[1], field.name))
            object.__setattr__(part[0], field.name, value)
        return part[0]

    network = replaced(flow.network, alpha=alpha)
    flow = replaced(flow, network=network, temperature=temperature)
    integrator = replaced(integrator, step=step)
    state = flow.init(jax.random.key(0), x.shape[1])
    carry = integrator.init(flow, state, (x, y))

    def one(carry, _):
        carry = integrator.advance(flow, (x, y), carry, 1, jax.random.key(0))
        masses = carry.state.params
        energy = flow.energy(carry.state, (x, y))
        return carry, (masses.sum(), masses.min(), energy)

    start = flow.energy(carry.state, (x, y))
    carry, found = jax.lax.scan(one, carry, None, length=STEPS)
    return start, carry.memory, found


_trajectory = jax.jit(_trajectory, static_argnums=(0, 1))


@each_activation
@settings(max_examples=20)
@given(problem=problems)
def test_mass_sign_and_falling_energy(activation, problem):
    start, memory, (mass, least, energy) = run(
        make(activation, 1, 32), FiniteVolume(1.0), problem, 1
    )
    assert bool(memory.is_sound)
    np.testing.assert_allclose(mass, 1, rtol=0, atol=1e-12)
    assert float(least.min()) >= 0
    # Sums of 1024 terms round by some 1e-15 of the energy.
    slack = 1e-12 * (float(start) + problem["temperature"])
    assert np.diff(np.append(start, energy)).max() <= slack


@pytest.mark.slow
@settings(max_examples=10)
@given(problem=problems, logistic=st.booleans())
def test_with_three_axes_and_either_loss(problem, logistic):
    loss = Logistic() if logistic else SquaredError()
    start, memory, (mass, least, energy) = run(
        make(Tanh(), 2, 16, loss), FiniteVolume(1.0), problem, 2
    )
    assert bool(memory.is_sound)
    np.testing.assert_allclose(mass, 1, rtol=0, atol=1e-12)
    assert float(least.min()) >= 0
    slack = 1e-12 * (float(start) + problem["temperature"])
    assert np.diff(np.append(start, energy)).max() <= slack


@given(problem=problems)
@settings(max_examples=10)
def test_a_tolerance_lets_any_step_fall(problem):
    """Steps forty times too long for the frozen mean field are cut until they fit."""
    problem = problem | {"share": 40 * problem["share"]}
    integrator = FiniteVolume(1.0, tolerance=0.1)
    start, memory, (mass, _, energy) = run(make(Tanh(), 1, 16), integrator, problem, 1)
    assert bool(memory.is_sound)
    assert int(memory.pieces) > STEPS
    np.testing.assert_allclose(mass, 1, rtol=0, atol=1e-11)
    slack = 1e-12 * (float(start) + problem["temperature"])
    assert np.diff(np.append(start, energy)).max() <= slack


def test_the_steps_may_be_cut_into_calls_anywhere():
    flow = make(Tanh(), 1, 16)
    x, y = jnp.asarray([[0.5], [-1.0]]), jnp.asarray([1.0, -0.5])
    for integrator in (FiniteVolume(0.1), FiniteVolume(0.4, tolerance=0.02)):
        carry = integrator.init(flow, flow.init(jax.random.key(0), 1), (x, y))

        @jax.jit
        def advance(carry, count, integrator=integrator):
            return integrator.advance(flow, (x, y), carry, count, jax.random.key(0))

        whole = advance(carry, 7)
        parts = advance(advance(advance(carry, 1), 4), 2)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_step_too_large_for_the_mean_field_ends_the_run():
    flow = make(Tanh(), 1, 16)
    x, y = jnp.asarray([[1.0], [-1.0]]), jnp.asarray([3.0, -3.0])
    integrator = FiniteVolume(30.0)
    carry = integrator.init(flow, flow.init(jax.random.key(0), 1), (x, y))
    after = integrator.advance(flow, (x, y), carry, 3, jax.random.key(0))
    assert not bool(integrator.is_sound(after.memory))
    assert integrator.failure(carry.memory) is None
    message = integrator.failure(after.memory)
    assert message.startswith("integrator.step must be small enough")
    assert "free energy rose" in message
    assert np.isfinite(after.state.params).all()
    kept = integrator.advance(flow, (x, y), after, 5, jax.random.key(0))
    np.testing.assert_array_equal(kept.state.params, after.state.params)


def test_a_law_that_starts_in_one_cell_is_spread():
    """log p = -inf all around, and nothing is NaN."""
    flow = make(Tanh(), 1, 16)
    x, y = jnp.asarray([[0.5]]), jnp.asarray([1.0])
    masses = jnp.zeros((16, 16)).at[4, 9].set(1.0)
    integrator = FiniteVolume(0.05)
    carry = integrator.init(flow, State(masses), (x, y))
    after = integrator.advance(flow, (x, y), carry, 4, jax.random.key(0))
    assert bool(after.memory.is_sound)
    assert float(after.state.params.min()) >= 0
    np.testing.assert_allclose(after.state.params.sum(), 1, rtol=1e-13)
