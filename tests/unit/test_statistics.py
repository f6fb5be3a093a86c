"""Statistics of studies: known exponents, crossings and powers, honest intervals.

Student's quantiles are those of the tables: 12.706, 4.3027 and 3.1824 for 1, 2 and 3
degrees of freedom at 95 %. With four seeds Student's interval reaches 1.59 standard
deviations from the mean and no sample is further than 1.5, so no bootstrap is: the
union of both is Student's, which is known.
"""

import numpy as np
import pytest
from scipy import stats

from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    akaike_weights,
    bootstrap_mean,
    collapse,
    difference,
    drawn_mean,
    exponential,
    geometric_mean,
    half_exponent,
    information_criteria,
    level_crossing,
    local_exponents,
    log_log_slope,
    slope,
    spread,
)

STUDENT = {1: 12.7062, 2: 4.30265, 3: 3.18245}
X = np.geomspace(1.0, 100.0, 7)
FOUR = np.array([0.1, -0.3, 0.25, 0.07])
"""What a seed adds: four of them, mean 0.03."""
SIZES = np.array([256.0, 1024.0, 4096.0])
ALPHA = np.tile(np.geomspace(1 / 8, 64, 12), (3, 1))


def half_width(samples):
    """Student's, of the mean."""
    n = len(samples)
    return STUDENT[n - 1] * np.std(samples, ddof=1) / np.sqrt(n)


def bend(x):
    """1 below x = 1, x^-2 above; the exponent is -1 at x = 1."""
    return 1 / (1 + x**2)


def family(nu):
    """Curves that collapse over alpha/size^nu."""
    return bend(ALPHA / SIZES[:, None] ** nu)


def test_means_of_few_seeds_are_drawn_without_ends():
    assert drawn_mean(FOUR) == bootstrap_mean(FOUR)
    value, *ends = drawn_mean(np.array([1.0, 2.0, np.nan]))[:3]
    assert value == 1.5
    assert np.isnan(ends).all()
    assert np.isnan(drawn_mean(np.array([np.nan]))[:3]).all()


def test_a_geometric_mean_is_that_of_logarithms():
    found = geometric_mean(np.exp(FOUR))
    np.testing.assert_allclose(found[:3], exponential(bootstrap_mean(FOUR))[:3])
    # Without what is not positive, two are left: too few for ends.
    value, *ends = geometric_mean(np.array([0.0, -1.0, 1.0, 4.0]))[:3]
    assert value == pytest.approx(2)
    assert np.isnan(ends).all()


def check_coverage(draw, estimate, truth, num_trials=200):
    """The share of 95 % intervals that hold the truth.

    Of as many exact intervals, fewer or more than these hold it once in 10^6 choices of
    the generator's seed.
    """
    rng = np.random.default_rng(7)
    least, most = stats.binom(num_trials, 0.95).ppf([5e-7, 1 - 5e-7])
    held = 0
    for _ in range(num_trials):
        found = estimate(draw(rng))
        held += found.low <= truth <= found.high
    assert least <= held <= most


# Means


def test_mean_of_few_seeds_has_the_interval_of_student():
    found = bootstrap_mean(FOUR)
    assert found.value == pytest.approx(0.03)
    half = half_width(FOUR)
    np.testing.assert_allclose(found[1:3], [0.03 - half, 0.03 + half], rtol=1e-5)


def test_mean_of_skewed_seeds_has_the_ends_of_the_bootstrap_too():
    samples = stats.expon.ppf((np.arange(30) + 0.5) / 30)
    found = bootstrap_mean(samples)
    student = stats.t.interval(0.95, 29, np.mean(samples), stats.sem(samples))
    # The mean of 30 exponential samples is Gamma(30)/30. Its interval for a mean of 1
    # is (60/chi2_0.975, 60/chi2_0.025), and reaches further up than down.
    exact = 60 / stats.chi2.ppf([0.975, 0.025], 60)
    assert found.low == pytest.approx(student[0])
    # Two standard deviations of a quantile of 2000 resamples are 0.025.
    assert student[1] + 0.02 < found.high < exact[1]


def test_mean_covers():
    check_coverage(
        lambda rng: rng.normal(2.0, 3.0, size=4),
        lambda samples: bootstrap_mean(samples, num_resamples=50),
        2.0,
    )


def test_constant_seeds_have_no_width():
    assert bootstrap_mean(np.full(5, 0.1)) == Estimate(0.1, 0.1, 0.1)


