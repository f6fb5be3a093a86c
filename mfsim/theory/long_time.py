"""The limit t -> infinity of a flow, from its dual problem in n dimensions."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.blocks import block_size, map_blocks
from mfsim.divergences.nodes import MAX_RANK, Nodes, prior_nodes, prior_weights
from mfsim.divergences.partition import Dual, Maximum, dual, maximise, tilt
from mfsim.errors import ConfigError
from mfsim.flows import DensityFlow, ParticleFlow

_ERROR = 1e-11
"""Of the energy by quadrature, relative to 1 + |energy|: better is not sought."""

_RADIUS = 10.0
_LARGEST_RADIUS = 60.0
_BLOCK_BYTES = 2**25
_WORK_ARRAYS = 6
"""Arrays of one number a node and data point that are alive at once."""


@dataclass(frozen=True)
class LongTimeLimit:
    """The minimum of Q(p) = L(p) + lambda KL(p || p_0), reached as t -> infinity.

    Fields:
        energy: Q* in nats times lambda, the units of the loss.
        energy_interval: Bounds of Q*: by the duality gap and the error of the
            quadrature, or with three standard errors on independent draws of w.
        standard_error: Of the energy with draws of w; 0 with a quadrature.
        risk: Training loss L(f*).
        kl: KL(p* || p_0) in nats.
        predictions, test_predictions: f* at the training and at the test points.
        dual: The maximiser g, phi'(f*, y) point by point.
        gap: risk + lambda kl - energy, which is 0 at the maximum.
        num_nodes: Nodes or draws that w was integrated with.
        converged: Whether Newton's method reached the maximum.
    """

    energy: float
    energy_interval: tuple[float, float]
    standard_error: float
    risk: float
    kl: float
    predictions: Float[np.ndarray, " n"]
    test_predictions: Float[np.ndarray, " k"]
    dual: Float[np.ndarray, " n"]
    gap: float
    num_nodes: int
    converged: bool


def long_time_limit(
    flow: ParticleFlow | DensityFlow,
    *,
    seed: int = 0,
    num_samples: int = 2**15,
    memory_mib: int = 256,
) -> LongTimeLimit:
    """The mean-field limit of `flow` at t = infinity, in float64.

    Where the fewer of n and d are at most three the law of w is integrated by
    quadrature, refined until the energy is known to about 1e-11, or the memory is
    full; else it is drawn. The kink of Relu leaves some 1e-6 of the energy.

    Args:
        flow: Its width does not matter; m particles add about lambda n/2m to the loss.
        seed: Of the draws of w.
        num_samples: Number of draws.
        memory_mib: Most memory for a quadrature, in MiB.

    Raises:
        ConfigError: If the temperature is 0, or the output weights are frozen.
        ValueError: If the temperature is too low for the quadrature.

    Cost: some 20 times 4 q n^2 multiplications for q nodes, and seconds to compile.
    Source: Nitanda et al. 2022, sec. 3.2 (the dual); Chen et al. 2020, eq. (3.3).
    """
    _check(flow)
    with jax.enable_x64(True):
        problem = _Problem(flow)
        if problem.dim > MAX_RANK:
            limit = _by_samples(problem, seed, num_samples)
        else:
            limit = _by_quadrature(problem, memory_mib)
    return _checked(flow, limit)


def _checked(flow: ParticleFlow | DensityFlow, limit: LongTimeLimit) -> LongTimeLimit:
    """Refuse what cannot be the minimum: L(p*) <= Q(p*) <= Q(p_0) = L(p_0)."""
    y = flow.dataset.load().y_train
    most = float(flow.loss(np.zeros_like(y), y).mean())
    if not limit.risk <= 1.01 * most:
        raise ValueError(
            "flow.temperature must be high enough for the tilted law to be resolved, "
            f"got {float(flow.temperature):g}, whose limit came out with a risk of "
            f"{limit.risk:.3g}, above the {most:.3g} of p_0; take a higher one."
        )
    return limit


def _check(flow: ParticleFlow | DensityFlow) -> None:
    if not flow.temperature > 0:
        raise ConfigError(
            "flow.temperature must be above 0 for a unique long-time limit, got "
            f"{float(flow.temperature)}; without noise the limit depends on the path."
        )
    if flow.network.trainable == "input":
        raise ConfigError(
            "flow.network.trainable must be 'both' or 'output' for the long-time "
            "limit, got 'input'; its dual integrates the output weights."
        )


class _Problem:
    """A flow's numbers as float64 arrays, with inputs in the fewest coordinates."""

    def __init__(self, flow: ParticleFlow | DensityFlow):
        data, network = flow.dataset.load(), flow.network
        x, x_test = data.x_train, data.x_test
        self.spread = np.zeros(len(x_test))
        if len(x) < x.shape[1] and len(x) <= MAX_RANK:
            axes = np.linalg.qr(x.T)[0]
            rest = x_test - x_test @ axes @ axes.T
            self.spread = np.linalg.norm(rest, axis=1)
            x, x_test = x @ axes, x_test @ axes
        self.x, self.y, self.x_test = (
            jnp.asarray(a) for a in (x, data.y_train, x_test)
        )
        self.dim = x.shape[1]
        self.activation, self.input_std = network.activation, float(network.input_std)
        self.scale = self.input_std * np.linalg.norm(x, axis=1).max()
        self.settings: dict[str, Any] = {
            "alpha": float(network.alpha),
            "temperature": float(flow.temperature),
            "output_std": float(network.output_std),
            "frozen_input": network.trainable == "output",
        }
        self.loss = flow.loss

    def nodes(self, **resolution: Any) -> Nodes:
        return prior_nodes(self.activation, self.input_std, self.x, **resolution)

    def dual(self, g: Array, nodes: Nodes) -> Dual:
        return dual(g, self.y, nodes, loss=self.loss, **self.settings)

    def coefficients(self, g: Array) -> Array:
        """C = alpha g/(lambda n)."""
        ratio = self.settings["alpha"] / self.settings["temperature"]
        return ratio / len(self.y) * g

    def maximum(self, nodes: Nodes, start: Array | None) -> Maximum:
        if start is None:
            g = self.loss.derivative(jnp.zeros_like(self.y), self.y)
            # Near g = 0, where Z is finite and its exponents are of order one.
            std = self.settings["output_std"]
            size = 2 * tilt(self.coefficients(g), nodes, std, True).log_partition
            start = jnp.minimum(1, 0.5 / jnp.sqrt(size)) * g
        start = jax.lax.while_loop(
            lambda g: ~jnp.isfinite(self.dual(g, nodes).value), lambda g: g / 2, start
        )
        return maximise(lambda g: self.dual(g, nodes)[:3], start)

    def solve(self, nodes: Nodes, start: Array | None) -> "_Solution":
        best = self.maximum(nodes, start)
        return self.at(best.point, nodes)._replace(converged=best.converged)

    def at(self, g: Array, nodes: Nodes) -> "_Solution":
        """The dual D(g), and the risk and KL of its law q_c."""
        at = self.dual(g, nodes)
        outputs = self.settings["alpha"] * at.tilt.mean
        kl = -self.coefficients(g) @ at.tilt.mean - at.tilt.log_partition
        risk = self.loss(outputs, self.y).mean()
        return _Solution(g, at, outputs, risk, kl, jnp.asarray(False))

    def predict(self, weights: Array, **resolution: Any) -> Array:
        """The mean output at the test points, averaged over what w.x_i leaves open."""
        w, _ = prior_weights(self.dim, **resolution)
        leftover, log_weights = prior_weights(1)

        def block(x: Array, spread: Array) -> Array:
            z = self.input_std * (x @ w.T)
            if not self.spread.any():
                return self.activation(z) @ weights

            def add(total: Array, node: tuple) -> tuple[Array, None]:
                (position,), log_weight = node
                shift = (self.input_std * position * spread)[:, None]
                return total + jnp.exp(log_weight) * self.activation(z + shift), None

            total, _ = jax.lax.scan(add, jnp.zeros_like(z), (leftover, log_weights))
            return total @ weights

        size = block_size(len(self.x_test), 8 * len(w), _BLOCK_BYTES)
        arrays = self.x_test, jnp.asarray(self.spread)
        return self.settings["alpha"] * map_blocks(block, arrays, size)

    def report(
        self, found: "_Solution", interval: tuple, error: float, resolution: dict
    ) -> LongTimeLimit:
        weights = found.dual.tilt.output_weights
        predict = jax.jit(partial(self.predict, **resolution))
        return LongTimeLimit(
            energy=float(found.dual.value),
            energy_interval=interval,
            standard_error=error,
            risk=float(found.risk),
            kl=float(found.kl),
            predictions=np.asarray(found.outputs),
            test_predictions=np.asarray(predict(weights)),
            dual=np.asarray(found.g),
            gap=found.gap(self.settings["temperature"]),
            num_nodes=len(weights),
            converged=bool(found.converged),
        )


