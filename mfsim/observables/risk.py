"""How well the network fits and predicts."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

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

    Of one output, for labels -1 and 1: on the wrong side of 0; an output of exactly 0
    counts as wrong. Of several outputs: the label's is not the first of the largest.
    """

    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        declared: dict[str, Series | str] = {}
        is_scalar = flow.network.num_outputs == 1
        rule = "y f(x) <= 0" if is_scalar else "another output above the label's"
        for part, y in (("train", data.y_train), ("test", data.y_test)):
            text = f"Share of {part} points with {rule}."
            declared[f"{part}_error"] = unjudged(flow, y) or Series("1", "err", text)
        return declared

    def measure(self, look):
        return {
            f"{part}_error": _is_wrong(f, y).mean(dtype=jnp.float64)
            for part, (f, y) in look.once(outputs_and_labels).items()
        }


def unjudged(flow: Any, y: np.ndarray) -> str | None:
    """Why points cannot be in the right or the wrong class, if they cannot."""
    if not len(y):
        return NO_TEST
    if flow.network.num_outputs == 1 and not np.all(np.abs(y) == 1):
        return NO_SIGNS
    return None


def _is_wrong(f: Array, y: Array) -> Array:
    if f.ndim == y.ndim:
        return f * y <= 0
    return jnp.argmax(f, axis=-1).astype(y.dtype) != y
