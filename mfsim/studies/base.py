"""Study: experiments that answer one question of the theory."""

import abc
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import xarray

from mfsim.component import Component
from mfsim.experiment import Experiment
from mfsim.findings import Findings, Verdict
from mfsim.studies.statistics import Estimate, TooFew, joined
from mfsim.sweep import Point, Sweep


class AbstractStudy(Component):
    """Experiments and what they say.

    A final class has fields that set its sizes, the full version by default.

    Attributes:
        question: What the study asks, one sentence.
        QUICK: The values of fields that make it a version of a few minutes.
    """

    question: ClassVar[str]
    QUICK: ClassVar[Mapping[str, Any]]

    @abc.abstractmethod
    def experiments(self) -> tuple[Sweep, ...]:
        """What is to be run, as sweeps of different names.

        Raises:
            ValueError: If a field does not suit; the message begins with its name.
        """

    def refine(self, runs: Mapping[str, xarray.Dataset]) -> tuple[Sweep, ...]:
        """What else is to be run, after what has been; nothing unless a study searches.

        It is asked after every round, until it asks for nothing new. It goes by the
        results alone, so that a study that was stopped comes to the same.

        Args:
            runs: As for `analyse`, but without a sweep of which no run completed.

        Returns:
            Sweeps of the same names or of others, whose points come on top. Axes keep
            the places that they have.
        """
        return ()

    @abc.abstractmethod
    def analyse(self, runs: Mapping[str, xarray.Dataset]) -> Findings:
        """Verdicts, tables and charts.

        Args:
            runs: For each sweep, by its name, its runs as `mfsim.open_sweep` has them:
                the swept axes, "save" and the series' own; NaN where a run did not
                complete, with how it ended as its status, and "missing" where none was
                asked for. The file of a run is its `run_id` with .h5 in the folder
                that the attribute `folder` names.
        """

    def quick(self) -> "AbstractStudy":
        """The small version of this study."""
        return dataclasses.replace(self, **self.QUICK)


def study_name(study: type[AbstractStudy]) -> str:
    """What a study is called on the command line: LazyTheorem is lazy_theorem."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", study.__name__).lower()


def require_rising(**fields: Sequence[float]) -> None:
    """Refuse fields that are not positive numbers in rising order.

    Raises:
        ValueError: If one is not; the message begins with its name.
    """
    for name, values in fields.items():
        if not values or min(values) <= 0 or sorted(set(values)) != list(values):
            raise ValueError(
                f"{name} must be positive numbers in rising order, got {values}."
            )


def grid(
    name: str,
    axes: Mapping[str, Sequence[Any]],
    make: Callable[..., Experiment | None],
) -> Sweep:
    """The sweep over the product of axes.

    Args:
        name: What it is called.
        axes: The values of each axis, numbers or words, in rising order.
        make: Takes a value of each axis by name; None leaves that point out.
    """
    dims = {axis: len(values) for axis, values in axes.items()}
    points = []
    for places in itertools.product(*map(range, dims.values())):
        index = dict(zip(dims, places, strict=True))
        values = {axis: axes[axis][place] for axis, place in index.items()}
        experiment = make(**values)
        if experiment is not None:
            points.append(Point(experiment, index, values))
    return Sweep(name, dims, {axis: (axis,) for axis in dims}, tuple(points))


def last(runs: xarray.Dataset, name: str) -> xarray.DataArray:
    """The last recorded value of a series of every run; NaN where there is none."""
    array = runs[name]
    rows = runs.step.notnull().sum("save")
    return array.isel(save=(rows - 1).clip(min=0))


def judge(
    claim: str,
    predicted: str,
    measure: Callable[[], Estimate],
    holds: Callable[[Estimate], bool | None],
    note: str = "",
) -> Verdict:
    """A verdict, or why there is none.

    Args:
        claim: What is claimed, with its setting.
        predicted: The theory's value, and the tolerance if there is one.
        measure: Measures it; where it raises `TooFew`, nothing is judged. What is no
            estimate, such as a count, has NaN for ends.
        holds: Whether what was measured agrees; None if it does not say.
        note: What stands beside it, such as a theorem's bound.
    """
    try:
        found = measure()
    except TooFew as error:
        return Verdict(claim, predicted, note=joined(note, str(error)))
    agrees = holds(found)
    return Verdict(
        claim,
        predicted,
        measured=float(found.value),
        interval=_interval(found),
        holds=None if agrees is None else bool(agrees),
        note=joined(note, found.warning),
    )


def judge_near(
    claim: str,
    predicted: str,
    measure: Callable[[], Estimate],
    *,
    value: float,
    tolerance: float,
    note: str = "",
) -> Verdict:
    """A verdict that holds where what was measured is within a tolerance of a value.

    It goes by the estimate alone; where the interval reaches farther than the
    tolerance, the note says so.

    Args:
        claim: What is claimed, with its setting.
        predicted: The value and the tolerance, as text.
        measure: Measures it; where it raises `TooFew`, nothing is judged.
        value: What it should be.
        tolerance: By which it may miss it.
        note: What stands beside it, such as a theorem's bound.
    """

    def is_near(number: float) -> bool:
        return abs(number - value) <= tolerance

    def measured() -> Estimate:
        found = measure()
        if not is_near(found.value) or (is_near(found.low) and is_near(found.high)):
            return found
        wide = "the interval reaches beyond the tolerance"
        return found._replace(warning=joined(found.warning, wide))

    return judge(claim, predicted, measured, lambda found: is_near(found.value), note)


def _interval(found: Estimate) -> tuple[float, float] | None:
    """The interval, if what was measured has one."""
    ends = float(found.low), float(found.high)
    return ends if all(map(math.isfinite, ends)) else None
