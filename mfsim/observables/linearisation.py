"""How far a deep network is from its linearisations, and its risk from convex."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from mfsim.blocks import block_size, map_blocks
from mfsim.component import count, real
from mfsim.flows.base import Linearised, Model
from mfsim.observables.base import OF_WEIGHTS, AbstractObservable, Look
from mfsim.series import Series

_BLOCK_BYTES = 2**25
_COPIES = 5
"""Of all weights: now, the start, a probe, its draw and their difference."""


class Probes(NamedTuple):
    """Weights W' in the ball |W'_l - W_l(0)|_F <= R m^(-a), the start among them.

    Attributes:
        radius: R; all but the start are as far in each layer as the ball allows, where
            all but a little of its volume is.
        number: How many are drawn.
        seed: Of the draws.
        points: Outputs are taken on the first so many training points.
    """

    radius: float
    number: int
    seed: int
    points: int


class Probed(NamedTuple):
    """The network at the present weights W and at probes W', in double precision.

    Attributes:
        now: f_W.
        there: f_W', a probe a row.
        linear: f_W + <grad f_W, W' - W>, likewise.
    """

    now: Float[Array, " n"]
    there: Float[Array, "k n"]
    linear: Float[Array, "k n"]


class LinearisationError(AbstractObservable):
    """Largest |f_W' - f_W - <grad f_W, W' - W>| over points: along the path, in a ball.

    linearisation_error has W_t for W' and the start for W. linearisation_error_ball has
    W_t for W and is the largest over probes W' in |W'_l - W_l(0)|_F <= R m^(-a): the
    start and draws of uniform direction. The theorem has the supremum over all W, W' in
    such a ball, of which this is a lower bound. Of the network, also where the outputs
    of the flow are linearised; in double precision.

    Fields:
        radius: R of the ball.
        num_probes: How many are drawn.
        seed: Of the probes, which are the same at every save.
        max_points: On the first so many training points.

    Cost: 4 passes over the points for each probe a save.
    Source: Chen, Cao, Zou, Gu 2021, Lemma 6.1.
    """

    flows: ClassVar = OF_WEIGHTS

    radius: float = real(1.0, above=0.0)
    num_probes: int = count(4)
    seed: int = count(0, at_least=0)
    max_points: int = count(1000)

    def declare(self, flow, integrator, data):
        over = f"over {min(self.max_points, len(data.y_train))} training points"
        ball = f"{self.num_probes} draws in the ball of R = {self.radius:g}"
        return {
            "linearisation_error": Series(
                "output",
                "max|f_W - f_W0 - <grad f_W0, W - W0>|",
                f"Largest distance of an output from its linearisation {over}.",
            ),
            "linearisation_error_ball": Series(
                "output",
                "max|f_W' - f_W - <grad f_W, W' - W>|",
                "Largest distance of an output at other weights W' from its "
                f"linearisation about the present ones, {over}, the start and {ball}.",
            ),
        }

    def plan(self, flow, data):
        return _COPIES * flow.plan(data, "float64")["state"]

    def measure(self, look):
        probed = look.once(probe, _probes(self))
        network, now, start, x = _widened(look, self.max_points)
        linear = model_outputs(Linearised(network, start), now, x)
        return {
            "linearisation_error": jnp.abs(probed.now - linear).max(),
            "linearisation_error_ball": jnp.abs(probed.there - probed.linear).max(),
        }


class AlmostConvexity(AbstractObservable):
    """Least L(W') - L(W) - <grad L(W), W' - W> over probes W': almost_convexity.

    W are the present weights, W' the probes of LinearisationError. Where it is not
    below 0, the risk L is as convex as they can tell; a convex loss of slopes within 1
    has at least -epsilon, epsilon the linearisation error. At the start, which is
    itself a probe, it is at most 0.

    Fields:
        radius: R of the ball |W'_l - W_l(0)|_F <= R m^(-a).
        num_probes: How many are drawn.
        seed: Of the probes, which are the same at every save.
        max_points: L is the mean over the first so many training points.

    Cost: that of LinearisationError, and nothing more where both have the same fields.
    Source: Cao, Gu 2019, Lemma 4.2; Chen, Cao, Zou, Gu 2021, sec. 6.
    """

    flows: ClassVar = OF_WEIGHTS

    radius: float = real(1.0, above=0.0)
    num_probes: int = count(4)
    seed: int = count(0, at_least=0)
    max_points: int = count(1000)

    def declare(self, flow, integrator, data):
        text = (
            "Least of the risk at other weights over its tangent plane at the present "
            f"ones: at the start and at {self.num_probes} draws in the ball of R = "
            f"{self.radius:g}; on {min(self.max_points, len(data.y_train))} training "
            "points."
        )
        symbol = "min L(W') - L(W) - <grad L(W), W' - W>"
        return {"almost_convexity": Series("loss", symbol, text)}

    def plan(self, flow, data):
        return _COPIES * flow.plan(data, "float64")["state"]

    def measure(self, look):
        now, there, linear = look.once(probe, _probes(self))
        loss, y = look.flow.loss, look.data.y_train[: self.max_points].astype(float)
        slopes = loss.derivative(now, y)

        def above(there: Array, linear: Array) -> Array:
            return (loss(there, y) - loss(now, y) - slopes * (linear - now)).mean()

        return {"almost_convexity": jax.vmap(above)(there, linear).min()}


def _probes(observable: Any) -> Probes:
    return Probes(
        observable.radius,
        observable.num_probes,
        observable.seed,
        observable.max_points,
    )


def probe(look: Look, probes: Probes) -> Probed:
    """The network at the probes, and its linearisation about the present weights."""
    network, now, start, x = _widened(look, probes.points)
    model = Linearised(network, now)

    def at(index: Int[Array, ""]) -> tuple[Array, Array]:
        reach = jnp.where(index == 0, 0.0, probes.radius / network.output_scale)
        key = jax.random.fold_in(_key(probes.seed), index)
        there = _at_distance(start, reach, key)
        return model_outputs(network, there, x), model_outputs(model, there, x)

    there, linear = jax.lax.map(at, jnp.arange(probes.number + 1))
    return Probed(model_outputs(network, now, x), there, linear)


def model_outputs(
    model: Model, params: PyTree, x: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """The outputs of a network, or of its linearisation, in blocks of points."""
    width = max(x.shape[1], *(leaf.shape[0] for leaf in jax.tree.leaves(params)))
    block = block_size(len(x), 8 * width * x.dtype.itemsize, _BLOCK_BYTES)
    return map_blocks(lambda x: model(params, x), (x,), block)


def _at_distance(start: PyTree, reach: Array, key: Key[Array, ""]) -> PyTree:
    """Weights at the same Frobenius distance from the start in each layer."""

    def moved(place: int, layer: Array) -> Array:
        drawn = jax.random.normal(jax.random.fold_in(key, place), layer.shape, float)
        # What is zero there belongs to neurons that are left out.
        drawn = jnp.where(layer == 0, 0.0, drawn)
        return layer + reach / jnp.linalg.norm(drawn) * drawn

    return tuple(moved(place, layer) for place, layer in enumerate(start))


def _key(seed: int) -> Key[Array, ""]:
    return jax.random.key(seed, impl="threefry2x32")


def _widened(look: Look, points: int) -> Any:
    """Network, weights now and at the start, and points, all in double precision."""
    x = look.data.x_train[:points]
    parts = look.flow.network, look.state.params, look.initial.params, x
    arrays, rest = eqx.partition(parts, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: a.astype(float), arrays), rest)