def test_missing_seeds_are_not_zeros():
    samples = np.array([np.nan, *FOUR, np.inf])
    assert bootstrap_mean(samples) == bootstrap_mean(FOUR)
    with pytest.raises(TooFew, match="seeds must be 3 or more .* got 2"):
        bootstrap_mean(np.array([1.0, 2.0, np.nan]))


@pytest.mark.parametrize(
    "estimate",
    [
        lambda y: bootstrap_mean(y[0]),
        lambda y: log_log_slope(X, y),
        lambda y: level_crossing(X, y, 0.01),
        lambda y: half_exponent(X, y, -2.0),
        lambda y: collapse(np.stack([X, X]), np.stack([y, y / 1.2]), [1, 2]),
    ],
)
def test_the_same_twice(estimate):
    noise = np.random.default_rng(0).normal(size=(7, 4))
    y = bend(X / 5)[:, None] * np.exp(0.1 * noise)
    assert estimate(y) == estimate(y)


# Differences


def test_difference_is_welchs():
    found = difference(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    # Variances 1 and 4: s^2 = 1/3 + 4/3, degrees (5/3)^2/((1/9 + 16/9)/2) = 50/17.
    half = stats.t.ppf(0.975, 50 / 17) * np.sqrt(5 / 3)
    np.testing.assert_allclose(found[:3], [-2, -2 - half, -2 + half])


def test_paired_difference_is_that_of_the_pairs():
    a = np.array([1.0, 2.0, np.nan, 3.0])
    b = np.array([2.0, 4.0, 100.0, 6.0])
    found = difference(a, b, paired=True)
    # Differences -1, -2, -3.
    half = STUDENT[2] / np.sqrt(3)
    np.testing.assert_allclose(found[:3], [-2, -2 - half, -2 + half], rtol=1e-5)


def test_difference_of_constants_has_no_width():
    a, b = np.full(3, 0.3), np.full(4, 0.1)
    assert difference(a, b)[:3] == pytest.approx((0.2, 0.2, 0.2))
    assert difference(a, b[:3], paired=True)[:3] == pytest.approx((0.2, 0.2, 0.2))


def test_difference_refuses():
    with pytest.raises(TooFew, match="seeds must be 3"):
        difference(FOUR, FOUR[:2])
    with pytest.raises(ValueError, match="b must have the 4 seeds of a to be paired"):
        difference(FOUR, FOUR[:3], paired=True)


# Slopes


def test_exponent_of_a_power_law_has_no_width():
    """A factor of a seed, its data, is no error of the exponent."""
    y = 3 * X[:, None] ** -1.5 * np.exp([0.0, 1.0, -2.0])
    found = log_log_slope(X, y)
    np.testing.assert_allclose(found[:3], -1.5, rtol=1e-12)
    assert found.warning == ""


def test_exponents_of_seeds_make_the_interval():
    found = log_log_slope(X, X[:, None] ** (-2 + FOUR))
    half = half_width(FOUR)
    np.testing.assert_allclose(
        found[:3], [-1.97, -1.97 - half, -1.97 + half], rtol=1e-5
    )


def test_misfit_makes_the_interval_of_one_seed():
    # log y = 0, 1, 0 at 0, 1, 2: slope 0, sum of squares 2/3 with one degree of
    # freedom, over sum of (u - 1)^2 = 2: standard error sqrt(1/3).
    found = log_log_slope(np.exp([0.0, 1.0, 2.0]), np.exp([0.0, 1.0, 0.0]))
    half = STUDENT[1] / np.sqrt(3)
    np.testing.assert_allclose(found[:3], [0, -half, half], rtol=1e-5, atol=1e-12)
    # Root mean square sqrt(2)/3 = 0.47, and 6 sqrt(5) 0.47/2 = 3.2.
    assert found.warning.startswith("poor fit: residual 0.47 in log y")
    assert found.warning.endswith("are 3.2 off")


def test_misfit_widens_the_interval_of_seeds():
    y = np.exp([[0.0] * 3, [1.0] * 3, [0.0] * 3])
    one, three = (log_log_slope(np.exp([0.0, 1.0, 2.0]), z) for z in (y[:, 0], y))
    np.testing.assert_allclose(three[:3], one[:3], atol=1e-12)


@pytest.mark.parametrize(("off", "poor"), [(0.24, False), (0.26, True)])
def test_a_bend_of_a_quarter_is_poor(off, poor):
    """Exponents of exp(c u^2) over a range R are c R off the line at its ends."""
    u = np.linspace(-3, 3, 1001)
    found = log_log_slope(np.exp(u), np.exp(off / 6 * u**2))
    assert ("poor fit" in found.warning) == poor


def test_slope_covers_noise_of_points():
    check_coverage(
        lambda rng: X**-2 * np.exp(0.3 * rng.normal(size=7)),
        lambda y: log_log_slope(X, y),
        -2.0,
    )


def test_slope_covers_noise_of_seeds():
    check_coverage(
        lambda rng: X[:, None] ** rng.normal(-2.0, 0.1, size=4),
        lambda y: log_log_slope(X, y, num_resamples=50),
        -2.0,
    )


def test_points_that_a_seed_does_not_reach_are_left_out():
    y = X[:, None] ** -2 * np.ones(3)
    y[6] = [1e-3, -1e-5, 1e-3]
    y[2, 0] = np.nan
    found = log_log_slope(X[::-1], y[::-1])
    np.testing.assert_allclose(found[:3], -2, rtol=1e-9)
    assert found.warning == (
        "left out as not positive in every seed: x = 100; 1 of 18 runs are missing"
    )


def test_too_few_points_are_not_fitted():
    y = X**-2
    with pytest.raises(TooFew, match="points must be 3 or more to fit, got 2"):
        log_log_slope(X[:2], y[:2])
    with pytest.raises(TooFew, match="points must be 8 or more to fit, got 7"):
        log_log_slope(X, y, min_points=8)
    with pytest.raises(TooFew, match="points must be 3 or more to fit, got 0"):
        log_log_slope(X, -y)
    with pytest.raises(TooFew, match="x must have two different values"):
        log_log_slope(np.full(7, 2.0), y)
    with pytest.raises(TooFew, match="points must be 3 or more to fit, got 0"):
        slope(X, np.full((7, 2), np.nan))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"y must be of shape .* got \(3, 7\) over"):
        log_log_slope(X, np.ones((3, 7)))


