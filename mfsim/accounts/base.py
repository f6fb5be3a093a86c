"""What an account is: sums along the path, to which every step adds."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from mfsim.flows import Rates, State
from mfsim.flows.base import Batch


class Step(NamedTuple):
    """What an account sees: the state at the beginning of a step, and its force.

    Attributes:
        flow: The flow.
        integrator: What cuts time; its `step` is in flow time.
        batch: Inputs and labels that the force is averaged over.
        index: Steps done.
        state: The state at that time.
        force: The force there.
        rates: What the same pass over the batch tells.
    """

    flow: Any
    integrator: Any
    batch: Batch
    index: Int[Array, ""]
    state: State
    force: PyTree
    rates: Rates


def takes_all(integrator: Any) -> bool:
    """Whether every step of an integrator sees all the training points."""
    return getattr(integrator, "batch_size", None) is None


class AbstractAccount(eqx.Module):
    """Sums along the path that do not depend on when rows are saved."""

    @abstractmethod
    def begin(self, flow: Any, integrator: Any, batch: Batch, state: State) -> PyTree:
        """What is kept at step 0."""

    @abstractmethod
    def add(self, kept: PyTree, step: Step) -> PyTree:
        """What is kept once a step has been seen."""

    @abstractmethod
    def read(self, kept: PyTree, now: Step) -> Any:
        """What it has come to at a state that the sums have reached.

        Args:
            kept: What is kept after `now.index` steps.
            now: The state there, with the force over all the training points.
        """

    def has_looked(self, kept: PyTree) -> Bool[Array, ""] | None:
        """True, worked out from what a step left; None if no state is ever copied.

        A state that an account copies now and then is copied at every step unless the
        compiler sees that it moves only afterwards: what moves it is to wait for this.
        """
        return None


class Sum(NamedTuple):
    """A running sum and the rounding that it has lost, so that 10^6 terms stay exact.

    Source: Neumaier 1974, "Rundungsfehleranalyse einiger Verfahren zur Summation".
    """

    total: Float[Array, "..."]
    lost: Float[Array, "..."]

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: Any) -> "Sum":
        """An empty sum."""
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def add(self, term: Float[Array, "..."]) -> "Sum":
        """The sum with one more term."""
        total = self.total + term
        larger = jnp.abs(self.total) >= jnp.abs(term)
        high, low = (
            jnp.where(larger, self.total, term),
            jnp.where(larger, term, self.total),
        )
        return Sum(total, self.lost + ((high - total) + low))

    @property
    def value(self) -> Float[Array, "..."]:
        """The sum so far."""
        return self.total + self.lost

    @property
    def wide(self) -> Float[Array, "..."]:
        """The sum so far in double precision, where there is one."""
        return self.total.astype(float) + self.lost.astype(float)
