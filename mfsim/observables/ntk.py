"""How far the network is from what its tangent kernel at the start predicts."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mfsim.accounts import takes_all
from mfsim.component import count
from mfsim.datasets import Data
from mfsim.kernels import (
    KernelPrediction,
    decompose,
    infinite_width_kernel,
    loss_flow,
    tangent_kernel,
)
from mfsim.kernels.prediction import Outputs
from mfsim.losses import SquaredError
from mfsim.networks import TwoLayer
from mfsim.observables.base import BATCHES, AbstractObservable, Start, train_outputs
from mfsim.series import Series

Predict = Callable[[int], Outputs]
"""The outputs of the kernel alone after a number of steps."""

_KERNELS = {"": "H_m(0)", "_infinite": "H(p_0)"}
"""By the end of the series' names: that of the start's neurons, and of their law."""


class NtkGap(AbstractObservable):
    """Mean square distance (1/n)|f - f_NTK|^2 from the prediction of a frozen kernel.

    ntk_gap, test_ntk_gap: of the kernel H_m(0) that the run's own neurons have at the
    start, from their outputs there; ntk_gap_infinite, test_ntk_gap_infinite: of H(p_0),
    the limit of infinite width, from f = 0. f_NTK has neither noise nor decay. With the
    squared loss it takes the run's steps, f - y <- (I - c eta H)(f - y), c = 2
    kernel_rate/n, where these are steps of gradient descent. Else it is the gradient
    flow at the run's time, so that with another loss ntk_gap has a part of second
    order in the step.

    With the squared loss noise leaves lambda n/2m in it, of n outputs that follow their
    labels; the test outputs fluctuate more.

    Fields:
        max_points: Most training points; the prediction needs all of them.

    Cost: an eigendecomposition of each kernel, 9 n^3 operations, for the runs that
        share data and seed; n^2 a save.
    Source: Chen et al. 2020, Theorem 4.8; Lee et al. 2019, sec. 2.2.
    """

    max_points: int = count(5000)

    def declare(self, flow, integrator, data):
        floor = flow.sampling_noise * len(data.y_train)
        noise = ""
        if floor and isinstance(flow.loss, SquaredError):
            noise = f" Noise leaves lambda n/2m = {floor:.2g} in it."
        declared: dict[str, Series | str] = {}
        for end, kernel in _KERNELS.items():
            text = f"outputs from those that {kernel} alone predicts."
            symbol = f"|f - f_NTK|^2/n, {kernel}"
            train, test = (f"Mean square distance of the {of} {text}" for of in _SETS)
            declared[f"ntk_gap{end}"] = Series("output^2", symbol, train + noise)
            declared[f"test_ntk_gap{end}"] = Series("output^2", symbol, test)
        return declared | self._absent(declared, flow, integrator, data)

    def _absent(
        self, names: Any, flow: Any, integrator: Any, data: Data
    ) -> dict[str, str]:
        if reason := unpredicted(self, integrator, data):
            return dict.fromkeys(names, reason)
        absent = {}
        if reason := _no_limit(flow.network, data):
            absent |= {name: reason for name in names if name.endswith("_infinite")}
        if not len(data.y_test):
            reason = "there are no test points"
            absent |= {name: reason for name in names if name.startswith("test")}
        return absent

    def reference(self, start: Start) -> dict[str, Predict]:
        flow, data = start.flow, start.data
        absent = self._absent(["", "_infinite"], flow, start.integrator, data)
        return {end: _predict(start, end) for end in _KERNELS if end not in absent}

    def measure(self, look):
        test = look.flow.predict(look.state, look.data.x_test)
        return {"train": look.once(train_outputs), "test": test, "step": look.step}

    def finish(self, flow, found, reference):
        row = {}
        for end, predict in reference.items():
            train, test = predict(int(found["step"]))
            row[f"ntk_gap{end}"] = np.mean(np.square(found["train"] - train[0]))
            if found["test"].size:
                row[f"test_ntk_gap{end}"] = np.mean(np.square(found["test"] - test[0]))
        return row

    def plan(self, flow, data):
        return prediction_bytes(data) if len(data.y_train) <= self.max_points else 0


_SETS = "training", "test"


def unpredicted(observable: Any, integrator: Any, data: Data) -> str | None:
    """Why the kernel of all training points predicts nothing, if it does not."""
    if not integrator.follows_flow:
        kind = type(integrator).__name__
        return f"steps of {kind} are not those of the gradient flow"
    if not takes_all(integrator):
        return BATCHES
    if (n := len(data.y_train)) <= observable.max_points:
        return None
    return (
        f"there are {n} training points, more than the max_points = "
        f"{observable.max_points} of {type(observable).__name__}"
    )


def prediction_bytes(data: Data) -> int:
    """Bytes of a kernel on all points and of its decomposition."""
    n, points = len(data.y_train), len(data.y_train) + len(data.y_test)
    return 8 * n * (2 * points + 3 * n)


def _no_limit(network: Any, data: Data) -> str | None:
    """Why there is no kernel of infinite width on the data, if there is none."""
    x = np.concatenate([data.x_train, data.x_test])
    # A series that does for the longest input does for all.
    longest = np.linalg.norm(x, axis=1).argmax()
    try:
        infinite_width_kernel(network, x[longest : longest + 1])
    except ValueError as error:
        return str(error)
    return None


def _predict(start: Start, end: str) -> Predict:
    frozen, step = frozen_kernel(start, end), float(start.integrator.step)
    if not isinstance(start.flow.loss, SquaredError):
        return lambda k: loss_flow(frozen, start.flow.loss, [step * k])
    if not start.integrator.freezes_force:
        return lambda k: frozen.flow([step * k])
    return lambda k: frozen.descent(step, [k])


def frozen_kernel(start: Start, end: str = "") -> KernelPrediction:
    """What a kernel at the start predicts, for the squared loss or for `loss_flow`.

    Args:
        start: A run before its first step.
        end: Which kernel, by the end of its series' names.
    """
    flow, data, n = start.flow, start.data, len(start.data.y_train)
    # The kernel does not feel the scale of the outputs, which a sweep may vary.
    network = flow.network
    if isinstance(network, TwoLayer):
        network = dataclasses.replace(network, alpha=1.0)
    points = np.concatenate([data.x_train, data.x_test], dtype=np.float64)
    initial = None if end else _outputs(start, points)

    def decomposed() -> tuple[Any, Float[np.ndarray, "k n"]]:
        x = points[:n]
        if end:
            kernel = infinite_width_kernel(network, points, x)
        else:
            params, weights = flow.law(start.state)
            found = tangent_kernel(network, params, points, x, weights=weights)
            kernel = np.asarray(found)
        square = (kernel[:n] + kernel[:n].T) / 2
        return decompose(square), kernel[n:]

    spectrum, cross = start.once((NtkGap, end, network), decomposed)
    labels = np.asarray(data.y_train, np.float64)
    rate, options = float(flow.kernel_rate) / n, {"cross": cross, "initial": initial}
    # The derivative of (f - y)^2 is 2 (f - y); others are given to `loss_flow`.
    slope = 2 if isinstance(flow.loss, SquaredError) else 1
    return KernelPrediction(spectrum, labels, slope * rate, **options)


def _outputs(start: Start, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    dtype = jax.tree.leaves(start.state.params)[0].dtype
    outputs = start.flow.predict(start.state, jnp.asarray(points, dtype))
    return np.asarray(outputs, np.float64)
