"""How well a kernel separates labels: its hard margin, and the labels' complexity.

The hard-margin support vector machine without bias is the z of least norm z^T K^-1 z
with y_i z_i >= 1. Its dual, min over beta >= 0 of beta^T Q beta/2 - sum beta with
Q = yy^T o K = C C^T, is the nonnegative least squares |C^T beta - C^-1 1|^2.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import nnls

from mfsim.datasets.draws import stream
from mfsim.kernels.gram import check_vector
from mfsim.kernels.spectrum import require_positive


@dataclass(frozen=True, eq=False)
class HardMargin:
    """The hard-margin support vector machine of a kernel and labels.

    Fields:
        coefficients: beta >= 0, positive at the support vectors alone.
        outputs: z = y o Q beta, its values at the points; y_i z_i >= 1.
    """

    coefficients: Float[np.ndarray, " n"]
    outputs: Float[np.ndarray, " n"]

    @property
    def margin(self) -> float:
        """The largest min_i y_i f(x_i) over f of unit norm: (sum beta)^(-1/2)."""
        return float(self.coefficients.sum() ** -0.5)

    @property
    def classifiability(self) -> float:
        """The least sqrt(z^T K^-1 z/n) over z with y_i z_i >= 1: sqrt(sum beta/n)."""
        return float(self.coefficients.mean() ** 0.5)


def hard_margin(
    kernel: Float[np.ndarray, "n _"], labels: Real[np.ndarray, " _"]
) -> HardMargin:
    """The hard-margin support vector machine without bias.

    A finite method: y_i z_i >= 1 holds to rounding times the condition number of K.

    Args:
        kernel: Symmetric and positive definite, one row a point.
        labels: -1 or 1, one a point.

    Raises:
        ValueError: If a label is neither, their number is not that of the points, or
            the kernel is not a positive definite Gram matrix, with the points that make
            it singular.

    Cost: O(n^3), and O(n^2) a support vector; a second at n = 1000.
    Source: Cao, Gu 2019, Corollary 3.10; Chen et al. 2021, Definition 4.3.
    """
    lower, labels = _factor(kernel, labels)
    others = labels[np.abs(labels) != 1]
    if others.size:
        raise ValueError(
            f"labels must be -1 or 1 for a margin, got {others[0]:g}; relabel, or take "
            "label_complexity."
        )
    # C = diag(y) L is lower triangular as L is, so that C^-1 1 = L^-1 y.
    target = solve_triangular(lower, labels, lower=True)
    beta, _ = nnls(lower.T * labels[None, :], target, maxiter=30 * len(labels))
    return HardMargin(beta, lower @ (lower.T @ (labels * beta)))


def classifiability(
    kernel: Float[np.ndarray, "n _"], labels: Real[np.ndarray, " _"]
) -> float:
    """The infimum of sqrt(z^T K^-1 z/n) over z with y_i z_i >= 1.

    It is the least `label_complexity` of any values beyond these labels. Arguments,
    errors and cost are those of `hard_margin`.

    Source: Cao, Gu 2019, Corollary 3.10.
    """
    return hard_margin(kernel, labels).classifiability


def kernel_margin(
    kernel: Float[np.ndarray, "n _"], labels: Real[np.ndarray, " _"]
) -> float:
    """The largest min_i y_i f(x_i) over f of unit norm in the kernel's space.

    It is 1/(sqrt(n) classifiability). Arguments, errors and cost are those of
    `hard_margin`.

    Source: Chen et al. 2021, Definition 4.3, where the kernel is that of the start.
    """
    return hard_margin(kernel, labels).margin


def label_complexity(
    kernel: Float[np.ndarray, "n _"], labels: Real[np.ndarray, " _"]
) -> float:
    """sqrt(y^T K^-1 y/n) for labels of any value.

    Raises:
        ValueError: If the labels are not n finite numbers, or the kernel is not a
            positive definite Gram matrix, with the points that make it singular.

    Cost: O(n^3).
    Source: Cao, Gu 2019, Corollary 3.10.
    """
    lower, labels = _factor(kernel, labels)
    return math.sqrt(labels @ cho_solve((lower, True), labels) / len(labels))


@dataclass(frozen=True)
class RandomLabelScores:
    """What a kernel makes of labels by fair coins: means and their standard errors.

    Fields:
        classifiability, classifiability_se: Of `classifiability`.
        label_complexity, label_complexity_se: Of `label_complexity`; its square has
            the mean tr K^-1/n.
        labellings: Their number.
    """

    classifiability: float
    classifiability_se: float
    label_complexity: float
    label_complexity_se: float
    labellings: int


def random_label_scores(
    kernel: Float[np.ndarray, "n _"], *, labellings: int = 10, seed: int = 0
) -> RandomLabelScores:
    """The scores of random labels, beside which those of the true ones are to be read.

    Args:
        kernel: Symmetric and positive definite, one row a point.
        labellings: Number of labellings, at least 2.
        seed: Of the coins; the first labellings are the same for every number.

    Raises:
        ValueError: If there are fewer than two labellings or the kernel is not a
            positive definite Gram matrix, with the points that make it singular.

    Cost: that of `hard_margin` a labelling.
    Source: Cao, Gu 2019, after Corollary 3.10.
    """
    if labellings < 2:
        raise ValueError(
            f"labellings must be at least 2, got {labellings}; one has no error."
        )
    coins = stream(seed, "random labellings")
    all_labels = [coins.choice([-1.0, 1.0], len(kernel)) for _ in range(labellings)]
    scores = np.array(
        [
            (classifiability(kernel, labels), label_complexity(kernel, labels))
            for labels in all_labels
        ]
    )
    means = scores.mean(0)
    errors = scores.std(0, ddof=1) / math.sqrt(labellings)
    columns = zip(means.tolist(), errors.tolist(), strict=True)
    (least, least_se), (whole, whole_se) = columns
    return RandomLabelScores(least, least_se, whole, whole_se, labellings)


def _factor(kernel: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower Cholesky factor of the kernel, and the labels in float64."""
    lower = require_positive(kernel)
    return lower, check_vector(labels, len(lower), "labels")
