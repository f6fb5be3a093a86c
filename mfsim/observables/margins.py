"""By how much points are in their classes."""

from typing import ClassVar

import jax.numpy as jnp

from mfsim.component import real
from mfsim.observables.base import AbstractObservable, outputs_and_labels
from mfsim.observables.risk import margins, unjudged
from mfsim.series import Series


class Margin(AbstractObservable):
    """A percentile of the margins of the training points: margin.

    The margin of a point is y f(x) of one output, for labels -1 and 1; of several
    f_y(x) - max_{k != y} f_k(x). It is positive where the point is in its class.

    Fields:
        percentile: Which percentile, from 0 for the least margin to 100.

    Source: Neyshabur et al. 2019, sec. 1, where it is the 5th.
    """

    of_many_outputs: ClassVar = True

    percentile: float = real(5.0, at_least=0.0, at_most=100.0)

    def declare(self, flow, integrator, data):
        text = f"Percentile {self.percentile:g} of the margins of the training points."
        return {
            "margin": unjudged(flow, data.y_train) or Series("output", "gamma", text)
        }

    def measure(self, look):
        f, y = look.once(outputs_and_labels)["train"]
        return {"margin": jnp.percentile(margins(f, y), self.percentile)}


class RampLoss(AbstractObservable):
    """Mean ramp loss min(1, max(0, 1 - margin/gamma)): ramp_loss, test_ramp_loss.

    It is between the share of margins that are not positive and that of margins below
    gamma.

    Fields:
        gamma: The margin from which on a point costs nothing.

    Source: Neyshabur et al. 2019, eq. (1), which prints mu/gamma for
        1 - mu/gamma.
    """

    of_many_outputs: ClassVar = True

    gamma: float = real(1.0, above=0.0)

    def declare(self, flow, integrator, data):
        declared: dict[str, Series | str] = {}
        for name, y in (("ramp_loss", data.y_train), ("test_ramp_loss", data.y_test)):
            part = "test" if name.startswith("test") else "training"
            text = f"Mean ramp loss of the {part} points at the margin {self.gamma:g}."
            declared[name] = unjudged(flow, y) or Series("1", "l_gamma", text)
        return declared

    def measure(self, look):
        names = {"train": "ramp_loss", "test": "test_ramp_loss"}
        return {
            names[part]: jnp.clip(1 - margins(f, y) / self.gamma, 0, 1).mean()
            for part, (f, y) in look.once(outputs_and_labels).items()
        }
