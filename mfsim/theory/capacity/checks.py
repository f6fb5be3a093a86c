"""Arguments checked: arrays of numbers that have a shape, numbers that have a range."""

import math
import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np

from mfsim.theory.capacity.norms import size

_KINDS = np.bool_, np.integer, np.floating
_LARGEST = 1e300
"""Of an entry, so that no difference or sum of entries overflows."""

_Shape = tuple[int | None, ...]


def check_numbers(name: str, values: Any) -> np.ndarray:
    """The array in its own dtype, or ValueError unless of real numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} must be an array of real numbers, got rows of different lengths; "
            "make them equally long."
        ) from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in _KINDS):
        raise ValueError(
            f"{name} must be an array of real numbers, got dtype {array.dtype}; "
            "convert it to float64."
        )
    return array


def check_array(name: str, values: Any, shape: _Shape, meaning: str) -> np.ndarray:
    """The same, or ValueError unless of this shape and within +-1e300.

    Args:
        name: Begins the message.
        values: What to look at.
        shape: With None for any number but 0.
        meaning: Of the shape, in words.
    """
    array = check_numbers(name, values)
    if not _fits(array.shape, shape):
        expected = ", ".join("any" if a is None else str(a) for a in shape)
        raise ValueError(
            f"{name} must have shape ({expected}), {meaning}, got {array.shape}; "
            f"{_advice(name, array.shape, shape)}."
        )
    if not size(array) <= _LARGEST:
        entries = array.astype(np.float64).ravel()
        worst = entries[~(np.abs(entries) <= _LARGEST)][0]
        raise ValueError(
            f"{name} must be finite and within +-{_LARGEST:g}, got {worst:g}; mend or "
            "rescale it."
        )
    return array


def check_wide(name: str, values: Any, shape: _Shape, meaning: str) -> np.ndarray:
    """The same as `check_array` in float64."""
    return check_array(name, values, shape, meaning).astype(np.float64)


def check_real(name: str, value: Any, legal: str) -> float:
    """A finite number, or ValueError that says which are legal."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        number = float(value) if is_real else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be {legal}, got {value!r}.")
    return number


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise ValueError unless a whole number of at least `least`."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (is_whole and value >= least):
        raise ValueError(
            f"{name} must be a whole number of at least {least}, got {value!r}."
        )


def _fits(found: tuple[int, ...], shape: _Shape) -> bool:
    return len(found) == len(shape) and all(
        a > 0 and b in (None, a) for a, b in zip(found, shape, strict=True)
    )


def _advice(name: str, found: tuple[int, ...], shape: _Shape) -> str:
    ways = {
        "transpose it": found[::-1],
        f"give {name}[None, :] for a single row": (1, *found),
        f"give {name}[:, None] for a single column": (*found, 1),
    }
    if len(found) == 2 and found[1] == 1:
        ways[f"give {name}[:, 0]"] = found[:1]
    for way, result in ways.items():
        if _fits(result, shape):
            return way
    return (
        "give arrays of one network and its points, one unit a row of its input weights"
    )
