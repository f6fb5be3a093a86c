"""The tangent kernel at the start beside its limit of infinite width."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.experiment import Experiment
from mfsim.kernels import infinite_width_kernel, tangent_kernel
from mfsim.studies.deep_ntk.quantities import NUM_RESAMPLES, Values
from mfsim.studies.statistics import Estimate, log_log_slope


class Starts(NamedTuple):
    """How far kernels at the start are from their limit.

    Attributes:
        depth: L.
        widths: m, in rising order.
        distances: |Theta_m - Theta|_F/|Theta|_F, by width and seed.
    """

    depth: int
    widths: Float[np.ndarray, " widths"]
    distances: Values

    def power(self) -> Estimate:
        """The power of m.

        Raises:
            TooFew: If there are fewer than three widths.
        """
        return log_log_slope(self.widths, self.distances, num_resamples=NUM_RESAMPLES)


def starts(
    depth: int,
    widths: Sequence[int],
    draws: int,
    experiment: Callable[..., Experiment],
) -> Starts:
    """The starts of all widths, each seed with its own points.

    Args:
        depth: L.
        widths: m.
        draws: Seeds a width.
        experiment: Takes a width, and a seed by name; its flow and points count.
    """
    columns = [_distances(widths, partial(experiment, seed=k)) for k in range(draws)]
    return Starts(depth, np.array(widths, float), np.array(columns).T)


def _distances(
    widths: Sequence[int], experiment: Callable[[int], Experiment]
) -> list[float]:
    """Of one seed, whose points are those of all widths."""
    one = experiment(widths[0]).flow
    x = np.asarray(one.dataset.load().x_train, np.float64)
    limit = infinite_width_kernel(one.network, x)
    found = []
    for width in widths:
        drawn = experiment(width)
        start = drawn.flow.init(drawn.key("init"), x.shape[1]).params
        kernel = np.asarray(tangent_kernel(drawn.flow.network, start, x))
        found.append(float(np.linalg.norm(kernel - limit) / np.linalg.norm(limit)))
    return found
