"""The limits of a mean-field run as alpha -> infinity, with their constants.

To first order p_t - p_0 = -p_0 c.AF/alpha at early times, with F_i = u h(w.x_i) and A
the generator of the free particle: KL, chi^2 and W2^2 are quadratic forms in c. It is
odd in u where H is even, so that H(p_t) - H(p_0) and f - f_NTK are smaller by a power
of alpha than is proved.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_solve

from mfsim.divergences.nodes import prior_weights
from mfsim.kernels.gram import check_vector
from mfsim.kernels.infinite_width import infinite_width_kernel
from mfsim.kernels.spectrum import require_positive
from mfsim.networks import Neurons, TwoLayer
from mfsim.theory.lazy_setting import check_positive

Gram = Float[np.ndarray, "n n"]


class AlphaExponent(NamedTuple):
    """The power of alpha of a quantity at large alpha: as proved, and as it is."""

    theorem: int
    true: int


ALPHA_EXPONENTS = {
    "kl": AlphaExponent(-2, -2),
    "w2": AlphaExponent(-1, -1),
    "kernel_drift": AlphaExponent(-1, -2),
    "ntk_gap": AlphaExponent(-2, -4),
    "risk_plateau": AlphaExponent(-2, -4),
}
"""Of KL(p_t || p_0), W2(p_t, p_0), max |H(p_t) - H(p_0)|, (1/n)|f - f_NTK|^2 and the
loss at t = infinity, for the squared loss and the law of infinitely many neurons."""


class PriorKernels(NamedTuple):
    """Gram matrices of the prior p_0 at n points.

    Attributes:
        tangent: H = H(p_0) = -E F (AF)^T, in output^2/parameter^2.
        generator: K_A = E (AF)(AF)^T, in output^2/parameter^4.
        output: K_u = E F F^T = sigma_u^2 E h h^T, in output^2.
    """

    tangent: Gram
    generator: Gram
    output: Gram


def prior_kernels(
    network: TwoLayer, x: Float[np.ndarray, "n d"], **resolution: Any
) -> PriorKernels:
    """The kernels H, K_A and K_u of a network's prior.

    Args:
        network: Its width and alpha do not matter.
        x: Inputs, one a row.
        resolution: Of K_A, as in `prior_weights`: a quadrature where the fewer of n and
            d are at most three, else draws, which want a `key`.

    Raises:
        ValueError: If the network has more layers, u is frozen, the activation has no
            second derivative, or there is no key.

    Cost: q n^2 multiplications for q nodes.
    """
    if not isinstance(network, TwoLayer):
        raise ValueError(
            f"network must be a TwoLayer to have a prior p_0, got a "
            f"{type(network).__name__}."
        )
    if network.trainable == "input":
        raise ValueError(
            "trainable must be 'both' or 'output' for the limits in alpha, got "
            "'input', with which the law of u stays."
        )
    if network.trainable != "output" and not network.activation.smooth:
        raise ValueError(
            "activation must have a second derivative for the generator, got "
            f"{type(network.activation).__name__}; take Softplus, or freeze w."
        )
    output_only = replace(network, trainable="output")
    variance = float(network.output_std) ** 2
    return PriorKernels(
        infinite_width_kernel(network, x),
        variance * _generator_square(network, x, resolution),
        variance * infinite_width_kernel(output_only, x),
    )


def _generator_square(network: TwoLayer, x: np.ndarray, resolution: dict) -> Gram:
    """E (AF)(AF)^T over w, at u = 1."""
    if len(x) < x.shape[1]:
        x = np.linalg.qr(x.T)[1].T
    with jax.enable_x64(True):
        w, log_weights = prior_weights(x.shape[1], **resolution)
        nodes = Neurons(float(network.input_std) * w, jnp.ones(len(w)))
        generated = np.asarray(network.generator(nodes, jnp.asarray(x, jnp.float64)))
        root = np.exp(np.asarray(log_weights) / 2)
    generated = generated * root
    return generated @ generated.T


class EarlyLimits(NamedTuple):
    """What is left at t << sigma^2/lambda as alpha -> infinity.

    Attributes:
        kl: alpha^2 KL(p_t || p_0), in nats.
        chi2: alpha^2 chi^2(p_t || p_0).
        w2: alpha W2(p_t, p_0), in the unit of the parameters.
    """

    kl: float
    chi2: float
    w2: float


def early_limits(
    outputs: Float[np.ndarray, " _"],
    tangent: Float[np.ndarray, "n _"],
    generator: Float[np.ndarray, "n n"],
) -> EarlyLimits:
    """The limits by the outputs alone, before the noise is felt.

    With c = H^-1 f: KL is c^T K_A c/2, chi^2 twice that and W2 sqrt(f^T c).

    Args:
        outputs: f_t at the training points, from f = 0; the labels once fitted.
        tangent: H there, as in `prior_kernels`.
        generator: K_A there, likewise.

    Raises:
        ValueError: If H is singular, or the outputs are not n finite numbers.

    Cost: O(n^3).
    """
    c = _solve(tangent, "tangent", outputs, "outputs")
    if np.shape(generator) != np.shape(tangent):
        raise ValueError(
            f"generator must have the shape of tangent, {np.shape(tangent)}, got "
            f"{np.shape(generator)}."
        )
    kl = float(c @ generator @ c) / 2
    return EarlyLimits(kl, 2 * kl, math.sqrt(outputs @ c))


def stationary_kl(
    labels: Float[np.ndarray, " _"], output: Float[np.ndarray, "n _"]
) -> float:
    """alpha^2 KL(p_t || p_0) at t >> sigma^2/lambda: y^T K_u^-1 y/2, in nats.

    Args:
        labels: y at the training points, which squared loss fits as alpha -> infinity.
        output: K_u there, as in `prior_kernels`.

    Raises:
        ValueError: If K_u is singular, or the labels are not n finite numbers.
    """
    return float(labels @ _solve(output, "output", labels, "labels")) / 2


def risk_plateau(
    labels: Float[np.ndarray, " _"],
    output: Float[np.ndarray, "n _"],
    *,
    alpha: float,
    temperature: float,
    width: int | None = None,
) -> float:
    """The squared loss at t >> sigma^2/lambda to leading order in 1/alpha.

    n lambda^2 |K_u^-1 y|^2/(4 alpha^4); m neurons add lambda n/2m, the equipartition of
    n stiff modes.

    Args:
        labels: y at the training points.
        output: K_u there, as in `prior_kernels`.
        alpha: Scale alpha of the network.
        temperature: lambda.
        width: Number of neurons m; infinite unless given.

    Raises:
        ValueError: If K_u is singular, the labels are not n finite numbers, or alpha or
            the width is not positive.
    """
    check_positive("alpha", alpha)
    if width is not None:
        check_positive("width", width)
    n, c = len(labels), _solve(output, "output", labels, "labels")
    mean = n * temperature**2 * float(c @ c) / (4 * alpha**4)
    return mean if width is None else mean + temperature * n / (2 * width)


def _solve(kernel: np.ndarray, name: str, values: np.ndarray, what: str) -> np.ndarray:
    lower = require_positive(kernel, name)
    return cho_solve((lower, True), check_vector(values, len(lower), what))
