"""How well the network fits and predicts."""

import jax.numpy as jnp
import numpy as np

from mfsim.observables.base import AbstractObservable
from mfsim.series import Series

_NO_TEST = "the dataset has no test points"


class Risk(AbstractObservable):
    """Mean loss on the training and the test points: train_risk, test_risk."""

    def declare(self, flow, data):
        train = Series("loss", "L_S", "Mean loss over the training points.")
        test = Series("loss", "L_D", "Mean loss over the test points.")
        return {
            "train_risk": train,
            "test_risk": test if len(data.y_test) else _NO_TEST,
        }

    def measure(self, flow, data, state, initial):
        def mean_loss(x, y):
            return flow.loss(flow.predict(state, x), y).mean(dtype=jnp.float64)

        risks = {"train_risk": mean_loss(data.x_train, data.y_train)}
        if len(data.y_test):
            risks["test_risk"] = mean_loss(data.x_test, data.y_test)
        return risks


class Accuracy(AbstractObservable):
    """Share of points on the wrong side of 0: train_error, test_error.

    For labels -1 and 1; an output of exactly 0 counts as wrong.
    """

    def declare(self, flow, data):
        declared: dict[str, Series | str] = {}
        for part, y in (("train", data.y_train), ("test", data.y_test)):
            if not len(y):
                declared[f"{part}_error"] = _NO_TEST
            elif not np.all(np.abs(y) == 1):
                declared[f"{part}_error"] = "the labels are not all -1 or 1"
            else:
                text = f"Share of {part} points with y f(x) <= 0."
                declared[f"{part}_error"] = Series("1", "err", text)
        return declared

    def measure(self, flow, data, state, initial):
        def share_wrong(x, y):
            return (flow.predict(state, x) * y <= 0).mean(dtype=jnp.float64)

        errors = {"train_error": share_wrong(data.x_train, data.y_train)}
        if len(data.y_test):
            errors["test_error"] = share_wrong(data.x_test, data.y_test)
        return errors
