"""What a tangent kernel alone predicts: training of the linearised network.

The network f = J theta has the kernel K = J J^T on the training points, k(x) = j(x) J^T
elsewhere, and descends a loss with weight decay: theta' = -r J^T phi' - c theta. Then
f(x) = e^{-ct} f_0(x) + k(x) beta, beta' = -r phi' - c beta: n numbers tell all outputs.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real

from mfsim.kernels.gram import EPS, check_vector
from mfsim.kernels.spectrum import Spectrum, decompose, leading_spectrum

Times = Real[np.ndarray, " t"] | Sequence[float | int]


class Outputs(NamedTuple):
    """Predictions, a time a row, at the training and the test points (or none)."""

    train: Float[np.ndarray, "t n"]
    test: Float[np.ndarray, "t k"]


class KernelPrediction:
    """Gradient flow and descent of the squared loss, from one eigendecomposition.

    Solves df/dt = -r K (f - y) - c f on the training points. `spectrum` is that of K,
    and `spectrum.rank(cutoff)` the number of directions learned at t = inf.
    """

    def __init__(
        self,
        kernel: Float[np.ndarray, "n _"] | Spectrum,
        labels: Real[np.ndarray, " _"],
        rate: float,
        *,
        cross: Float[np.ndarray, "k _"] | None = None,
        initial: Real[np.ndarray, " _"] | None = None,
        decay: float = 0.0,
        cutoff: float | None = None,
    ):
        """Decomposes the kernel, unless that is done.

        Args:
            kernel: K on the training points, or what `decompose` made of it.
            labels: y.
            rate: r, per unit of K and time: 2 alpha^2/n for the loss (f - y)^2 of a
                two-layer network in flow time.
            cross: K(test, train), a test point a row.
            initial: f_0 at the training points and, with `cross`, the test points after
                them; 0 unless given.
            decay: c, per unit of time, towards theta = 0, so that f_0 fades too; the
                limit is kernel ridge regression, K (K + (c/r) I)^{-1} y.
            cutoff: At t = inf without decay, directions with kappa <= cutoff kappa_max
                are not learned; n eps unless given.

        Raises:
            ValueError: If shapes do not match, a number is not finite or out of range,
                or K not symmetric and, up to rounding, positive semi-definite.

        Cost: about 9 n^3 operations; each time of a prediction 2 n (n + k) more.
        """
        self.spectrum = kernel if isinstance(kernel, Spectrum) else decompose(kernel)
        vectors, n = self.spectrum.vectors, len(self.spectrum.vectors)
        if len(self.spectrum.values) < n:
            raise ValueError(
                f"kernel must have all its {n} eigenvalues, got the leading "
                f"{len(self.spectrum.values)}; give what `decompose` returns."
            )
        cross = np.zeros((0, n)) if cross is None else np.asarray(cross, np.float64)
        if cross.shape[1:] != (n,) or not np.isfinite(cross).all():
            raise ValueError(
                f"cross must be finite numbers of shape (num_test, {n}), got shape "
                f"{cross.shape}; give K(test, train)."
            )
        start = np.zeros(n + len(cross)) if initial is None else initial
        self.labels = check_vector(labels, n, "labels")
        self.initial = check_vector(start, n + len(cross), "initial")
        self.rate = _check_number(rate, "rate", above=True)
        self.decay = _check_number(decay, "decay")
        self.cutoff = _check_number(n * EPS if cutoff is None else cutoff, "cutoff")
        self._cross = cross @ vectors

    def flow(self, times: Times) -> Outputs:
        """Gradient flow at each time; `inf` is the limit."""
        t = check_times(times)[:, None]
        kappa = self.rate * self.spectrum.values
        least = 0.0 if self.decay else self.cutoff * kappa[0]
        return self._sum(
            _flow_sum(0.0, kappa + self.decay, t, least),
            _flow_sum(self.decay, kappa, t, least),
            fading(self.decay, t),
        )

    def descent(self, step: float, num_steps: Times) -> Outputs:
        """Gradient descent after each number of steps.

        A step beyond 2/(r kappa_max + c) is no error: the outputs grow, as those of
        the network would, and overflow to infinity or NaN in the end.

        Raises:
            ValueError: If a number of steps is not whole and at least 0, or the step
                not above 0 and below 1/c, where one step forgets everything.
        """
        k = check_times(num_steps, "num_steps", "whole")[:, None]
        shrink = _check_number(step, "step", above=True) * self.decay
        if shrink >= 1:
            most = 1 / self.decay
            raise ValueError(f"step must be below 1/decay = {most:g}, got {step:g}.")
        kappa = step * self.rate * self.spectrum.values
        return self._sum(
            step * _geometric_sum(0.0, kappa + shrink, k),
            step * _geometric_sum(shrink, kappa, k),
            np.exp(k * np.log1p(-shrink)),
        )

    def _sum(self, gain: np.ndarray, faded: np.ndarray, memory: np.ndarray) -> Outputs:
        """Outputs at beta = r (gain y - faded f_0), mode by mode."""
        n, vectors = len(self.labels), self.spectrum.vectors
        with np.errstate(over="ignore", invalid="ignore"):
            learned = gain * (self.labels @ vectors)
            forgotten = faded * (self.initial[:n] @ vectors)
            return self.outputs(self.rate * (learned - forgotten), memory)

    def outputs(self, modes: np.ndarray, memory: np.ndarray) -> Outputs:
        """Memory f_0 + k(x) beta, with `modes` V^T beta."""
        train = modes * self.spectrum.values @ self.spectrum.vectors.T
        outputs = memory * self.initial + np.hstack([train, modes @ self._cross.T])
        return Outputs(*np.split(outputs, [len(self.labels)], axis=1))


def kernel_gradient_flow(
    kernel: Float[np.ndarray, "n _"],
    labels: Real[np.ndarray, " _"],
    rate: float,
    times: Times,
    **options: Any,
) -> Float[np.ndarray, "t _"]:
    """The solution of df/dt = -rate K (f - y), f(0) = 0, at each time, `inf` included.

    Args:
        kernel: K on the training points.
        labels: y.
        rate: 2 alpha^2/n for the loss (f - y)^2 in flow time.
        times: At least 0, in any order.
        **options: `cross`, `initial`, `decay` and `cutoff` of `KernelPrediction`.

    Returns:
        Outputs at the training points, or with `cross` at the test points;
        `KernelPrediction` gives both from one decomposition.

    Raises:
        ValueError: As `KernelPrediction`, or for a time below 0.

    Source: Lee et al. 2019, sec. 2.2.
    """
    outputs = KernelPrediction(kernel, labels, rate, **options).flow(times)
    return outputs.test if options.get("cross") is not None else outputs.train


def kernel_gradient_descent(
    kernel: Float[np.ndarray, "n _"],
    labels: Real[np.ndarray, " _"],
    rate: float,
    step: float,
    num_steps: Times,
    **options: Any,
) -> Float[np.ndarray, "t _"]:
    """The discrete twin, f - y = -(I - rate step K)^k y, for each k of `num_steps`.

    Arguments, errors and result are those of `kernel_gradient_flow` and of
    `KernelPrediction.descent`.
    """
    given = KernelPrediction(kernel, labels, rate, **options)
    outputs = given.descent(step, num_steps)
    return outputs.test if options.get("cross") is not None else outputs.train


def critical_step(
    kernel: Float[np.ndarray, "n _"], rate: float, decay: float = 0.0
) -> float:
    """The step 2/(rate lambda_max + decay) beyond which gradient descent diverges.

    Cost and errors: those of `leading_spectrum`.
    """
    (largest,) = leading_spectrum(kernel, 1).values if np.any(kernel) else (0.0,)
    fastest = _check_number(rate, "rate", above=True) * largest
    fastest += _check_number(decay, "decay")
    return 2 / fastest if fastest > 0 else math.inf


def _flow_sum(c: float, kappa: np.ndarray, t: np.ndarray, least: float) -> np.ndarray:
    """(e^{-ct} - e^{-(c + kappa)t})/kappa, entire in kappa; 0 up to `least` at t = inf.

    The integral of e^{-c(t - s)} e^{-(c + kappa)s} over s from 0 to t.
    """
    final, moves, learned = np.isinf(t), kappa > 0, kappa > least
    now = np.where(final, 0.0, t)
    with np.errstate(over="ignore"):
        reached = -np.expm1(-kappa * now) / np.where(moves, kappa, 1.0)
    limit = np.where(learned, 1 / np.where(learned, kappa, 1.0), 0.0)
    value = np.where(final, limit, np.where(moves, reached, now))
    return fading(c, t) * value


def fading(decay: float, t: np.ndarray) -> np.ndarray:
    """e^{-ct}, what is left of f_0; 1 at t = inf without decay."""
    return np.exp(-decay * t) if decay else np.ones_like(t)


def _geometric_sum(shrink: float, gap: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(p^k - q^k)/(p - q), p = 1 - shrink and q = p - gap, entire in the gap."""
    p, log_p = 1 - shrink, np.log1p(-shrink)
    # 1 - gap has lost digits of a small gap, which k steps would multiply. Where q <= 0
    # there is nothing to lose: it oscillates, and grows below -1.
    smooth, moves = gap < p, gap > 0
    decline = np.expm1(k * np.log1p(-np.where(smooth, gap, 0.0) / p))
    power = np.exp(k * log_p)
    with np.errstate(over="ignore"):
        rough = power - np.where(smooth, 0.0, p - gap) ** k
    total = np.where(smooth, -power * decline, rough) / np.where(moves, gap, 1.0)
    return np.where(moves, total, k * np.exp((k - 1) * log_p))


def _check_number(value: float, what: str, *, above: bool = False) -> float:
    if not (0 < value < math.inf or (value == 0 and not above)):
        least = "above 0" if above else "at least 0"
        raise ValueError(f"{what} must be finite and {least}, got {value}.")
    return float(value)


def check_times(times: Times, what: str = "times", kind: str = "real") -> np.ndarray:
    """The times in float64, or ValueError unless "real", "finite" or "whole"."""
    times = np.asarray(times, dtype=np.float64)
    good = (times >= 0) & (np.isfinite(times) | (kind == "real"))
    if kind == "whole":
        good &= times == np.floor(times)
    if times.ndim != 1 or not times.size:
        raise ValueError(
            f"{what} must be a list of numbers, as [10.0] is, got shape {times.shape}."
        )
    if not good.all():
        i = np.flatnonzero(~good)[0]
        raise ValueError(
            f"{what} must be {kind} numbers of at least 0, got {times[i]:g} at {i}."
        )
    return times
