"""The free energy of the prior tilted by the outputs, and what its duality bounds.

For c in R^n the law q_c ~ p_0 exp(-c.F), F_i = u h(w.x_i), has the least KL(p || p_0)
of all laws with its outputs. Given w its u is N(-sigma_u^2 G, sigma_u^2) with
G(w) = sum_i c_i h(w.x_i), so that Z(c) = E_w exp(sigma_u^2 G^2/2), w ~ N(0, sigma_w^2).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float

from mfsim.divergences.nodes import Nodes, Real, growth
from mfsim.losses import AbstractScalarLoss

_CONFIDENCE = 3.0
_LARGEST_ERROR = 0.2
"""Of a sampled log Z: beyond it a few draws carry Z, and the delta method fails."""

_LARGEST_EDGE = 1e-4
"""Of the tilted law near the edge of a quadrature: beyond it Z may be infinite."""

_SCALES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.0)
"""Of the best c, at which independent draws are tried."""

_MAX_TRIALS = 300
_LEAST_SCALE = 2.0**-40


class Tilt(NamedTuple):
    """The law q_c and its free energy.

    Fields:
        log_partition: log Z(c), infinite outside its domain.
        mean: E_c F, minus the gradient of log Z.
        covariance: Cov_c(F), the Hessian of log Z.
        standard_error: Of log Z; 0 for a quadrature.
        edge: The mass of q_c in the outermost standard deviation of a quadrature; what
            lies outside is less by some factor of ten. 0 for draws.
        output_weights: E_c[u | w_q] times the probability of the node w_q; q_c has at
            any input x the mean sum_q output_weights_q h(w_q.x).
    """

    log_partition: Float[Array, ""]
    mean: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    standard_error: Float[Array, ""]
    edge: Float[Array, ""]
    output_weights: Float[Array, " q"]

    def upper_limit(self) -> Float[Array, ""]:
        """Log Z and three standard errors; infinite where these mean nothing."""
        limit = self.log_partition + _CONFIDENCE * self.standard_error
        return jnp.where(self.standard_error <= _LARGEST_ERROR, limit, jnp.inf)


def tilt(
    c: Float[Array, " n"], nodes: Nodes, output_std: Real, frozen_input: bool = False
) -> Tilt:
    """The free energy log Z(c) = log E_w exp(sigma_u^2 G^2/2) and two derivatives.

    With `frozen_input` the law of w stays p_0 and only u given w is tilted: log Z is
    E_w[sigma_u^2 G^2/2] instead and `covariance`, its Hessian, sigma_u^2 E[h_i h_k].
    It is set to infinity where a quadrature's edge holds more than 1e-4 of q_c, and for
    draws unless `growth` grants exp(sigma_u^2 G^2/2) a variance.

    Cost: 4 q n^2 multiplications.
    Source: Nitanda et al. 2022, sec. 2.2 (the proximal Gibbs law).
    """
    h, variance = nodes.features, jnp.square(output_std)
    g = h @ c
    exponent, probability = variance * jnp.square(g) / 2, jnp.exp(nodes.log_weights)
    log_z = probability @ exponent
    deviation = exponent - log_z
    if not frozen_input:
        log_z = logsumexp(nodes.log_weights + exponent)
        deviation = jnp.expm1(exponent - log_z)
        probability = jnp.exp(nodes.log_weights + exponent - log_z)
    weights = -variance * probability * g
    mean = weights @ h
    covariance = h.T @ ((variance * probability)[:, None] * h)
    if not frozen_input:
        # About the mean rather than a difference of moments: never indefinite.
        centred = variance * g[:, None] * h + mean[None, :]
        covariance += centred.T @ (probability[:, None] * centred)
    error = jnp.sqrt(jnp.mean(jnp.square(deviation)) / len(g))
    error = error if nodes.sampled else jnp.zeros_like(log_z)
    edge = probability @ _near_edge(nodes)
    steep = variance * growth(c, nodes.inputs, nodes.end_slopes)
    bounded = frozen_input or not nodes.sampled
    inside = (edge < _LARGEST_EDGE) & (bounded | (2 * steep < 1))
    log_z = jnp.where(inside, log_z, jnp.inf)
    return Tilt(log_z, mean, covariance, error, edge, weights)


def _near_edge(nodes: Nodes) -> Array:
    """1 in the outermost standard deviation of a quadrature, else 0."""
    if nodes.sampled:
        return jnp.zeros_like(nodes.log_weights)
    distance = jnp.sqrt(2 * (nodes.log_weights.max() - nodes.log_weights))
    return (distance > distance.max() - 1).astype(distance.dtype)


class Maximum(NamedTuple):
    """Where Newton's method stopped; `converged` if its decrement is rounding."""

    point: Float[Array, " n"]
    value: Float[Array, ""]
    converged: Bool[Array, ""]


class _Iterate(NamedTuple):
    point: Array
    value: Array
    step: Array
    decrement: Array


