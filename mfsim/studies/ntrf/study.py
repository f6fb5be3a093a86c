"""Ntrf: does online SGD do as well as the tangent features around its start?"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset, Digits, RandomLabels
from mfsim.datasets.prepare import Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import WeightFlow
from mfsim.integrators import NoisyGD
from mfsim.losses import Logistic
from mfsim.networks import DeepRelu
from mfsim.observables import Accuracy, LayerDistance, OnlineError
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.ntrf.charts import charts
from mfsim.studies.ntrf.granted import granted
from mfsim.studies.ntrf.measured import measured
from mfsim.studies.ntrf.tables import tables
from mfsim.studies.ntrf.verdicts import verdicts
from mfsim.sweep import Sweep

LABELS = "true", "random"

_SHARED_WIDTH = 512
"""Up to it widths are padded to one, as a program costs more than its zeros."""

_SAVES = 9


class Ntrf(AbstractStudy):
    """Does online SGD do as well as the tangent features around its start, at any m?

    Networks of depth L see each of n samples once, in steps eta = kappa R/(m^2a
    sqrt(n)) on the logistic loss. The 0-1 error on samples before their step, and that
    of W-hat, drawn from the iterates, on test points, stand beside

        CG 3.3:  4 min_ball (1/n) sum phi(y f_lin) + L R/sqrt(n) + sqrt(log(1/delta)/n),
        CG 3.10: L inf_{y_i z_i >= 1} sqrt(z^T Theta^-1 z/n) + sqrt(log(1/delta)/n),
        HMO 3.8: 8 L^2 R^2/n + 8 log(1/delta)/n + 24 min_ball (1/n) sum phi(y f_lin),

    f_lin linear about the start, |W_l - W_l(0)|_F <= R m^-a in the ball; of CG 3.3 the
    least over `radii`, of HMO 3.8 that at the R which the run itself went. Labels are
    those of the data, or coins.

    Fields:
        dataset: Two classes, with the fields num_train, num_test and seed, which are
            set here.
        depths: Weight matrices L, in rising order.
        sizes: Numbers n of samples, in rising order, each at least 8.
        widths: Hidden widths m, in rising order.
        seeds: Draws of samples, coins and start; at least three to judge.
        num_test: Test points.
        kappa: Of the step.
        radius: R of the step, one of `radii`.
        radii: R of the balls, in rising order.
        scale_exponent: a.
        delta: Probability for which the bounds may fail.

    Source: Cao, Gu 2019 (arXiv 1905.13210); Chen, Cao, Zou, Gu 2021, theorem 3.8.
    """

    question: ClassVar[str] = (
        "Does online SGD do as well as the tangent features around its start, whatever "
        "the width, and do the labels decide?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "depths": (3,),
        "sizes": (64, 128, 256),
        "widths": (64, 128, 256, 512),
        "seeds": 6,
    }

    dataset: AbstractDataset = Digits(classes=(0, 1), prepare=Prepare(unit_norm=True))
    depths: tuple[int, ...] = static((3, 5))
    sizes: tuple[int, ...] = static((32, 64, 128, 256))
    widths: tuple[int, ...] = static((64, 128, 256, 512, 1024, 2048))
    seeds: int = count(10)
    num_test: int = count(100)
    kappa: float = real(1.0, above=0.0)
    radius: float = real(4.0, above=0.0)
    radii: tuple[float, ...] = static((0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 12.0))
    scale_exponent: float = real(0.5, above=0.0, at_most=0.5)
    delta: float = real(0.05, above=0.0)

    def __check_init__(self):
        require_rising(
            depths=self.depths, sizes=self.sizes, widths=self.widths, radii=self.radii
        )
        names = {field.name for field in dataclasses.fields(self.dataset)}
        for name in ("num_train", "num_test"):
            if name not in names:
                raise ValueError(
                    f"dataset must have the field {name}, which is set here, got "
                    f"{type(self.dataset).__name__}."
                )
        if self.depths[0] < 2:
            raise ValueError(f"depths must be at least 2, got {self.depths[0]}.")
        if self.sizes[0] < _SAVES - 1:
            raise ValueError(
                f"sizes must be at least {_SAVES - 1}, the iterates that are tested, "
                f"got {self.sizes[0]}."
            )
        if self.radius not in self.radii:
            raise ValueError(
                f"radius must be one of radii {self.radii}, got {self.radius:g}."
            )
        if not self.delta < 1:
            raise ValueError(f"delta must be below 1, got {self.delta:g}.")

    def experiments(self) -> tuple[Sweep, ...]:
        return tuple(map(self._sweep, self.depths))

    def _sweep(self, depth: int) -> Sweep:
        axes = {
            "size": self.sizes,
            "labels": LABELS,
            "seed": range(self.seeds),
            "width": self.widths,
        }

        def experiment(**place: Any) -> Experiment:
            return self.experiment(depth=depth, **place)

        return grid(sweep_name(depth), axes, experiment)

    def experiment(
        self, *, depth: int, size: int, labels: str, seed: int, width: int
    ) -> Experiment:
        """One pass over the samples of a place on the axes."""
        flow = WeightFlow(
            network=self.network(depth, width),
            dataset=self.samples(size, labels, seed),
            loss=Logistic(),
            shadow=False,
        )
        return Experiment(
            flow,
            NoisyGD(self.kappa * self.radius / math.sqrt(size), batch_size=1),
            Schedule(num_steps=size, unit="kernel", saves=_SAVES, snapshots=0),
            observables=(OnlineError(), LayerDistance(), Accuracy()),
            seed=seed,
        )

    def network(self, depth: int, width: int) -> DeepRelu:
        """The network of a width, padded where others share its program."""
        shared = min(self.widths[-1], _SHARED_WIDTH)
        is_shared = width <= shared
        return DeepRelu(
            width=shared if is_shared else width,
            depth=depth,
            scale_exponent=self.scale_exponent,
            active=width if is_shared else None,
        )

    def samples(self, size: int, labels: str, seed: int) -> AbstractDataset:
        """The samples of a draw, with their own labels or with coins."""
        sizes = {"num_train": size, "num_test": self.num_test, "seed": seed}
        drawn = dataclasses.replace(self.dataset, **sizes)
        return drawn if labels == "true" else RandomLabels(dataset=drawn, seed=seed)

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        found = measured({depth: runs[sweep_name(depth)] for depth in self.depths})
        found = found.merge(
            granted(self.experiment, found.layer_radius, self.radii, self.delta)
        )
        setting = (
            f"{_words(self.dataset)}, κ = {self.kappa:g}, step at R = {self.radius:g}, "
            f"a = {self.scale_exponent:g}, {self.seeds} draws"
        )
        return Findings(
            verdicts(found, self.radius, setting),
            tables(found),
            charts(found, self.radius, setting),
            (NOTE,),
        )


NOTE = (
    "Constants hidden in O(·) are 1 in CG 3.3 and 3.10, so that these are orders of "
    "magnitude; a bound of 1 or more on an error is vacuous. The step is that of CG "
    "3.3, not that of HMO 3.8."
)


def sweep_name(depth: int) -> str:
    """A sweep each depth, as series by layer are of that length."""
    return f"depth_{depth}"


def _words(dataset: AbstractDataset) -> str:
    """What a dataset is called, with its classes."""
    classes = " against ".join(map(str, getattr(dataset, "classes", None) or ()))
    return f"{type(dataset).__name__} {classes}".strip()
