"""The linearised twin beside a run: its parameters, moved by the run's own steps."""

from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from mfsim.accounts.base import AbstractAccount, Step
from mfsim.flows import State
from mfsim.flows.base import Batch, turn


class Pair(NamedTuple):
    """The twin.

    Attributes:
        origin: The start, about which its outputs are linear.
        params: Its parameters.
    """

    origin: PyTree
    params: PyTree


class Twin(AbstractAccount):
    """Moves the parameters of the outputs that are linear about the start.

    Every step takes the run's batch, and the force of the linear outputs. Nothing is
    kept where there is noise, as accounts do not see it, or where the run is the twin.

    Cost: two more steps a step.
    """

    def begin(
        self, flow: Any, integrator: Any, batch: Batch, state: State
    ) -> Pair | None:
        if not flow.is_cold or state.origin is not None:
            return None
        return turn(Pair(state.params, state.params))

    def add(self, kept: Pair | None, step: Step) -> Pair | None:
        if kept is None:
            return None
        origin, params = turn(kept)
        force = turn(step.flow.twin_force(origin, params, step.batch))
        noise = jax.tree.map(lambda _: 0.0, force)
        moved = step.integrator.move(step.flow, kept.params, force, noise)
        return kept._replace(params=moved)

    def read(self, kept: Pair, now: Step) -> Pair:
        return turn(kept)
