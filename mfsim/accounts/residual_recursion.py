"""The residual recursion along the path: how far is a step from that of its kernel?

Gradient descent on a network with the kernel H_k would take the residuals r = f - y to
(I - c eta H_k) r_k, c = 2 kernel_rate/n for the squared loss; in general the outputs to
f_k - (kernel_rate eta/n) H_k phi'(f_k) = f_k + eta <grad f, b>, b the force.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mfsim.accounts.base import AbstractAccount, Step, Sum, takes_all
from mfsim.flows import State
from mfsim.flows.base import Batch


class Recursion(NamedTuple):
    """What a step did to some outputs besides the recursion.

    Attributes:
        last: Root mean square over the points of what the last step left over.
        total: The sum of that over all steps.
        relative: The last over the root mean square of c eta H_k r_k.
    """

    last: Float[Array, ""]
    total: Float[Array, ""]
    relative: Float[Array, ""]


class _Kept(NamedTuple):
    expected: Float[Array, " a"]
    change: Float[Array, ""]
    total: Sum


class ResidualRecursion(AbstractAccount):
    """Compares the outputs after every step with those of the kernel before it.

    Fields:
        num_points: On the first so many training points.
    """

    num_points: int = eqx.field(static=True)

    def begin(
        self, flow: Any, integrator: Any, batch: Batch, state: State
    ) -> _Kept | None:
        # The kernel of a batch is not that of the points: nothing is kept.
        if not takes_all(integrator):
            return None
        labels = batch[1][: self.num_points]
        one = jnp.zeros((), labels.dtype)
        outputs = flow.predict(state, batch[0][: self.num_points])
        return _Kept(outputs, one, Sum.zeros((), labels.dtype))

    def add(self, kept: _Kept | None, step: Step) -> _Kept | None:
        if kept is None:
            return None
        change = step.integrator.step * self._push(step)
        outputs = self._outputs(step)
        total = kept.total.add(_rms(outputs - kept.expected))
        return _Kept(outputs + change, _rms(change), total)

    def read(self, kept: _Kept, now: Step) -> Recursion:
        last = _rms(self._outputs(now) - kept.expected).astype(float)
        change = kept.change.astype(float)
        relative = jnp.where(change > 0, last / jnp.where(change > 0, change, 1), 0.0)
        return Recursion(last, kept.total.wide + last, relative)

    def _outputs(self, step: Step) -> Float[Array, " a"]:
        return step.rates.outputs[: self.num_points]

    def _push(self, step: Step) -> Float[Array, " a"]:
        """<grad f(x_i), b> = -(kernel_rate/n) [H_k phi']_i by one product J b."""
        x = step.batch[0][: self.num_points]
        params = step.state.params
        mask = step.flow.network.trainable_mask(params)
        moving, frozen = eqx.partition(params, mask)

        def outputs(moving: Any) -> Array:
            state = step.state._replace(params=eqx.combine(moving, frozen))
            return step.flow.predict(state, x)

        return jax.jvp(outputs, (moving,), (step.force,))[1]


def _rms(values: Float[Array, " a"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.square(values).mean())
