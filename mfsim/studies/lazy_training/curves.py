"""Curves of means over seeds."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from mfsim.findings import Curve, Look
from mfsim.studies.statistics import drawn_mean, geometric_mean

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
    mean = geometric_mean if is_log else drawn_mean
    means = (mean(row, num_resamples=RESAMPLES) for row in values)
    y, low, high = zip(*(found[:3] for found in means), strict=True)
    return Curve(label, places, y, low, high, look)
