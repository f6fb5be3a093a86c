"""Overparametrization: why does the test error fall while networks grow?"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.activations import Relu
from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset, Digits, Prepare, RandomLabels
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import ParticleFlow, WeightFlow
from mfsim.integrators import MomentumSGD, NoisyGD
from mfsim.losses import Logistic, SoftmaxCrossEntropy
from mfsim.networks import ReluClassifier, TwoLayer
from mfsim.observables import Accuracy, Margin, Risk
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.overparametrization.charts import charts
from mfsim.studies.overparametrization.measured import layers, measured, neurons
from mfsim.studies.overparametrization.quantities import LABELS, Trained, dimension
from mfsim.studies.overparametrization.tables import tables
from mfsim.studies.overparametrization.verdicts import verdicts
from mfsim.sweep import Sweep


class Overparametrization(AbstractStudy):
    r"""Why does the test error fall with the width while networks grow?

    Networks $f = V [U x]_+$ of h units, without biases, learn classes by SGD with
    momentum 0.9 from PyTorch's start until the training cross-entropy is below a level,
    with the labels of the data and with random ones. Of the trained weights: the six
    capacity measures of Neyshabur et al. in `mfsim.theory.capacity_measures`, unit
    capacity $|u_j - u_j^0|$, unit impact $|v_j|$ and the bounds on the test error,
    against h, beside the test error. Beside that the same of particle systems, $U = w,
    V = (\alpha/m) u^T, \alpha = m^s$, after gradient descent on the logistic loss until
    the same kernel time $\alpha^2 t$, where the powers of m are known.

    Fields:
        dataset: Classes as numbers, labels = "classes" where it has them.
        classes: Number c of classes.
        widths: h, in rising order.
        random_widths: Those of them that are trained on random labels, too, or none.
        seeds: Of data, random labels, start and batches; at least three to judge.
        step: Step of SGD.
        random_step: The same with random labels.
        momentum: Its momentum.
        batch_size: Points a step.
        level: Training cross-entropy below which a run ends.
        epochs: Most passes over the training points.
        random_epochs: The same with random labels.
        particle_dataset: Two classes, labelled -1 and 1.
        particle_widths: m, in rising order, even.
        particle_exponents: s, in rising order, from 0 to 1/2.
        particle_seeds: Of data and start; at least three to judge.
        particle_horizon: End in kernel time.
        particle_step: Step in kernel time.

    Source: Neyshabur, Li, Bhojanapalli, LeCun, Srebro 2019 (arXiv 1805.12076), Table 1,
        Theorem 2 and Figures 1 to 4; batches, momentum, stopping rule and 0.001 as the
        step for CIFAR-10 as in github.com/bneyshabur/over-parametrization.
    """

    question: ClassVar[str] = (
        "Why does the test error fall with the width while networks grow?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "widths": (16, 32, 64, 128, 256, 512, 1024),
        "random_widths": (64, 128, 256, 512),
        "seeds": 5,
        "step": 0.1,
        "random_step": 0.1,
        "particle_widths": (256, 512, 1024, 2048, 4096),
        "particle_seeds": 4,
    }

    dataset: AbstractDataset = Digits(num_train=500, num_test=1000, labels="classes")
    classes: int = count(10, at_least=2)
    widths: tuple[int, ...] = static((64, 128, 256, 512, 1024, 2048, 4096, 8192))
    random_widths: tuple[int, ...] = static((64, 128, 256, 512, 1024, 2048, 4096, 8192))
    seeds: int = count(8)
    step: float = real(0.05, above=0.0)
    random_step: float = real(0.05, above=0.0)
    momentum: float = real(0.9, at_least=0.0)
    batch_size: int = count(64)
    level: float = real(0.01, above=0.0)
    epochs: int = count(1000)
    random_epochs: int = count(1000)
    particle_dataset: AbstractDataset = Digits(
        classes=(3, 8), num_train=200, prepare=Prepare(pca=10, unit_norm=True)
    )
    particle_widths: tuple[int, ...] = static(
        (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    )
    particle_exponents: tuple[float, ...] = static((0.0, 0.5))
    particle_seeds: int = count(8)
    particle_horizon: float = real(50.0, above=0.0)
    particle_step: float = real(0.5, above=0.0)

    def __check_init__(self):
        require_rising(widths=self.widths, particle_widths=self.particle_widths)
        if self.random_widths:
            require_rising(random_widths=self.random_widths)
        if not set(self.random_widths) <= set(self.widths):
            raise ValueError(
                f"random_widths must be some of widths {self.widths}, got "
                f"{self.random_widths}."
            )
        if any(width % 2 for width in self.particle_widths):
            raise ValueError(
                "particle_widths must be even, as neurons start in pairs, got "
                f"{self.particle_widths}."
            )
        s = self.particle_exponents
        if not s or sorted(set(s)) != list(s) or s[0] < 0 or s[-1] > 0.5:
            raise ValueError(
                f"particle_exponents must be from 0 to 1/2 in rising order, got {s}."
            )

    def experiments(self) -> tuple[Sweep, ...]:
        # The data change with labels and seed: widths come last, to load them once.
        networks = {
            "labels": LABELS,
            "seed": range(self.seeds),
            "width": self.widths,
        }
        particles = {
            "exponent": self.particle_exponents,
            "seed": range(self.particle_seeds),
            "width": self.particle_widths,
        }
        return (
            grid("networks", networks, self.network),
            grid("particles", particles, self.particles),
        )

    def network(self, *, labels: str, seed: int, width: int) -> Experiment | None:
        """The training of one network; None of a width without random labels."""
        is_random = labels == "random"
        if is_random and width not in self.random_widths:
            return None
        epochs = self.random_epochs if is_random else self.epochs
        return Experiment(
            WeightFlow(
                network=ReluClassifier(width=width, classes=self.classes),
                dataset=self.points(labels, seed),
                loss=SoftmaxCrossEntropy(),
            ),
            MomentumSGD(
                step=self.random_step if is_random else self.step,
                momentum=self.momentum,
                batch_size=self.batch_size,
            ),
            Schedule(
                epochs=epochs,
                saves=epochs + 1,
                snapshots=2,
                stop=f"train_risk < {self.level!r}",
            ),
            (Risk(), Accuracy(), Margin()),
            seed=seed,
        )

    def points(self, labels: str, seed: int) -> AbstractDataset:
        """What the networks of a seed learn."""
        drawn = dataclasses.replace(self.dataset, seed=seed)
        if labels == "true":
            return drawn
        return RandomLabels(dataset=drawn, num_classes=self.classes, seed=seed)

    def particles(self, *, exponent: float, seed: int, width: int) -> Experiment:
        """Gradient descent of one particle system."""
        network = TwoLayer(width=width, alpha=width**exponent, activation=Relu())
        data = self.particle_points(exponent, seed)
        return Experiment(
            ParticleFlow(network=network, dataset=data, loss=Logistic(), shadow=False),
            NoisyGD(self.particle_step),
            Schedule(
                horizon=self.particle_horizon, unit="kernel", saves=2, snapshots=2
            ),
            (Risk(), Accuracy(), Margin()),
            seed=seed,
        )

    def particle_points(self, exponent: float, seed: int) -> AbstractDataset:
        """What the particles of a seed learn, whatever the scale."""
        return dataclasses.replace(self.particle_dataset, seed=seed)

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        networks = measured(runs["networks"], layers, self.points)
        # Without random labels there are no runs of theirs, hence no place for them.
        networks = networks.reindex(labels=list(LABELS))
        particles = measured(runs["particles"], neurons, self.particle_points)
        trained = Trained(
            networks,
            particles,
            self.level,
            self.batch_size,
            self._setting(networks),
            self._particle_setting(particles),
        )
        notes = *NOTES, *trained.capped()
        return Findings(verdicts(trained), tables(trained), charts(trained), notes)

    def _setting(self, found: xarray.Dataset) -> str:
        """Of the networks, for claims and captions."""
        return (
            f"{_words(self.dataset, found)}, c = {self.classes}, SGD in batches of "
            f"{self.batch_size}, momentum {self.momentum:g}, until cross-entropy "
            f"{self.level:g}, {self.seeds} seeds"
        )

    def _particle_setting(self, found: xarray.Dataset) -> str:
        """Of the particles."""
        m = self.particle_widths
        return (
            f"{_words(self.particle_dataset, found)}, m = {m[0]} to {m[-1]}, α²t = "
            f"{self.particle_horizon:g}, {self.particle_seeds} seeds"
        )


NOTES = (
    "Powers of h and correlations are of networks that came to the same training "
    "cross-entropy. A margin is the 5th percentile over the training points of f_y − "
    "max f_k; measures (2) to (6) enter bounds over it.",
    "A bound of 1 or more on an error is vacuous; constants are those of the theorems.",
    "Where training is lazy the units of these networks hardly move: as h grows "
    "without end, (6) goes as √h, by |U₀|₂ and √h, and (4) and (5) do not grow. That "
    "(6) is the slower one is a finding at finite width.",
)


def _words(dataset: AbstractDataset, found: xarray.Dataset) -> str:
    """What a dataset is called, its classes and its sizes."""
    classes = " against ".join(map(str, getattr(dataset, "classes", None) or ()))
    name = f"{type(dataset).__name__} {classes}".strip()
    return f"{name}, N = {found.samples.max():g}, d = {dimension(found):g}"
