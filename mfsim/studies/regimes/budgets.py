"""What labels cost: teachers of one KL, their least KL and chi^2, a kernel's risk."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import null_space
from scipy.optimize import root_scalar
from scipy.special import roots_jacobi

from mfsim.datasets import GaussianTeacher
from mfsim.divergences.nodes import prior_nodes
from mfsim.divergences.partition import project_outputs
from mfsim.kernels import infinite_width_kernel, kernel_gradient_flow
from mfsim.networks import TwoLayer
from mfsim.theory import stationary_kl


class Budget(NamedTuple):
    """What a teacher costs, and what its labels do.

    Attributes:
        shift: rho.
        epsilon: Weight of the shifted part.
        variance: Var y over the sphere.
        kl: KL(p_true | p_0), in nats.
        chi2: chi^2(p_true, p_0).
        points: Training points that the least of both is of.
        least_kl: Of laws with these labels, for each draw, in nats.
        least_chi2: Of signed densities with these labels, for each draw.
    """

    shift: float
    epsilon: float
    variance: float
    kl: float
    chi2: float
    points: int
    least_kl: Float[np.ndarray, " seeds"]
    least_chi2: Float[np.ndarray, " seeds"]

    @property
    def name(self) -> str:
        """What the teacher is called: its chi^2."""
        return f"χ² = 10^{math.log10(self.chi2):.3g}"


_NODES = 200
"""Of the rule for the sphere; erf(z) to rounding up to |mu_w| = 20."""


@functools.lru_cache
def mixture_weight(kl: float, shift: float) -> float:
    """The epsilon at which a teacher of a shift has KL(p_true | p_0) = `kl`.

    Args:
        kl: In nats, below shift^2/2.
        shift: rho, in standard deviations.

    Raises:
        ValueError: If the teacher has less even at epsilon = 1.
    """

    def excess(epsilon: float) -> float:
        return shifted_teacher(shift, epsilon, dim=1).kl() - kl

    return float(root_scalar(excess, bracket=(0.0, 1.0), xtol=1e-14).root)


def shifted_teacher(
    shift: float,
    epsilon: float,
    *,
    dim: int,
    num_train: int = 1,
    num_test: int = 0,
    seed: int = 0,
) -> GaussianTeacher:
    """A teacher whose shift rho is half by mu_w, half by mu_u, at sigma = 1."""
    part = shift / math.sqrt(2)
    return GaussianTeacher(
        dim=dim,
        num_train=num_train,
        num_test=num_test,
        epsilon=epsilon,
        input_shift=part,
        output_shift=part,
        seed=seed,
    )


@functools.lru_cache
def label_variance(teacher: GaussianTeacher) -> float:
    """Var y over the sphere, whose mean is 0: labels see x.mu_w alone, at |x| = 1."""
    axis = teacher.input_mean() / teacher.input_shift
    power = (len(axis) - 3) / 2
    cosines, weights = roots_jacobi(_NODES, power, power)
    across = null_space(axis[None, :])[:, 0]
    x = np.outer(cosines, axis) + np.outer(np.sqrt(1 - cosines**2), across)
    return float(weights @ np.square(teacher.labels(x)) / weights.sum())


def least_chi2(network: TwoLayer, teacher: GaussianTeacher) -> float:
    """The least chi^2 from p_0 of a signed density with these labels at alpha = 1.

    y^T K_u^-1 y at the training points, K_u = sigma_u^2 E_{p_0}[h h^T].
    """
    data = teacher.load()
    output_only = TwoLayer(activation=network.activation, trainable="output")
    kernel = infinite_width_kernel(output_only, data.x_train)
    return 2 * stationary_kl(data.y_train, kernel)


def least_kl(network: TwoLayer, teacher: GaussianTeacher, num_samples: int) -> float:
    """The least KL from p_0 of a law with these labels at alpha = 1, in nats.

    By the information projection at the training points: a confidence limit from below,
    as draws stand for w where d and n are above 3.

    Source: `mfsim.divergences.partition`.
    """
    data = teacher.load()
    x = jnp.asarray(data.x_train)
    nodes, check = (
        prior_nodes(
            network.activation, 1.0, x, key=jax.random.key(k), num_samples=num_samples
        )
        for k in (0, 1)
    )
    return float(_project(jnp.asarray(data.y_train), nodes, check, 1.0).value)


_project = jax.jit(project_outputs)


def kernel_risk(network: TwoLayer, teacher: GaussianTeacher) -> float:
    """Test risk of the tangent kernel H(p_0) at t = infinity, without noise."""
    data = teacher.load()
    kernel = infinite_width_kernel(network, data.x_train)
    cross = infinite_width_kernel(network, data.x_test, data.x_train)
    outputs = kernel_gradient_flow(kernel, data.y_train, 1.0, [math.inf], cross=cross)
    return float(np.mean(np.square(outputs[0] - data.y_test)))