class _Solution(NamedTuple):
    g: Array
    dual: Dual
    outputs: Array
    risk: Array
    kl: Array
    converged: Array

    def gap(self, temperature: float) -> float:
        return float(self.risk + temperature * self.kl - self.dual.value)


def _by_quadrature(problem: _Problem, memory_mib: int) -> LongTimeLimit:
    """Solves on finer or wider grids until the next one gives the same energy."""
    solve, evaluate = jax.jit(problem.solve), jax.jit(problem.at)
    most = _most_nodes(problem.dim, len(problem.y), memory_mib)
    # The trapezoid rule's error for tanh is exp(-pi^2/(h s)); Gaussians want h < 0.4.
    spacing, radius, start = min(0.4, math.pi**2 / (32 * problem.scale)), _RADIUS, None
    error = math.inf
    while True:
        count = min(most, 2 * math.ceil(radius / spacing) + 1)
        other = min(most, int(1.3 * count)) if count < most else int(count / 1.3)
        found = solve(problem.nodes(num_nodes=count, radius=radius), start)
        check = problem.nodes(num_nodes=other, radius=radius)
        before, value = error, float(found.dual.value)
        error = abs(float(evaluate(found.g, check).dual.value) - value)
        good = error <= _ERROR * (1 + abs(value))
        edge = problem.settings["temperature"] * float(found.dual.tilt.edge)
        if edge > _ERROR * (1 + abs(value)) and radius < _LARGEST_RADIUS:
            radius, error = 1.25 * radius, math.inf
        elif good or count == most or error > 0.6 * before:
            break
        else:
            spacing /= 1.5
        start = found.g
    error += edge
    energy = float(found.dual.value)
    upper = energy + max(found.gap(problem.settings["temperature"]), 0.0)
    resolution = {"num_nodes": count, "radius": radius}
    return problem.report(found, (energy - error, upper + error), 0.0, resolution)


def _most_nodes(dim: int, samples: int, memory_mib: int) -> int:
    """The most nodes an axis, an odd number, whose ball fits into memory."""
    ball = {1: 1.0, 2: math.pi / 4, 3: math.pi / 6}[dim]
    nodes = memory_mib * 2**20 / (8 * _WORK_ARRAYS * max(samples, dim))
    return max(9, 2 * int(((nodes / ball) ** (1 / dim) - 1) / 2) + 1)


def _by_samples(problem: _Problem, seed: int, num_samples: int) -> LongTimeLimit:
    """Solves on one set of draws, and bounds the energy on an independent one."""
    keys = jax.random.split(jax.random.key(seed))
    options = [{"key": key, "num_samples": num_samples} for key in keys]
    found = jax.jit(problem.solve)(problem.nodes(**options[0]), None)
    other = jax.jit(problem.at)(found.g, problem.nodes(**options[1]))
    temperature = problem.settings["temperature"]
    lower, value = float(other.dual.lower), float(other.dual.value)
    # q_c is a law like any other, so that its energy bounds Q* from above.
    upper = 2 * value - lower + other.gap(temperature)
    error = temperature * float(other.dual.tilt.standard_error)
    return problem.report(found, (lower, upper), error, options[0])
