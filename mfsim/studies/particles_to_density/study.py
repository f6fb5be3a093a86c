"""ParticlesToDensity: is the particle system the PDE?"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import TwoClassSphere
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.integrators import (
    AbstractIntegrator,
    DiffraxSolver,
    ExponentialLangevin,
    FiniteVolume,
    NoisyGD,
    Proximal,
)
from mfsim.networks import TwoLayer
from mfsim.observables import KL, AbstractObservable, OutputMoments, Risk
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.particles_to_density.compared import Compared
from mfsim.studies.particles_to_density.results import charts, tables, verdicts
from mfsim.sweep import Sweep

SPAN = 0.1
"""Flow time between saves."""

LONG_SPAN = 0.4
"""The same where steps are compared."""

_PLAIN = {"NoisyGD": NoisyGD, "ExponentialLangevin": ExponentialLangevin}


class ParticlesToDensity(AbstractStudy):
    """Is the particle system the PDE?

    Two classes of a circle, seen along one line, are learned by tanh networks: by m
    neurons, and by the density of infinitely many on a grid in (w, u). In four parts:

    - grid: the density by FiniteVolume on cells of two widths, whose outputs are
      extrapolated to none: the error is of second order;
    - widths: m neurons, whose outputs scatter about the truth as m^-1/2;
    - steps: many neurons, whose outputs miss it by the order of the step eta;
    - integrators: all five, in one picture.

    Outputs stand here for their mean and standard deviation over the training points.

    Fields:
        alpha: Scale alpha.
        temperature: lambda.
        num_train: Number n of training points.
        horizon: End in flow time; a multiple of 0.1.
        cells: Cells of the finer grid along an axis; the coarser has half.
        widths: Numbers of neurons, in rising order.
        seeds: Of each width.
        steps: Of NoisyGD and ExponentialLangevin in flow time, in falling order; each
            a whole part of 0.4.
        step_width: Neurons of each run with these, which start in antithetic pairs.
        step_seeds: Runs of each step.
        step_horizon: End of these in flow time; a multiple of 0.4, at most `horizon`.
        cloud_width: Neurons where integrators are compared.

    Source: Chen et al. 2020 (arXiv 2002.04026), eq. (3.3) and Algorithm 1.
    """

    question: ClassVar[str] = "Is the particle system the PDE?"
    QUICK: ClassVar[Mapping[str, Any]] = {
        "cells": 128,
        "widths": (32, 128, 512, 2048),
        "seeds": 12,
        "step_width": 400_000,
        "step_seeds": 6,
    }

    alpha: float = real(1.0, above=0.0)
    temperature: float = real(0.5, above=0.0)
    num_train: int = count(8, at_least=2)
    horizon: float = real(4.0, above=0.0)
    cells: int = count(256, at_least=32)
    widths: tuple[int, ...] = static((32, 128, 512, 2048, 8192, 32768))
    seeds: int = count(32)
    steps: tuple[float, ...] = static((0.4, 0.2, 0.1))
    step_width: int = count(1_000_000)
    step_seeds: int = count(10)
    step_horizon: float = real(1.2, above=0.0)
    cloud_width: int = count(4096, at_least=16)

    def __check_init__(self):
        require_rising(widths=self.widths)
        if not self.steps or sorted(set(self.steps))[::-1] != list(self.steps):
            raise ValueError(
                f"steps must be numbers in falling order, got {self.steps}."
            )
        if min(self.steps) <= 0 or not _whole(LONG_SPAN / s for s in self.steps):
            raise ValueError(
                f"steps must be whole parts of {LONG_SPAN:g}, the time between saves, "
                f"got {self.steps}."
            )
        for name, span in {"horizon": SPAN, "step_horizon": LONG_SPAN}.items():
            if not _whole([getattr(self, name) / span]):
                raise ValueError(
                    f"{name} must be a multiple of {span:g}, the time between saves, "
                    f"got {getattr(self, name):g}."
                )
        if self.step_horizon > self.horizon:
            raise ValueError(
                f"step_horizon must be at most horizon = {self.horizon:g}, got "
                f"{self.step_horizon:g}."
            )

    def experiments(self) -> tuple[Sweep, ...]:
        seeds = range(self.seeds)
        cells = (self.cells // 2, self.cells)
        steps = {
            "integrator": tuple(_PLAIN),
            "eta": self.steps,
            "seed": range(self.step_seeds),
        }
        five = ("FiniteVolume", "Proximal", *_PLAIN, "DiffraxSolver")
        return (
            grid("grid", {"cells": cells}, self.density),
            grid("widths", {"width": self.widths, "seed": seeds}, self.cloud),
            grid("steps", steps, self.stepped),
            grid("integrators", {"integrator": five}, self.compared),
        )

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        found = Compared(
            fine=runs["grid"].sel(cells=self.cells),
            coarse=runs["grid"].sel(cells=self.cells // 2),
            widths=runs["widths"],
            steps=runs["steps"],
            integrators=runs["integrators"],
            cloud_width=self.cloud_width,
            setting=f"α = {self.alpha:g}, λ = {self.temperature:g}, n = "
            f"{self.num_train}, d = 1, tanh",
        )
        return Findings(verdicts(found), tables(found), charts(found))

    def density(self, *, cells: int) -> Experiment:
        """By FiniteVolume."""
        return self._on_grid(FiniteVolume(SPAN / 5), cells)

    def cloud(self, *, width: int, seed: int) -> Experiment:
        """Neurons with decay and noise exact, at a step that does not show."""
        return self._of_neurons(ExponentialLangevin(SPAN / 5), width, seed)

    def stepped(self, *, integrator: str, eta: float, seed: int) -> Experiment:
        """Many neurons at a step that shows."""
        plain = _PLAIN[integrator](eta)
        schedule = _schedule(self.step_horizon, LONG_SPAN)
        return self._of_neurons(plain, self.step_width, seed, schedule, pairs=True)

    def compared(self, *, integrator: str) -> Experiment:
        """The same law by one of five integrators."""
        if integrator == "FiniteVolume":
            return self.density(cells=self.cells)
        if integrator == "Proximal":
            return self._on_grid(Proximal(SPAN), min(self.cells, 64))
        way: AbstractIntegrator
        if integrator == "DiffraxSolver":
            way = DiffraxSolver(SPAN, rtol=3e-3, atol=3e-3)
        else:
            way = _PLAIN[integrator](SPAN / 5)
        return self._of_neurons(way, self.cloud_width, 0, observables=(KL(),))

    def _on_grid(self, integrator: AbstractIntegrator, cells: int) -> Experiment:
        flow = DensityFlow(
            network=self._network(),
            dataset=self._data(),
            temperature=self.temperature,
            cells=cells,
        )
        return Experiment(
            flow,
            integrator,
            _schedule(self.horizon, SPAN),
            (Risk(), OutputMoments(), KL()),
            dtype="float64",
        )

    def _of_neurons(
        self,
        integrator: AbstractIntegrator,
        width: int,
        seed: int,
        schedule: Schedule | None = None,
        observables: tuple[AbstractObservable, ...] = (),
        *,
        pairs: bool = False,
    ) -> Experiment:
        flow = ParticleFlow(
            network=self._network(width, antithetic=pairs),
            dataset=self._data(),
            temperature=self.temperature,
            shadow=bool(observables),
        )
        return Experiment(
            flow,
            integrator,
            schedule or _schedule(self.horizon, SPAN),
            (Risk(), OutputMoments(), *observables),
            seed=seed,
        )

    def _network(self, width: int = 1024, *, antithetic: bool = False) -> TwoLayer:
        return TwoLayer(width=width, alpha=self.alpha, antithetic=antithetic)

    def _data(self) -> TwoClassSphere:
        return TwoClassSphere(
            dim=2,
            num_train=self.num_train,
            num_test=0,
            margin=0.3,
            prepare=Prepare(pca=1),
        )


def _schedule(horizon: float, span: float) -> Schedule:
    return Schedule(horizon=horizon, saves=round(horizon / span) + 1, snapshots=0)


def _whole(numbers: Iterable[float]) -> bool:
    return all(abs(number - round(number)) < 1e-6 for number in numbers)
