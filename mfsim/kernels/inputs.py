"""What a kernel is asked of: matrices of inputs, masses of neurons."""

from typing import Any

import jax
import jax.core
import numpy as np
from jaxtyping import Array

from mfsim.networks import TwoLayer


def as_points(name: str, points: Any) -> Array | np.ndarray:
    """A matrix of inputs, one a row; ValueError, with its name first, if it is none."""
    if not isinstance(points, jax.Array):
        points = np.asarray(points, np.float64)
    if points.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix of inputs, one a row, and no labels, got shape "
            f"{points.shape}."
        )
    if not isinstance(points, jax.core.Tracer) and not np.isfinite(points).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    return points


def check_dimensions(x: Any, y: Any) -> None:
    """Raise ValueError unless two matrices of inputs have one dimension."""
    if y.shape[1] != x.shape[1]:
        raise ValueError(
            f"y must have the input dimension of x, {x.shape[1]}, got {y.shape[1]}."
        )


def check_weights(network: Any, params: Any, weights: Any) -> None:
    """Raise ValueError unless they are masses of the neurons of a TwoLayer."""
    if not isinstance(network, TwoLayer):
        raise ValueError(
            f"weights must be None for a {type(network).__name__}, got {len(weights)}; "
            "only a TwoLayer has a law of neurons."
        )
    if np.shape(weights) != np.shape(params[1]):
        raise ValueError(
            f"weights must be {len(params[1])} numbers, one a neuron, got shape "
            f"{np.shape(weights)}."
        )
    if not isinstance(weights, jax.core.Tracer) and np.min(weights, initial=0) < 0:
        raise ValueError(f"weights must be at least 0, got {np.min(weights):g}.")


def check_traced(*trees: Any) -> None:
    """Raise ValueError if one of them is traced and float64 is not to be had."""
    leaves = jax.tree.leaves(trees)
    is_traced = any(isinstance(a, jax.core.Tracer) for a in leaves)
    if is_traced and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ValueError(
            "x and params must not be traced without 64-bit JAX, got a tracer; call "
            "the traced function within jax.enable_x64(True)."
        )
