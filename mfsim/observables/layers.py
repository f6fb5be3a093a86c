"""Layer by layer: how far weights moved, their norms, gradients and patterns."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import svds

from mfsim.blocks import block_size, sum_blocks
from mfsim.component import count
from mfsim.networks.base import Weights
from mfsim.observables.base import OF_WEIGHTS, AbstractObservable, present
from mfsim.series import Series

_BLOCK_BYTES = 2**25
_DENSE = 64
"""Below so many rows or columns all singular values are cheap."""


def _by_layer(flow: Any, unit: str, symbol: str, text: str) -> Series:
    return Series(unit, symbol, text, ("layer",), (flow.network.depth,))


class LayerDistance(AbstractObservable):
    """|W_l - W_l(0)|_F by layer: layer_distance, layer_distance_scaled, layer_radius.

    layer_distance_scaled is m^a times it, layer_radius the largest of these: the least
    R of a ball |W_l - W_l(0)|_F <= R m^(-a) that holds all weights. With noise on,
    w2_upper_layer = |W_l - S_l|_F, S the shadow, whose law is that of the start for
    ever: the root mean square distance of neurons, sqrt(m) times the rows of W_l (the
    entries of W_L), from those that they are coupled to.

    Source: Chen, Cao, Zou, Gu 2021, sec. 3; docs/numerics.md, "The shadow".
    """

    flows: ClassVar = OF_WEIGHTS
    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        text = "Frobenius norm of what each layer's weights have moved since the start"
        radius = "Least R such that each |W_l - W_l(0)|_F is at most R m^-a."
        coupling = "Frobenius norm of the distance of each layer from its shadow."
        declared: dict[str, Series | str] = {
            "layer_distance": _by_layer(
                flow, "parameter", "|W_l - W_l(0)|_F", f"{text}."
            ),
            "layer_distance_scaled": _by_layer(
                flow, "parameter", "m^a |W_l - W_l(0)|_F", f"{text}, times m^a."
            ),
            "layer_radius": Series("parameter", "R", radius),
            "w2_upper_layer": _by_layer(flow, "parameter", "|W_l - S_l|_F", coupling),
        }
        if flow.is_cold:
            reason = "the temperature is 0: the shadow is the start of layer_distance"
            declared["w2_upper_layer"] = reason
        elif not flow.shadow:
            declared["w2_upper_layer"] = "flow.shadow is false"
        return declared

    def measure(self, look):
        depth = look.flow.network.depth
        distance = _distances(look.state.params[:depth], look.initial.params[:depth])
        scaled = jnp.asarray(look.flow.network.output_scale).astype(float) * distance
        found = {
            "layer_distance": distance,
            "layer_distance_scaled": scaled,
            "layer_radius": scaled.max(),
        }
        if not look.flow.is_cold and look.state.shadow is not None:
            shadow = look.state.shadow
            found["w2_upper_layer"] = _distances(look.state.params, shadow)
        return found


class SpectralNorms(AbstractObservable):
    """Largest singular value of each W_l: spectral_norm.

    Cost: some hundred products of each matrix with a vector a save, on the host.
    """

    flows: ClassVar = OF_WEIGHTS
    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        text = "Largest singular value of the weights of each layer."
        return {"spectral_norm": _by_layer(flow, "parameter", "|W_l|_2", text)}

    def measure(self, look):
        matrices = look.state.params[: look.flow.network.depth]
        layers = enumerate(matrices, start=1)
        return {f"layer_{number}": weights for number, weights in layers}

    def finish(self, flow, found, reference):
        norms = [
            spectral_norm(weights.astype(np.float64)) for weights in found.values()
        ]
        return {"spectral_norm": np.array(norms)}


def spectral_norm(matrix: Float[np.ndarray, "r c"]) -> float:
    """The largest singular value, by Lanczos where the matrix is large."""
    if min(matrix.shape) < _DENSE:
        return float(np.linalg.norm(matrix, 2))
    # A start that is drawn would make the last digits differ from call to call.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    norms: Any = svds(matrix, 1, v0=start, return_singular_vectors=False)
    return float(norms[0])


class GradientNorms(AbstractObservable):
    """Frobenius norm of the gradient of the training risk by layer: gradient_norm."""

    flows: ClassVar = OF_WEIGHTS
    of_many_outputs: ClassVar = True

    def declare(self, flow, integrator, data):
        text = "Frobenius norm of the gradient of the training risk in each layer."
        symbol, unit = "|grad_l L_S|_F", "loss/parameter"
        return {"gradient_norm": _by_layer(flow, unit, symbol, text)}

    def measure(self, look):
        depth = look.flow.network.depth
        return {"gradient_norm": _norms(look.once(present).force[:depth])}


class ActivationFlips(AbstractObservable):
    """Share of the hidden neurons that are on where they were off, or the reverse.

    activation_flips: by hidden layer, over all pairs of a training point and a neuron,
    against the start; of the network, also where the outputs are linearised.

    Fields:
        max_points: On the first so many training points.
    """

    flows: ClassVar = OF_WEIGHTS

    max_points: int = count(2000)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        text = (
            f"Share of pairs of one of {points} training points and a neuron that is "
            "on where it was off at the start, or the reverse, in each hidden layer."
        )
        axis = ("hidden_layer",), (flow.network.depth - 1,)
        return {"activation_flips": Series("1", "flips_l", text, *axis)}

    def measure(self, look):
        x, network = look.data.x_train[: self.max_points], look.flow.network

        def of_block(x: Array) -> Array:
            both = (_patterns(s.params, x) for s in (look.state, look.initial))
            pairs = zip(*both, strict=True)
            return jnp.stack([(a != b).sum(dtype=float) for a, b in pairs])

        row = 4 * network.depth * network.width * x.dtype.itemsize
        flips = sum_blocks(of_block, (x,), block_size(len(x), row, _BLOCK_BYTES))
        pairs = len(x) * jnp.asarray(network.neurons).astype(float)
        return {"activation_flips": flips / pairs}


def _patterns(params: Weights, x: Float[Array, "n d"]) -> list[Array]:
    """Which neurons of each hidden layer are on."""
    found = []
    for weights in params[:-1]:
        z = x @ weights.T
        found.append(z > 0)
        x = jax.nn.relu(z)
    return found


def _distances(a: Weights, b: Weights) -> Float[Array, " l"]:
    return _norms(jax.tree.map(jnp.subtract, a, b))


def _norms(layers: Weights) -> Float[Array, " l"]:
    squares = [jnp.square(layer).sum(dtype=float) for layer in layers]
    return jnp.sqrt(jnp.stack(squares))