def test_linear_slope():
    x = np.array([-1.0, 0.0, 1.0, 2.0])
    found = slope(x, 5 + x[:, None] * (2 + FOUR))
    half = half_width(FOUR)
    np.testing.assert_allclose(found[:3], [2.03, 2.03 - half, 2.03 + half], rtol=1e-5)
    assert found.warning == ""
    assert "poor fit" in slope(x, np.array([0.0, 1.0, 1.0, 0.0])).warning


def test_local_exponents():
    x = np.array([1.0, 4.0, 16.0])
    y = np.stack([x**-2, [1.0, 0.0, 1.0], [3.0, 3.0, 12.0]], axis=1)
    middles, exponents = local_exponents(x, y)
    np.testing.assert_allclose(middles, [2, 8])
    np.testing.assert_allclose(exponents, [[-2, np.nan, 0], [-2, np.nan, 1]])


# Crossings


def test_crossing_of_power_laws():
    # c x^-2 = 0.05 at sqrt(20 c): the mean of log x is log(20)/2 + (mean log c)/2.
    found = level_crossing(X, X[:, None] ** -2 * np.exp(2 * FOUR), 0.05)
    half = half_width(FOUR)
    expected = np.log(20) / 2 + 0.03 + np.array([0, -half, half])
    np.testing.assert_allclose(np.log(found[:3]), expected, rtol=1e-5)
    assert found.warning == ""


def test_crossing_covers():
    check_coverage(
        lambda rng: X[:, None] ** -1 * np.exp(0.3 * rng.normal(size=4)),
        lambda y: level_crossing(X, y, 0.1, num_resamples=50),
        10.0,
        num_trials=60,
    )


def test_the_crossing_at_the_largest_x_is_taken():
    u = np.log(X)
    y = np.exp(np.cos(2 * np.pi * u / u[-1]) - 0.1 * u)[:, None] * np.ones(3)
    found = level_crossing(X, y, 1.0)
    assert X[3] < found.value < X[6]
    assert found.warning.startswith("it crosses 2 times, taken at the largest x")


def test_a_crossing_that_some_seeds_lack_is_said_to_be_open():
    y = X[:, None] ** -1 * np.array([1.0, 1.0, 1.0, 50.0])
    found = level_crossing(X, y, 0.03)
    assert found.high >= 100
    assert "the interval reaches an end of what was looked at, 1 to 100" in (
        found.warning
    )


def test_crossings_with_missing_runs():
    """The third seed ran once, so that it has no exponent of its own."""
    x = np.geomspace(0.5, 200, 12)
    y = bend(x[:, None] / 8) * np.ones(4)
    y[1:, 2] = np.nan
    for found in (half_exponent(x, y, -2.0), level_crossing(x, y, 0.5)):
        # The curves are alike, so that what is missing moves nothing but by the cubics
        # between points 0.54 apart, as in the test of the collapse.
        np.testing.assert_allclose(np.log(found[:3]), np.log(8), atol=0.02)
        assert found.warning == "11 of 48 runs are missing"


