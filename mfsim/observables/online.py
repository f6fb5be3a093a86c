"""What online stochastic gradient descent is judged by."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from mfsim import accounts
from mfsim.component import count
from mfsim.observables.base import OF_PARAMETERS, AbstractObservable, unfollowed
from mfsim.observables.risk import NO_SIGNS, NO_TEST
from mfsim.series import Series


class OnlineError(AbstractObservable):
    """Every sample judged before its step, and an iterate drawn from all so far.

    online_error, online_risk: means so far of [y f <= 0] and of the loss over all
    batches, each before the step that it takes part in. As long as no sample came
    twice, they are unbiased for the mean over the iterates W^(0) ... W^(k-1) of error
    and risk on new points. iterate_error, iterate_risk: error and risk on the test
    points of an iterate drawn uniformly from these. At step 0 all are those of W^(0),
    the first two over the training points.

    Fields:
        seed: Of the draws that choose the iterate.

    Cost: a copy of the parameters some log k times in k steps; a gradient over all
        training points a save.
    Source: Cao, Gu 2019, Algorithm 1; Chen, Cao, Zou, Gu 2021, Algorithm 2.
    """

    flows: ClassVar = OF_PARAMETERS

    seed: int = count(0, at_least=0)

    def declare(self, flow, integrator, data):
        mean = "over the samples so far, each before the step that it takes part in."
        drawn = "on the test points of an iterate drawn from all so far."
        declared: dict[str, Series | str] = {
            "online_error": Series("1", "err_online", f"Share of y f <= 0 {mean}"),
            "online_risk": Series("loss", "L_online", f"Mean loss {mean}"),
            "iterate_error": Series("1", "err(W-hat)", f"Share of y f <= 0 {drawn}"),
            "iterate_risk": Series("loss", "L_D(W-hat)", f"Mean loss {drawn}"),
        }
        if reason := unfollowed(integrator):
            return dict.fromkeys(declared, reason)
        for name, y in (("online", data.y_train), ("iterate", data.y_test)):
            if not np.all(np.abs(y) == 1):
                declared[f"{name}_error"] = NO_SIGNS
        if not len(data.y_test):
            declared["iterate_error"] = declared["iterate_risk"] = NO_TEST
        return declared

    def measure(self, look):
        if unfollowed(look.integrator):
            return {}
        online = look.read(*self.accounts())
        found = {"online_error": online.error, "online_risk": online.risk}
        y = look.data.y_test
        if len(y):
            f = look.flow.predict(
                look.state._replace(params=online.iterate), look.data.x_test
            )
            found["iterate_error"] = (f * y <= 0).mean(dtype=jnp.float64)
            found["iterate_risk"] = look.flow.loss(f, y).mean(dtype=jnp.float64)
        return found

    def plan(self, flow, data):
        return flow.plan(data, "float64")["state"]

    def accounts(self):
        return (accounts.OnlineError(self.seed),)
