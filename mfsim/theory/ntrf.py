"""The least training loss of a network's tangent features within a ball of weights.

The neural tangent random features (NTRF) of a deep network are its outputs linearised
about the start, f_lin = f_0 + <grad f_0, U>, with |U_l|_F <= R m^-a in every layer l.
By the representer theorem U_l = m^-2a sum_i c_li grad_l f_0(x_i), so that the descent
runs on the L n coefficients c, with the share K_l of layer l in the tangent kernel:
f_lin = f_0 + sum_l K_l c_l and |U_l|_F = m^-a sqrt(c_l K_l c_l). What it found is then
judged in the weights, by the network's own derivatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real
from optax.projections import projection_l2_ball

from mfsim.kernels.gram import check_vector
from mfsim.kernels.inputs import as_points
from mfsim.kernels.layers import signals_of
from mfsim.kernels.precision import require_precision
from mfsim.losses import AbstractScalarLoss, Logistic
from mfsim.memory import require_memory
from mfsim.networks import AbstractNetwork, DeepRelu
from mfsim.theory.ball_descent import Descent, Problem, descend
from mfsim.theory.lazy_setting import check_positive

_LOGISTIC = Logistic()


@dataclass(frozen=True, eq=False)
class NtrfBall:
    """The best function of a ball of tangent features.

    Fields:
        radius: R.
        loss: The mean loss of these weights; least in the ball up to `gap`.
        gap: The duality gap: `loss` exceeds the least one by that at most.
        outputs: f_lin at the points.
        displacement: U_l = W_l - W_l(0), a matrix each layer.
        coefficients: c, a row each layer.
        steps: Steps of the descent.
    """

    radius: float
    loss: float
    gap: float
    outputs: Float[np.ndarray, " n"]
    displacement: tuple[Float[np.ndarray, "_ _"], ...]
    coefficients: Float[np.ndarray, "layers n"]
    steps: int


def ntrf_ball(
    network: AbstractNetwork,
    params: Sequence[Float[Array | np.ndarray, "_ _"]],
    x: Real[Array | np.ndarray, "n d"],
    labels: Real[Array | np.ndarray, " _"],
    radius: float,
    *,
    loss: AbstractScalarLoss = _LOGISTIC,
    tolerance: float = 1e-7,
    max_steps: int = 50_000,
) -> NtrfBall:
    """The least (1/n) sum_i phi(f_lin(x_i), y_i) over |U_l|_F <= R m^-a, all l.

    Accelerated projected gradient with restarts, its step found by backtracking. For
    any slopes g the dual (1/n) [g.f_0 - R m^-a sum_l |sum_i g_i grad_l f_0(x_i)|_F -
    sum_i phi*(g_i; y_i)] is below the least loss; the best g met certifies the result.
    At g = phi'(f_lin, y) the gap is <grad P, U> + R m^-a sum_l |grad_l P|_F, P the
    objective.

    Args:
        network: A DeepRelu, whose scale exponent is a.
        params: W_1, ..., W_L at the start.
        x: Inputs, one a row.
        labels: y, one a point; -1 or 1 for the logistic loss.
        radius: R, in units of m^-a: the same at every width.
        loss: phi.
        tolerance: Gap at which the descent stops.
        max_steps: Steps after which it stops whatever the gap.

    Returns:
        In float64, whatever JAX's flags say.

    Raises:
        ValueError: If the network is no DeepRelu, the shapes do not match, the labels
            do not suit the loss, the radius or tolerance is not positive, or the
            kernels do not fit in memory: says the bytes.

    Cost: 2 L - 1 products of n^2 m, then L n^2 a step; seconds at n = 1000.
    Source: Cao, Gu 2019, Definition 3.2; Chen et al. 2021, Definition 3.2.
    """
    (ball,) = ntrf_balls(
        network,
        params,
        x,
        labels,
        (radius,),
        loss=loss,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    return ball


def ntrf_balls(
    network: AbstractNetwork,
    params: Sequence[Float[Array | np.ndarray, "_ _"]],
    x: Real[Array | np.ndarray, "n d"],
    labels: Real[Array | np.ndarray, " _"],
    radii: Sequence[float],
    *,
    loss: AbstractScalarLoss = _LOGISTIC,
    tolerance: float = 1e-7,
    max_steps: int = 50_000,
) -> list[NtrfBall]:
    """`ntrf_ball` for several radii, each from where the one before ended.

    The kernels are made once and the descent compiled once. Arguments, errors, cost
    and source are those of `ntrf_ball`; rising radii take the fewest steps.
    """
    points = np.asarray(as_points("x", x), np.float64)
    if not len(points):
        raise ValueError("x must have at least one row, got none; give points.")
    signs = check_vector(np.asarray(labels), len(points), "labels")
    loss.check_labels(signs)
    _check_weights(network, params, points)
    for radius in radii:
        check_positive("radius", radius)
    check_positive("tolerance", tolerance)
    _check_memory(len(params), len(points))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        require_precision()
        setting = jax.tree.map(_wide, (network, tuple(params), points, signs))
        problem = _pose(*setting, loss)
        found = jnp.zeros(problem.kernels.shape[:2], jnp.float64)
        balls = []
        for radius in map(_wide, radii):
            end = descend(problem, radius, found, _wide(tolerance), max_steps)
            found = end.point.coefficients
            judged = _judge(*setting, loss, radius, found, end.slopes)
            balls.append(_ball(radius, end, judged))
    return balls


@jax.jit
def _pose(
    network: DeepRelu, params: Any, x: Array, labels: Array, loss: AbstractScalarLoss
) -> Problem:
    both = zip(*signals_of(params, x), strict=True)
    kernels = [(a @ a.T) * (b @ b.T) for a, b in both]
    return Problem(jnp.stack(kernels), network(params, x), labels, loss)


@jax.jit
def _judge(
    network: DeepRelu,
    params: Any,
    x: Array,
    labels: Array,
    loss: AbstractScalarLoss,
    radius: Array,
    coefficients: Array,
    slopes: Array,
) -> tuple[Any, ...]:
    """Loss, gap, outputs and U in the weights, free of rounding in the kernels."""
    scale = network.output_scale
    outputs = partial(network, x=x)
    start, pull = jax.vjp(outputs, params)
    weights = tuple(
        projection_l2_ball(pull(row)[0][layer] / scale**2, radius / scale)
        for layer, row in enumerate(coefficients)
    )
    change = jax.jvp(outputs, (params,), (weights,))[1]
    norms = jnp.stack([jnp.linalg.norm(part) / scale for part in pull(slopes)[0]])
    value = loss(start + change, labels).mean()
    empty = jnp.zeros((0, 0, 0), start.dtype)
    lower = Problem(empty, start, labels, loss).dual(slopes, norms, radius)
    return value, value - lower, start + change, weights


def _ball(radius: Array, end: Descent, judged: tuple[Any, ...]) -> NtrfBall:
    loss, gap, outputs, weights = judged
    if not np.isfinite(loss):
        raise ValueError(
            "params, x and radius must leave the loss finite in float64, got "
            f"{float(loss)} at the radius {float(radius):g}; rescale them."
        )
    return NtrfBall(
        radius=float(radius),
        loss=float(loss),
        gap=float(gap),
        outputs=np.asarray(outputs),
        displacement=tuple(map(np.asarray, weights)),
        coefficients=np.asarray(end.point.coefficients),
        steps=int(end.step),
    )


def _wide(values: Any) -> Array:
    return jnp.asarray(values, jnp.float64)


def _check_weights(network: Any, params: Any, x: np.ndarray) -> None:
    if not isinstance(network, DeepRelu):
        raise ValueError(
            "network must be a DeepRelu, whose layers have a ball each, got "
            f"{type(network).__name__}."
        )
    wanted = network.shapes(x.shape[1])
    shapes = [np.shape(weights) for weights in params]
    if shapes != wanted:
        raise ValueError(f"params must have the shapes {wanted}, got {shapes}.")


def _check_memory(depth: int, n: int) -> None:
    kernel = 8 * n**2
    require_memory(
        (depth + 2) * kernel,
        f"x must have fewer rows: each of the kernels of {depth} layers on {n} points "
        f"has {kernel / 2**30:.3g} GiB",
    )
