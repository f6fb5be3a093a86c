"""Is it the Gram matrix of some points, up to rounding?"""

import numpy as np
import scipy.linalg
from jaxtyping import Float, Real

EPS = float(np.finfo(np.float64).eps)

SLACK = 100
"""Times n eps: entries that sum over many neurons round by more than eps each."""


def check_gram(
    kernel: Float[np.ndarray, "n _"], what: str = "kernel"
) -> Float[np.ndarray, "n n"]:
    """The kernel in float64, or ValueError unless square, finite and symmetric."""
    kernel = np.asarray(kernel, dtype=np.float64)
    if kernel.ndim != 2 or len(set(kernel.shape)) > 1 or not kernel.size:
        raise ValueError(
            f"{what} must be a square matrix, got shape {kernel.shape}; give the "
            "kernel of the training points with themselves."
        )
    if not np.isfinite(kernel).all():
        i, j = np.argwhere(~np.isfinite(kernel))[0]
        raise ValueError(f"{what} must be finite, got {kernel[i, j]} at ({i}, {j}).")
    gap = np.abs(kernel - kernel.T)
    if gap.max() > SLACK * len(kernel) * EPS * np.abs(kernel).max():
        i, j = np.unravel_index(gap.argmax(), gap.shape)
        raise ValueError(
            f"{what} must be symmetric, got {kernel[i, j]:.6g} at ({i}, {j}) and "
            f"{kernel[j, i]:.6g} at ({j}, {i}); give it in float64, or (K + K.T)/2."
        )
    return kernel


def check_vector(
    values: Real[np.ndarray, " _"], n: int, what: str
) -> Float[np.ndarray, " n"]:
    """The numbers in float64, or ValueError unless they are n and finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(
            f"{what} must be {n} numbers, one a point, got shape {values.shape}."
        )
    if not np.isfinite(values).all():
        i = np.flatnonzero(~np.isfinite(values))[0]
        raise ValueError(f"{what} must be finite, got {values[i]} for point {i}.")
    return values


def shifted_cholesky(
    kernel: Float[np.ndarray, "n n"], size: float, what: str = "kernel"
) -> Float[np.ndarray, "n n"]:
    """Lower Cholesky factor of K + s I, s = 100 n eps `size`, with `size` some |K| > 0.

    Raises:
        ValueError: If it has none, so that K is not semi-definite up to rounding.
    """
    shift = SLACK * len(kernel) * EPS * size
    factor = cholesky(kernel + shift * np.eye(len(kernel)))
    if factor is None:
        raise ValueError(
            f"{what} must be positive semi-definite, got an eigenvalue below "
            f"{-shift:.3g}; give the Gram matrix of one set of points."
        )
    return factor


def check_nonzero(array: np.ndarray, what: str) -> None:
    """Raise ValueError if all numbers are 0."""
    if not array.any():
        raise ValueError(f"{what} must not all be 0, got zeros only.")


def cholesky(kernel: np.ndarray) -> np.ndarray | None:
    """The lower Cholesky factor, or None where rounding lets it have none."""
    try:
        return scipy.linalg.cholesky(kernel, lower=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        return None