def maximise(objective: Callable[[Array], tuple], start: Float[Array, " n"]) -> Maximum:
    """Newton's method with backtracking for a concave function of n numbers.

    Args:
        objective: Gives the value, -infinity outside the domain, the gradient and
            minus the Hessian.
        start: A point of the domain.

    Cost: O(n^3) and one objective a trial, some ten of them.
    Source: Boyd and Vandenberghe 2004, sec. 9.5.2.
    """

    def newton(point: Array) -> _Iterate:
        value, gradient, curvature = objective(point)
        step = _solve(curvature, gradient)
        return _Iterate(point, value, step, gradient @ step)

    def rounding(now: _Iterate) -> Array:
        return 1e3 * jnp.finfo(start.dtype).eps * (1 + jnp.abs(now.value))

    def attempt(state: tuple) -> tuple:
        now, scale, trials, _ = state
        trial = newton(now.point + scale * now.step)
        gain = trial.value - now.value + rounding(now) / 100
        # At the maximum to rounding the value tells nothing more, the decrement does.
        near = now.decrement <= rounding(now)
        fewer = (trial.decrement < 0.9 * now.decrement) & (gain >= -rounding(now))
        better = jnp.where(near, fewer, gain >= 0.1 * scale * now.decrement)
        now = jax.tree.map(lambda a, b: jnp.where(better, a, b), trial, now)
        scale = jnp.where(better, jnp.minimum(1, 2 * scale), scale / 2)
        return now, scale, trials + 1, scale < jnp.where(near, 0.2, _LEAST_SCALE)

    first = newton(start)
    state = first, jnp.ones_like(first.value), 0, jnp.asarray(False)
    last, *_ = jax.lax.while_loop(
        lambda state: ~state[3] & (state[2] < _MAX_TRIALS), attempt, state
    )
    return Maximum(last.point, last.value, last.decrement <= rounding(last))


def _solve(curvature: Array, gradient: Array) -> Array:
    # Repeated data points leave a null space, where the gradient vanishes as well; the
    # ridge is relative, as the curvatures of a logistic loss differ by many orders.
    diagonal = jnp.diag(curvature)
    largest = jnp.maximum(diagonal.max(), jnp.finfo(diagonal.dtype).tiny)
    scale = 1e4 * jnp.finfo(diagonal.dtype).eps
    ridge = scale * jnp.where(diagonal > 0, diagonal, largest)
    return jax.scipy.linalg.solve(curvature + jnp.diag(ridge), gradient, assume_a="pos")


class Projection(NamedTuple):
    """A lower bound of the KL of every law with given outputs.

    Fields:
        value: The bound in nats, a confidence limit where draws stand for w.
        coefficients: The c that gives it.
        converged: Whether the best c was found; the bound holds in any case.
        rank: In how many dimensions c was sought.
    """

    value: Float[Array, ""]
    coefficients: Float[Array, " n"]
    converged: Bool[Array, ""]
    rank: Float[Array, ""]


def project_outputs(
    outputs: Float[Array, " n"],
    nodes: Nodes,
    check: Nodes,
    output_std: Real,
    frozen_input: bool = False,
    cutoff: float = 1e-9,
) -> Projection:
    """The information projection sup_c {-c.f/alpha - log Z(c)}.

    Args:
        outputs: f/alpha = E_p F of the law p at the data points.
        nodes: On which c is sought.
        check: Independent draws, on which the bound holds; `nodes` for a quadrature.
        output_std: Standard deviation sigma_u.
        frozen_input: Whether w keeps its law.
        cutoff: c is sought in the span of the eigenvectors of Cov_0(F) with at least
            so much of the largest eigenvalue: beyond, rounding in the outputs counts.

    Source: Csiszar 1975; Donsker and Varadhan's formula over the functions c.F.
    """
    start = jnp.zeros_like(outputs)
    spread = tilt(start, nodes, output_std, frozen_input).covariance
    values, vectors = jnp.linalg.eigh(spread)
    kept = (values >= cutoff * values[-1]).astype(outputs.dtype)
    basis = vectors * kept[None, :]

    def objective(a: Array) -> tuple[Array, Array, Array]:
        c = basis @ a
        q = tilt(c, nodes, output_std, frozen_input)
        value = -c @ outputs - q.log_partition
        # Where draws cannot tell Z no bound would be left.
        value = jnp.where(jnp.isfinite(q.upper_limit()), value, -jnp.inf)
        return value, basis.T @ (q.mean - outputs), basis.T @ q.covariance @ basis

    best = maximise(objective, start)
    # Where other draws cannot tell Z at c they may at less of it, a bound as well.
    scales = jnp.asarray(_SCALES if check.sampled else [1.0], outputs.dtype)

    def bound(scale: Array) -> Array:
        c = scale * (basis @ best.point)
        return -c @ outputs - tilt(c, check, output_std, frozen_input).upper_limit()

    values = jax.lax.map(bound, scales)
    c = scales[jnp.argmax(values)] * (basis @ best.point)
    return Projection(values.max(), c, best.converged, kept.sum())


class Dual(NamedTuple):
    """The dual D at a g, its gradient, minus its Hessian, and the tilt at c.

    `lower` is its lower confidence limit: D itself for a quadrature.
    """

    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    curvature: Float[Array, "n n"]
    lower: Float[Array, ""]
    tilt: Tilt


def dual(
    g: Float[Array, " n"],
    y: Float[Array, " n"],
    nodes: Nodes,
    *,
    loss: AbstractScalarLoss,
    alpha: Real,
    temperature: Real,
    output_std: Real,
    frozen_input: bool = False,
) -> Dual:
    """D(g) = -(1/n) sum_i phi*(g_i; y_i) - lambda log Z(c), c = alpha g/(lambda n).

    D(g) <= L(p) + lambda KL(p || p_0) for every g and law p, equal at the minimum.

    Source: Nitanda et al. 2022, sec. 3.2.
    """
    n, ratio = len(y), alpha / (temperature * len(y))
    q = tilt(ratio * g, nodes, output_std, frozen_input)
    rest = -loss.conjugate(g, y).mean()
    gradient = (alpha * q.mean - loss.conjugate_derivative(g, y)) / n
    curvature = jnp.diag(loss.conjugate_curvature(g, y)) / n
    curvature += alpha * ratio / n * q.covariance
    value, lower = (rest - temperature * z for z in (q.log_partition, q.upper_limit()))
    return Dual(value, gradient, curvature, lower, q)
