"""What a tangent kernel alone predicts: training of the linearised network.

The network f = J theta has the kernel K = J J^T on the training points, k(x) = j(x) J^T
elsewhere, and descends a loss with weight decay: theta' = -r J^T phi' - c theta. Then
f(x) = e^{-ct} f_0(x) + k(x) beta, beta' = -r phi' - c beta: n numbers tell all outputs.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from mfsim.kernels.spectrum import (
    EPS,
    check_vector,
    decompose,
    extreme_eigenvalues,
)
from mfsim.losses import AbstractLoss

_TOLERANCE = 1e-10
"""Of the integrator, absolute and relative, for outputs of order one."""

_MAX_STEPS = 2**20


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
        kernel: Float[np.ndarray, "n _"],
        labels: Real[np.ndarray, " _"],
        rate: float,
        *,
        cross: Float[np.ndarray, "k _"] | None = None,
        initial: Real[np.ndarray, " _"] | None = None,
        decay: float = 0.0,
        cutoff: float | None = None,
    ):
        """Decomposes the kernel.

        Args:
            kernel: K on the training points.
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

        Cost: about 9 n^3 multiplications; each time of a prediction 2 n^2 more.
        """
        self.spectrum = decompose(kernel)
        vectors, n = self.spectrum.vectors, len(self.spectrum.values)
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
        t = _check_times(times)[:, None]
        kappa = self.rate * self.spectrum.values
        least = 0.0 if self.decay else self.cutoff * kappa[0]
        return self._sum(
            _flow_sum(0.0, kappa + self.decay, t, least),
            _flow_sum(self.decay, kappa, t, least),
            _fading(self.decay, t),
        )

    def descent(self, step: float, num_steps: Times) -> Outputs:
        """Gradient descent after each number of steps.

        A step beyond 2/(r kappa_max + c) is no error: the outputs grow, as those of
        the network would, and overflow to infinity or NaN in the end.

        Raises:
            ValueError: If a number of steps is not whole and at least 0, or the step
                not above 0 and below 1/c, where one step forgets everything.
        """
        k = _check_times(num_steps, "num_steps", "whole")[:, None]
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
            return self._outputs(self.rate * (learned - forgotten), memory)

    def _outputs(self, modes: np.ndarray, memory: np.ndarray) -> Outputs:
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


def kernel_loss_flow(
    kernel: Float[np.ndarray, "n _"],
    labels: Real[np.ndarray, " _"],
    rate: float,
    times: Times,
    loss: AbstractLoss,
    **options: Any,
) -> Outputs:
    """The solution of df/dt = -rate K phi'(f, y) for any loss, by an adaptive method.

    Args:
        kernel: K on the training points.
        labels: y.
        rate: alpha^2/n in flow time, whatever the loss: phi' has its own factors.
        times: Finite and at least 0, in any order.
        loss: phi.
        **options: `cross`, `initial` and `decay` of `KernelPrediction`.

    Raises:
        ValueError: As `KernelPrediction`, or for labels that do not suit the loss.
        RuntimeError: If the integrator gives up.

    Cost: a decomposition; then 13 n^2 multiplications a step, of which there are some
        rate lambda_max max(phi'') t/4 where stability and not accuracy sets them.
    """
    import diffrax  # Half a second that the closed forms need not wait for.

    given = KernelPrediction(kernel, labels, rate, **options)
    times = _check_times(times, kind="finite")
    loss.check_labels(given.labels)
    # With K/kappa_max, of norm 1, the error of its beta bounds that of f.
    size = given.spectrum.values[0] or 1.0
    ordered, order = np.unique(times, return_inverse=True)
    with jax.enable_x64(True):
        scaled = np.asarray(kernel, np.float64) / size
        start, decay = given.initial[: len(scaled)], given.decay / (rate * size)
        problem = scaled, given.labels, start, decay, rate * size * ordered
        problem = tuple(jnp.asarray(a) for a in problem)
        states, result = _solve(loss, _MAX_STEPS, problem)
        states, advice = np.asarray(states), diffrax.RESULTS[result]
    if result != diffrax.RESULTS.successful:
        raise RuntimeError(
            f"times must be within reach of {_MAX_STEPS} steps, got {ordered[-1]:g} at "
            f"rate lambda_max = {rate * size:.3g}; diffrax says: {advice}"
        )
    modes = states[order] / size @ given.spectrum.vectors
    return given._outputs(modes, _fading(given.decay, times[:, None]))


def critical_step(kernel: Float[np.ndarray, "n _"], rate: float) -> float:
    """The step 2/(rate lambda_max) beyond which `kernel_gradient_descent` diverges.

    Cost and errors: those of `extreme_eigenvalues`.
    """
    largest = extreme_eigenvalues(kernel).lambda_max
    unit = 2 / _check_number(rate, "rate", above=True)
    return unit / largest if largest > 0 else math.inf


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
    return _fading(c, t) * value


def _fading(decay: float, t: np.ndarray) -> np.ndarray:
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


@partial(jax.jit, static_argnums=(0, 1))
def _solve(loss: AbstractLoss, max_steps: int, problem: tuple) -> tuple[Any, Any]:
    """Beta at increasing times, for the rate 1, and how the integration ended."""
    import diffrax

    kernel, labels, initial, decay, times = problem

    def velocity(t: Any, beta: Array, _: None) -> Array:
        f = jnp.exp(-decay * t) * initial + kernel @ beta
        return -loss.derivative(f, labels) - decay * beta

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        0.0,
        times[-1],
        None,
        jnp.zeros_like(labels),
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=_TOLERANCE, atol=_TOLERANCE),
        max_steps=max_steps,
        throw=False,
    )
    return solution.ys, solution.result


def _check_number(value: float, what: str, *, above: bool = False) -> float:
    if not (0 < value < math.inf or (value == 0 and not above)):
        least = "above 0" if above else "at least 0"
        raise ValueError(f"{what} must be finite and {least}, got {value}.")
    return float(value)


def _check_times(times: Times, what: str = "times", kind: str = "real") -> np.ndarray:
    times = np.asarray(times, dtype=np.float64)
    good = (times >= 0) & (np.isfinite(times) | (kind == "real"))
    if kind == "whole":
        good &= times == np.floor(times)
    if times.ndim != 1 or not times.size or not good.all():
        raise ValueError(
            f"{what} must be a list of {kind} numbers of at least 0, got {times}."
        )
    return times
