"""How far a network is from its linearised twin, and both from their kernel."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from mfsim import accounts
from mfsim.component import count
from mfsim.datasets import Data
from mfsim.flows import LinearisedFlow
from mfsim.flows.base import Linearised
from mfsim.kernels import loss_flow
from mfsim.kernels.prediction import Outputs
from mfsim.losses import SquaredError
from mfsim.observables.base import (
    OF_PARAMETERS,
    AbstractObservable,
    Start,
    train_outputs,
    unfollowed,
)
from mfsim.observables.linearisation import model_outputs
from mfsim.observables.ntk import frozen_kernel, prediction_bytes, unpredicted
from mfsim.observables.risk import NO_TEST
from mfsim.series import Series

_TEXTS = {
    "twin_gap": ("f - f_lin", "those of its linearised twin"),
    "kernel_descent_gap": (
        "f - f_NTK^k",
        "gradient descent of its kernel at the start",
    ),
    "kernel_flow_gap": ("f - f_NTK(t)", "gradient flow of its kernel at the start"),
    "twin_descent_gap": ("f_lin - f_NTK^k", "gradient descent of its kernel"),
}

_OF_KERNEL = "kernel_descent_gap", "kernel_flow_gap", "twin_descent_gap"


class TwinGap(AbstractObservable):
    """Mean square distances of outputs from the linearised twin and from its kernel.

    The twin has the outputs f_lin = f(W_0) + <grad f(W_0), W - W_0> and goes along with
    the network: the same start, batches and steps. twin_gap, test_twin_gap: of f from
    f_lin. kernel_descent_gap, kernel_flow_gap, with test_ as well: of f from what the
    kernel at the start alone predicts, step by step, f - y <- (I - c eta H)(f - y), c =
    2 kernel_rate/n, and in continuous time. twin_descent_gap, test_twin_descent_gap: of
    f_lin from the same steps, which is rounding.

    Fields:
        max_points: Most training points for the predictions of the kernel.

    Cost: two more steps a step, and the states of the twin and of the start; the kernel
    is that of NtkGap, found once for both.
    Source: Lee et al. 2019, sec. 2.2.
    """

    flows: ClassVar = OF_PARAMETERS

    max_points: int = count(5000)

    def declare(self, flow, integrator, data):
        absent = self._absent(flow, integrator, data)
        declared: dict[str, Series | str] = {}
        for name, (difference, others) in _TEXTS.items():
            whose = "twin's" if name.startswith("twin_d") else "network's"
            for part, of in (("", "training"), ("test_", "test")):
                text = (
                    f"Mean square distance of the {whose} {of} outputs from {others}."
                )
                given = Series("output^2", f"|{difference}|^2/n", text)
                declared[f"{part}{name}"] = absent.get(name, given)
                if part and not len(data.y_test):
                    declared[f"{part}{name}"] = NO_TEST
        return declared

    def _absent(self, flow: Any, integrator: Any, data: Data) -> dict[str, str]:
        """Why some cannot be had, by the names of the training points."""
        absent: dict[str, str] = {}
        if reason := unpredicted(self, integrator, data):
            absent |= dict.fromkeys(_OF_KERNEL, reason)
        elif not isinstance(flow.loss, SquaredError):
            reason = "with a loss that is not squared the kernel's steps are the twin's"
            absent |= dict.fromkeys(["kernel_descent_gap", "twin_descent_gap"], reason)
        elif not integrator.freezes_force:
            kind = type(integrator).__name__
            reason = f"the steps of {kind} are not those of gradient descent"
            absent |= {"kernel_descent_gap": reason}
        if reason := _no_twin(flow, integrator):
            absent |= dict.fromkeys(["twin_gap", "twin_descent_gap"], reason)
        return absent

    def reference(self, start: Start) -> dict[str, Callable[[int], Outputs]]:
        absent = self._absent(start.flow, start.integrator, start.data)
        if "kernel_flow_gap" in absent:
            return {}
        frozen, step = frozen_kernel(start), float(start.integrator.step)
        if not isinstance(start.flow.loss, SquaredError):
            return {"flow": lambda k: loss_flow(frozen, start.flow.loss, [step * k])}
        found = {"flow": lambda k: frozen.flow([step * k])}
        if "kernel_descent_gap" not in absent:
            found["descent"] = lambda k: frozen.descent(step, [k])
        return found

    def measure(self, look):
        x_test = look.data.x_test
        outputs = [look.once(train_outputs), look.flow.predict(look.state, x_test)]
        found = dict(zip(("train", "test"), outputs, strict=True)) | {"step": look.step}
        if _no_twin(look.flow, look.integrator):
            return found
        origin, params = look.read(*self.accounts())
        model = Linearised(look.flow.network, origin)
        points = {"twin_train": look.data.x_train, "twin_test": x_test}
        return found | {k: model_outputs(model, params, x) for k, x in points.items()}

    def finish(self, flow, found, reference):
        predicted = {
            how: predict(int(found["step"])) for how, predict in reference.items()
        }
        row = {}
        for i, (part, end) in enumerate((("", "train"), ("test_", "test"))):
            f, twin = found[end], found.get(f"twin_{end}")
            others = {how: outputs[i][0] for how, outputs in predicted.items()}
            pairs = {f"kernel_{how}_gap": (f, other) for how, other in others.items()}
            if twin is not None:
                pairs["twin_gap"] = f, twin
                if "descent" in others:
                    pairs["twin_descent_gap"] = twin, others["descent"]
            if f.size:
                row |= {
                    part + name: _mean_square(*pair) for name, pair in pairs.items()
                }
        return row

    def plan(self, flow, data):
        twin = 2 * flow.plan(data, "float64")["state"]
        few = len(data.y_train) <= self.max_points
        return twin + (prediction_bytes(data) if few else 0)

    def accounts(self):
        return (accounts.Twin(),)


def _no_twin(flow: Any, integrator: Any) -> str | None:
    """Why there is no twin beside the run, if there is none."""
    if isinstance(flow, LinearisedFlow):
        return "the run is its own twin"
    if not flow.is_cold:
        return (
            "the temperature is not 0, and the twin would need the noise; a run of "
            "LinearisedFlow with the same seed has it"
        )
    return unfollowed(integrator)


def _mean_square(a: np.ndarray, b: np.ndarray) -> np.floating:
    return np.mean(np.square(a.astype(np.float64) - b))
