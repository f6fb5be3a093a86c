"""What the theorems grant each run, by the tangent features of its own start."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray

from mfsim.datasets import AbstractDataset, Data
from mfsim.experiment import Experiment
from mfsim.kernels import infinite_width_kernel
from mfsim.networks import DeepRelu
from mfsim.theory import (
    NtrfBall,
    classifiability,
    classifiability_error_bound,
    label_complexity,
    ntrf_balls,
    ntrf_error_bound,
    sgd_error_bound,
)


def granted(
    experiment: Callable[..., Experiment],
    went: xarray.DataArray,
    radii: Sequence[float],
    delta: float,
) -> xarray.Dataset:
    """Bounds and what they are made of, over the axes of `went`, perhaps with "radius".

    ntrf_loss and ntrf_bound (CG 3.3) over radius; gap, the largest of a run's balls;
    classifiability, label_complexity and their bound kernel_bound (CG 3.10); sgd_bound
    (HMO 3.8); regret_bound on the online risk, least over radius.

    Args:
        experiment: The run of a place on the axes.
        went: R of each run; NaN where it is missing.
        radii: R of the balls.
        delta: Of the bounds.
    """
    dims = tuple(map(str, went.dims))
    axes = [went[dim].values.tolist() for dim in dims]
    places = [dict(zip(dims, at, strict=True)) for at in itertools.product(*axes)]
    rows = [
        _row(experiment(**place), tuple(radii), float(went.sel(place)), delta)
        for place in places
    ]
    found = {}
    for name, first in rows[0].items():
        shape = *went.shape, *np.shape(first)
        over = (*dims, "radius")[: len(shape)]
        found[name] = over, np.reshape([row[name] for row in rows], shape)
    coords = {dim: went[dim] for dim in dims}
    return xarray.Dataset(found, {**coords, "radius": list(radii)})


def _row(
    experiment: Experiment, radii: tuple[float, ...], went: float, delta: float
) -> dict[str, Any]:
    flow: Any = experiment.flow
    dataset, depth = flow.dataset, flow.network.depth
    data = _load(dataset)
    kind = {"depth": depth, "num_train": len(data.y_train), "delta": delta}
    complexity, of_labels, diagonal = _kernel(dataset, depth)
    balls = _balls(experiment, data, radii if math.isnan(went) else (*radii, went))
    ladder, own = balls[: len(radii)], balls[len(radii) :]
    ntrf = [ntrf_error_bound(ball.loss, radius=ball.radius, **kind) for ball in ladder]
    sgd = [sgd_error_bound(ball.loss, radius=ball.radius, **kind) for ball in own]
    step = float(experiment.integrator.step)
    return {
        "ntrf_loss": np.array([ball.loss for ball in ladder]),
        "ntrf_bound": np.array([bound.value for bound in ntrf]),
        "gap": max(ball.gap for ball in balls),
        "classifiability": complexity,
        "label_complexity": of_labels,
        "kernel_bound": classifiability_error_bound(complexity, **kind).value,
        "sgd_bound": sgd[0].value if sgd else math.nan,
        "regret_bound": min(
            regret_bound(ball, depth, step, diagonal) for ball in ladder
        ),
    }


def regret_bound(ball: NtrfBall, depth: int, step: float, diagonal: float) -> float:
    """What the online risk of the linearised network exceeds under no order of samples.

    For convex losses online gradient descent has sum_i l_i(W_i) - l_i(W) <=
    |W - W_0|^2/2 eta + (eta/2) sum_i |grad l_i|^2; here |W - W_0|^2 <= L R^2 m^-2a and
    |grad l_i|^2 <= m^2a Theta_ii, so that with the step tau = m^2a eta the mean loss is
    at most that of the ball + L R^2/(2 n tau) + tau mean Theta_ii/2.

    Args:
        ball: The ball of radius R.
        depth: L.
        step: tau.
        diagonal: The mean of Theta_ii.

    Source: Zinkevich 2003, theorem 1, the step of the proof of Cao, Gu 2019, theorem
    3.3, in which nothing is hidden.
    """
    travel = depth * ball.radius**2 / (2 * len(ball.outputs) * step)
    return ball.loss + travel + step * diagonal / 2


def _balls(
    experiment: Experiment, data: Data, radii: Sequence[float]
) -> list[NtrfBall]:
    """Around the run's start, in the order of `radii`."""
    flow, dim = experiment.flow, data.x_train.shape[1]
    start = flow.init(experiment.key("init"), dim, jnp.dtype(experiment.dtype))
    rising = sorted(set(radii))
    balls = ntrf_balls(flow.network, start.params, data.x_train, data.y_train, rising)
    found = dict(zip(rising, balls, strict=True))
    return [found[radius] for radius in radii]


@functools.lru_cache(maxsize=4)
def _load(dataset: AbstractDataset) -> Data:
    return dataset.load()


@functools.lru_cache(maxsize=4)
def _kernel(dataset: AbstractDataset, depth: int) -> tuple[float, float, float]:
    """Classifiability, label complexity and mean diagonal of Theta^(L)."""
    data = _load(dataset)
    kernel = infinite_width_kernel(DeepRelu(width=1, depth=depth), data.x_train)
    return (
        classifiability(kernel, data.y_train),
        label_complexity(kernel, data.y_train),
        float(np.trace(kernel)) / len(kernel),
    )
