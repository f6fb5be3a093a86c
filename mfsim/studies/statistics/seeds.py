"""Intervals over seeds: a bootstrap of whole seeds, and Student's t for few of them."""

import functools
import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

from mfsim.studies.statistics.estimate import Estimate, TooFew, exponential

CONFIDENCE = 0.95
"""Of every interval."""

MIN_SEEDS = 3
"""Below it the scatter of seeds is not known to a factor of ten."""

Statistic = Callable[[np.ndarray], float]
"""Takes samples, the last axis being seeds, some of them perhaps more than once."""


def seed_interval(
    statistic: Statistic,
    samples: Float[np.ndarray, "*shape seeds"],
    *,
    num_resamples: int = 2000,
) -> tuple[float, float]:
    r"""The 95 % interval of a statistic of seeds: the union of two.

    - Bootstrap over whole seeds, so that what runs of one seed share is kept together:
      bias-corrected and accelerated (BCa), and where that is not defined, percentiles.
      It never reaches beyond the most extreme of the samples, and so covers at
      most $1 - 2^{1-n}$ for a median of n seeds: 75 % at n = 3.
    - Student's t about the statistic with n - 1 degrees of freedom and the standard
      error of the jackknife, $s_J^2 = \frac{n-1}{n} \sum_i (T_{-i} - \bar T)^2$. Of a
      mean this is the textbook interval, right at any n for normal samples.

    Args:
        statistic: May return NaN for a choice of seeds, which is left out.
        samples: Two seeds or more; the same seed is the same place of the last axis.
        num_resamples: Bootstrap resamples, drawn with a fixed key.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11 and
    §14.3; Hesterberg, The American Statistician 69, 2015, on small samples.
    """
    seeds = np.arange(samples.shape[-1])
    value = statistic(samples)

    # Three seeds make ten different resamples, five make 126: each is done once.
    @functools.cache
    def of(*chosen: int) -> float:
        return statistic(samples[..., chosen])

    with warnings.catch_warnings():
        # All resamples alike: BCa is not defined, which its NaN says.
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (seeds,),
            lambda places: of(*np.sort(places).tolist()),
            vectorized=False,
            n_resamples=num_resamples,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(0),
        )
    ends = np.array(found.confidence_interval)
    if not np.all(np.isfinite(ends)):
        tail = (1 - CONFIDENCE) / 2
        ends = np.nanquantile(found.bootstrap_distribution, (tail, 1 - tail))
    half = student(len(seeds) - 1) * jackknife_error(statistic, samples)
    return float(min(ends[0], value - half)), float(max(ends[1], value + half))


def jackknife_error(
    statistic: Statistic, samples: Float[np.ndarray, "*shape seeds"]
) -> float:
    """Standard error of a statistic, from leaving out one seed at a time."""
    seeds = np.arange(samples.shape[-1])
    values = np.array([statistic(samples[..., seeds != seed]) for seed in seeds])
    values = values[np.isfinite(values)]
    return float(np.sqrt(max(len(values) - 1, 0) * np.var(values)))


def student(degrees: int) -> float:
    """How many standard errors the interval of a mean reaches."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def bootstrap_mean(
    samples: Float[np.ndarray, " seeds"], *, num_resamples: int = 2000
) -> Estimate:
    """The mean over seeds, with the interval of `seed_interval`.

    Args:
        samples: One value of each seed; NaN where there is none.
        num_resamples: Bootstrap resamples.

    Raises:
        TooFew: If fewer than three are finite.
    """
    finite = finite_seeds(samples)
    low, high = seed_interval(np.mean, finite, num_resamples=num_resamples)
    return Estimate(float(np.mean(finite)), low, high)


def drawn_mean(
    samples: Float[np.ndarray, " seeds"], *, num_resamples: int = 2000
) -> Estimate:
    """`bootstrap_mean` for tables and charts: of fewer than three seeds without ends.

    Args:
        samples: One value of each seed; NaN where there is none.
        num_resamples: Bootstrap resamples.

    Returns:
        The mean, NaN of no seed; its ends are NaN where seeds are too few.
    """
    try:
        return bootstrap_mean(samples, num_resamples=num_resamples)
    except TooFew:
        samples = np.asarray(samples, dtype=float)
        some = samples[np.isfinite(samples)]
        mean = float(some.mean()) if some.size else np.nan
        return Estimate(mean, np.nan, np.nan)


def geometric_mean(
    samples: Float[np.ndarray, " seeds"], *, num_resamples: int = 2000
) -> Estimate:
    """`drawn_mean` in logarithms; what is not positive is left out."""
    samples = np.asarray(samples, dtype=float)
    logs = np.log(np.where(samples > 0, samples, np.nan))
    return exponential(drawn_mean(logs, num_resamples=num_resamples))


def difference(
    a: Float[np.ndarray, " seeds_a"],
    b: Float[np.ndarray, " seeds_b"],
    *,
    paired: bool = False,
) -> Estimate:
    """The mean of one sample less that of another, with Welch's or Student's interval.

    Args:
        a: One value of each seed; NaN where there is none.
        b: Those of the other.
        paired: Whether the same place is the same seed in both: what a seed does to
            both then cancels, and the interval is Student's of the differences. A pair
            with a NaN is left out.

    Raises:
        TooFew: If fewer than three of either, or of the pairs, are finite.
        ValueError: If pairs are asked for of samples of different lengths.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if paired and a.shape != b.shape:
        raise ValueError(
            f"b must have the {len(a)} seeds of a to be paired, got {len(b)}: "
            f"leave paired out."
        )
    if paired:
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
    a, b = finite_seeds(a), finite_seeds(b)
    value = float(np.mean(a) - np.mean(b))
    with warnings.catch_warnings():
        # Samples without scatter: their interval is NaN, or has no width.
        warnings.simplefilter("ignore")
        test = (
            stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
        )
        interval = test.confidence_interval(CONFIDENCE)
    if not np.all(np.isfinite(interval)):
        return Estimate(value, value, value)
    return Estimate(value, float(interval.low), float(interval.high))


def finite_seeds(samples: Float[np.ndarray, " seeds"]) -> Float[np.ndarray, " finite"]:
    """Those that are finite.

    Raises:
        TooFew: If they are fewer than three.
    """
    samples = np.asarray(samples, dtype=float)
    finite = samples[np.isfinite(samples)]
    require_seeds(len(finite))
    return finite


def require_seeds(number: int) -> None:
    """Refuse fewer than three seeds."""
    if number < MIN_SEEDS:
        raise TooFew(f"seeds must be {MIN_SEEDS} or more for an interval, got {number}")
