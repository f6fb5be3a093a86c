"""The Rademacher complexity by search: against all signs and angles, and its bounds."""

import inspect
import itertools
import math

import jax
import numpy as np
import pytest

from mfsim.datasets.draws import stream
from mfsim.theory import capacity_measures, rademacher_search

ANGLES = np.linspace(0, 2 * np.pi, 20_001)


def setting(h, d, n, distance, seed=0):
    """Centres u0 at about `distance` from 0, radii, impacts and points."""
    draws = np.random.default_rng(seed)
    u0 = distance * draws.standard_normal((h, d))
    radii, impact = draws.uniform(0.2, 2, (2, h))
    return u0, radii, impact, draws.standard_normal((n, d))


def signs(draw, n, c):
    """The signs of one draw, as the search has them."""
    return stream(0, f"signs {draw}").choice([-1.0, 1.0], (n, c))


def best_on_circle(centre, radius, x, xi):
    """Max |sum_i xi_i [u.x_i]_+| over |u - centre| <= radius, in the plane.

    It is a norm of a linear map on cones, hence largest at their extreme points within
    the disc: on the circle, or at 0, where it is 0.
    """
    ways = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
    u = centre + radius * ways
    return np.linalg.norm(np.maximum(u @ x.T, 0) @ xi, axis=1).max()


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_the_search_finds_the_best_of_all_angles(c, distance):
    u0, radii, impact, x = setting(3, 2, 9, distance)
    found = rademacher_search(
        u0, radii, impact, x, outputs=c, draws=6, restarts=16, steps=300
    )
    for draw, value in enumerate(found.correlations):
        xi = signs(draw, 9, c)
        pairs = zip(u0, radii, strict=True)
        best = [best_on_circle(centre, radius, x, xi) for centre, radius in pairs]
        # A grid of 3e-4 is off by that at a kink, by its square elsewhere.
        assert value == pytest.approx(impact @ best / 9, rel=3e-4)
    errors = found.correlations.std(ddof=1) / math.sqrt(6)
    assert found.value == pytest.approx(found.correlations.mean())
    assert found.standard_error == pytest.approx(errors)


def test_in_one_dimension_all_signs_agree_with_the_search():
    """The maximum is at an end of each interval; all 2^6 signs give R itself."""
    u0, radii, impact, x = setting(4, 1, 6, 1.0)
    every = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    ends = np.stack([u0[:, 0] - radii, u0[:, 0] + radii])
    sums = np.abs(np.maximum(ends[..., None] * x[:, 0], 0) @ every.T)
    exact = impact @ sums.max(0) / 6
    found = rademacher_search(u0, radii, impact, x, draws=400, steps=30)
    assert (np.abs(found.correlations[:, None] - exact).min(1) < 1e-9).all()
    # Four standard errors: a false alarm of 6e-5.
    away = abs(found.value - exact.mean())
    assert away < 4 * found.standard_error
    assert found.standard_error == pytest.approx(exact.std() / 20, rel=0.2)
    assert found.lower < exact.mean() < found.upper


@pytest.mark.parametrize(
    ("h", "d", "n", "c", "distance"),
    [
        (5, 3, 20, 1, 0.0),
        (5, 3, 20, 1, 0.3),
        (5, 3, 20, 1, 3.0),
        (5, 3, 20, 4, 0.3),
        (5, 3, 6, 8, 0.0),
    ],
)
def test_the_search_is_between_what_is_proved(h, d, n, c, distance):
    u0, radii, impact, x = setting(h, d, n, distance)
    found = rademacher_search(u0, radii, impact, x, outputs=c)
    assert found.lower < found.value + 4 * found.standard_error
    assert found.value - 4 * found.standard_error < found.upper
    # The bounds of the measures are of the same class, here with v = alpha, u = u0 + w.
    way = np.linalg.qr(np.random.default_rng(2).standard_normal((d, d)))[0][0]
    v = np.concatenate([impact[None, :], np.zeros((c - 1, h))])
    labels = np.arange(n) % 2 * (1 if c > 1 else 2) - (0 if c > 1 else 1)
    measures = capacity_measures(
        u0 + radii[:, None] * way, v, u0, v, x, labels, margin=1.0
    )
    assert measures["rademacher_lower"] == pytest.approx(found.lower)
    assert measures["rademacher_class_upper"] == pytest.approx(found.upper)


