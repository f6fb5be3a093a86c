"""How well the network fits and predicts."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mfsim.observables.base import AbstractObservable, Look, train_outputs
from mfsim.series import Series

NO_TEST = "the dataset has no test points"
NO_SIGNS = "the labels are not all -1 or 1"


class Risk(AbstractObservable):
    """Mean loss on the training and the test points: train_risk, test_risk."""

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
            for part, (f, y) in look.once(_outputs_and_labels).items()
        }


class Accuracy(AbstractObservable):
    """Share of points on the wrong side of 0: train_error, test_error.

    For labels -1 and 1; an output of exactly 0 counts as wrong.
    """

    def declare(self, flow, integrator, data):
        declared: dict[str, Series | str] = {}
        for part, y in (("train", data.y_train), ("test", data.y_test)):
            if not len(y):
                declared[f"{part}_error"] = NO_TEST
            elif not np.all(np.abs(y) == 1):
                declared[f"{part}_error"] = NO_SIGNS
            else:
                text = f"Share of {part} points with y f(x) <= 0."
                declared[f"{part}_error"] = Series("1", "err", text)
        return declared

    def measure(self, look):
        return {
            f"{part}_error": (f * y <= 0).mean(dtype=jnp.float64)
            for part, (f, y) in look.once(_outputs_and_labels).items()
        }


def _outputs_and_labels(look: Look) -> dict[str, tuple[Array, Array]]:
    data = look.data
    found = {"train": (look.once(train_outputs), data.y_train)}
    if len(data.y_test):
        found["test"] = look.flow.predict(look.state, data.x_test), data.y_test
    return found
