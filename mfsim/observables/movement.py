"""How far the parameters are from their start and from the prior."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from mfsim.component import static
from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.observables.base import AbstractObservable
from mfsim.series import Series


class Displacement(AbstractObservable):
    """Root mean square |theta_t - theta_0| over the neurons, and over that of theta_0.

    Raw movement: with noise on, neurons wander even where their law stands still.

    The neurons of a deep network are rows of weights times sqrt(m): its mean square is
    the sum over all weights, as it is for a ReluClassifier, biases too.

    Fields:
        blocks: Whether w of two layers is taken alone as well: |w_t - w_0|/|w_0|, the
            relative distance of Luo et al. 2021.
    """

    of_many_outputs: ClassVar = True

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
            if not isinstance(flow, ParticleFlow):
                reason = "the layers of a deep network are taken by LayerDistance"
                declared["displacement_relative_w"] = reason
        if isinstance(flow, DensityFlow):
            return dict.fromkeys(declared, "a density has no neurons to follow")
        return declared

    def measure(self, look):
        if isinstance(look.flow, DensityFlow):
            return {}
        now, start = look.state.params, look.initial.params
        moved = jax.tree.map(jnp.subtract, now, start)
        distance, size = (jnp.sqrt(look.flow.mean_square(a)) for a in (moved, start))
        found = {"displacement": distance, "displacement_relative": distance / size}
        if self.blocks and isinstance(look.flow, ParticleFlow):
            squares = (jnp.square(a.w).sum(dtype=float) for a in (moved, start))
            found["displacement_relative_w"] = jnp.sqrt(jnp.divide(*squares))
        return found


class Regulariser(AbstractObservable):
    """lambda times the mean of V_0 = theta^T Lambda^{-1} theta/2: regulariser."""

    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        text = "Temperature times the mean quadratic potential of the prior."
        return {"regulariser": Series("loss", "lambda E V_0", text)}

    def measure(self, look):
        value = look.flow.temperature * look.flow.mean_potential(look.state)
        return {"regulariser": jnp.asarray(value).astype(jnp.float64)}
