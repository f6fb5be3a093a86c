"""What an observable is: named series measured on a look at a run."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Float, PyTree

from mfsim.accounts import AbstractAccount, Step, takes_all
from mfsim.component import Component
from mfsim.datasets import Data
from mfsim.flows import (
    AbstractFlow,
    LinearisedFlow,
    ParticleFlow,
    State,
    WeightFlow,
)
from mfsim.series import Series

_T = TypeVar("_T")

OF_WEIGHTS: tuple[type[AbstractFlow], ...] = (WeightFlow, LinearisedFlow)
"""Flows of deep networks, whose parameters are W_1, ..., W_L."""

OF_PARAMETERS: tuple[type[AbstractFlow], ...] = (ParticleFlow, *OF_WEIGHTS)
"""Flows of the parameters of a network."""

BATCHES = "the steps see batches, whose force is not that of the training risk"
"""Why what follows the training risk along the path is left out."""


def unfollowed(integrator: Any) -> str | None:
    """Why there is no account of the path, if there is none."""
    if integrator.freezes_force:
        return None
    return f"{type(integrator).__name__} keeps no account of its path"


def unaccounted(integrator: Any) -> str | None:
    """Why there is no account of the training risk along the path, if there is none."""
    return unfollowed(integrator) or (None if takes_all(integrator) else BATCHES)


class Start(NamedTuple):
    """One run before its first step, for what is worked out once on the host.

    Attributes:
        flow: The flow.
        integrator: The integrator, with its step in flow time.
        data: The arrays.
        state: The state at t = 0.
        shared: What runs of the same data and seed have worked out, by keys that say
            all else it depends on.
    """

    flow: Any
    integrator: Any
    data: Data
    state: State
    shared: dict[Any, Any]

    def once(self, key: Any, function: Callable[[], _T]) -> _T:
        """function(), worked out once for the runs that share it."""
        if key not in self.shared:
            self.shared[key] = function()
        return self.shared[key]


class AbstractObservable(Component):
    """A family of series that one look at a run yields."""

    flows: ClassVar[tuple[type[AbstractFlow], ...]] = (AbstractFlow,)
    """The kinds of flow that have it."""

    of_many_outputs: ClassVar[bool] = False
    """Whether networks with several outputs have it as well."""

    builds_on: ClassVar[tuple[type["AbstractObservable"], ...]] = ()
    """Kinds whose series it needs: those that are listed, else with their defaults."""

    @abstractmethod
    def declare(
        self, flow: Any, integrator: Any, data: Data
    ) -> dict[str, Series | str]:
        """Each series by name, or the reason why it cannot be had here.

        Raises:
            ValueError: If the observable makes no sense here; says what to do.
        """

    @abstractmethod
    def measure(self, look: "Look") -> dict[str, Array]:
        """The declared series, or what `finish` makes them of."""

    def reference(self, start: Start) -> Any:
        """What `finish` needs of the start of a run, worked out once on the host."""
        return None

    def finish(
        self, flow: Any, found: dict[str, np.ndarray], reference: Any
    ) -> dict[str, Any]:
        """The series of what was measured: the work of libraries on the host.

        Raises:
            ValueError: If they cannot be had at this save; they are NaN then.
        """
        return found

    def plan(self, flow: Any, data: Data) -> int:
        """Bytes of the large arrays that measuring holds."""
        return 0

    def complain(self, row: Mapping[str, np.ndarray]) -> str | None:
        """What is wrong with a run, if its last row tells."""
        return None

    def accounts(self) -> tuple[AbstractAccount, ...]:
        """What the loop keeps along the path for it."""
        return ()


class Look:
    """One run at one save, and what has been found of it so far.

    Args:
        flow: The flow.
        integrator: The integrator, with its step in flow time.
        data: The arrays.
        state: The state.
        initial: The state at t = 0.
        step: Steps done.
        ledger: What each account keeps of the path.
        observables: Those that are listed.
    """

    def __init__(
        self,
        flow: AbstractFlow,
        integrator: Any,
        data: Data,
        state: State,
        initial: State,
        step: Array,
        ledger: tuple[PyTree, ...] = (),
        observables: tuple[AbstractObservable, ...] = (),
    ):
        self.flow: Any = flow
        self.integrator, self.data = integrator, data
        self.state, self.initial, self.step = state, initial, step
        self._ledger, self.observables = ledger, observables
        self._found: dict[Any, Any] = {}

    def once(self, function: Callable[..., _T], *args: Any) -> _T:
        """function(self, *args), computed once however many observables ask."""
        asked = function, *args
        if asked not in self._found:
            self._found[asked] = function(self, *args)
        return self._found[asked]

    def series(self, kind: type[AbstractObservable]) -> dict[str, Array]:
        """What the observable of a kind measures, listed or with its defaults."""
        if kind not in self._found:
            self._found[kind] = self.find(kind).measure(self)
        return self._found[kind]

    def measure(self) -> list[dict[str, Array]]:
        """What each of the listed observables measures."""
        return [self.series(type(each)) for each in self.observables]

    def find(self, kind: type[AbstractObservable]) -> Any:
        """The listed observable of a kind, else that kind with its defaults."""
        return chosen(kind, self.observables)

    def read(self, account: AbstractAccount) -> Any:
        """What an account has come to."""
        place = accounts_of(self.observables).index(account)
        if place not in self._found:
            self._found[place] = account.read(self._ledger[place], self.once(present))
        return self._found[place]


def present(look: Look) -> Step:
    """The state as the beginning of a step over all the training points."""
    batch = look.data.x_train, look.data.y_train
    force, rates = look.flow.force_and_rates(look.state, batch)
    return Step(look.flow, look.integrator, batch, look.step, look.state, force, rates)


def train_outputs(look: Look) -> Float[Array, "n *c"]:
    """The outputs on the training points."""
    return look.flow.predict(look.state, look.data.x_train)


def outputs_and_labels(look: Look) -> dict[str, tuple[Array, Array]]:
    """Outputs and labels of the training points, and of the test points if any."""
    data = look.data
    found = {"train": (look.once(train_outputs), data.y_train)}
    if len(data.y_test):
        found["test"] = look.flow.predict(look.state, data.x_test), data.y_test
    return found


def chosen(kind: type, observables: tuple[AbstractObservable, ...]) -> Any:
    """The listed observable of a kind, else that kind with its defaults."""
    return next((each for each in observables if type(each) is kind), None) or kind()


def accounts_of(
    observables: tuple[AbstractObservable, ...],
) -> tuple[AbstractAccount, ...]:
    """The accounts that observables, and those they build on, ask for; each once."""
    asked: list[AbstractAccount] = []
    for each in observables:
        for kind in (type(each), *each.builds_on):
            for account in chosen(kind, observables).accounts():
                if account not in asked:
                    asked.append(account)
    return tuple(asked)


def with_error(
    name: str, unit: str, symbol: str, description: str
) -> dict[str, Series | str]:
    """A series and that of its standard error."""
    return {
        name: Series(unit, symbol, description),
        f"{name}_se": Series(unit, f"se({symbol})", f"Standard error of {name}."),
    }
