"""Observables of deep networks against NumPy: layers, linearisations, online error.

Everything is in double precision. Sums of some hundred terms of order one are compared
to 1e-10 relative, which leaves a factor of a thousand for rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mfsim
from mfsim import accounts, observables
from mfsim.accounts.online import following
from mfsim.datasets import Data, TwoClassSphere
from mfsim.flows import LinearisedFlow, ParticleFlow, State, WeightFlow
from mfsim.flows.base import turn
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import DeepRelu, Neurons, TwoLayer
from mfsim.observables import (
    ActivationFlips,
    AlmostConvexity,
    Displacement,
    GradientNorms,
    LayerDistance,
    LinearisationError,
    Look,
    OnlineError,
    SpectralNorms,
    TwinGap,
)
from mfsim.observables.layers import spectral_norm
from mfsim.observables.linearisation import Probes, probe
from mfsim.observables.online import OnlineError as Online

DRAWS = np.random.default_rng(11)
DIM, WIDTH, DEPTH, POINTS = 4, 6, 3, 20
X = DRAWS.standard_normal((POINTS, DIM))
X /= np.linalg.norm(X, axis=1, keepdims=True)
Y = DRAWS.choice([-1.0, 1.0], POINTS)
NETWORK = DeepRelu(WIDTH, DEPTH, scale_exponent=0.25)
SCALE = WIDTH**0.25
NO_TEST = Data(jnp.asarray(X), jnp.asarray(Y), jnp.zeros((0, DIM)), jnp.zeros(0))
LOSSES = [SquaredError(), Logistic()]
DATASET = TwoClassSphere(dim=3, num_train=8, num_test=4)


def weights(seed=0, width=WIDTH, depth=DEPTH):
    draws = np.random.default_rng(seed)
    shapes = [(width, DIM), *[(width, width)] * (depth - 2), (1, width)]
    return [draws.standard_normal(s) * np.sqrt(2 / width) for s in shapes]


def outputs(layers, x=X, scale=SCALE):
    for layer in layers[:-1]:
        x = np.maximum(x @ layer.T, 0)
    return scale * x @ layers[-1][0]


def jacobian(layers, x=X, scale=SCALE):
    """Rows (n, p) of d f(x_i) / d all weights, by hand: signals forth and back."""
    signals = [x]
    for layer in layers[:-1]:
        signals.append(np.maximum(signals[-1] @ layer.T, 0))
    back, parts = np.full((len(x), 1), scale), []
    for layer, before in zip(layers[::-1], signals[::-1], strict=True):
        product = back[:, :, None] * before[:, None, :]
        parts.append(product.reshape(len(x), -1))
        back = (back @ layer) * (before > 0)
    return np.hstack(parts[::-1])


def losses(loss, f, y):
    """The loss and its slope."""
    if isinstance(loss, SquaredError):
        return (f - y) ** 2, 2 * (f - y)
    return np.log1p(np.exp(-y * f)), -y / (1 + np.exp(y * f))


def flat(layers):
    return np.concatenate([np.ravel(layer) for layer in layers])


def unflat(vector, like):
    cuts = np.cumsum([layer.size for layer in like])[:-1]
    parts = np.split(vector, cuts)
    return [p.reshape(layer.shape) for p, layer in zip(parts, like, strict=True)]


def tree(layers):
    return tuple(jnp.asarray(layer) for layer in layers)


def measure(observable, now, start, *, network=NETWORK, loss=LOSSES[0], **state):
    flow = WeightFlow(network, None, loss, temperature=0.1 if state else 0.0)
    state = State(tree(now), **{name: tree(part) for name, part in state.items()})

    @jax.jit
    def look(state, start):
        place = state, start, jnp.asarray(0), (), (observable,)
        return Look(flow, mfsim.NoisyGD(0.1), NO_TEST, *place).measure()

    (found,) = look(state, State(tree(start)))
    return observable.finish(flow, {k: np.asarray(v) for k, v in found.items()}, None)


def test_distances_are_those_of_what_was_added():
    start = weights()
    # Layer l moves by a matrix of Frobenius norm l.
    moves = [np.full(w.shape, k / np.sqrt(w.size)) for k, w in enumerate(start, 1)]
    now = [a + b for a, b in zip(start, moves, strict=True)]
    found = measure(LayerDistance(), now, start)
    np.testing.assert_allclose(found["layer_distance"], [1, 2, 3], rtol=1e-12)
    scaled = found["layer_distance_scaled"]
    np.testing.assert_allclose(scaled, SCALE * np.array([1, 2, 3]), rtol=1e-12)
    np.testing.assert_allclose(found["layer_radius"], 3 * SCALE, rtol=1e-12)
    assert "w2_upper_layer" not in found


def test_with_noise_distances_are_from_the_shadow_too():
    start, now, shadow = (weights(seed) for seed in range(3))
    found = measure(LayerDistance(), now, start, shadow=shadow)
    expected = [np.linalg.norm(a - b) for a, b in zip(now, shadow, strict=True)]
    np.testing.assert_allclose(found["w2_upper_layer"], expected, rtol=1e-12)


def test_two_layers_move_as_far_as_their_neurons():
    start, now = (weights(seed, depth=2) for seed in range(2))
    deep = measure(Displacement(), now, start, network=DeepRelu(WIDTH, 2))

    def neurons(layers):
        w, u = (jnp.asarray(np.sqrt(WIDTH) * layer) for layer in layers)
        return State(Neurons(w, u[0]))

    flow = ParticleFlow(TwoLayer(WIDTH, activation=mfsim.Relu()), None)
    place = neurons(now), neurons(start), jnp.asarray(0)
    shallow = Displacement().measure(Look(flow, None, NO_TEST, *place))
    for name, value in shallow.items():
        np.testing.assert_allclose(deep[name], value, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 9), (5, 7), (80, 100), (128, 128), (300, 70)])
def test_spectral_norms_are_the_largest_singular_values(shape):
    matrix = np.random.default_rng(3).standard_normal(shape)
    expected = np.linalg.svd(matrix, compute_uv=False)[0]
    # Lanczos stops at eps relative in the eigenvalue of W W^T.
    np.testing.assert_allclose(spectral_norm(matrix), expected, rtol=1e-12)


def test_spectral_norms_come_in_the_order_of_the_layers():
    start = weights()
    found = measure(SpectralNorms(), start, start)["spectral_norm"]
    expected = [np.linalg.svd(w, compute_uv=False)[0] for w in start]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_gradient_norms_are_those_of_finite_differences(loss):
    start = weights()

    def risk(vector):
        return losses(loss, outputs(unflat(vector, start)), Y)[0].mean()

    # Central differences are off by h^2 and eps/h: some 1e-9 of a gradient of one.
    step, at = 1e-5, flat(start)
    units = step * np.eye(len(at))
    gradient = [(risk(at + e) - risk(at - e)) / (2 * step) for e in units]
    expected = [np.linalg.norm(g) for g in unflat(np.array(gradient), start)]
    found = measure(GradientNorms(), start, start, loss=loss)
    np.testing.assert_allclose(found["gradient_norm"], expected, rtol=1e-7)


def test_flips_are_counted():
    # Two neurons see the sign of x_1, and two that of x_2; those flip, in 7 of 20.
    first = np.zeros((WIDTH, DIM))
    first[[0, 1, 2, 3], [0, 0, 1, 1]] = 1
    second = np.eye(WIDTH)
    start = [first, second, np.ones((1, WIDTH))]
    turned = first.copy()
    turned[2:4] *= -1
    found = measure(ActivationFlips(), [turned, *start[1:]], start)
    # Neurons 2 and 3 change at every point, in both layers; 4 and 5 are never on.
    np.testing.assert_allclose(found["activation_flips"], [1 / 3, 1 / 3], rtol=1e-12)
    few = measure(
        ActivationFlips(),
        [turned, *start[1:]],
        start,
        network=DeepRelu(WIDTH, DEPTH, active=4.0),
    )
    np.testing.assert_allclose(few["activation_flips"], [1 / 2, 1 / 2], rtol=1e-12)


def test_the_error_along_a_ray_follows_from_homogeneity():
    # f is of degree L, so at c W_0 it is c^L f_0 and its tangent (1 + L (c - 1)) f_0.
    start, c = weights(), 1.3
    found = measure(LinearisationError(num_probes=1), [c * w for w in start], start)
    left = c**DEPTH - 1 - DEPTH * (c - 1)
    expected = left * np.abs(outputs(start)).max()
    np.testing.assert_allclose(found["linearisation_error"], expected, rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_convexity_along_a_ray_follows_from_homogeneity(loss):
    start, c = weights(), 1.3
    tiny = AlmostConvexity(radius=1e-13, num_probes=1)
    found = measure(tiny, [c * w for w in start], start, loss=loss)
    there = outputs(start)
    now = c**DEPTH * there
    # <grad f, W_0 - c W_0> = -(1 - 1/c) L f at c W_0, by Euler.
    moved = -(1 - 1 / c) * DEPTH * now
    after, (before, slope) = losses(loss, there, Y)[0], losses(loss, now, Y)
    expected = (after - before - slope * moved).mean()
    np.testing.assert_allclose(found["almost_convexity"], expected, rtol=1e-10)


def test_probes_lie_in_the_ball_and_are_linearised_about_the_present():
    start, now = weights(0), weights(1)
    network = DeepRelu(WIDTH, DEPTH, scale_exponent=0.25, active=5.0)
    for layers in (start, now):
        layers[0][5:] = layers[1][5:] = layers[2][:, 5:] = 0
        layers[1][:, 5:] = 0
    flow = WeightFlow(network, None)
    place = State(tree(now)), State(tree(start)), jnp.asarray(0)
    look = Look(flow, None, NO_TEST, *place)
    chosen = Probes(radius=2.0, number=1, seed=4, points=POINTS)
    found = jax.tree.map(np.asarray, probe(look, chosen))
    scale = 5**0.25
    np.testing.assert_allclose(found.now, outputs(now, scale=scale), rtol=1e-10)
    # The first probe is the start; its tangent is that of the Jacobian by hand.
    np.testing.assert_allclose(found.there[0], outputs(start, scale=scale), rtol=1e-10)
    tangent = jacobian(now, scale=scale) @ (flat(start) - flat(now))
    np.testing.assert_allclose(found.linear[0] - found.now, tangent, atol=1e-10)
    key = jax.random.fold_in(jax.random.key(4), 1)
    drawn = [
        np.where(w == 0, 0, jax.random.normal(jax.random.fold_in(key, i), w.shape))
        for i, w in enumerate(start)
    ]
    reach = 2.0 / scale
    moves = [reach * a / np.linalg.norm(a) for a in drawn]
    there = [a + b for a, b in zip(start, moves, strict=True)]
    np.testing.assert_allclose(found.there[1], outputs(there, scale=scale), rtol=1e-10)
    tangent = jacobian(now, scale=scale) @ (flat(there) - flat(now))
    np.testing.assert_allclose(found.linear[1] - found.now, tangent, atol=1e-10)


def advance(account, flow, batch_size, step, cuts, key):
    """The ledger after as many steps as the cuts add up to, and the last weights."""
    integrator = mfsim.NoisyGD(step, batch_size=batch_size)
    data = jnp.asarray(X), jnp.asarray(Y)
    state = State(tree(weights()))
    carry = integrator.init(flow, state, data, (account,))
    go = jax.jit(
        lambda carry, steps: integrator.advance(
            flow, data, carry, steps, key, (account,)
        )
    )
    for cut in cuts:
        carry = go(carry, jnp.asarray(cut, jnp.int32))
    return carry


def batches(batch_size, steps, key):
    """Rows of each step: a new permutation every epoch."""
    if batch_size is None:
        return [np.arange(POINTS)] * steps
    _, batch_key = jax.random.split(key)
    per_epoch, rows = POINTS // batch_size, []
    for epoch in range(-(-steps // per_epoch)):
        order = jax.random.permutation(jax.random.fold_in(batch_key, epoch), POINTS)
        rows += np.split(np.asarray(order)[: per_epoch * batch_size], per_epoch)
    return rows[:steps]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_online_errors_and_the_iterate_are_those_of_a_replay(loss, key):
    steps, rate, seed = 30, 0.02, 5
    flow, account = WeightFlow(NETWORK, None, loss), accounts.OnlineError(seed)
    carry = advance(account, flow, 1, rate, [steps], key)
    cut = advance(account, flow, 1, rate, [7, 13, 10], key)
    for a, b in zip(*map(jax.tree.leaves, (carry.ledger, cut.ledger)), strict=True):
        np.testing.assert_array_equal(a, b)

    now, path, errors, risks = weights(), [], [], []
    for rows in batches(1, steps, key):
        path.append(now)
        f = outputs(now, X[rows])
        value, slope = losses(loss, f, Y[rows])
        errors.append(float(f[0] * Y[rows][0] <= 0))
        risks.append(value[0])
        push = rate * slope @ jacobian(now, X[rows])
        now = unflat(flat(now) - push, now)
    chosen, after = 0, 0
    while after < steps:
        chosen = after
        draw = jax.random.uniform(jax.random.fold_in(jax.random.key(seed), chosen))
        after = int((chosen + 1) / (1 - float(draw)))
    assert 0 < chosen < steps - 1

    data = Data(*(jnp.asarray(a) for a in (X, Y, X, Y)))
    place = carry.state, carry.state, carry.step, carry.ledger, (Online(seed),)
    (found,) = Look(flow, mfsim.NoisyGD(rate, batch_size=1), data, *place).measure()
    f = outputs(path[chosen])
    expected = {
        "online_error": np.mean(errors),
        "online_risk": np.mean(risks),
        "iterate_error": np.mean(f * Y <= 0),
        "iterate_risk": losses(loss, f, Y)[0].mean(),
    }
    assert 0 < expected["online_error"] < 1
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10, err_msg=name)


def test_before_the_first_step_the_start_is_judged():
    flow, account = WeightFlow(NETWORK, None), accounts.OnlineError()
    integrator = mfsim.NoisyGD(0.1, batch_size=1)
    batch = jnp.asarray(X), jnp.asarray(Y)
    carry = integrator.init(flow, State(tree(weights())), batch, (account,))
    place = carry.state, carry.state, carry.step, carry.ledger, (OnlineError(),)
    data = Data(*batch, *batch)
    (found,) = Look(flow, integrator, data, *place).measure()
    f = outputs(weights())
    for part in ("online", "iterate"):
        wrong, risk = np.mean(f * Y <= 0), np.mean((f - Y) ** 2)
        np.testing.assert_allclose(found[f"{part}_error"], wrong, rtol=1e-10)
        np.testing.assert_allclose(found[f"{part}_risk"], risk, rtol=1e-10)


def test_every_iterate_is_as_likely_as_any_other():
    steps, runs = 6, 600
    next_after = jax.jit(following)
    counts = np.zeros(steps)
    for seed in range(runs):
        key, chosen, after = jax.random.key(seed), 0, 0
        while after < steps:
            chosen, after = after, int(next_after(key, jnp.asarray(after)))
        counts[chosen] += 1
    # Chi^2 with 5 degrees of freedom is above 20.5 in one of a thousand.
    expected = runs / steps
    assert ((counts - expected) ** 2 / expected).sum() < 20.5


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_twin_is_that_of_a_replay(loss, batch_size, key):
    steps, rate = 20, 0.02
    flow = WeightFlow(NETWORK, None, loss)
    carry = advance(accounts.Twin(), flow, batch_size, rate, [steps], key)
    start = weights()
    full, first = jacobian(start), outputs(start)
    theta = flat(start)
    for rows in batches(batch_size, steps, key):
        f = first[rows] + full[rows] @ (theta - flat(start))
        slope = losses(loss, f, Y[rows])[1]
        theta = theta - rate * full[rows].T @ slope / len(rows)
    (pair,) = carry.ledger
    origin, params = turn(pair)
    np.testing.assert_allclose(flat(params), theta, rtol=1e-10)
    np.testing.assert_array_equal(flat(origin), flat(start))
    # What is compared has moved, and otherwise than the network.
    assert np.abs(theta - flat(start)).max() > 0.01
    assert np.abs(flat(carry.state.params) - theta).max() > 1e-3


def experiment(flow, *listed, integrator=None, **options):
    network = TwoLayer(8) if flow is ParticleFlow else DeepRelu(8, 3)
    return mfsim.Experiment(
        flow=flow(network, DATASET, **options),
        integrator=integrator or mfsim.NoisyGD(0.05),
        schedule=mfsim.Schedule(num_steps=4, saves=3, snapshots=0),
        observables=listed,
    )


OF_LAWS = "KL Wasserstein ChiSquare MMD FreeEnergy Certificate Audit NeuronMoments"
OF_LAYERS = "LayerDistance SpectralNorms GradientNorms ActivationFlips"


@pytest.mark.parametrize("kind", [*OF_LAWS.split(), "Marginals", "GridQuality"])
@pytest.mark.parametrize("flow", [WeightFlow, LinearisedFlow])
def test_what_is_of_laws_is_refused_by_deep_networks(kind, flow):
    text = rf"observables\[0\] {kind} must be given a flow of kind .*{flow.__name__}"
    with pytest.raises(ValueError, match=text):
        experiment(flow, getattr(observables, kind)())


@pytest.mark.parametrize(
    "kind", [*OF_LAYERS.split(), "LinearisationError", "AlmostConvexity"]
)
def test_what_is_of_layers_is_refused_by_neurons(kind):
    with pytest.raises(ValueError, match=rf"{kind} must be given a flow of kind Weig"):
        experiment(ParticleFlow, getattr(observables, kind)())


@pytest.mark.slow
def test_a_twin_has_no_twin_but_the_steps_of_its_kernel(tmp_path):
    run = mfsim.run(experiment(LinearisedFlow, TwinGap()), tmp_path / "run.h5")
    assert run.absent["twin_gap"] == "the run is its own twin"
    assert run.series.kernel_flow_gap.notnull().all()


REASONS = {
    "hot": ({"temperature": 0.1}, "twin_gap", "LinearisedFlow"),
    "cold": ({}, "w2_upper_layer", "temperature is 0"),
    "without shadow": (
        {"temperature": 0.1, "shadow": False},
        "w2_upper_layer",
        "shadow is false",
    ),
    "batches": (
        {"integrator": mfsim.NoisyGD(0.1, batch_size=2)},
        "kernel_flow_gap",
        "the steps see batches",
    ),
    "adaptive": (
        {"integrator": mfsim.DiffraxSolver(0.1)},
        "online_error",
        "keeps no account",
    ),
    "no descent": (
        {"integrator": mfsim.DiffraxSolver(0.1)},
        "kernel_descent_gap",
        "not those of gradient descent",
    ),
    "logistic": (
        {"loss": Logistic()},
        "kernel_descent_gap",
        "the twin's",
    ),
}


@pytest.mark.parametrize(("options", "name", "reason"), REASONS.values(), ids=REASONS)
def test_what_cannot_be_had_says_why(options, name, reason):
    listed = LayerDistance(), TwinGap(), OnlineError()
    made = experiment(WeightFlow, *listed, **options)
    found = {}
    for each in listed:
        found |= each.declare(made.flow, made.integrator, DATASET.load())
    assert reason in found[name]


def test_a_run_holds_a_row_for_each_layer(tmp_path):
    listed = LayerDistance(), ActivationFlips(), OnlineError(), TwinGap()
    options = {"integrator": mfsim.NoisyGD(0.05, batch_size=2)}
    run = mfsim.run(experiment(WeightFlow, *listed, **options), tmp_path / "a.h5")
    series = run.series
    assert series["layer_distance"].shape == (3, 3)
    np.testing.assert_array_equal(series["layer"], [1, 2, 3])
    np.testing.assert_array_equal(series["hidden_layer"], [1, 2])
    assert (series["layer_distance"].values[-1] > 0).all()
    assert series["twin_gap"].values[0] == 0 < series["twin_gap"].values[-1]
    assert np.isfinite(series["iterate_error"]).all()
