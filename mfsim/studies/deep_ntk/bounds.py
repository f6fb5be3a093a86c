"""The right-hand sides of HMO 3.3 and 3.5 beside what runs of gradient descent did."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray
from jaxtyping import Float, Int

from mfsim.datasets import Data
from mfsim.experiment import Experiment
from mfsim.studies.base import last
from mfsim.theory import (
    ErrorBound,
    TrainingBound,
    gd_error_bound,
    gd_training_bound,
    ntrf_balls,
)

GAP = 1e-6
"""Within which the least losses of NTRF balls are found."""


class Ended(NamedTuple):
    """A run at its end, and HMO 3.5 by what it measured.

    Attributes:
        width, seed: Of the run.
        test_error: Share of test points on the wrong side.
        train_risk: L_S.
        radius: R = m^a max_l |W_l - W_l(0)|_F.
        bound: On the error.
    """

    width: int
    seed: int
    test_error: float
    train_risk: float
    radius: float
    bound: ErrorBound


class Trained(NamedTuple):
    """How far a run came within the time of HMO 3.3 for one NTRF ball.

    Attributes:
        width, seed: Of the run.
        radius: R of the ball.
        ntrf_loss: Its least loss epsilon.
        gap: By which that may be too high.
        time: T of the theorem in kernel time, T steps of 1/(L m^2a).
        least_risk: Least L_S of the run until then, or until its end.
        is_long: Whether the run lasted so long.
        bound: 3 epsilon and when.
    """

    width: int
    seed: int
    radius: float
    ntrf_loss: float
    gap: float
    time: float
    least_risk: float
    is_long: bool
    bound: TrainingBound

    @property
    def holds(self) -> bool | None:
        """Whether the loss came to 3 epsilon; None if the run was too short."""
        if self.least_risk <= self.bound.loss.value:
            return True
        return False if self.is_long else None


class Bounded(NamedTuple):
    """All runs of one depth.

    Attributes:
        depth: L.
        num_train: n.
        widths: m, in rising order.
        setting: n, d, horizon and seeds, in words.
        ended: What HMO 3.5 says of them.
        trained: What HMO 3.3 says, for every ball.
    """

    depth: int
    num_train: int
    widths: tuple[int, ...]
    setting: str
    ended: tuple[Ended, ...]
    trained: tuple[Trained, ...]

    def mean(self, read: Callable[[Ended], float]) -> Float[np.ndarray, " widths"]:
        """A mean over seeds by width; NaN where no run is."""
        found = [[read(e) for e in self.ended if e.width == m] for m in self.widths]
        return np.array([np.mean(each) if each else np.nan for each in found])

    @property
    def radius(self) -> float:
        """R, the mean over all runs."""
        return float(np.mean([each.radius for each in self.ended]))

    def curve(self, widths: Int[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """What the bound adds to 2 L_S, at the mean R."""
        bounds = [
            gd_error_bound(
                0.0,
                radius=self.radius,
                width=int(width),
                depth=self.depth,
                num_train=self.num_train,
            )
            for width in widths
        ]
        return np.array([bound.value for bound in bounds])

    @property
    def peak(self) -> int:
        """The width at which that is largest."""
        widths = whole_widths(1, 10**6)
        return int(widths[np.argmax(self.curve(widths))])


def whole_widths(first: int, last: int) -> Int[np.ndarray, " points"]:
    """Widths at equal ratios, as near to it as whole numbers are; all up to 50."""
    points = 50 * int(np.ceil(np.log(last / first))) + 1
    return np.unique(np.rint(np.geomspace(first, last, points)).astype(int))


def bounded(
    depth: int,
    runs: xarray.Dataset,
    experiment: Callable[[int, int], Experiment],
    radii: Sequence[float],
) -> Bounded:
    """The bounds of all runs that there are.

    Args:
        depth: L.
        runs: Their series over width and seed.
        experiment: Takes width and seed.
        radii: R of the NTRF balls, in rising order.
    """
    ended, trained = [], []
    widths, seeds = (runs[axis].values.tolist() for axis in ("width", "seed"))
    data = {seed: experiment(widths[0], seed).flow.dataset.load() for seed in seeds}
    for width, seed in itertools.product(widths, seeds):
        run = runs.sel(width=width, seed=seed)
        if not np.isfinite(run.train_risk.values).any():
            continue
        one = experiment(width, seed)
        ended.append(_ended(one, data[seed], run))
        # A network that is 0 on all points has no features to train.
        if ended[-1].radius > 0:
            trained += _trained(one, data[seed], run, radii)
    num_train, dim = data[seeds[0]].x_train.shape
    end = float(np.nanmax(runs.kernel_time.values))
    setting = f"n = {num_train}, d = {dim}, m^(2a)·t = {end:g}, {len(seeds)} seeds"
    widths = tuple(int(width) for width in widths)
    return Bounded(depth, num_train, widths, setting, tuple(ended), tuple(trained))


def _ended(experiment: Experiment, data: Data, run: xarray.Dataset) -> Ended:
    network: Any = experiment.flow.network
    risk, radius = (float(last(run, name)) for name in ("train_risk", "layer_radius"))
    bound = gd_error_bound(
        risk,
        # That of a network that is 0 on all points is 0.
        radius=max(radius, np.finfo(float).tiny),
        width=int(network.neurons),
        depth=network.depth,
        num_train=len(data.y_train),
        scale_exponent=float(network.scale_exponent),
    )
    error = float(last(run, "test_error"))
    return Ended(int(run.width), int(run.seed), error, risk, radius, bound)


def _trained(
    experiment: Experiment, data: Data, run: xarray.Dataset, radii: Sequence[float]
) -> list[Trained]:
    flow: Any = experiment.flow
    network = flow.network
    dim = data.x_train.shape[1]
    start = flow.init(experiment.key("init"), dim, experiment.dtype).params
    balls = ntrf_balls(network, start, data.x_train, data.y_train, radii, tolerance=GAP)
    times, risks = run.kernel_time.values, run.train_risk.values
    found = []
    for ball in balls:
        bound = gd_training_bound(
            ball.loss,
            radius=ball.radius,
            width=int(network.neurons),
            depth=network.depth,
            scale_exponent=float(network.scale_exponent),
        )
        time = bound.steps / network.depth
        found.append(
            Trained(
                int(run.width),
                int(run.seed),
                ball.radius,
                ball.loss,
                ball.gap,
                time,
                float(np.nanmin(np.where(times <= time, risks, np.nan))),
                bool(np.nanmax(times) >= time),
                bound,
            )
        )
    return found