def test_what_does_not_cross():
    y = X[:, None] ** -1 * np.ones(3)
    with pytest.raises(
        TooFew,
        match="the curve must cross 2, got 0.01 to 1 between x = 1 and 100",
    ):
        level_crossing(X, y, 2.0)
    with pytest.raises(TooFew, match="the local exponent must cross -2, got -1 to -1"):
        half_exponent(X, y, -4.0)
    with pytest.raises(TooFew, match="seeds must be 3 or more"):
        level_crossing(X, y[:, :2], 0.1)
    with pytest.raises(TooFew, match="points must be 2 or more to cross 0.1, got 1"):
        level_crossing(X[:1], y[:1], 0.1)
    with pytest.raises(ValueError, match="level must be positive, got 0"):
        level_crossing(X, y, 0)
    with pytest.raises(ValueError, match="x must be different values"):
        level_crossing(np.ones(7), y, 0.1)


def test_half_exponent():
    """The exponent of 1/(1 + (x/8)^2) is -1, half of -2, at x = 8."""
    x = np.geomspace(0.5, 200, 25)
    y = bend(x[:, None] / (8 * np.exp(FOUR)))
    found = half_exponent(x, y, -2.0)
    half = half_width(FOUR)
    expected = np.log(8) + 0.03 + np.array([0, -half, half])
    # Gaps of h = 0.25: the mean exponent of a gap is h^2/24 times its curvature in
    # log x, below 0.4, from that at its middle, over a slope of 1: 1e-3. Seeds are
    # 0.2 from their mean in root mean square, and add as much.
    np.testing.assert_allclose(np.log(found[:3]), expected, atol=5e-3)


# Collapse


@pytest.mark.parametrize("nu", [0.0, 0.3, -0.25])
def test_collapse_finds_the_power(nu):
    found = collapse(ALPHA, family(nu), SIZES)
    # Slopes of monotone cubics through points h = 0.57 apart in log x are off by h^2/6
    # times the third derivative, 0.5 at most; their values by h/4 times that, 0.004. A
    # power that is off by e moves curves by log(16) e.
    assert found.value == pytest.approx(nu, abs=0.002)
    assert found.low <= nu <= found.high
    assert found.high - found.low < 0.01
    assert found.warning == ""


def test_collapse_interval_ends_where_the_spread_doubles():
    y = family(0.3) * np.array([1.0, 1.1, 1.0])[:, None]
    found = collapse(ALPHA, y, SIZES)
    least, low, high = (spread(nu, ALPHA, y, SIZES) for nu in found[:3])
    assert low == pytest.approx(2 * least)
    assert high == pytest.approx(2 * least)


def test_collapse_covers():
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(30):
        noise = 0.1 * rng.normal(size=(3, 12, 3)) + 0.3 * rng.normal(size=3)
        y = family(0.3)[..., None] * np.exp(noise)
        found = collapse(ALPHA, y, SIZES, num_resamples=50)
        held += found.low <= 0.3 <= found.high
    # Of 30 intervals of 95 %, 21 or fewer hold the truth once in 10^5.
    assert held > 21


def test_collapse_holds_the_scatter_of_seeds():
    """Each seed collapses, with a power of its own."""
    y = np.stack([family(0.3 + shift) for shift in FOUR / 10], axis=-1)
    found = collapse(ALPHA, y, SIZES)
    # Curves half a unit of log x apart at most: the mean of log y is theirs but for
    # 0.5^2/8 times its curvature, 0.5. The spread adds to the interval by its doubling.
    half = half_width(FOUR / 10)
    assert found.value == pytest.approx(0.303, abs=0.2 * half)
    assert 2 * half == pytest.approx(found.high - found.low, rel=0.2)


def test_collapse_takes_the_least_of_several_minima():
    """Two bumps, one of them twice as high, can be laid over each other."""
    u = np.linspace(0, 12, 60)
    x, sizes = np.exp(np.stack([u, u])), [1.0, np.e]

    def bumps(v):
        return np.exp(np.exp(-((v - 3) ** 2)) + 2 * np.exp(-((v - 6) ** 2)))

    y = np.stack([bumps(u), bumps(u - 2)])
    grid = np.linspace(-5, 5, 1001)
    spreads = np.array([spread(nu, x, y, sizes) for nu in grid])
    inner = spreads[1:-1]
    minima = (inner < spreads[:-2]) & (inner < spreads[2:]) & (inner < 0.9)
    assert minima.sum() > 1
    assert collapse(x, y, sizes, bounds=(-5, 5)).value == pytest.approx(2, abs=0.02)


