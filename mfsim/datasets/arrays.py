"""The arrays that a dataset loads, and what must hold of them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mfsim.errors import ConfigError

_SHAPES = {"x": "(n, d), one input a row", "y": "(n,), one label a row"}
_NDIM = {"x": 2, "y": 1}


class Data(NamedTuple):
    """Inputs, one a row, and scalar labels; a test set may have no rows.

    As loaded they are NumPy arrays in float64; a run makes JAX arrays of them.
    """

    x_train: Float[Any, "n d"]
    y_train: Float[Any, " n"]
    x_test: Float[Any, "k d"]
    y_test: Float[Any, " k"]


def check(data: Data) -> Data:
    """The same data as contiguous float64, once shapes and numbers are sound.

    Raises:
        ConfigError: If an array is not numeric, not finite, empty or of a wrong shape;
            the message begins with its name.
    """
    data = Data(*(_numbers(name, a) for name, a in data._asdict().items()))
    shape, dim = data.x_train.shape, data.x_test.shape[1]
    if 0 in shape:
        raise ConfigError(f"x_train must have a row and a column, got shape {shape}.")
    if dim != shape[1]:
        raise ConfigError(
            f"x_test must have {shape[1]} columns as x_train has, got {dim}."
        )
    _check_labels("train", data.x_train, data.y_train)
    _check_labels("test", data.x_test, data.y_test)
    return data


def _check_labels(part: str, x: np.ndarray, y: np.ndarray) -> None:
    if len(y) != len(x):
        raise ConfigError(
            f"y_{part} must have {len(x)} labels, one for each row of x_{part}, "
            f"got {len(y)}."
        )


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"{name} must hold real numbers, got dtype {array.dtype}; convert it first."
        )
    if array.ndim != _NDIM[name[0]]:
        wanted = _SHAPES[name[0]]
        raise ConfigError(f"{name} must have shape {wanted}, got {array.shape}.")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if wrong.size:
        value = array[tuple(wrong[0])]
        raise ConfigError(
            f"{name} must be finite, got {value:g} in row {wrong[0][0]} (from 0); "
            "remove or fill it."
        )
    return array
