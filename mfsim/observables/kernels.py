"""What the tangent kernel on the training points does."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from mfsim.component import count
from mfsim.kernels import tangent_kernel
from mfsim.observables.base import AbstractObservable, Look
from mfsim.series import Series


def _kernel(look: Look, params: PyTree, points: int) -> Float[Array, "n n"]:
    network: Any = look.flow.network
    kernel: Any = tangent_kernel(network, params, look.data.x_train[:points])
    return kernel


class KernelDrift(AbstractObservable):
    """Change of H(p_t) since t = 0: kernel_drift (max-norm), kernel_drift_relative.

    Taken against the kernel of the shadow, whose law is p_0 for ever and whose sampling
    error is almost that of the neurons; without one, against that of the start.

    Fields:
        max_points: Kernels are taken on the first so many training points.

    Source: Chen et al. 2020, Theorem 4.7.
    """

    max_points: int = count(2000)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        has_shadow = getattr(flow, "shadow", False)
        what = "that of the shadow" if has_shadow else "that at the start"
        where = f"{what}, on {points} training points"
        return {
            "kernel_drift": Series(
                "output^2",
                "max|H(p_t) - H(p_0)|",
                f"Largest difference of an entry of the tangent kernel from {where}.",
            ),
            "kernel_drift_relative": Series(
                "1",
                "|H(p_t) - H(p_0)|_F/|H(p_0)|_F",
                "Frobenius norm of the difference of the tangent kernel from "
                f"{where}, over the norm of the latter.",
            ),
        }

    def measure(self, look):
        shadow = look.state.shadow
        reference = look.initial.params if shadow is None else shadow
        start = _kernel(look, reference, self.max_points)
        change = _kernel(look, look.state.params, self.max_points) - start
        relative = jnp.linalg.norm(change) / jnp.linalg.norm(start)
        return {
            "kernel_drift": jnp.abs(change).max(),
            "kernel_drift_relative": relative,
        }


class KernelAlignment(AbstractObservable):
    """Alignment y^T H y/(|y|^2 |H|_F) of the kernel with the labels: kernel_alignment.

    Fields:
        max_points: Kernels are taken on the first so many training points.
    """

    max_points: int = count(2000)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        text = f"Alignment of the tangent kernel with the labels on {points} points."
        return {"kernel_alignment": Series("1", "A(H, y)", text)}

    def measure(self, look):
        kernel = _kernel(look, look.state.params, self.max_points)
        y = look.data.y_train[: self.max_points].astype(jnp.float64)
        size = jnp.sum(jnp.square(y)) * jnp.linalg.norm(kernel)
        return {"kernel_alignment": y @ kernel @ y / size}
