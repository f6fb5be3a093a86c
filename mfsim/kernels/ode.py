"""What a tangent kernel alone predicts for any loss, by an adaptive integrator."""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from mfsim.kernels.prediction import (
    KernelPrediction,
    Outputs,
    Times,
    check_times,
    fading,
)
from mfsim.losses import AbstractScalarLoss

_TOLERANCE = 1e-10
"""Of the integrator, absolute and relative, for outputs of order one."""

_MAX_STEPS = 2**20


def kernel_loss_flow(
    kernel: Float[np.ndarray, "n _"],
    labels: Real[np.ndarray, " _"],
    rate: float,
    times: Times,
    loss: AbstractScalarLoss,
    **options: Any,
) -> Outputs:
    """The solution of df/dt = -rate K phi'(f, y), f(0) = 0, for any loss.

    Args:
        kernel: K on the training points.
        labels: y.
        rate: alpha^2/n in flow time, whatever the loss: phi' has its own factors.
        times: Finite and at least 0, in any order.
        loss: phi.
        **options: `cross`, `initial` and `decay` of `KernelPrediction`.

    Raises:
        ValueError: As `KernelPrediction`, or for labels that do not suit the loss.
        RuntimeError: If the integrator gives up; says what diffrax advises.

    Cost: an eigendecomposition, and what `loss_flow` takes.
    """
    return loss_flow(KernelPrediction(kernel, labels, rate, **options), loss, times)


def loss_flow(
    prediction: KernelPrediction, loss: AbstractScalarLoss, times: Times
) -> Outputs:
    """The flow of another loss along the kernel, labels and options of a prediction.

    Its rate multiplies K phi', so it is alpha^2/n here. Arguments and errors are those
    of `kernel_loss_flow`.

    Cost: 52 n^2 operations a step, of which there are some rate lambda_max max(phi'')
        t/4 where stability and not accuracy sets them.
    """
    times = check_times(times, kind="finite")
    loss.check_labels(prediction.labels)
    kappa, vectors = prediction.spectrum.values, prediction.spectrum.vectors
    # With K/kappa_max, of norm 1, the error of its beta bounds that of f.
    size = kappa[0] or 1.0
    fastest = prediction.rate * size
    ordered, order = np.unique(times, return_inverse=True)
    labels = prediction.labels
    start, decay = prediction.initial[: len(labels)], prediction.decay / fastest
    with jax.enable_x64(True):
        problem = kappa / size, vectors, labels, start, decay, fastest * ordered
        problem = tuple(jnp.asarray(a) for a in problem)
        modes, result = _solve(loss, _MAX_STEPS, problem)
        modes, advice = np.asarray(modes), diffrax.RESULTS[result]
    if result != diffrax.RESULTS.successful:
        raise RuntimeError(
            f"times must be within reach of {_MAX_STEPS} steps, got {ordered[-1]:g} at "
            f"rate lambda_max = {fastest:.3g}; diffrax says: {advice}"
        )
    memory = fading(prediction.decay, times[:, None])
    return prediction.outputs(modes[order] / size, memory)


@partial(jax.jit, static_argnums=(0, 1))
def _solve(
    loss: AbstractScalarLoss, max_steps: int, problem: tuple[Array, ...]
) -> tuple[Any, Any]:
    """V^T beta at increasing times, for the rate 1, and how the integration ended."""
    kappa, vectors, labels, initial, decay, times = problem

    def velocity(t: Any, modes: Array, _: None) -> Array:
        f = jnp.exp(-decay * t) * initial + vectors @ (kappa * modes)
        return -(loss.derivative(f, labels) @ vectors) - decay * modes

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
