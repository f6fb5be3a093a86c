"""Regimes: what small and large alpha learn of teachers of one KL and growing chi^2."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import xarray

from mfsim.activations import Erf
from mfsim.component import count, real, static
from mfsim.datasets import GaussianTeacher
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin
from mfsim.networks import TwoLayer
from mfsim.observables import Risk
from mfsim.studies.base import AbstractStudy, grid, last, require_rising
from mfsim.studies.regimes.budgets import (
    Budget,
    kernel_risk,
    label_variance,
    least_chi2,
    least_kl,
    mixture_weight,
    shifted_teacher,
)
from mfsim.studies.regimes.charts import charts
from mfsim.studies.regimes.measured import Measured, best_temperatures, chosen
from mfsim.studies.regimes.tables import (
    bounds_table,
    budgets_table,
    errors_table,
    needs_table,
)
from mfsim.studies.regimes.verdicts import verdicts
from mfsim.sweep import Sweep
from mfsim.theory import Bound, LazySetting, chi2_error_bound, kl_error_bound

_LARGEST_SHIFT = 26.0
"""Beyond it exp(rho^2) overflows soon."""


class Regimes(AbstractStudy):
    """What do small and large alpha learn, as chi^2 grows at fixed KL?

    The teachers p_true = (1 - epsilon) p_0 + epsilon N(mu, Lambda) have the same
    KL(p_true | p_0), while their shift rho grows and with it chi^2 = epsilon^2
    (exp(rho^2) - 1); each of mu_w and mu_u is rho/sqrt(2) long, sigma_w = sigma_u = 1.
    Networks at alpha = 1 and alpha = sqrt(m) learn from n points; their test risk over
    Var y is the error, and the n at which it falls through `level` is what they need.

    Temperatures are tried in units of Var y. The error of one draw of data is that at
    the temperature with the least mean test risk on the other draws.

    Fields:
        width: Number of neurons m.
        dim: Dimension d of the inputs, on the unit sphere.
        kl: KL(p_true | p_0) of every teacher, in nats.
        shifts: Their rho, in rising order, above sqrt(2 kl), where epsilon is 1.
        sizes: Numbers n of training points, in rising order.
        relative_temperatures: lambda over Var y, in rising order.
        seeds: Draws of data, teacher, start and noise; at least three to judge.
        horizon: End in kernel time alpha^2 t.
        level: The error that n is needed for.
        num_test: Test points.
        budget_points: Training points of which the least KL and chi^2 are taken.
        num_samples: Draws of w for the least KL.

    Source: Chen et al. 2020 (arXiv 2002.04026), corollaries 4.11 and 4.14.
    """

    question: ClassVar[str] = (
        "What do small and large α learn, as χ² grows at fixed KL?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "width": 512,
        "shifts": (4.0, 8.0, 12.0),
        "sizes": (6, 12, 24, 48, 96, 192),
        "seeds": 6,
        "num_samples": 16384,
    }

    width: int = count(1024)
    dim: int = count(8, at_least=2)
    kl: float = real(4.0, above=0.0)
    shifts: tuple[float, ...] = static((4.0, 6.0, 8.0, 10.0, 12.0))
    sizes: tuple[int, ...] = static((6, 12, 24, 48, 96, 192, 384))
    relative_temperatures: tuple[float, ...] = static((1e-4, 1e-3, 1e-2))
    seeds: int = count(10)
    horizon: float = real(1000.0, above=0.0)
    level: float = real(0.1, above=0.0)
    num_test: int = count(1000)
    budget_points: int = count(48)
    num_samples: int = count(65536, at_least=64)

    def __check_init__(self):
        require_rising(
            shifts=self.shifts,
            sizes=self.sizes,
            relative_temperatures=self.relative_temperatures,
        )
        least = math.sqrt(2 * self.kl)
        if self.shifts[0] <= least:
            raise ValueError(
                f"shifts must be above sqrt(2 kl) = {least:.4g}, where epsilon is 1, "
                f"got {self.shifts[0]:g}; take a smaller kl."
            )
        if self.shifts[-1] > _LARGEST_SHIFT:
            raise ValueError(
                f"shifts must be at most {_LARGEST_SHIFT:g}, as exp(rho^2) overflows "
                f"beyond, got {self.shifts[-1]:g}."
            )

    @property
    def alphas(self) -> tuple[float, float]:
        """Those of the mean field and of the kernel regime."""
        return 1.0, math.sqrt(self.width)

    def experiments(self) -> tuple[Sweep, ...]:
        axes = {
            "shift": self.shifts,
            "size": self.sizes,
            "seed": range(self.seeds),
            "alpha": self.alphas,
            "relative_temperature": self.relative_temperatures,
        }
        return (grid("regimes", axes, self.experiment),)

    def experiment(self, **place: Any) -> Experiment:
        """The run of a place on the axes."""
        schedule = Schedule(
            horizon=self.horizon, unit="kernel", saves=12, spacing="log", snapshots=0
        )
        return Experiment(
            self.flow(**place),
            ExponentialLangevin(step="auto"),
            schedule,
            observables=(Risk(),),
            seed=place["seed"],
        )

    def flow(
        self,
        *,
        shift: float,
        size: int,
        seed: int,
        alpha: float,
        relative_temperature: float,
    ) -> ParticleFlow:
        """What is learned, how: `seed` draws data and teacher."""
        return ParticleFlow(
            network=self.network(alpha),
            dataset=self.teacher(shift, size, seed),
            temperature=relative_temperature * label_variance(self.teacher(shift)),
        )

    def network(self, alpha: float = 1.0) -> TwoLayer:
        """What learns."""
        return TwoLayer(width=self.width, alpha=alpha, activation=Erf())

    def teacher(self, shift: float, size: int = 1, seed: int = 0) -> GaussianTeacher:
        """The teacher of a shift, with its draw of data."""
        return shifted_teacher(
            shift,
            mixture_weight(self.kl, shift),
            dim=self.dim,
            num_train=size,
            num_test=self.num_test,
            seed=seed,
        )

    @property
    def variance(self) -> xarray.DataArray:
        """Var y of each teacher, over the sphere."""
        values = [label_variance(self.teacher(shift)) for shift in self.shifts]
        return xarray.DataArray(values, {"shift": list(self.shifts)})

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        measured = self.measure(runs["regimes"])
        budgets = [self.budget(shift) for shift in self.shifts]
        setting = (
            f"KL = {self.kl:g}, d = {self.dim}, m = {self.width}, {self.seeds} draws, "
            "λ chosen on the others"
        )
        tables = (
            needs_table(measured, budgets),
            errors_table(measured, budgets),
            budgets_table(budgets),
            bounds_table(self.bounds(measured), self.sizes[-1]),
        )
        return Findings(
            verdicts(measured, budgets, setting),
            tables,
            charts(measured, budgets, setting),
            self.notes(measured),
        )

    def measure(self, runs: xarray.Dataset) -> Measured:
        """Errors of networks and kernel."""
        errors = last(runs, "test_risk") / self.variance
        kernel = [
            [[self.kernel_risk(h, n, s) for s in range(self.seeds)] for n in self.sizes]
            for h in self.shifts
        ]
        there = {name: errors[name] for name in ("shift", "size", "seed")}
        return Measured(
            chosen(errors),
            xarray.DataArray(kernel, there) / self.variance,
            best_temperatures(errors),
            self.level,
        )

    def kernel_risk(self, shift: float, size: int, seed: int) -> float:
        """Test risk of the kernel H(p_0) at t = infinity."""
        return kernel_risk(self.network(), self.teacher(shift, size, seed))

    def budget(self, shift: float) -> Budget:
        """What the teacher of a shift costs."""
        points, network = min(self.budget_points, self.sizes[-1]), self.network()
        teachers = [self.teacher(shift, points, seed) for seed in range(self.seeds)]
        first = teachers[0]
        return Budget(
            shift=shift,
            epsilon=first.epsilon,
            variance=label_variance(first),
            kl=first.kl(),
            chi2=first.chi2(),
            points=points,
            least_kl=np.array(
                [least_kl(network, t, self.num_samples) for t in teachers]
            ),
            least_chi2=np.array([least_chi2(network, t) for t in teachers]),
        )

    def bounds(self, measured: Measured) -> list[tuple[float, float, float, Bound]]:
        """What the theorems grant at the largest n, for the first draw."""
        rows, size = [], self.sizes[-1]
        for shift, alpha in itertools.product(self.shifts, self.alphas):
            place = {"shift": shift, "size": size, "alpha": alpha}
            best = float(measured.temperatures.sel(place))
            setting = LazySetting.of(
                self.flow(**place, seed=0, relative_temperature=best)
            )
            teacher = self.teacher(shift)
            error = measured.means(shift, alpha)[-1].value
            chi2 = chi2_error_bound(setting, teacher.chi2())
            kl = kl_error_bound(setting, teacher.kl())
            rows += [(shift, alpha, error, bound) for bound in (chi2, kl)]
        return rows

    def notes(self, measured: Measured) -> tuple[str, ...]:
        """What was chosen, and how far noise had got."""
        best, variance = measured.temperatures, self.variance
        lowest = int((best == self.relative_temperatures[0]).sum())
        longest = (best * variance).max(("shift", "size")) * self.horizon
        small, large = (longest / best["alpha"] ** 2).values
        return (
            "The temperature of a draw is that of the least mean test risk on the "
            f"others; in {lowest} of {best.size} settings the least that was tried is "
            "the best, as labels have no noise.",
            f"λt at the end is at most {small:.2g} at α = 1 and {large:.2g} at α = "
            f"{self.alphas[1]:.3g} (σ = 1), and the law is stationary only where it is "
            "large; GNTK's 4.11 and 4.14 are of t = ∞.",
        )
