"""How fast the training risk falls, beside the least eigenvalue of the kernel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.studies.lazy_theorem.measured import Part
from mfsim.studies.statistics import Estimate, bootstrap_mean, joined, slope

SHARE = 0.99
"""Of the risk that the slowest mode has to have where its rate is fitted."""

LEAST_RISK = 1e-22
"""Risk over that at the start, below which rounding shows."""


class Rate(NamedTuple):
    """How fast the training risk of a run falls, per unit of kernel time.

    Attributes:
        lambda_min: Least eigenvalue of H at the run's start.
        predicted: 4 lambda_min/n.
        measured: NaN where fewer than four saves are in the window.
        start, end: The window, in kernel time.
        is_poor: Whether the risk does not fall on a line there.
    """

    lambda_min: float
    predicted: float
    measured: float
    start: float
    end: float
    is_poor: bool = False


def decay_rate(
    time: Float[np.ndarray, " t"],
    risk: Float[np.ndarray, " t"],
    eigenvalues: Float[np.ndarray, " n"],
    shares: Float[np.ndarray, " n"],
) -> Rate:
    """The rate late, where the slowest mode alone is left.

    The window is the saves at which the kernel of the start leaves 99 % of its risk
    sum_k shares_k exp(-4 eigenvalues_k tau/n) to its slowest mode, and the risk is
    above rounding.

    Args:
        time: Kernel time tau.
        risk: Of training.
        eigenvalues: Of H at the start, falling.
        shares: Of the labels on its eigenvectors.
    """
    predicted = 4 * eigenvalues / len(eigenvalues)
    modes = shares * np.exp(-np.outer(time, predicted - predicted[-1]))
    alone = modes[:, -1] >= SHARE * modes.sum(axis=1)
    window = alone & (risk > LEAST_RISK * risk[0])
    if window.sum() < 4:
        return Rate(eigenvalues[-1], predicted[-1], np.nan, np.nan, np.nan)
    inside = time[window]
    fall = slope(inside, np.log(risk[window]))
    ends = inside[0], inside[-1]
    return Rate(eigenvalues[-1], predicted[-1], -fall.value, *ends, bool(fall.warning))


def rates(part: Part, place: int) -> list[Rate]:
    """Of every seed at one alpha, given by its place."""
    runs = part.runs.isel(alpha=place)
    start = runs.isel(save=0)
    return [
        decay_rate(
            runs.kernel_time.isel(seed=seed).values,
            runs.train_risk.isel(seed=seed).values,
            start.kernel_eigenvalues.isel(seed=seed).values,
            start.kernel_label_projections.isel(seed=seed).values,
        )
        for seed in range(len(part.seeds))
    ]


def rate_ratio(part: Part) -> Estimate:
    """Measured over predicted rate at the largest alpha, the mean over seeds.

    Raises:
        TooFew: If fewer than three seeds have a window.
    """
    found = rates(part, -1)
    ratios = np.array([rate.measured / rate.predicted for rate in found])
    left = int(np.isnan(ratios).sum())
    poor = sum(rate.is_poor for rate in found)
    warning = joined(
        f"{left} seeds without a window are left out" if left else "",
        f"poor fit: {poor} seeds do not fall on a line" if poor else "",
    )
    return bootstrap_mean(ratios)._replace(warning=warning)
