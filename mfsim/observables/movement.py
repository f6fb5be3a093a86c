"""How far the parameters are from their start and from the prior."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mfsim.component import static
from mfsim.flows import DensityFlow
from mfsim.observables.base import AbstractObservable
from mfsim.series import Series


def _sum_of_squares(tree: PyTree) -> Float[Array, ""]:
    squares = (
        jnp.square(leaf).sum(dtype=jnp.float64) for leaf in jax.tree.leaves(tree)
    )
    return jnp.sum(jnp.stack(list(squares)))


class Displacement(AbstractObservable):
    """Root mean square |theta_t - theta_0| over the neurons, and over that of theta_0.

    Raw movement: with noise on, neurons wander even where their law stands still.

    Fields:
        blocks: Whether w is taken alone as well: |w_t - w_0|/|w_0|, the relative
            distance of Luo et al. 2021.
    """

    blocks: bool = static(False)

    def declare(self, flow, integrator, data):
        declared: dict[str, Series | str] = {
            "displacement": Series(
                "parameter",
                "d_t",
                "Root mean square distance of the neurons from their start.",
            ),
            "displacement_relative": Series(
                "1",
                "d_t/|theta_0|",
                "Root mean square distance of the neurons from their start, over their "
                "root mean square size there.",
            ),
        }
        if self.blocks:
            text = "Distance of all input weights from their start, over their size."
            declared["displacement_relative_w"] = Series("1", "RD(w)", text)
        if isinstance(flow, DensityFlow):
            return dict.fromkeys(declared, "a density has no neurons to follow")
        return declared

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return {}
        now, start = look.state.params, look.initial.params
        width = look.flow.network.width
        moved = jax.tree.map(jnp.subtract, now, start)
        distance = jnp.sqrt(_sum_of_squares(moved) / width)
        size = jnp.sqrt(_sum_of_squares(start) / width)
        found = {"displacement": distance, "displacement_relative": distance / size}
        if self.blocks:
            squares = _sum_of_squares(moved.w) / _sum_of_squares(start.w)
            found["displacement_relative_w"] = jnp.sqrt(squares)
        return found


class Regulariser(AbstractObservable):
    """lambda times the mean of V_0 = theta^T Lambda^{-1} theta/2: regulariser."""

    def declare(self, flow, integrator, data):
        text = "Temperature times the mean quadratic potential of the prior."
        return {"regulariser": Series("loss", "lambda E V_0", text)}

    def measure(self, look):
        value = look.flow.temperature * look.flow.mean_potential(look.state)
        return {"regulariser": jnp.asarray(value).astype(jnp.float64)}
