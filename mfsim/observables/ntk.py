"""How far the network is from what its tangent kernel at the start predicts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mfsim.component import count
from mfsim.kernels import (
    KernelPrediction,
    Spectrum,
    decompose,
    infinite_width_kernel,
    loss_flow,
    tangent_kernel,
)
from mfsim.kernels.prediction import Outputs
from mfsim.losses import SquaredError
from mfsim.observables.base import AbstractObservable, train_outputs
from mfsim.series import Series

Predict = Callable[[int], Outputs]
"""The outputs of the kernel alone after a number of steps."""


class NtkGap(AbstractObservable):
    """Mean square distance (1/n)|f - f_NTK|^2 from the prediction of a frozen kernel.

    ntk_gap, test_ntk_gap: of the kernel H_m(0) that the run's own neurons have at the
    start, from their outputs there; ntk_gap_infinite, test_ntk_gap_infinite: of H(p_0),
    the limit of infinite width, from f = 0. f_NTK has neither noise nor decay. With the
    squared loss it takes the very steps of the run, f - y <- (I - c eta H)(f - y),
    c = 2 kernel_rate/n; with another loss it is the gradient flow at the run's time, so
    that ntk_gap has a part of second order in the step.

    Noise leaves lambda n/2m in it, of n outputs that follow their labels.

    Fields:
        max_points: Most training points; the prediction needs all of them.

    Source: Chen et al. 2020, Theorem 4.8; Lee et al. 2019, sec. 2.2.
    """

    max_points: int = count(5000)

    def declare(self, flow, integrator, data):
        n = len(data.y_train)
        declared: dict[str, Series | str] = {}
        for test in (False, True):
            for infinite in (False, True):
                declared |= _declare(test, infinite, n, flow)
        if n > self.max_points:
            reason = f"there are {n} training points, more than max_points"
            return dict.fromkeys(declared, reason)
        if not len(data.y_test):
            reason = "there are no test points"
            declared |= {k: reason for k in declared if k.startswith("test")}
        if reason := _no_limit(flow.network, data.x_train[:1]):
            declared |= {k: reason for k in declared if k.endswith("infinite")}
        return declared

    def reference(self, flow, integrator, data, state):
        n = len(data.y_train)
        if n > self.max_points:
            return {}
        network = flow.network
        points = np.concatenate([data.x_train, data.x_test], dtype=np.float64)
        kernels = {"": tangent_kernel(network, state.params, points, data.x_train)}
        at = jnp.asarray(points, jax.tree.leaves(state.params)[0].dtype)
        start = np.asarray(flow.predict(state, at), np.float64)
        labels = np.asarray(data.y_train, np.float64)
        initial = {"": start, "_infinite": None}
        if not _no_limit(network, points[:1]):
            kernels["_infinite"] = infinite_width_kernel(network, points, data.x_train)
        return {
            name: _predict(flow, integrator, labels, kernel, initial[name])
            for name, kernel in kernels.items()
        }

    def measure(self, look):
        test = look.flow.predict(look.state, look.data.x_test)
        return {"train": look.once(train_outputs), "test": test, "step": look.step}

    def finish(self, flow, found, reference):
        row = {}
        for name, predict in reference.items():
            train, test = predict(int(found["step"]))
            row[f"ntk_gap{name}"] = _mean_square(found["train"] - train[0])
            row[f"test_ntk_gap{name}"] = _mean_square(found["test"] - test[0])
        return row

    def plan(self, flow, data):
        n, points = len(data.y_train), len(data.y_train) + len(data.y_test)
        return 8 * n * (2 * points + 3 * n) if n <= self.max_points else 0


def _declare(test: bool, infinite: bool, n: int, flow: Any) -> dict[str, Series | str]:
    name = "test_" * test + "ntk_gap" + "_infinite" * infinite
    kernel = "H(p_0)" if infinite else "H_m(0)"
    where = "test" if test else "training"
    floor = flow.temperature * n / (2 * getattr(flow.network, "width", 1))
    text = (
        f"Mean square distance of the {where} outputs from those that {kernel} alone "
        "predicts."
    )
    if flow.temperature > 0 and not test:
        text += f" Noise leaves lambda n/2m = {floor:.2g} in it."
    symbol = f"|f - f_NTK|^2/n, {kernel}"
    return {name: Series("output^2", symbol, text)}


def _no_limit(network: Any, x: Float[np.ndarray, "n d"]) -> str | None:
    """Why a network has no kernel of infinite width, if it has none."""
    try:
        infinite_width_kernel(network, x)
    except ValueError as error:
        return str(error)
    return None


def _predict(flow: Any, integrator: Any, y: Any, kernel: Any, initial: Any) -> Predict:
    n, step = len(y), float(integrator.step)
    rate = float(flow.kernel_rate) / n
    square, cross = kernel[:n], kernel[n:]
    spectrum = _decomposed(_Contents((square + square.T) / 2))
    options = {"cross": cross, "initial": initial}
    if isinstance(flow.loss, SquaredError):
        squared = KernelPrediction(spectrum, y, 2 * rate, **options)
        return lambda k: squared.descent(step, [k])
    other = KernelPrediction(spectrum, y, rate, **options)
    return lambda k: loss_flow(other, flow.loss, [step * k])


class _Contents:
    """An array as the key of a cache."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __hash__(self):
        return hash(self.array.tobytes())

    def __eq__(self, other: object):
        return isinstance(other, _Contents) and np.array_equal(self.array, other.array)


@functools.lru_cache(maxsize=2)
def _decomposed(contents: _Contents) -> Spectrum:
    """The decomposition of a kernel, which runs that differ in alpha share."""
    return decompose(contents.array)


def _mean_square(difference: Float[np.ndarray, " n"]) -> float:
    return float(np.mean(np.square(difference))) if difference.size else np.nan
