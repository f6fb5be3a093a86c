"""The regions of the phase diagram, from the measured order parameters."""

import numpy as np
from jaxtyping import Float

from mfsim.studies.transition.measures import bars
from mfsim.studies.transition.orders import DISPLACEMENT, DRIFT, GAP, Part

CONDENSED, MEAN_FIELD, CROSSOVER, LAZY = "condensed", "mean field", "crossover", "lazy"
REGIONS = (LAZY, CROSSOVER, MEAN_FIELD, CONDENSED)


def regions(
    part: Part, width: int, level: float
) -> tuple[Float[np.ndarray, " points"], list[str]]:
    """The alphas of a width and the region of each.

    Returns:
        Nothing where there are fewer than three alphas to tell exponents from.
    """
    alpha, gap = part.curve(GAP.name, width)
    if len(alpha) < 3:
        return np.empty(0), []
    drift = bars(part.curve(DRIFT.name, width)[1]).mean
    moved = bars(part.curve(DISPLACEMENT.name, width)[1]).mean
    share = _exponents(alpha, bars(gap).mean) / GAP.exponent
    is_lazy = (drift < level) & (share >= 3 / 4)
    grows = _exponents(alpha, moved) < 0
    is_condensed = (alpha < 1) & (moved > 1) & grows
    chosen = np.select(
        [is_condensed, is_lazy, share <= 1 / 4],
        [CONDENSED, LAZY, MEAN_FIELD],
        CROSSOVER,
    )
    return alpha, chosen.tolist()


def _exponents(
    alpha: Float[np.ndarray, " points"], mean: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """The slopes dlog X/dlog alpha at the points themselves."""
    return np.gradient(np.log(mean), np.log(alpha))
