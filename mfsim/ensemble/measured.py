"""What the observables of a run make of its saves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PyTree

from mfsim.datasets import Data
from mfsim.ensemble.program import physics
from mfsim.errors import ConfigError
from mfsim.experiment import Experiment
from mfsim.observables import AbstractObservable, Start
from mfsim.series import Series

STABLE_STEP = Series(
    "time", "eta_max", "Largest stable step, in flow time, at this state."
)


class Measured:
    """The observables of an experiment at work.

    Attributes:
        declared: Every series by name, or why it cannot be had.
        refused: Why an observable could not be had at some save.

    Raises:
        ConfigError: As `declare`.
    """

    def __init__(self, experiment: Experiment, data: Data):
        self._experiment, self._data = experiment, data
        self.declared = declare(experiment, data)
        self.refused: dict[AbstractObservable, str] = {}
        self._references: dict[AbstractObservable, Any] = {}

    def refer(self, state: PyTree, shared: dict[Any, Any]) -> None:
        """Let the observables work out what they need of the state at t = 0.

        Args:
            state: That state.
            shared: As in `Start`.
        """
        start = Start(*physics(self._experiment), self._data, state, shared)
        for observable in self._experiment.observables:
            self._references[observable] = observable.reference(start)

    def row(self, found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The declared series of what the observables measured at a save."""
        row: dict[str, np.ndarray] = {}
        flow = self._experiment.flow
        for observable, part in zip(self._experiment.observables, found, strict=True):
            arrays = {name: np.asarray(value) for name, value in part.items()}
            reference = self._references[observable]
            try:
                row |= observable.finish(flow, arrays, reference)
            except ValueError as error:
                self.refused.setdefault(observable, str(error))
                row |= self._without(observable)
        wanted = {k for k, v in self.declared.items() if isinstance(v, Series)}
        return {k: np.asarray(v) for k, v in row.items() if k in wanted}

    def _without(self, observable: AbstractObservable) -> dict[str, np.ndarray]:
        """The series of an observable where they cannot be had."""
        experiment = self._experiment
        found = observable.declare(experiment.flow, experiment.integrator, self._data)
        kept = {name: s for name, s in found.items() if isinstance(s, Series)}
        return {name: np.full(series.shape, np.nan) for name, series in kept.items()}


def declare(experiment: Experiment, data: Data) -> dict[str, Series | str]:
    """Every series of an experiment by name, or why it cannot be had.

    Raises:
        ConfigError: If two observables record one name, or `stop` names no series.
    """
    declared: dict[str, Series | str] = {"stable_step": STABLE_STEP}
    if not experiment.integrator.follows_flow:
        kind = type(experiment.integrator).__name__
        declared["stable_step"] = f"{kind} is held against its limit at the start alone"
    for i, observable in enumerate(experiment.observables):
        try:
            more = observable.declare(experiment.flow, experiment.integrator, data)
        except ValueError as error:
            raise ConfigError(f"observables[{i}] {error}") from error
        if twice := sorted(set(more) & set(declared)):
            raise ConfigError(
                f"observables[{i}] must record new series, got {twice[0]} again; "
                "name each observable once."
            )
        declared |= more
    if experiment.schedule.stop is not None:
        name = experiment.schedule.stop_rule()[0]
        legal = [k for k, v in declared.items() if isinstance(v, Series) and not v.dims]
        if name not in legal:
            raise ConfigError(
                f"schedule.stop must name a recorded series, one of {sorted(legal)}, "
                f"got {name!r}."
            )
    return declared
