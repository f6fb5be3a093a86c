"""What the tangent kernel on the training points does."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mfsim.component import count
from mfsim.datasets import Data
from mfsim.flows import State
from mfsim.kernels import spectrum, tangent_kernel
from mfsim.observables.base import AbstractObservable, Look
from mfsim.series import Series


def kernel_now(look: Look, points: int) -> Float[Array, "n n"]:
    """The tangent kernel on the first training points."""
    kernel = look.once(_kernel_now, _most_points(look, points))
    return kernel[:points, :points]


def kernel_before(look: Look, points: int) -> Float[Array, "n n"]:
    """That of the shadow, whose law is p_0 for ever; without one, of the start."""
    shadow = look.state.shadow
    free = look.state._replace(params=shadow)
    before = look.initial if shadow is None else free
    return _kernel(look, before, points)


def _most_points(look: Look, points: int) -> int:
    """The most that any listed observable asks for: others take a corner of that."""
    kinds = KernelDrift, KernelAlignment, KernelSpectrum
    asked = [each.max_points for each in look.observables if isinstance(each, kinds)]
    return max([points, *asked])


def _kernel_now(look: Look, points: int) -> Float[Array, "n n"]:
    return _kernel(look, look.state, points)


def _kernel(look: Look, state: State, points: int) -> Float[Array, "n n"]:
    x = look.data.x_train[:points]
    params, masses = look.flow.law(state)
    kernel: Any = tangent_kernel(look.flow.network, params, x, weights=masses)
    return kernel


_NO_LABELS = "all labels are 0"


def gram_bytes(data: Data, points: int) -> int:
    """Bytes of a kernel on the first training points."""
    return 8 * min(points, len(data.y_train)) ** 2


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
                "output^2/parameter^2",
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
        start = kernel_before(look, self.max_points)
        change = kernel_now(look, self.max_points) - start
        relative = jnp.linalg.norm(change) / jnp.linalg.norm(start)
        return {
            "kernel_drift": jnp.abs(change).max(),
            "kernel_drift_relative": relative,
        }

    def plan(self, flow, data):
        return 4 * gram_bytes(data, self.max_points)


class KernelAlignment(AbstractObservable):
    """Alignment y^T H y/(|y|^2 |H|_F) of the kernel with the labels: kernel_alignment.

    Fields:
        max_points: Kernels are taken on the first so many training points.
    """

    max_points: int = count(2000)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        text = f"Alignment of the tangent kernel with the labels on {points} points."
        if not data.y_train[:points].any():
            return {"kernel_alignment": _NO_LABELS}
        return {"kernel_alignment": Series("1", "A(H, y)", text)}

    def measure(self, look):
        kernel = kernel_now(look, self.max_points)
        y = look.data.y_train[: self.max_points].astype(jnp.float64)
        size = jnp.sum(jnp.square(y)) * jnp.linalg.norm(kernel)
        return {"kernel_alignment": y @ kernel @ y / size}

    def plan(self, flow, data):
        return 3 * gram_bytes(data, self.max_points)


class KernelSpectrum(AbstractObservable):
    """Eigenvalues of the kernel, and the labels on its eigenvectors.

    kernel_lambda_min with kernel_lambda_min_error, kernel_lambda_max,
    kernel_condition_number (infinite where lambda_min is 0 within its error),
    kernel_effective_rank (tr H)^2/|H|_F^2; kernel_eigenvalues, the leading ones, and
    kernel_label_projections, the share of |y|^2 on their eigenvectors.

    Fields:
        max_points: Kernels are taken on the first so many training points.
        num_leading: How many eigenvalues and projections are kept.

    Cost: 4 n^3/3 operations a save, on the host.
    """

    max_points: int = count(1000)
    num_leading: int = count(10)

    def declare(self, flow, integrator, data):
        points = min(self.max_points, len(data.y_train))
        where = f"of the tangent kernel on {points} training points"
        leading = ("eigenvalue",), (min(self.num_leading, points),)
        unit = "output^2/parameter^2"
        shares: Series | str = Series(
            "1",
            "(v_k.y)^2/|y|^2",
            "Share of the labels on the leading eigenvectors.",
            *leading,
        )
        return {
            "kernel_lambda_min": Series(
                unit, "lambda_min(H)", f"Least eigenvalue {where}."
            ),
            "kernel_lambda_min_error": Series(
                unit,
                "d lambda_min",
                "Estimate of the rounding error of kernel_lambda_min.",
            ),
            "kernel_lambda_max": Series(
                unit, "lambda_max(H)", f"Largest eigenvalue {where}."
            ),
            "kernel_condition_number": Series(
                "1",
                "lambda_max/lambda_min",
                f"Condition number {where}; inf if singular to rounding.",
            ),
            "kernel_effective_rank": Series(
                "1", "(tr H)^2/|H|_F^2", f"Effective rank {where}."
            ),
            "kernel_eigenvalues": Series(
                unit, "lambda_k(H)", f"Leading eigenvalues {where}.", *leading
            ),
            "kernel_label_projections": (
                shares if data.y_train[:points].any() else _NO_LABELS
            ),
        }

    def measure(self, look):
        kernel = kernel_now(look, self.max_points)
        return {"kernel": kernel, "labels": look.data.y_train[: self.max_points]}

    def finish(self, flow, found, reference):
        kernel, labels = (found[k].astype(np.float64) for k in ("kernel", "labels"))
        ends = spectrum.extreme_eigenvalues(kernel)
        num = min(self.num_leading, len(kernel))
        leading = spectrum.leading_spectrum(kernel, num)
        found = {
            "kernel_lambda_min": ends.lambda_min,
            "kernel_lambda_min_error": ends.error,
            "kernel_lambda_max": ends.lambda_max,
            "kernel_condition_number": ends.condition_number,
            "kernel_effective_rank": spectrum.effective_rank(kernel),
            "kernel_eigenvalues": leading.values,
        }
        if labels.any():
            shares = leading.label_projections(labels)
            found["kernel_label_projections"] = shares
        return found

    def complain(self, row):
        least, error = (
            row.get(f"kernel_lambda_min{end}", np.nan) for end in ("", "_error")
        )
        if not least <= error:
            return None
        return (
            "kernel_lambda_min is 0 within its error: some training inputs are alike, "
            "opposite or 0, or the neurons too few to tell them apart; "
            "mfsim.kernels.require_positive names them."
        )

    def plan(self, flow, data):
        return 5 * gram_bytes(data, self.max_points)
