"""MinWidth: the smallest width with zero training error of deep ReLU networks."""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import xarray

from mfsim.component import count, real, static
from mfsim.datasets import AbstractDataset, Cifar10, Digits, Prepare
from mfsim.experiment import Experiment, Schedule
from mfsim.findings import Findings
from mfsim.flows import WeightFlow
from mfsim.integrators import NoisyGD
from mfsim.losses import Logistic
from mfsim.networks import DeepRelu
from mfsim.observables import Accuracy
from mfsim.studies.base import AbstractStudy, grid, require_rising
from mfsim.studies.min_width.charts import charts
from mfsim.studies.min_width.measured import Place, Trial, Trials, trials, widths_of
from mfsim.studies.min_width.published import published_widths
from mfsim.studies.min_width.search import Search, search_width
from mfsim.studies.min_width.tables import tables
from mfsim.studies.min_width.verdicts import verdicts
from mfsim.sweep import Sweep

NAME = "widths"
"""Of the sweep."""

_LEAST_PADDING = 8
"""Narrower networks cost the same, so that they share one program."""


_NAMES = {"cifar10": (r"[a-z]+/[a-z]+", "cat/dog"), "digits": (r"\d/\d", "3/8")}
"""What a pair of classes looks like, and an example."""

_SEEDS = 1000
"""Most seeds of one n."""


