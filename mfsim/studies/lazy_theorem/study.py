"""LazyTheorem: rates, exponents, plateau and displacement of lazy training."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import SphereTeacher
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin
from mfsim.networks import TwoLayer
from mfsim.observables import (
    KL,
    Displacement,
    KernelDrift,
    KernelSpectrum,
    NtkGap,
    Risk,
    Wasserstein,
)
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.lazy_theorem.charts import charts
from mfsim.studies.lazy_theorem.measured import Part, plateaus
from mfsim.studies.lazy_theorem.tables import tables
from mfsim.studies.lazy_theorem.verdicts import verdicts
from mfsim.sweep import Sweep


class LazyTheorem(AbstractStudy):
    """Do the theorems on lazy training say how fast and how far neurons move?

    Tanh networks on a sphere teacher, each seed with its own data, start and noise, in
    three parts:

    - gradient flow, lambda = 0: the training risk falls at the rate 4 alpha^2
      lambda_min(H)/n; KL, W2, kernel drift and NTK gap, at their largest over time, are
      powers of alpha;
    - noise, lambda > 0, until t = 1/2 lambda: raw and coupled displacement of the same
      neurons;
    - plateau, lambda > 0, until t = 3/lambda: the mean risk from the middle on less the
      floor lambda n/2m of m neurons, beside the exact limit of infinitely many.

    Fields:
        alphas: Of the gradient flow, in rising order.
        seeds: Of data, start and noise; at least three to judge.
        width: Number of neurons m of the gradient flow.
        dim: Dimension d of its inputs.
        num_train: Its number n of training points.
        horizon: Its end in kernel time.
        step: Its step in kernel time.
        temperature: lambda of the noisy parts.
        noise_alphas: Of the part called noise, in rising order.
        plateau_alphas: Of the plateau, in rising order.
        noisy_width: Their number of neurons, to be far above alpha^2.
        noisy_dim: Their dimension.
        noisy_points: Their number of training points; at most three, of which the limit
            is found by quadrature.
        noisy_step: Their step in kernel time.
        gain: Of the teacher: labels are of order gain/sqrt(d).
        noise_gain: The same where raw and coupled displacement are compared. Labels
            have to be far above alpha/sqrt(m), the outputs of m free neurons.
        fit_from: The least alpha that exponents are fitted from.

    Source: Chen et al. 2020 (arXiv 2002.04026), theorems 4.4, 4.7 and 4.8.
    """

    question: ClassVar[str] = (
        "How fast and how far do lazy neurons move, beside what is proved?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "alphas": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        "seeds": 4,
        "width": 1024,
        "noise_alphas": (1.0, 2.0, 4.0, 8.0, 16.0),
        "plateau_alphas": (1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
        "noisy_width": 8192,
    }

    alphas: tuple[float, ...] = static((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0))
    seeds: int = count(10)
    width: int = count(4096, at_least=8)
    dim: int = count(20)
    num_train: int = count(8)
    horizon: float = real(400.0, above=0.0)
    step: float = real(0.1, above=0.0)
    temperature: float = real(0.1, above=0.0)
    noise_alphas: tuple[float, ...] = static((1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
    plateau_alphas: tuple[float, ...] = static((1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0))
    noisy_width: int = count(32768, at_least=8)
    noisy_dim: int = count(10)
    noisy_points: int = count(3, at_most=3)
    noisy_step: float = real(0.2, above=0.0)
    gain: float = real(2.0, above=0.0)
    noise_gain: float = real(6.0, above=0.0)
    fit_from: float = real(3.0, above=0.0)

    def __check_init__(self):
        require_rising(
            alphas=self.alphas,
            noise_alphas=self.noise_alphas,
            plateau_alphas=self.plateau_alphas,
        )

    def experiments(self) -> tuple[Sweep, ...]:
        seeds = range(self.seeds)
        parts = {
            "gradient_flow": (self.alphas, self.quiet),
            "noise": (self.noise_alphas, self.noisy),
            "plateau": (self.plateau_alphas, self.long),
        }
        return tuple(
            grid(name, {"alpha": alphas, "seed": seeds}, make)
            for name, (alphas, make) in parts.items()
        )

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        make = {
            "gradient_flow": self.quiet,
            "noise": self.noisy,
            "plateau": self.long,
        }
        flow, noise, plateau = (
            Part(runs[name], functools.partial(_flow, experiment), self.fit_from)
            for name, experiment in make.items()
        )
        found = plateaus(plateau)
        return Findings(
            verdicts=verdicts(flow, noise, plateau, found),
            tables=tables(flow, noise, plateau, found),
            charts=charts(flow, noise, plateau, found),
        )

    def quiet(self, *, alpha: float, seed: int) -> Experiment:
        """Gradient flow, in double precision: the NTK gap falls as alpha^-4."""
        network = TwoLayer(width=self.width, alpha=alpha)
        data = _teacher(self.dim, self.num_train, self.gain, seed)
        flow = ParticleFlow(network=network, dataset=data)
        schedule = Schedule(horizon=self.horizon, unit="kernel", saves=33, snapshots=0)
        spectrum = KernelSpectrum(num_leading=self.num_train)
        observables = (Risk(), *_distances(256), NtkGap(), spectrum)
        integrator = ExponentialLangevin(self.step)
        return Experiment(
            flow, integrator, schedule, observables, seed=seed, dtype="float64"
        )

    def noisy(self, *, alpha: float, seed: int) -> Experiment:
        """With noise until t = 1/2 lambda, and a shadow."""
        schedule = Schedule(
            horizon=alpha**2 / (2 * self.temperature),
            unit="kernel",
            saves=16,
            spacing="log",
            snapshots=0,
        )
        observables = (Risk(), Displacement(), *_distances(512), NtkGap())
        flow = self.noisy_flow(alpha, seed, self.noise_gain, shadow=True)
        integrator = ExponentialLangevin(self.noisy_step)
        return Experiment(flow, integrator, schedule, observables, seed=seed)

    def long(self, *, alpha: float, seed: int) -> Experiment:
        """With noise until t = 3/lambda, the risk alone, often."""
        schedule = Schedule(
            horizon=3 * alpha**2 / self.temperature,
            unit="kernel",
            saves=2000,
            snapshots=0,
        )
        flow = self.noisy_flow(alpha, seed, self.gain, shadow=False)
        integrator = ExponentialLangevin(self.noisy_step)
        return Experiment(flow, integrator, schedule, (Risk(),), seed=seed)

    def noisy_flow(
        self, alpha: float, seed: int, gain: float, *, shadow: bool
    ) -> ParticleFlow:
        """What the parts with noise learn."""
        network = TwoLayer(width=self.noisy_width, alpha=alpha)
        data = _teacher(self.noisy_dim, self.noisy_points, gain, seed)
        return ParticleFlow(
            network=network,
            dataset=data,
            temperature=self.temperature,
            shadow=shadow,
        )


def _teacher(dim: int, num_train: int, gain: float, seed: int) -> SphereTeacher:
    """The data of a seed."""
    return SphereTeacher(dim=dim, num_train=num_train, num_test=0, gain=gain, seed=seed)


def _distances(pairs: int) -> tuple[KL, Wasserstein, KernelDrift]:
    """KL, W2 and kernel drift at the cost of few neurons' transport."""
    kl = KL(num_samples=1024, max_particles=pairs)
    return kl, Wasserstein(max_pairs=pairs, blocks=False, directions=8), KernelDrift()


def _flow(experiment: Any, alpha: float, seed: int) -> ParticleFlow:
    return experiment(alpha=alpha, seed=seed).flow
