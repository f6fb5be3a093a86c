"""Curves of means over seeds."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from mfsim.findings import Curve, Look
from mfsim.studies.statistics import TooFew, bootstrap_mean

RESAMPLES = 400
"""Enough for bars that are drawn."""


def seed_curve(
    label: str,
    x: Iterable[float],
    values: Float[np.ndarray, "points seeds"],
    *,
    is_log: bool = True,
    look: Look = "both",
) -> Curve:
    """Means over seeds with their 95 % intervals, which fewer than three do not have.

    Args:
        label: For the legend.
        x: Places.
        values: NaN where a run is missing.
        is_log: Whether means are geometric, as fits in logarithms have them.
        look: How it is drawn.
    """
    places = tuple(float(place) for place in x)
    means = [_mean(row, is_log) for row in np.asarray(values, dtype=float)]
    y, low, high = zip(*means, strict=True)
    return Curve(label, places, y, low, high, look)


def _mean(row: Float[np.ndarray, " seeds"], is_log: bool) -> tuple[float, float, float]:
    row = row[np.isfinite(row)]
    samples = np.log(row) if is_log else row
    try:
        value, low, high, _ = bootstrap_mean(samples, num_resamples=RESAMPLES)
    except TooFew:
        value = float(samples.mean()) if len(samples) else np.nan
        low = high = np.nan
    if is_log:
        value, low, high = np.exp([value, low, high]).tolist()
    return value, low, high