@pytest.mark.parametrize("c", [1, 3])
def test_fixed_units_that_are_active_have_two_upper_bounds_in_ratio(c):
    """Eq. (6) by 2 sqrt(2c) + 2 over gamma, the other by sqrt(c), else alike."""
    draws = np.random.default_rng(0)
    u, x = draws.uniform(0, 1, (5, 3)), draws.uniform(0, 1, (20, 3))
    v = draws.standard_normal((c, 5))
    labels = np.arange(20) % 2 * (1.0 if c > 1 else 2.0) - (0 if c > 1 else 1)
    found = capacity_measures(u, v, u, v, x, labels, margin=0.3)
    ratio = found["rademacher_upper"] / found["rademacher_class_upper"]
    expected = (2 * math.sqrt(2 * c) + 2) / (0.3 * math.sqrt(c))
    assert ratio == pytest.approx(expected, rel=1e-12)


def test_the_shortest_search_is_above_what_is_proved():
    """One step leaves a unit silent that is heard along the inputs' leading direction.

    That direction is (sqrt(N), L/sqrt(N), ...)/sqrt(N + L^2), along which every input
    has sqrt(1 + L^2/N).
    """
    number, length, away = 64, 3.0, 0.97
    x = np.column_stack([np.ones(number), length * np.eye(number)])
    u0 = np.zeros((1, number + 1))
    u0[0, 0] = -away
    found = rademacher_search(
        u0, np.ones(1), np.ones(1), x, restarts=2, steps=1, draws=300
    )
    heard = math.sqrt(1 + length**2 / number) - away
    # Eight powers leave (L^2/(N + L^2))^8 = 5e-8 of the other directions.
    assert found.lower == pytest.approx(heard / math.sqrt(2 * number), rel=1e-6)
    assert found.value >= found.lower - 4 * found.standard_error


@pytest.mark.parametrize("power", [-515, 515])
@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_the_search_is_homogeneous(power, distance):
    """Powers of two, some 1e-155 and 1e155, leave every digit as it is."""
    u0, radii, impact, x = setting(3, 3, 8, distance)
    plain = rademacher_search(u0, radii, impact, x, draws=4, steps=20)
    t = 2.0**power
    cases = {
        t: [(t * u0, t * radii, impact, x), (u0, radii, impact, t * x)],
        1.0: [(t * u0, t * radii, impact, x / t), (t * u0, t * radii, impact / t, x)],
    }
    for scale, several in cases.items():
        for args in several:
            found = rademacher_search(*args, draws=4, steps=20)
            np.testing.assert_array_equal(
                found.correlations, scale * plain.correlations
            )
            assert found.standard_error == scale * plain.standard_error
            assert found.upper == pytest.approx(scale * plain.upper, rel=1e-10)
            assert found.lower == pytest.approx(scale * plain.lower, rel=1e-10)


def test_one_unit_of_another_scale_is_searched_like_the_others():
    u0, radii, impact, x = setting(3, 3, 8, 1.0)
    plain = rademacher_search(u0, radii, impact, x, draws=4, steps=20)
    t = np.array([1.0, 2.0**600, 1.0])
    found = rademacher_search(
        t[:, None] * u0, t * radii, impact / t, x, draws=4, steps=20
    )
    np.testing.assert_array_equal(found.correlations, plain.correlations)
    assert found.upper == pytest.approx(plain.upper, rel=1e-10)


def test_values_beyond_the_largest_float_are_infinite():
    u0, radii, impact, x = setting(3, 3, 8, 1.0)
    t = 2.0**600
    found = rademacher_search(t * u0, t * radii, impact, t * x, draws=4, steps=20)
    assert found.value == found.upper == found.lower == math.inf


def test_the_second_lower_bound_needs_what_passes_the_relu():
    """Alpha |u^0 X|/N as printed, without the ReLU, is none: units may be silent."""
    x = np.abs(np.random.default_rng(0).standard_normal((10, 2)))
    u0 = -np.ones((1, 2))
    found = rademacher_search(u0, np.zeros(1), np.ones(1), x)
    assert found.value == found.lower == found.upper == 0
    measures = capacity_measures(
        u0, np.ones((1, 1)), u0, np.ones((1, 1)), x, np.repeat([-1, 1], 5), margin=1.0
    )
    assert measures["rademacher_upper"] > 0.1
    assert measures["rademacher_class_upper"] == 0