class MinWidth(AbstractStudy):
    """Which width do deep ReLU networks need for zero training error on n images?

    f = m^a W_L s(W_{L-1} ... s(W_1 x)) learns the sign of two classes of images of unit
    norm by stochastic gradient descent on the logistic loss, with steps of
    step m^{-2a}. A width passes if the training error is 0 at one of its looks; an
    output of exactly 0 is an error. For each pair, n and seed a search doubles or
    halves the width, then bisects, until a width has passed and the one below it has
    failed; where the cap fails, the smallest width is only known to be above it, and
    fits take it as that. Widths of one search are padded to a few sizes, so that they
    share programs.

    Longer training passes at smaller widths: the smallest width is that of this step,
    batch and number of epochs.

    Fields:
        dataset: "cifar10", or "digits" of scikit-learn, which need no files.
        folder: Where the CIFAR-10 files are; the environment's MFSIM_DATA unless given.
        pairs: The two classes that are told apart, such as "cat/dog" or "3/8".
        sizes: Numbers n of training images, in rising order.
        seeds: Draws of images and start; at least three to judge.
        cap: The widest width that may be tried.
        first: The width that searches begin with.
        depth: Number of weight matrices L.
        scale_exponent: The exponent a of the output scale.
        step: Step m^{2a} eta, in kernel time.
        batch_size: Images a step.
        epochs: Most passes over the images.
        looks: How often the training error is looked at.

    Source: Chen, Cao, Zou, Gu 2021 (arXiv 1911.12360), Figure 1.
    """

    question: ClassVar[str] = (
        "Which width do deep ReLU networks need for zero training error on n images?"
    )
    QUICK: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "pairs": ("3/8",),
        "sizes": (20, 40, 80, 160, 320),
        "epochs": 400,
    }

    dataset: Literal["cifar10", "digits"] = static("cifar10")
    folder: str | None = static(None)
    pairs: tuple[str, ...] = static(("cat/dog", "cat/ship"))
    sizes: tuple[int, ...] = static((100, 200, 400, 1000, 2000))
    seeds: int = count(5, at_most=_SEEDS)
    cap: int = count(64)
    first: int = count(8)
    depth: int = count(5, at_least=2)
    scale_exponent: float = real(0.25, above=0.0, at_most=0.5)
    step: float = real(0.3, above=0.0)
    batch_size: int = count(20)
    epochs: int = count(800)
    looks: int = count(20)

    def __check_init__(self):
        require_rising(sizes=self.sizes)
        form, name = _NAMES[self.dataset]
        if not self.pairs or not all(re.fullmatch(form, pair) for pair in self.pairs):
            raise ValueError(
                f"pairs must be two classes each with / between them, as {name!r}, for "
                f"dataset {self.dataset!r}, got {list(self.pairs)}."
            )
        if self.first > self.cap:
            raise ValueError(
                f"first must be at most cap = {self.cap}, got {self.first}."
            )
        if self.batch_size > self.sizes[0]:
            raise ValueError(
                f"batch_size must be at most the least of sizes, {self.sizes[0]}, got "
                f"{self.batch_size}."
            )

    def experiments(self) -> tuple[Sweep, ...]:
        return (self._sweep(lambda _: self.first),)

    def refine(self, runs: Mapping[str, xarray.Dataset]) -> tuple[Sweep, ...]:
        if NAME not in runs:
            return ()
        searches = self.searches(self.trials(runs[NAME]))
        return (self._sweep(lambda place: searches[place].wanted),)

    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        found = self.trials(runs[NAME])
        searches = self.searches(found)
        widths = [
            widths_of(
                pair,
                self.sizes,
                self.seeds,
                searches,
                published_widths(self.dataset, pair, self.sizes),
            )
            for pair in self.pairs
        ]
        return Findings(
            verdicts(widths, self.setting),
            tables(widths, found, searches),
            charts(widths, self.setting),
            self.notes,
        )

    def trials(self, runs: xarray.Dataset) -> Trials:
        """The trainings of every search so far."""
        epochs = [1 / self.epoch_steps(size) for size in self.sizes]
        sizes = {"size": list(self.sizes)}
        return trials(runs, xarray.DataArray(epochs, sizes))

    def searches(self, found: Trials) -> dict[Place, Search]:
        """How far every search is."""
        places = itertools.product(self.pairs, self.sizes, range(self.seeds))
        return {place: self._search(found.get(place, {})) for place in places}

    def _search(self, found: Mapping[int, Trial]) -> Search:
        passed = {width: trial.passed for width, trial in found.items()}
        return search_width(passed, first=self.first, cap=self.cap)

    def _sweep(self, wanted: Callable[[Place], int | None]) -> Sweep:
        """One width of every search, or none."""

        def make(pair: str, size: int, seed: int, width: int) -> Experiment | None:
            if wanted((pair, size, seed)) != width:
                return None
            return self.experiment(pair, size, seed, width)

        axes = {
            "pair": self.pairs,
            "size": self.sizes,
            "seed": range(self.seeds),
            "width": range(1, self.cap + 1),
        }
        return grid(NAME, axes, make)

    def experiment(self, pair: str, size: int, seed: int, width: int) -> Experiment:
        """The training of one network; `seed` draws images, start and batches.

        Those of different n are drawn independently, as the fits take them to be.
        """
        seed += _SEEDS * size
        network = DeepRelu(
            width=self.padded(width),
            depth=self.depth,
            scale_exponent=self.scale_exponent,
            active=width,
        )
        schedule = Schedule(
            num_steps=self.epochs * self.epoch_steps(size),
            unit="kernel",
            saves=self.looks + 1,
            snapshots=0,
            stop="train_error <= 0",
        )
        return Experiment(
            WeightFlow(
                network=network,
                dataset=self.images(pair, size, seed),
                loss=Logistic(),
            ),
            NoisyGD(step=self.step, batch_size=self.batch_size),
            schedule,
            observables=(Accuracy(),),
            seed=seed,
        )

    def images(self, pair: str, size: int, seed: int) -> AbstractDataset:
        """The images of a search."""
        first, second = pair.split("/")
        drawn: dict[str, Any] = {
            "num_train": size,
            "num_test": 0,
            "seed": seed,
            "prepare": Prepare(unit_norm=True),
        }
        if self.dataset == "cifar10":
            return Cifar10(folder=self.folder, classes=(first, second), **drawn)
        return Digits(classes=(int(first), int(second)), **drawn)

    def padded(self, width: int) -> int:
        """The width of the arrays: a power of two, at most the cap."""
        return min(max(_LEAST_PADDING, 2 ** (width - 1).bit_length()), self.cap)

    def epoch_steps(self, size: int) -> int:
        """Steps that a pass over the images takes."""
        return size // self.batch_size

    @property
    def setting(self) -> str:
        """Of all runs, for claims and captions."""
        return (
            f"L = {self.depth}, a = {self.scale_exponent:g}, batches of "
            f"{self.batch_size}, {self.epochs} epochs, {self.seeds} seeds"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a smallest width is, and what it is not."""
        return (
            "A width passes if the training error is 0 at one of "
            f"{self.looks} looks in {self.epochs} epochs; an output of exactly 0, as "
            "where all neurons of a layer are dead, is an error. A width that failed "
            "may pass with longer training or with another start.",
            "A search ends with a width that passed and a failure one below it. Where "
            "passes and failures alternate it ends at one such place, which need not "
            "be the lowest; the table of searches has all that was tried.",
            "Gradient descent decides here, not capacity: n ≤ d images in general "
            "position are separated by a linear function, which width 2 represents.",
        )