def test_spread_of_parallel_lines():
    """v = u and v = u + 1: between them 1/4, in all R^2/12 (65/63) + 1/4."""
    x = np.stack([X, X])
    y = np.stack([X, X * np.e])
    total = np.log(100) ** 2 / 12 * 65 / 63 + 0.25
    assert spread(0.0, x, y, [1, 2]) == pytest.approx(0.25 / total)
    # The second line is the first one over x e.
    nu = -1 / np.log(2)
    assert spread(nu, x, y, [1, 2]) == pytest.approx(0, abs=1e-20)
    # Shifted by more than two thirds of their range, they are not compared.
    assert spread(5.0, x, y, [1, 2]) == 1


def test_padding_and_lost_seeds_change_nothing():
    y = family(0.3)[..., None] * np.exp(FOUR)
    expected = collapse(ALPHA, y, SIZES)
    pad = np.full((3, 5), np.nan)
    x = np.concatenate([ALPHA, pad], axis=1)
    padded = np.concatenate([y, np.full((3, 5, 4), np.nan)], axis=1)
    assert collapse(x, padded, SIZES) == expected
    lost = np.concatenate([y, y[..., :1]], axis=2)
    lost[1, :, 4] = np.nan
    found = collapse(ALPHA, lost, SIZES)
    assert found[:3] == expected[:3]
    assert found.warning == "size 1024: 12 of 60 runs are missing"


def test_curves_that_do_not_collapse_are_marked():
    steeper = np.stack([ALPHA[0] ** -0.2, ALPHA[0] ** -1, ALPHA[0] ** -3])
    assert "poor collapse: spread" in collapse(ALPHA, steeper, SIZES).warning
    found = collapse(ALPHA, family(0.3), SIZES, bounds=(-0.1, 0.2))
    assert found.value == pytest.approx(0.2, abs=1e-3)
    assert "the interval is cut at an end of -0.1 to 0.2" in found.warning


def test_collapse_refuses():
    y = family(0.3)
    with pytest.raises(TooFew, match="sizes with two points must be 2 or more"):
        collapse(ALPHA[:1], y[:1], SIZES[:1])
    with pytest.raises(TooFew, match="curves must share a third of their x"):
        collapse(ALPHA, np.ones_like(y), SIZES)
    apart = ALPHA * np.array([1.0, 1e6, 1e12])[:, None]
    with pytest.raises(TooFew, match="curves must share a third of their x"):
        collapse(apart, y, SIZES)
    alternate = np.stack([y, y], axis=-1)
    alternate[0, :, 0] = alternate[1, :, 1] = np.nan
    with pytest.raises(TooFew, match="seeds must be 1 or more that ran at every size"):
        collapse(ALPHA, alternate, SIZES)
    with pytest.raises(ValueError, match="sizes must be positive"):
        collapse(ALPHA, y, [0, 1, 2])
    with pytest.raises(ValueError, match="x, y and sizes must be of shapes"):
        spread(0.0, ALPHA, y.T, SIZES)


# Criteria


def test_information_criteria_by_hand():
    # Residuals of +-2, n = 10: variance 4; a curve of one parameter, so k = 2.
    y = np.tile([2.0, -2.0], 5)
    found = information_criteria(y, np.zeros(10), 1)
    minus_two_l = 10 * (np.log(2 * np.pi * 4) + 1)
    np.testing.assert_allclose(
        found, [minus_two_l + 4, minus_two_l + 4 + 12 / 7, minus_two_l + 2 * np.log(10)]
    )


def test_a_perfect_fit_has_criteria():
    y = np.arange(1.0, 7.0)
    perfect, near = (information_criteria(y, y + error, 1) for error in (0.0, 1e-6))
    assert np.all(np.isfinite(perfect))
    assert perfect.aic < near.aic
    assert np.all(np.isfinite(information_criteria(0 * y, 0 * y, 1)))


def test_criteria_refuse():
    with pytest.raises(TooFew, match="points must be 5 or more to judge 2 parameters"):
        information_criteria(np.ones(4), np.zeros(4), 2)
    with pytest.raises(ValueError, match="fitted must be of the shape"):
        information_criteria(np.ones(4), np.zeros(3), 1)


def test_akaike_weights():
    weights = akaike_weights([1000.0, 1002.0, 4000.0])
    share = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(weights, [share, 1 - share, 0], atol=1e-12)
