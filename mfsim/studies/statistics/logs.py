"""Positive curves of several seeds in logarithms."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.studies.statistics.estimate import joined

Curve = Float[np.ndarray, " points"] | Float[np.ndarray, "points seeds"]
"""Values over places, of one seed or of several."""


class Logs(NamedTuple):
    """A curve in logarithms, in rising order, and what had to be left out.

    Attributes:
        u: Logarithm of the places.
        v: Logarithm of the values, NaN where a run is missing.
        warning: What was left out; empty if nothing was.
    """

    u: Float[np.ndarray, " points"]
    v: Float[np.ndarray, "points seeds"]
    warning: str


def as_curve(
    x: Float[np.ndarray, " points"], y: Curve
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points seeds"]]:
    """Float64 arrays of a curve, one column per seed.

    Raises:
        ValueError: If `y` has not one row per place.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or y.ndim not in (1, 2) or len(y) != len(x):
        raise ValueError(
            f"y must be of shape (points,) or (points, seeds) over x of shape "
            f"(points,), got {y.shape} over {x.shape}."
        )
    return x, y[:, None] if y.ndim == 1 else y


def logs(x: Float[np.ndarray, " points"], y: Curve) -> Logs:
    """A curve in logarithms.

    A point at which a seed is not positive is left out whole: to keep only the seeds
    that are would make it read high. So is one whose place is not positive, and one
    without a run.
    """
    x, y = as_curve(x, y)
    present = np.isfinite(y)
    some = np.isfinite(x) & present.any(axis=1)
    positive = (x > 0) & ~(present & (y <= 0)).any(axis=1)
    keep = some & positive
    order = np.argsort(x[keep], kind="stable")
    warning = joined(_left_out(x[some & ~positive]), missing(y[keep]))
    kept = np.where(present, y, np.nan)[keep][order]
    return Logs(np.log(x[keep][order]), np.log(kept), warning)


def distinct(curve: Logs) -> Logs:
    """The curve, refused if two places are the same."""
    if np.any(np.diff(curve.u) == 0):
        raise ValueError("x must be different values, got some of them twice.")
    return curve


def _left_out(places: Float[np.ndarray, " lost"]) -> str:
    if not places.size:
        return ""
    listed = ", ".join(f"{place:.3g}" for place in places)
    return f"left out as not positive in every seed: x = {listed}"


def missing(y: Float[np.ndarray, "points seeds"]) -> str:
    """How many runs of these points are missing; empty if none is."""
    number = y.size - np.isfinite(y).sum()
    return f"{number} of {y.size} runs are missing" if number else ""


def there(v: Float[np.ndarray, "points seeds"]) -> Float[np.ndarray, "points some"]:
    """The seeds that have a run."""
    return v[:, np.isfinite(v).any(axis=0)]


def seed_mean(v: Float[np.ndarray, "points seeds"]) -> Float[np.ndarray, " points"]:
    """Mean over the seeds that are there; NaN where none is."""
    present = np.isfinite(v)
    count = present.sum(axis=1)
    total = np.where(present, v, 0.0).sum(axis=1)
    return np.where(count > 0, total, np.nan) / np.maximum(count, 1)
