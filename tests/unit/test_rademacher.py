"""The Rademacher complexity by search: against all signs and angles, and its bounds."""

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
    # Eq. (6) has one sign a point and more room: above both at a margin of 1.
    assert measures["rademacher_upper"] > measures["rademacher_class_upper"]


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
        ({"x": np.ones((4, 2))}, "x must have the input dimension of u0, 3, got 2"),
        ({"x": np.ones((0, 3))}, "x and u0 must have at least one row"),
        ({"unit_capacity": np.ones(3)}, "unit_capacity must be 2 numbers"),
        ({"unit_impact": -np.ones(2)}, "unit_impact must be finite and at least 0"),
        ({"outputs": 0}, "outputs must be positive"),
        ({"draws": 1}, "draws must be at least 2, got 1"),
        ({"restarts": 1}, "restarts must be at least 2, got 1"),
        ({"steps": 0}, "steps must be positive"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    names = "u0", "unit_capacity", "unit_impact", "x"
    args = dict(zip(names, setting(2, 3, 4, 1.0), strict=True))
    with pytest.raises(ValueError, match=f"^{message}"):
        rademacher_search(**args | changed)


def test_what_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("mfsim.memory.memory_of", lambda device: 2**10)
    with pytest.raises(ValueError, match=r"^restarts must be fewer: .* GiB of"):
        rademacher_search(*setting(2, 3, 4, 1.0))
