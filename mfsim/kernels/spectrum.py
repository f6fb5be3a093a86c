"""Eigenvalues of a tangent kernel on n points: conditioning, labels, singular Grams."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Real
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from mfsim.kernels.gram import (
    EPS,
    SLACK,
    check_gram,
    check_nonzero,
    check_vector,
    cholesky,
    shifted_cholesky,
)

DENSE_LIMIT = 8000
"""Most points whose extreme eigenvalues are found densely; above, by Lanczos."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """K = V diag(kappa) V^T, leading eigenvalue first; all of it or its leading part.

    Fields:
        values: kappa, descending, in the unit of the kernel; what rounding made
            negative is 0.
        vectors: V, an eigenvector a column.
    """

    values: Float[np.ndarray, " r"]
    vectors: Float[np.ndarray, "n r"]

    def rank(self, cutoff: float | None = None) -> int:
        """Number of eigenvalues above `cutoff`, n eps unless given, times kappa_max."""
        cutoff = len(self.values) * EPS if cutoff is None else cutoff
        return int(np.count_nonzero(self.values > cutoff * self.values[0]))

    def label_projections(
        self, labels: Real[np.ndarray, " _"]
    ) -> Float[np.ndarray, " r"]:
        """Share (v_k.y)^2/|y|^2 of the labels on each eigenvector, leading first."""
        labels = check_vector(labels, len(self.vectors), "labels")
        check_nonzero(labels, "labels")
        return np.square(self.vectors.T @ labels) / (labels @ labels)


class ExtremeEigenvalues(NamedTuple):
    """The ends of a spectrum, in the unit of the kernel.

    Fields:
        lambda_min, lambda_max: The least and the largest eigenvalue.
        error: Estimate of the error of both: n eps lambda_max for the rounding of the
            entries and of the solver (by Weyl's inequality, if each entry is off by eps
            lambda_max), and with Lanczos the residual |K v - lambda v| as well.
    """

    lambda_min: float
    lambda_max: float
    error: float

    @property
    def condition_number(self) -> float:
        """lambda_max/lambda_min; infinite where lambda_min is 0 within its error."""
        singular = self.lambda_min <= self.error
        return math.inf if singular else self.lambda_max / self.lambda_min


def decompose(kernel: Float[np.ndarray, "n _"]) -> Spectrum:
    """The eigendecomposition of a Gram matrix.

    Raises:
        ValueError: If the kernel is not square, finite, symmetric and, up to rounding,
            positive semi-definite.

    Cost: about 9 n^3 operations; three n x n arrays.
    """
    kernel = check_gram(kernel)
    # Divide and conquer: as fast as the relatively robust 'evr' and more orthogonal.
    values, vectors = scipy.linalg.eigh(kernel, driver="evd", check_finite=False)
    _check_semidefinite(values, "kernel")
    leading_first = np.asfortranarray(vectors[:, ::-1])
    return Spectrum(np.maximum(values[::-1], 0.0), leading_first)


def leading_spectrum(kernel: Float[np.ndarray, "n _"], num: int) -> Spectrum:
    """The leading `num` eigenvalues and eigenvectors, by Lanczos' method if few.

    Raises:
        ValueError: As `decompose`; Lanczos does not see a negative eigenvalue.

    Cost: some tens of products of the matrix with a vector an eigenvalue.
    """
    kernel = check_gram(kernel)
    check_nonzero(kernel, "kernel")
    if not 1 <= num <= len(kernel):
        raise ValueError(
            f"num must be between 1 and the {len(kernel)} points, got {num}."
        )
    if num > len(kernel) // 8:
        whole = decompose(kernel)
        return Spectrum(whole.values[:num], whole.vectors[:, :num])
    values, vectors = _lanczos(kernel, k=num, which="LA")
    return Spectrum(np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def extreme_eigenvalues(kernel: Float[np.ndarray, "n _"]) -> ExtremeEigenvalues:
    """The least and the largest eigenvalue of a Gram matrix, with their error.

    Up to `DENSE_LIMIT` points all eigenvalues are computed. Above, Lanczos' method
    finds the two, the least by shift and invert; a residual then says that there is an
    eigenvalue so close, and that it is the least rests on a start without symmetry.

    Raises:
        ValueError: As `decompose`.

    Cost: 4 n^3/3 operations; above the limit n^3/3 and one more n x n array.
    """
    return _extremes(check_gram(kernel), "kernel")


def effective_rank(kernel: Float[np.ndarray, "n _"]) -> float:
    """(tr K)^2/|K|_F^2, between 1 and n; ValueError for a kernel of 0."""
    kernel = check_gram(kernel)
    check_nonzero(kernel, "kernel")
    kernel = kernel / np.abs(kernel).max()
    return float((np.trace(kernel) / np.linalg.norm(kernel)) ** 2)


def alignment(
    kernel: Float[np.ndarray, "n _"], labels: Real[np.ndarray, " _"]
) -> float:
    """y^T K y/(|y|^2 |K|_F), between 0 and 1; ValueError if either is all 0."""
    kernel = check_gram(kernel)
    labels = check_vector(labels, len(kernel), "labels")
    check_nonzero(kernel, "kernel")
    check_nonzero(labels, "labels")
    kernel, labels = (a / np.abs(a).max() for a in (kernel, labels))
    return float(labels @ kernel @ labels / (labels @ labels) / np.linalg.norm(kernel))


def require_positive(
    kernel: Float[np.ndarray, "n _"], what: str = "kernel"
) -> Float[np.ndarray, "n n"]:
    """The lower Cholesky factor of a positive definite Gram matrix.

    Args:
        kernel: K; nothing is added to its diagonal.
        what: Its name, with which an error starts.

    Raises:
        ValueError: If lambda_min <= n eps lambda_max, with the points that make it so:
            one of K_ii = 0, a pair with K_ij = +-sqrt(K_ii K_jj) to rounding, or those
            with the largest weight in the null vector. Else as `decompose`.

    Cost: n^3/3 operations; more where the kernel is close to singular.
    """
    kernel = check_gram(kernel, what)
    factor = cholesky(kernel)
    if factor is not None:
        lapack: Any = scipy.linalg.lapack
        reciprocal, _ = lapack.dpocon(factor, np.linalg.norm(kernel, 1), uplo="L")
        # In the 1-norm, so at most lambda_min/lambda_max: enough, but not needed.
        if reciprocal > len(kernel) * EPS:
            return factor
    ends = _extremes(kernel, what)
    if factor is not None and ends.lambda_min > ends.error:
        return factor
    raise ValueError(
        f"{what} must be positive definite, got {_blame(kernel, ends, what)}."
    )


def _check_semidefinite(values: np.ndarray, what: str) -> None:
    """Of ascending eigenvalues: ValueError if the first is below -100 n eps |K|."""
    size = np.abs(values).max()
    if values[0] < -SLACK * len(values) * EPS * size:
        raise ValueError(
            f"{what} must be positive semi-definite, got lambda_min = {values[0]:.3g} "
            f"at |K| = {size:.3g}; give the Gram matrix of one set of points."
        )


def _extremes(kernel: np.ndarray, what: str) -> ExtremeEigenvalues:
    n = len(kernel)
    if n <= DENSE_LIMIT:
        values = scipy.linalg.eigvalsh(kernel, check_finite=False)
        _check_semidefinite(values, what)
        least, largest, residual = values[0], values[-1], 0.0
    else:
        largest, residual_above = _rayleigh(kernel, _leading_vector(kernel))
        lowest = _lowest_vector(kernel, abs(largest), what)
        least, residual_below = _rayleigh(kernel, lowest)
        residual = max(residual_above, residual_below)
    error = residual + n * EPS * largest
    return ExtremeEigenvalues(float(least), float(largest), float(error))


def _lowest_vector(kernel: np.ndarray, largest: float, what: str) -> np.ndarray:
    """Unit eigenvector of lambda_min, from the largest eigenvalue of (K + s I)^{-1}."""
    n = len(kernel)
    pair = shifted_cholesky(kernel, largest, what), True

    def solve(v: np.ndarray) -> np.ndarray:
        return scipy.linalg.cho_solve(pair, v, check_finite=False)

    # The shift lets a singular kernel through, whose null vector is then found.
    inverse: Any = LinearOperator
    return _leading_vector(inverse((n, n), matvec=solve, dtype=np.float64))


def _leading_vector(matrix: Any) -> np.ndarray:
    """Unit eigenvector of the largest |eigenvalue|."""
    return _lanczos(matrix, k=1)[1][:, 0]


def _lanczos(matrix: Any, **options: Any) -> Any:
    # A fixed start, so that results repeat, and a generic one, to miss no eigenvector.
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    try:
        return eigsh(matrix, v0=start, **options)
    except ArpackError as error:
        message = " ".join(str(error).split())
        raise ValueError(
            f"kernel must let Lanczos' method converge, got: {message}"
        ) from error


def _rayleigh(kernel: np.ndarray, vector: np.ndarray) -> tuple[float, float]:
    """The Rayleigh quotient of a unit vector and the norm of its residual."""
    product = kernel @ vector
    value = float(vector @ product)
    return value, float(np.linalg.norm(product - value * vector))


def _blame(kernel: np.ndarray, ends: ExtremeEigenvalues, what: str) -> str:
    """Which points make a Gram matrix singular."""
    diagonal = np.diagonal(kernel)
    i = diagonal.argmin()
    if diagonal[i] <= ends.error:
        return (
            f"{diagonal[i]:.3g} at ({i}, {i}), which is 0 to rounding; leave out point "
            f"{i}, whose input is 0, or add a bias input"
        )
    lengths = np.sqrt(diagonal)
    cosines = kernel / lengths[:, None] / lengths
    np.fill_diagonal(cosines, 0.0)
    i, j = np.unravel_index(np.abs(cosines).argmax(), cosines.shape)
    # Interlacing: lambda_min of the kernel is at most that of the pair.
    pair = kernel[np.ix_((i, j), (i, j))]
    if np.linalg.eigvalsh(pair)[0] <= ends.error:
        same = cosines[i, j] > 0
        return (
            f"points {i} and {j} {'alike' if same else 'opposite'}, K_ij = "
            f"{'' if same else '-'}sqrt(K_ii K_jj) to rounding; leave out one of them"
        )
    vector = _lowest_vector(kernel, ends.lambda_max, what)
    points = ", ".join(str(i) for i in np.argsort(-np.abs(vector))[:5])
    return (
        f"lambda_min = {ends.lambda_min:.3g}, 0 within {ends.error:.3g}, though no two "
        f"points are alike; its eigenvector lies on points {points} most: leave out "
        "one of them or widen the network"
    )
