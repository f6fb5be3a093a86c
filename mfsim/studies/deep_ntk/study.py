"""DeepNtk: powers of the width that training goes by, and bounds beside errors."""

from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import Digits
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import WeightFlow
from mfsim.integrators import NoisyGD
from mfsim.losses import Logistic, SquaredError
from mfsim.networks import DeepRelu
from mfsim.observables import (
    Accuracy,
    KernelDrift,
    LayerDistance,
    ResidualRecursion,
    Risk,
    TwinGap,
)
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.deep_ntk.bounds import Bounded, bounded
from mfsim.studies.deep_ntk.charts import charts
from mfsim.studies.deep_ntk.kernels import Starts, starts
from mfsim.studies.deep_ntk.quantities import Part
from mfsim.studies.deep_ntk.tables import tables
from mfsim.studies.deep_ntk.verdicts import verdicts
from mfsim.sweep import Sweep

MOST_LOST = 0.1
"""Share of the starts that may be 0 on a given point, (L - 1) 2^-m at most: a layer is
0 there with probability 2^-m, and a network that is never moves."""


class DeepNtk(AbstractStudy):
    r"""When does a finite deep ReLU network follow its kernel?

    Networks $f = m^a W_L \sigma(\dots \sigma(W_1 x))$ learn Digits, 3 against 8, by
    gradient descent until the same kernel time $m^{2a} t$; each seed has its own data
    and start. Three parts, each at every depth L:

    - descent: the squared loss, m and a varied. How far weights, kernel and outputs go
      from the start, the kernel at the start and the linearised twin, as powers of m.
      Where training is lazy $W_l - W_l(0)$ is of order $m^{-a}$, beside $|W_l(0)|_F =
      \sqrt{2d}, \sqrt{2m}, 1$ of the first layer, inner ones and the last. To first
      order in it the kernel and the outputs of the twin change by fluctuations alone,
      $m^{-a-1/2}$, as W_L -> -W_L shows; to second order, $m^{-2a}$, by their mean;
    - starts: the kernel at the start beside its limit of infinite width;
    - bounds: the logistic loss at a = 1/2, for the right-hand sides of HMO 3.3 and 3.5
      by the measured R, L_S and least losses of NTRF balls.

    Fields:
        depths: Numbers L of weight matrices, in rising order.
        widths: m of the descent, in rising order.
        exponents: a of the descent, in rising order; at most 1/2.
        seeds: Of data and start; at least three to judge.
        num_train: Training points n of the descent.
        num_test: Test points.
        dim: Dimension d of the images, by principal components; their norm is 1.
        horizon: End of the descent in kernel time.
        step: Its step in kernel time.
        draws: Starts a width whose kernel is compared with the limit.
        bound_widths: m of the bounds, in rising order; each depth leaves out those at
            which more than a tenth of all starts are 0 on a given point.
        bound_seeds: Their seeds.
        bound_points: Their training points n.
        bound_horizon: Their end in kernel time.
        bound_step: Their step in kernel time.
        radii: R of the NTRF balls, in rising order.
        level: Test twin gap, root mean square, below which a network of labels -1 and
            1 is said to follow its kernel.

    Source: Lee et al. 2019 (arXiv 1902.06720), fig. 1 and theorem 2.1; Cao, Gu 2019
        (arXiv 1905.13210), definition 3.7; Chen, Cao, Zou, Gu 2021 (arXiv 1911.12360),
        theorems 3.3 and 3.5.
    """

    question: ClassVar[str] = "When does a finite ReLU network follow its kernel?"
    QUICK: ClassVar[Mapping[str, Any]] = {
        "widths": (64, 144, 320, 720),
        "exponents": (0.25, 0.5),
        "seeds": 8,
        "bound_widths": (4, 8, 16, 32, 128),
        "bound_seeds": 4,
    }

    depths: tuple[int, ...] = static((2, 3, 5))
    widths: tuple[int, ...] = static((64, 128, 256, 512, 1024, 2048, 4096))
    exponents: tuple[float, ...] = static((0.25, 0.35, 0.5))
    seeds: int = count(8)
    num_train: int = count(32)
    num_test: int = count(150)
    dim: int = count(10)
    horizon: float = real(20.0, above=0.0)
    step: float = real(0.4, above=0.0)
    draws: int = count(16)
    bound_widths: tuple[int, ...] = static((4, 8, 16, 32, 64, 128, 256, 512, 1024))
    bound_seeds: int = count(6)
    bound_points: int = count(200)
    bound_horizon: float = real(200.0, above=0.0)
    bound_step: float = real(2.0, above=0.0)
    radii: tuple[float, ...] = static((2.0, 4.0, 8.0))
    level: float = real(0.05, above=0.0)

    def __check_init__(self):
        require_rising(
            depths=self.depths,
            widths=self.widths,
            exponents=self.exponents,
            bound_widths=self.bound_widths,
            radii=self.radii,
        )
        if min(self.depths) < 2:
            raise ValueError(f"depths must be at least 2, got {self.depths}.")
        if (max(self.depths) - 1) * 2.0 ** -max(self.bound_widths) > MOST_LOST:
            raise ValueError(
                "bound_widths must have a width at which the deepest network is seldom "
                f"0, got {self.bound_widths}; add a wider one."
            )
        if max(self.exponents) > 0.5:
            raise ValueError(
                "exponents must be at most 1/2, beyond which the outputs at the start "
                f"grow with the width, got {self.exponents}."
            )

    def experiments(self) -> tuple[Sweep, ...]:
        return tuple(
            sweep for depth in self.depths for sweep in self._sweeps(int(depth))
        )

    def _sweeps(self, depth: int) -> tuple[Sweep, Sweep]:
        """Of one depth: layers of different depths do not make one array."""

        def descent(**point: Any) -> Experiment:
            return self.descent(depth=depth, **point)

        def bound(**point: Any) -> Experiment:
            return self.bound(depth=depth, **point)

        seeds, widths = range(self.seeds), self.bound_widths
        axes = {"width": self.widths, "exponent": self.exponents, "seed": seeds}
        alive = [m for m in widths if (depth - 1) * 2.0**-m <= MOST_LOST]
        bounds = {"width": alive, "seed": range(self.bound_seeds)}
        return (
            grid(f"descent_{depth}", axes, descent),
            grid(f"bounds_{depth}", bounds, bound),
        )

    def descent(
        self, *, depth: int, width: int, exponent: float, seed: int
    ) -> Experiment:
        """Squared loss: the network, its kernel and its twin."""
        network = DeepRelu(width=width, depth=depth, scale_exponent=exponent)
        data = self.digits(self.num_train, seed)
        return Experiment(
            WeightFlow(network=network, dataset=data, loss=SquaredError()),
            NoisyGD(self.step),
            Schedule(
                horizon=self.horizon,
                unit="kernel",
                saves=6,
                spacing="log",
                snapshots=0,
            ),
            (
                Risk(),
                Accuracy(),
                LayerDistance(),
                KernelDrift(),
                TwinGap(),
                ResidualRecursion(),
            ),
            seed=seed,
        )

    def bound(self, *, depth: int, width: int, seed: int) -> Experiment:
        """Logistic loss; narrow networks share the program of the widest."""
        widest = max(self.bound_widths)
        network = DeepRelu(width=widest, depth=depth, active=float(width))
        data = self.digits(self.bound_points, seed)
        return Experiment(
            WeightFlow(network=network, dataset=data, loss=Logistic()),
            NoisyGD(self.bound_step),
            Schedule(horizon=self.bound_horizon, unit="kernel", saves=21, snapshots=0),
            (Risk(), Accuracy(), LayerDistance()),
            seed=seed,
        )

    def digits(self, num_train: int, seed: int) -> Digits:
        """Images of 3 and 8 on the unit sphere."""
        return Digits(
            classes=(3, 8),
            num_train=num_train,
            num_test=self.num_test,
            seed=seed,
            prepare=Prepare(pca=self.dim, unit_norm=True),
        )

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        parts = [self._part(L, runs[f"descent_{L}"]) for L in self.depths]
        kernels = [self._starts(L) for L in self.depths]
        bounds = [self._bounded(L, runs[f"bounds_{L}"]) for L in self.depths]
        return Findings(
            verdicts=verdicts(parts, kernels, bounds),
            tables=tables(parts, kernels, bounds, self.level),
            charts=charts(parts, kernels, bounds),
        )

    def _part(self, depth: int, runs: xarray.Dataset) -> Part:
        seeds = runs.sizes["seed"]
        setting = f"n = {self.num_train}, d = {self.dim}, m^(2a)·t = {self.horizon:g}, "
        return Part(depth, runs, self.dim, f"{setting}{seeds} seeds")

    def _starts(self, depth: int) -> Starts:
        def start(width: int, seed: int) -> Experiment:
            return self.descent(depth=depth, width=width, exponent=0.5, seed=seed)

        return starts(depth, self.widths, self.draws, start)

    def _bounded(self, depth: int, runs: xarray.Dataset) -> Bounded:
        def start(width: int, seed: int) -> Experiment:
            return self.bound(depth=depth, width=width, seed=seed)

        return bounded(depth, runs, start, self.radii)
