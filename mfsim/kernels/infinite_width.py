"""The tangent kernel of a network of infinite width, at its random start."""

from functools import singledispatch
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from mfsim.kernels.gaussian_moments import product_means, relu_angle
from mfsim.kernels.inputs import as_points, check_dimensions
from mfsim.memory import require_memory
from mfsim.networks import DeepRelu, TwoLayer

_NEAR = 1 - 1e-4
"""Cosine beyond which its arc loses more than two digits of the angle."""

_BLOCK_BYTES = 2**23
"""Bytes of the differences of one block of nearly parallel pairs."""


class _Pairs(NamedTuple):
    """All that the kernels see of the inputs: their norms and the angles between."""

    norm_x: Float[np.ndarray, " n"]
    norm_y: Float[np.ndarray, " k"]
    angle: Float[np.ndarray, "n k"]


def infinite_width_kernel(
    network: Any,
    x: Float[Array | np.ndarray, "n d"],
    y: Float[Array | np.ndarray, "k _"] | None = None,
) -> Float[np.ndarray, "n k"]:
    r"""The limit of `tangent_kernel` at the start as the width tends to infinity.

    TwoLayer: H_ik = sigma_u^2 E[h'(w.x_i) h'(w.y_k)] x_i.y_k + E[h(w.x_i) h(w.y_k)],
    w ~ N(0, sigma_w^2 I), where a block that is not trained leaves its term out.
    Relu, Erf and Identity have closed forms, exact to rounding. Other activations take
    a Hermite series, whose error is at most 1e-12 of the geometric mean of the entry's
    two diagonal ones. The closer a pole of h is to the real line, the smaller inputs
    must be: sigma_w |x| <= 10 for Tanh, 20 for Sigmoid and 20/beta for Softplus.

    DeepRelu: Sigma^1 = Theta~^1 = X Y^T; then, over (z, z') ~ N(0, Sigma^l),
    Sigma^{l+1} = 2 E[s(z) s(z')], Theta~^{l+1} = Theta~^l o 2 E[s'(z) s'(z')] +
    Sigma^{l+1}, and Theta = (Theta~^L + Sigma^L)/2, with the diagonal (L + 1)/2 |x|^2.

    Args:
        network: Its width, alpha and scale exponent do not matter.
        x: Left inputs, one a row.
        y: Right inputs, likewise; `x` unless given.

    Returns:
        The kernel in float64 whatever JAX's flags say, in output^2/parameter^2;
        symmetric positive semi-definite without `y`.

    Raises:
        ValueError: If the inputs differ in dimension, the network's or activation's
            kind has no such kernel, or inputs are too large for the series.

    Cost: About eight arrays of n k numbers. A series of J terms takes J n k operations
        and J (n + k) numbers: for Tanh J is 128 at sigma_w |x| = 1, 2900 at 5.
    Source: Chen et al. 2020, eqs. (3.5)-(3.7); Cao, Gu 2019, definition 3.7.
    """
    x, y = as_points("x", x), None if y is None else as_points("y", y)
    right = x if y is None else y
    check_dimensions(x, right)
    gram = 8 * len(x) * len(right)
    require_memory(
        8 * gram,
        f"x must have fewer rows: the kernel of {len(x)} and {len(right)} points has "
        f"{gram / 2**30:.3g} GiB, eight times that as it is made",
        jax.devices("cpu")[0],
    )
    kernel = _kernel(network, _pairs(x, y))
    # The series rounds (i, k) and (k, i) in an order that the compiler chooses.
    return (kernel + kernel.T) / 2 if y is None else kernel


@singledispatch
def _kernel(network: Any, pairs: _Pairs) -> Float[np.ndarray, "n k"]:
    known = [kind.__name__ for kind in _kernel.registry if kind is not object]
    raise ValueError(
        f"network must be one of {known} to have an infinite-width kernel, got "
        f"{type(network).__name__}; take tangent_kernel at a large width."
    )


@_kernel.register(TwoLayer)
def _two_layer(network: TwoLayer, pairs: _Pairs) -> Float[np.ndarray, "n k"]:
    std = network.input_std
    value, slope = product_means(
        network.activation, std * pairs.norm_x, std * pairs.norm_y, pairs.angle
    )
    moves_w, moves_u = network.trainable != "output", network.trainable != "input"
    dot = np.outer(pairs.norm_x, pairs.norm_y) * np.cos(pairs.angle)
    return moves_w * network.output_std**2 * slope * dot + moves_u * value


@_kernel.register(DeepRelu)
def _deep_relu(network: DeepRelu, pairs: _Pairs) -> Float[np.ndarray, "n k"]:
    """The recursion on unit inputs, as ReLU is homogeneous; it carries the angle."""
    angle = pairs.angle
    kernel = np.cos(angle)
    for _ in range(network.depth - 1):
        slope = 1 - angle / np.pi
        angle = relu_angle(angle)
        kernel = kernel * slope + np.cos(angle)
    return np.outer(pairs.norm_x, pairs.norm_y) * (kernel + np.cos(angle)) / 2


def _pairs(x: Any, y: Any) -> _Pairs:
    norm_x, unit_x = _polar(x)
    norm_y, unit_y = (norm_x, unit_x) if y is None else _polar(y)
    return _Pairs(norm_x, norm_y, _angles(unit_x, unit_y))


def _polar(x: Any) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
    x = np.asarray(x, np.float64)
    norm = np.linalg.norm(x, axis=1)
    return norm, x / np.where(norm > 0, norm, 1.0)[:, None]


def _angles(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "k d"]
) -> Float[np.ndarray, "n k"]:
    """Angles between unit vectors, correct to rounding near 0 and pi too.

    There the cosine tells no more than half the digits; the distance from the one
    vector to the other, or to its opposite, tells them all.
    """
    cosine = np.clip(x @ y.T, -1.0, 1.0)
    angle = np.arccos(cosine)
    near = np.argwhere(np.abs(cosine) > _NEAR)
    parts = -(-len(near) * x.shape[1] * 8 // _BLOCK_BYTES)
    for part in np.array_split(near, max(1, parts)):
        i, k = part.T
        sign = np.sign(cosine[i, k])
        distance = np.linalg.norm(x[i] - sign[:, None] * y[k], axis=1)
        small = 2 * np.arcsin(distance / 2)
        angle[i, k] = np.where(sign > 0, small, np.pi - small)
    return angle
