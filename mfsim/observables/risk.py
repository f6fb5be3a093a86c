"""How well the network fits and predicts."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.losses import of_label
from mfsim.observables.base import AbstractObservable, outputs_and_labels
from mfsim.series import Series

NO_TEST = "the dataset has no test points"
NO_SIGNS = "the labels are not all -1 or 1"


class Risk(AbstractObservable):
    """Mean loss on the training and the test points: train_risk, test_risk."""

    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        train = Series("loss", "L_S", "Mean loss over the training points.")
        test = Series("loss", "L_D", "Mean loss over the test points.")
        return {
            "train_risk": train,
            "test_risk": test if len(data.y_test) else NO_TEST,
        }

    def measure(self, look):
        return {
            f"{part}_risk": look.flow.loss(f, y).mean(dtype=jnp.float64)
            for part, (f, y) in look.once(outputs_and_labels).items()
        }


class Accuracy(AbstractObservable):
    """Share of points that are put into the wrong class: train_error, test_error.

    Of one output, for labels -1 and 1: on the wrong side of 0. Of several outputs:
    another is as large as the label's. A margin of exactly 0 counts as wrong.
    """

    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        declared: dict[str, Series | str] = {}
        is_scalar = flow.network.num_outputs == 1
        rule = "y f(x) <= 0" if is_scalar else "another output as large as the label's"
        for part, y in (("train", data.y_train), ("test", data.y_test)):
            text = f"Share of {part} points with {rule}."
            declared[f"{part}_error"] = unjudged(flow, y) or Series("1", "err", text)
        return declared

    def measure(self, look):
        return {
            f"{part}_error": (margins(f, y) <= 0).mean(dtype=jnp.float64)
            for part, (f, y) in look.once(outputs_and_labels).items()
        }


def unjudged(flow: Any, y: np.ndarray) -> str | None:
    """Why points cannot be in the right or the wrong class, if they cannot."""
    if not len(y):
        return NO_TEST
    if flow.network.num_outputs == 1 and not np.all(np.abs(y) == 1):
        return NO_SIGNS
    return None


def margins(f: Float[Array, "n *c"], y: Float[Array, " n"]) -> Float[Array, " n"]:
    """The margin of each point in float64: y f, or f_y - max_{k != y} f_k."""
    wide = f.astype(float)
    if f.ndim == y.ndim:
        return y.astype(float) * wide
    is_label = jax.nn.one_hot(y.astype(jnp.int32), f.shape[-1], dtype=bool)
    others = jnp.where(is_label, -jnp.inf, wide).max(axis=-1)
    return of_label(wide, y) - others
