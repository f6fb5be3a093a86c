"""What an observable is: named series measured on a state."""

from abc import abstractmethod

from jaxtyping import Array, PyTree

from mfsim.component import Component
from mfsim.datasets import Data
from mfsim.flows import AbstractFlow
from mfsim.series import Series


class AbstractObservable(Component):
    """A family of series that one look at a state yields."""

    @abstractmethod
    def declare(self, flow: AbstractFlow, data: Data) -> dict[str, Series | str]:
        """Each series by name, or the reason why it cannot be had here."""

    @abstractmethod
    def measure(
        self, flow: AbstractFlow, data: Data, state: PyTree, initial: PyTree
    ) -> dict[str, Array]:
        """The declared series at `state`; `initial` is the state at t = 0."""