def test_fixed_units_have_khintchine_sums_for_a_complexity():
    u0, _, impact, x = setting(3, 4, 12, 1.0)
    found = rademacher_search(u0, np.zeros(3), impact, x, outputs=2, draws=300, steps=2)
    active = np.maximum(x @ u0.T, 0)
    for draw in (0, 1, 299):
        sums = np.linalg.norm(active.T @ signs(draw, 12, 2), axis=1)
        assert found.correlations[draw] == pytest.approx(impact @ sums / 12)
    size = impact @ np.linalg.norm(active, axis=0) / 12
    # Between sqrt(c/2) and sqrt(c) times the norms, by Khintchine and by Jensen.
    assert found.lower == pytest.approx(size)
    assert found.upper == pytest.approx(math.sqrt(2) * size)
    assert found.lower < found.value < found.upper


def test_units_at_zero_scale_with_the_sum_of_products():
    _, radii, impact, x = setting(3, 3, 8, 0.0)
    many = rademacher_search(np.zeros((3, 3)), radii, impact, x, restarts=64)
    one = rademacher_search(np.zeros((1, 3)), np.ones(1), np.ones(1), x, restarts=64)
    scale = impact @ radii
    np.testing.assert_allclose(many.correlations, scale * one.correlations)
    # A unit that stands at 1e-9 is searched in full.
    near = rademacher_search(np.full((3, 3), 1e-9), radii, impact, x, restarts=64)
    np.testing.assert_allclose(near.correlations, many.correlations, rtol=0.02)


def test_draws_are_the_same_whatever_their_number():
    given = setting(2, 3, 8, 1.0)
    few = rademacher_search(*given, draws=4, steps=20)
    more = rademacher_search(*given, draws=7, steps=20)
    np.testing.assert_allclose(more.correlations[:4], few.correlations, rtol=1e-12)
    assert len(np.unique(more.correlations)) > 1
    other = rademacher_search(*given, draws=4, steps=20, seed=1)
    assert (other.correlations != few.correlations).all()


def test_single_precision_jax_searches_in_double():
    given = setting(2, 3, 8, 1.0)
    double = rademacher_search(*given, draws=3, steps=20)
    with jax.enable_x64(False):
        single = rademacher_search(*given, draws=3, steps=20)
    assert single.correlations.dtype == np.float64
    np.testing.assert_allclose(single.correlations, double.correlations, rtol=1e-12)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.ones((4, 2))}, r"x must have shape \(any, 3\), .*, got \(4, 2\)"),
        ({"x": np.ones((0, 3))}, r"x must have shape \(any, 3\), .*, got \(0, 3\)"),
        ({"x": np.ones(3)}, r"x must have shape .*; give x\[None, :\]"),
        ({"u0": np.full((2, 3), "a")}, "u0 must be an array of real numbers, got"),
        ({"u0": np.full((2, 3), np.nan)}, "u0 must be finite"),
        ({"unit_capacity": np.ones(3)}, r"unit_capacity must have shape \(2\)"),
        ({"unit_impact": -np.ones(2)}, "unit_impact must be at least 0, got -1"),
        ({"outputs": 0}, "outputs must be a whole number of at least 1, got 0"),
        ({"draws": 1}, "draws must be a whole number of at least 2, got 1"),
        ({"draws": 2.5}, "draws must be a whole number of at least 2, got 2.5"),
        ({"restarts": True}, "restarts must be a whole number of at least 2, got True"),
        ({"steps": "9"}, "steps must be a whole number of at least 1, got '9'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    names = "u0", "unit_capacity", "unit_impact", "x"
    args = dict(zip(names, setting(2, 3, 4, 1.0), strict=True))
    with pytest.raises(ValueError, match=f"^{message}"):
        # The bare function, as arguments' types are checked in tests alone.
        inspect.unwrap(rademacher_search)(**args | changed)


def test_what_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("mfsim.memory.memory_of", lambda device: 2**10)
    with pytest.raises(ValueError, match=r"^restarts must be fewer: .* GiB of"):
        rademacher_search(*setting(2, 3, 4, 1.0))


def test_draws_that_do_not_fit_in_memory_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr("mfsim.memory.memory_of", lambda device: 2**20)
    monkeypatch.setattr("mfsim.theory.capacity.rademacher.stream", None)
    with pytest.raises(ValueError, match=r"^draws must be fewer: .* GiB of"):
        rademacher_search(*setting(2, 3, 4, 1.0), draws=10**12)
