"""The study itself: its experiments, and what is made of them."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset, Digits, SphereTeacher
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import ParticleFlow
from mfsim.integrators import ExponentialLangevin
from mfsim.networks import TwoLayer
from mfsim.observables import (
    KL,
    AbstractObservable,
    Accuracy,
    CapacityMeasures,
    Displacement,
    KernelAlignment,
    KernelDrift,
    NeuronMoments,
    NtkGap,
    Risk,
    Wasserstein,
)
from mfsim.studies.base import AbstractStudy, grid
from mfsim.studies.transition.charts import charts
from mfsim.studies.transition.measures import Results, read_off
from mfsim.studies.transition.orders import Part, measure
from mfsim.studies.transition.tables import tables
from mfsim.studies.transition.verdicts import verdicts
from mfsim.sweep import Sweep

OBSERVABLES: tuple[AbstractObservable, ...] = (
    Risk(),
    Accuracy(),
    CapacityMeasures(norms=False),
    Displacement(),
    NeuronMoments(),
    KernelDrift(),
    KernelAlignment(),
    NtkGap(),
    # The upper bounds alone are used: of the rest as little as there can be.
    KL(max_points=1, num_samples=64, max_particles=8, neighbours=1),
    Wasserstein(max_pairs=4, directions=1, blocks=False),
)
SAVES = 6


class Transition(AbstractStudy):
    r"""Where between alpha = 1 and sqrt(m) does the mean-field regime end?

    Networks $f = (\alpha/m) \sum_j u_j \tanh(w_j \cdot x)$ learn the same data from the
    same start for the same kernel time $\alpha^2 t$, alpha from `least_alpha` to
    sqrt(m). When training is lazy, $p_t - p_0 = O(1/\alpha)$ is odd in u, so that

    $$d \propto \alpha^{-1}, \quad KL \propto \alpha^{-2}, \quad
    \|H_t - H_0\| \propto \alpha^{-2}, \quad |f - f_{NTK}|^2/n \propto \alpha^{-4},$$

    up to a relative $O(\alpha^{-2})$. The crossover alpha_c(m) is where the relative
    kernel drift is `level`; beside it where the local exponent of the NTK gap is half
    the lazy one, and others. The particles' limit has no m, so that alpha_c should not
    depend on it: a collapse over alpha/m^nu has nu = 0.

    Regions over (log m, s = log alpha/log m), by means over seeds: *lazy* where the
    kernel drift is below `level` and the local exponent of the NTK gap at least 3/4 of
    the lazy one; *condensed* where alpha < 1 and the relative displacement is above 1
    and grows as alpha falls; else *mean field* where the gap's exponent is at most 1/4
    of the lazy one, and *crossover* between.

    Without temperature kl_upper is the entropy produced, which is KL itself, and the
    coupled displacement is the raw one.

    Fields:
        widths: Numbers of neurons m with data of SphereTeacher, in rising order.
        digits_widths: The same with Digits, 3 against 8; none leaves them out.
        seeds: Seeds of start and data; at least three to judge.
        least_alpha: Least alpha.
        per_octave: Values of alpha from one power of two to the next.
        temperature: Lambda.
        horizon: End in kernel time.
        step: Step in kernel time, of all runs; below 2 n/(2 lambda_max(H)), which falls
            as alpha where alpha < 1.
        dim: Dimension d of the inputs; of Digits by principal components.
        num_train: Training points n.
        num_test: Test points.
        level: Relative kernel drift at the crossover.

    Source: Chen et al. 2020 (arXiv 2002.04026), theorems 4.4, 4.7, 4.8; Geiger et al.
        2020 (arXiv 1906.08034), whose sqrt(h) alpha is alpha here; Luo et al. 2021,
        whose gamma is 1 - s.
    """

    question: ClassVar[str] = (
        "Where between α = 1 and √m does the mean-field regime end?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "widths": (256, 1024, 4096),
        "digits_widths": (1024, 4096),
        "seeds": 4,
        "per_octave": 2,
        "step": 0.2,
    }

    widths: tuple[int, ...] = static((256, 1024, 4096, 16384))
    digits_widths: tuple[int, ...] = static((1024, 4096, 16384))
    seeds: int = count(8)
    least_alpha: float = real(0.125, above=0.0, at_most=1.0)
    per_octave: int = count(4)
    temperature: float = real(0.0, at_least=0.0)
    horizon: float = real(100.0, above=0.0)
    step: float = real(0.1, above=0.0)
    dim: int = count(10, at_least=2)
    num_train: int = count(32)
    num_test: int = count(150)
    level: float = real(0.5, above=0.0)

    def __check_init__(self):
        if not self.widths:
            raise ValueError("widths must be one width or more, got none.")
        for name in ("widths", "digits_widths"):
            widths = getattr(self, name)
            if list(widths) != sorted(set(widths)) or any(
                m < 2 or m % 2 for m in widths
            ):
                raise ValueError(
                    f"{name} must be even numbers in rising order, got {widths}."
                )

    def alphas(self, width: int) -> tuple[float, ...]:
        """The scales of a width, from least_alpha to sqrt(m)."""
        octaves = math.log2(math.sqrt(width) / self.least_alpha)
        steps = range(math.floor(octaves * self.per_octave + 1e-9) + 1)
        return tuple(self.least_alpha * 2 ** (k / self.per_octave) for k in steps)

    def experiments(self) -> tuple[Sweep, ...]:
        sweeps = [self._sweep("sphere_teacher", self.widths, self.sphere_teacher)]
        if self.digits_widths:
            sweeps.append(self._sweep("digits", self.digits_widths, self.digits))
        return tuple(sweeps)

    def sphere_teacher(self, seed: int) -> SphereTeacher:
        """A single-index teacher: one direction of x matters, which features find."""
        return SphereTeacher(
            dim=self.dim,
            num_train=self.num_train,
            num_test=self.num_test,
            teacher="single_index",
            teacher_activation="Tanh",
            gain=3.0,
            seed=seed,
        )

    def digits(self, seed: int) -> Digits:
        """Images of 3 and 8 with the same shapes as the above, to share its program."""
        return Digits(
            classes=(3, 8),
            num_train=self.num_train,
            num_test=self.num_test,
            seed=seed,
            prepare=Prepare(pca=self.dim, unit_norm=True),
        )

    def _sweep(self, name: str, widths: tuple[int, ...], make: Any) -> Sweep:
        def experiment(width: int, alpha: float, seed: int) -> Experiment | None:
            if alpha not in self.alphas(width):
                return None
            # One run of each scale shows its neurons; of wide ones they are too many.
            shown = width == min(widths) and seed == 0
            return self.experiment(make(seed), width, alpha, seed, shown)

        alphas = self.alphas(max(widths))
        axes = {"width": widths, "alpha": alphas, "seed": range(self.seeds)}
        return grid(name, axes, experiment)

    def experiment(
        self,
        dataset: AbstractDataset,
        width: int,
        alpha: float,
        seed: int,
        shown: bool,
    ) -> Experiment:
        """One run, with snapshots if it is to be shown."""
        return Experiment(
            flow=ParticleFlow(
                network=TwoLayer(width=width, alpha=alpha),
                dataset=dataset,
                temperature=self.temperature,
            ),
            integrator=ExponentialLangevin(step=self.step),
            schedule=Schedule(
                horizon=self.horizon,
                unit="kernel",
                saves=SAVES,
                spacing="log",
                snapshots=SAVES if shown else 0,
            ),
            observables=OBSERVABLES,
            seed=seed,
        )

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        results = [self._results(name, sweep) for name, sweep in runs.items()]
        return Findings(
            verdicts=tuple(v for each in results for v in verdicts(each)),
            tables=tables(results),
            charts=tuple(chart for each in results for chart in charts(each)),
            notes=self._notes(),
        )

    def _results(self, name: str, runs: xarray.Dataset) -> Results:
        titles = {"sphere_teacher": "SphereTeacher", "digits": "Digits 3/8"}
        setting = (
            f"λ = {self.temperature:g}, n = {self.num_train}, d = {self.dim}, "
            f"α²t = {self.horizon:g}, {runs.sizes['seed']} seeds"
        )
        return read_off(Part(name, titles[name], setting, measure(runs)), self.level)

    def _notes(self) -> tuple[str, ...]:
        if self.temperature == 0:
            return (
                "At λ = 0 the entropy produced, kl_upper_production, is KL itself, "
                "and the coupled displacement is the raw one.",
            )
        return (
            "KL⁺ is the least of three upper bounds; that by production wants m ≫ α².",
        )
