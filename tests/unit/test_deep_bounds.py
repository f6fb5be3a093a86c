import math

import pytest

from mfsim.theory import (
    classifiability_error_bound,
    distance_radius,
    gd_error_bound,
    gd_training_bound,
    ntrf_error_bound,
    required_widths,
    separable_radius,
    sgd_error_bound,
    shallow_radius,
)


def close(expected):
    return pytest.approx(expected, rel=1e-12)


def test_the_ntrf_bound_term_by_term():
    bound = ntrf_error_bound(
        0.01, radius=2.0, depth=3, num_train=100, delta=math.exp(-4)
    )
    assert list(bound.terms.values()) == close([0.04, 0.6, 0.2])
    assert bound.value == close(0.84)
    assert not bound.vacuous
    # Of n = 25 the last two double.
    few = ntrf_error_bound(0.01, radius=2.0, depth=3, num_train=25, delta=math.exp(-4))
    assert few.value == close(1.64)
    assert few.vacuous


def test_the_classifiability_bound_term_by_term():
    bound = classifiability_error_bound(0.1, depth=3, num_train=100, delta=math.exp(-4))
    assert list(bound.terms.values()) == close([0.3, 0.2])
    assert bound.value == close(0.5)


def test_what_gradient_descent_reaches():
    setting = {"radius": 3.0, "width": 16, "depth": 2, "delta": math.exp(-8)}
    bound = gd_training_bound(0.1, **setting)
    assert bound.loss.value == close(0.3)
    assert bound.steps == close(4 * 9 / 0.1)
    assert bound.step_size == close(1 / (2 * 16))
    # L^22 R^8 log^(4/3)(1/delta), log(1/delta) = 8.
    assert bound.width == close(2**22 * 3**8 * 16)
    quarter = gd_training_bound(0.1, scale_exponent=0.25, **setting)
    assert quarter.width == close(2**44 * 3**16 * 16)
    assert quarter.step_size == close(1 / (2 * 4))
    # A loss of log 2 is that of f = 0.
    assert not bound.loss.vacuous
    assert gd_training_bound(0.25, **setting).loss.vacuous


def test_the_error_of_gradient_descent_takes_the_lesser_class():
    wide = gd_error_bound(
        0.05, radius=8.0, width=2**12, depth=4, num_train=64, delta=math.exp(-16)
    )
    # L^(3/2) = 8, L^(11/3) = 2^(22/3), R^(4/3) = 16, m^(-1/6) = 1/4.
    terms = [0.1, 8 * 8 / 8, 2 ** (22 / 3) * 16 / 4, 0.5]
    assert list(wide.terms.values()) == close(terms)
    flat = gd_error_bound(
        0.05,
        radius=8.0,
        width=2**12,
        depth=4,
        num_train=64,
        scale_exponent=0.25,
        delta=math.exp(-16),
    )
    assert list(flat.terms.values())[2] == close(2 ** (22 / 3) * 16 / 2)
    narrow = gd_error_bound(
        0.05, radius=0.5, width=4, depth=2, num_train=2**20, delta=math.exp(-1)
    )
    # 4^L L^2 R sqrt(m/n) = 16 * 4 * 0.5 / 2^9.
    assert list(narrow.terms.values()) == close([0.1, 2**5 / 2**9, 2**-10])


def test_the_error_of_gradient_descent_rises_and_then_falls_with_the_width():
    values = [
        gd_error_bound(0.0, radius=1.0, width=2**k, depth=2, num_train=10**5).value
        for k in range(200)
    ]
    top = values.index(max(values))
    assert 0 < top < 199
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    floor = 2**1.5 / math.sqrt(10**5) + math.sqrt(math.log(20) / 10**5)
    # What is left of m^(-1/6) at 2^199 is 2^(11/3 - 199/6).
    assert values[-1] == pytest.approx(floor, rel=1e-6)


def test_a_depth_whose_power_is_beyond_the_largest_float():
    bound = gd_error_bound(0.0, radius=1.0, width=64, depth=2000, num_train=100)
    assert "4^L L^2 R sqrt(m/n)" not in bound.terms
    assert bound.vacuous
    assert math.isinf(gd_training_bound(0.1, radius=1e30, width=64, depth=2000).width)


