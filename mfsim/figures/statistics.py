"""Numbers behind a sweep's figure: means over seeds, and where a curve falls."""

import math

import numpy as np
from numpy.typing import ArrayLike


def crossing(alpha: ArrayLike, values: ArrayLike, level: float) -> float | None:
    """The alpha where positive values fall through a level, straight in log-log.

    What is not positive and finite is left out. Of several falls, the one at the
    largest alpha counts.

    Returns:
        That alpha; None if the values do not fall through the level.
    """
    pairs = np.array([alpha, values], dtype=float)
    pairs = pairs[:, (np.isfinite(pairs) & (pairs > 0)).all(axis=0)]
    x, y = np.log(pairs[:, np.argsort(pairs[0])])
    y -= math.log(level)
    falls = np.flatnonzero((y[:-1] > 0) & (y[1:] <= 0))
    if not falls.size:
        return None
    i = falls[-1]
    return math.exp(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))


def crossing_with_error(
    alpha: np.ndarray, table: np.ndarray, level: float
) -> tuple[float | None, float]:
    """The crossing of the mean of (alpha, seeds); its standard error if all cross."""
    found = crossing(alpha, mean_and_error(table)[0], level)
    each = np.array([[crossing(alpha, seed, level) for seed in table.T]], dtype=float)
    error = mean_and_error(each)[1].item() if np.isfinite(each).all() else math.nan
    return found, error


def mean_and_error(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis and its standard error; NaN stands for no value."""
    count = np.isfinite(table).sum(axis=1)
    mean = np.nansum(table, axis=1) / np.where(count, count, np.nan)
    squares = np.nansum((table - mean[:, None]) ** 2, axis=1)
    return mean, np.sqrt(squares / np.where(count > 1, count * (count - 1), np.nan))
