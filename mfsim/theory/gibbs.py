"""The law that a density ends at, on its own grid: the self-consistent Gibbs state."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mfsim.datasets import Data
from mfsim.flows import DensityFlow

_MOST_BOUNDARY_MASS = 1e-6


@dataclass(frozen=True)
class GibbsLaw:
    """The minimum of Q(p) = L(p) + lambda KL(p || p_0) over the masses of a grid.

    Fields:
        masses: Of the cells, on axes (w_1, ..., w_d, u).
        predictions: f at the training points.
        risk: Training loss L.
        kl: KL(p || p_0) in nats.
        energy: Q, in units of the loss.
        residual: Largest |phi'(f_i, y_i) - g_i|, where the masses are those of g.
        iterations: Newton steps tried.
    """

    masses: Float[np.ndarray, "..."]
    predictions: Float[np.ndarray, " n"]
    risk: float
    kl: float
    energy: float
    residual: float
    iterations: int


def gibbs_law(
    flow: DensityFlow,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 500,
    data: Data | None = None,
) -> GibbsLaw:
    """The fixed point p ~ exp(-V(p)) on the grid of `flow`, where its density ends.

    V = V_0 + (alpha/lambda) E_S[phi'(f, y) u h(w . x)] depends on p by the n slopes
    phi' alone, and the slopes that reproduce themselves maximise the concave dual
    D(g) = -E_S phi*(g, y) - lambda log E_p0 exp(-(alpha/lambda) E_S[g u h]). Damped
    Newton steps find them; g -> phi'(f(g)) itself would take a number of steps that
    grows as alpha^2/lambda. Where a block is frozen the law is Gibbs in the other one
    given it, and its own law stays p_0.

    Args:
        flow: Its cells and extent set the grid.
        tolerance: Of the residual, relative to 1 + the largest slope at p_0.
        max_iterations: Most Newton steps to try; some ten suffice, or a hundred at
            alpha^2/lambda = 1e6.
        data: The arrays; those of the flow's dataset unless given.

    Raises:
        ValueError: If the flow has no grid, the iteration does not converge, more than
            1e-6 of the mass lies at the edge of the box, or d is above 2.

    Cost: n times that of an evaluation of the flow's velocity a step.
    Source: Nitanda et al. 2022, secs. 2.2 and 3.2.
    """
    if not isinstance(flow, DensityFlow):
        raise ValueError(
            f"flow must be a DensityFlow, got a {type(flow).__name__}; the limit of "
            "others is long_time_limit."
        )
    data = flow.dataset.load() if data is None else data
    flow.check(data)
    with jax.enable_x64(True):
        features = flow.features(jnp.asarray(data.x_train))
        problem = _Problem(flow, features, jnp.asarray(data.y_train))
        solve = jax.jit(partial(_solve, flow))
        found, count = solve(*problem[1:], tolerance, max_iterations)
        law = _report(problem, found, int(count))
        if not law.residual <= tolerance * problem.unit():
            raise ValueError(
                f"tolerance must be within reach of max_iterations = {max_iterations} "
                f"and of rounding, got {tolerance:.0e} with a residual of "
                f"{law.residual:.1e} left; take a larger one, or more max_iterations."
            )
        _check_box(flow, float(flow.boundary_mass(jnp.asarray(law.masses))))
        return law


class _Iterate(NamedTuple):
    """Slopes, the gradient of n D there, and Newton's step from there."""

    slopes: Array
    gradient: Array
    step: Array
    residual: Array


class _Problem(NamedTuple):
    flow: DensityFlow
    features: Float[Array, "n ..."]
    labels: Float[Array, " n"]

    def prior_slopes(self) -> Array:
        return self.flow.loss.derivative(jnp.zeros_like(self.labels), self.labels)

    def unit(self) -> Array:
        """What the residual is relative to."""
        return 1 + jnp.abs(self.prior_slopes()).max()

    def start(self) -> Array:
        """Slopes whose tilt of p_0 has exponents of order one."""
        network = self.flow.network
        steep = network.alpha * network.output_std / self.flow.temperature
        return self.prior_slopes() / (1 + steep)

    def masses(self, slopes: Array) -> Array:
        potential = self.flow.potential(slopes, self.features)
        dim = potential.ndim - 1
        axes = tuple(self.flow.moving_axes(dim))
        prior = self.flow.init(jax.random.key(0), dim).params
        frozen = prior.sum(axis=axes, keepdims=True)
        return frozen * jax.nn.softmax(-potential, axis=axes)

    def outputs(self, slopes: Array) -> Array:
        return self.flow.outputs(self.masses(slopes), self.features)

    def at(self, slopes: Array) -> _Iterate:
        loss, y = self.flow.loss, self.labels
        outputs, push = jax.linearize(self.outputs, slopes)
        # Row by row, as n tangents of a whole grid need not fit into memory.
        response = jax.lax.map(push, jnp.eye(len(y)))
        gradient = outputs - loss.conjugate_derivative(slopes, y)
        curvature = jnp.diag(loss.conjugate_curvature(slopes, y)) - response
        step = jax.scipy.linalg.solve(curvature, gradient, assume_a="pos")
        residual = jnp.abs(loss.derivative(outputs, y) - slopes).max()
        return _Iterate(slopes, gradient, step, residual)


def _solve(
    flow: DensityFlow, features: Array, labels: Array, tolerance: Array, most: Array
) -> tuple[_Iterate, Int[Array, ""]]:
    """Newton's method for the dual, its steps halved where they go too far."""
    problem = _Problem(flow, features, labels)

    def is_going(state: tuple) -> Array:
        now, _, count = state
        return (now.residual > tolerance * problem.unit()) & (count < most)

    def attempt(state: tuple) -> tuple:
        now, damping, count = state
        new = problem.at(now.slopes + damping * now.step)
        # The dual rises by damping times about the mean of its slopes at either end.
        # Its value would not tell that near the maximum, for rounding; NaN is outside.
        rises = new.gradient @ now.step >= -(now.gradient @ now.step) / 2
        now = jax.tree.map(lambda a, b: jnp.where(rises, a, b), new, now)
        damping = jnp.where(rises, jnp.minimum(1, 2 * damping), damping / 2)
        return now, damping, count + 1

    start = problem.at(problem.start())
    state = start, jnp.ones_like(start.residual), jnp.asarray(0)
    found, _, count = jax.lax.while_loop(is_going, attempt, state)
    return found, count


def _report(problem: _Problem, found: _Iterate, count: int) -> GibbsLaw:
    flow, masses = problem.flow, problem.masses(found.slopes)
    outputs = flow.outputs(masses, problem.features)
    risk = float(flow.loss(outputs, problem.labels).mean())
    kl = float(flow.kl(masses))
    return GibbsLaw(
        masses=np.asarray(masses),
        predictions=np.asarray(outputs),
        risk=risk,
        kl=kl,
        energy=risk + float(flow.temperature) * kl,
        residual=float(found.residual),
        iterations=count,
    )


def _check_box(flow: DensityFlow, boundary_mass: float) -> None:
    if boundary_mass > _MOST_BOUNDARY_MASS:
        raise ValueError(
            f"flow.extent must leave less than {_MOST_BOUNDARY_MASS:.0e} of the Gibbs "
            f"law at the edge of the box, got {float(flow.extent):g} with "
            f"{boundary_mass:.2g} there; take a larger one, or a higher temperature."
        )