def test_the_error_of_online_sgd_term_by_term():
    bound = sgd_error_bound(
        0.01, radius=3.0, depth=2, num_train=288, delta=math.exp(-9)
    )
    assert list(bound.terms.values()) == close([1.0, 0.25, 0.24])
    assert bound.vacuous
    # The rate is 1/n where the data are separable.
    more = sgd_error_bound(0.0, radius=3.0, depth=2, num_train=2880, delta=math.exp(-9))
    assert more.value == close(0.125)
    assert not more.vacuous


def test_the_radius_that_each_separability_implies():
    numbers = {"num_train": 4, "epsilon": math.exp(-2), "delta": 4 * math.exp(-9)}
    assert separable_radius(0.5, **numbers) == close((3 + 2) / 0.5)
    assert shallow_radius(0.5, **numbers) == close((9 + 2) / 0.5)
    assert distance_radius(0.25, **numbers) == close(8 / 0.5 * 11)


def widths(**changed):
    numbers = {
        "num_train": 4,
        "depth": 2,
        "margin": 0.5,
        "distance": 0.25,
        "epsilon": math.exp(-2),
        "delta": 4 * math.exp(-9),
    }
    return required_widths(**{**numbers, **changed})


def test_the_table_of_widths_by_hand():
    log_delta = (9 - math.log(4)) ** (4 / 3)
    expected = [
        4**12 * 2**16 * (16 + math.exp(2)) * 4**4,
        2**22 * 176**8 * log_delta,
        math.exp(28 + 2),
        5**2 * 2**8,
        2**22 * 10**8 * log_delta,
        math.exp(28),
        5**2 * 2**8,
        2**22 * 10**8 * log_delta,
    ]
    rows = widths()
    assert [row.width for row in rows] == pytest.approx(expected, rel=1e-9)
    assert [row.source for row in rows].count("HMO") == 3
    assert {row.network for row in rows if "Ji" in row.source} == {"shallow"}
    assert rows[1].printed == "L^22 n^12"


@pytest.mark.parametrize(
    ("name", "start", "exponents"),
    [
        ("depth", 2, [16, 22, None, 0, 22, 0, 0, 22]),
        ("distance", 0.25, [-4, -4, 0, 0, 0, 0, 0, 0]),
        ("margin", 0.5, [0, 0, 0, -8, -8, 0, -8, -8]),
    ],
)
def test_exponents_of_the_table(name, start, exponents):
    for one, two, exponent in zip(
        widths(**{name: start}), widths(**{name: 2 * start}), exponents, strict=True
    ):
        if exponent is not None:
            slope = (two.log10_width - one.log10_width) / math.log10(2)
            assert slope == pytest.approx(exponent, abs=1e-9)


def test_widths_beyond_the_largest_float_keep_their_logarithm():
    (_, apart, *_) = widths(num_train=10**30, delta=0.1)
    assert math.isinf(apart.width)
    assert 360 < apart.log10_width < 400


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (ntrf_error_bound, {"ntrf_loss": -1.0}, "^ntrf_loss must be at least 0"),
        (ntrf_error_bound, {"delta": 1.0}, r"^delta must be within \(0, 1\), got 1"),
        (ntrf_error_bound, {"radius": 0.0}, "^radius must be positive"),
        (sgd_error_bound, {"num_train": 0}, "^num_train must be positive"),
    ],
)
def test_bad_numbers_are_named(function, arguments, message):
    numbers = {"ntrf_loss": 0.1, "radius": 1.0, "depth": 2, "num_train": 10}
    with pytest.raises(ValueError, match=message):
        function(**{**numbers, **arguments})


def test_bad_numbers_of_widths_are_named():
    with pytest.raises(ValueError, match=r"^epsilon must be within \(0, 1\), got 2"):
        widths(epsilon=2.0)
    with pytest.raises(ValueError, match="^distance must be positive"):
        widths(distance=0.0)
    with pytest.raises(ValueError, match=r"^scale_exponent must be within \(0, 1/2\]"):
        gd_training_bound(0.1, radius=1.0, width=4, depth=2, scale_exponent=0.7)
    with pytest.raises(ValueError, match="^train_risk must be at least 0, got nan"):
        gd_error_bound(math.nan, radius=1.0, width=4, depth=2, num_train=9)
