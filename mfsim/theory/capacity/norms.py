"""Norms of weights and inputs as natural logarithms, which no weights overflow."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Real

from mfsim.blocks import block_size

_BLOCK_BYTES = 2**26

_POWERS = 8
"""Of the power method: any direction makes a bound, and a leading one a good bound."""

BATCH = 64
"""Points a batch of the authors' program, over which it takes its largest entries."""


def log(value: Float[np.ndarray, "..."] | float) -> Any:
    """The natural logarithm, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log(value)


def exp(value: float) -> float:
    """The exponential, inf where it overflows."""
    with np.errstate(over="ignore"):
        return float(np.exp(value))


def log_sum(*logs: float | np.ndarray) -> float:
    """Log of a sum, from the logs of its terms; NaN if one is."""
    terms = np.concatenate([np.atleast_1d(a) for a in logs])
    with np.errstate(invalid="ignore"):
        return float(np.logaddexp.reduce(terms))


def size(array: Real[np.ndarray, "..."]) -> float:
    """The largest absolute value, or 1 if that is 0: what to divide by."""
    # Not of |array|, which would be a second array, and of int8 -128 again.
    return max(float(array.max(initial=0)), -float(array.min(initial=0))) or 1.0


def row_sizes(matrix: Float[np.ndarray, "rows cols"]) -> Float[np.ndarray, " rows"]:
    """`size` of each row."""
    largest = _largest(matrix)
    return np.where(largest > 0, largest, 1.0)


def _largest(matrix: np.ndarray) -> np.ndarray:
    """The largest absolute value of each row."""
    return np.maximum(matrix.max(axis=1), -matrix.min(axis=1))


def log_rows(
    matrix: Float[np.ndarray, "rows cols"], order: int = 2
) -> Float[np.ndarray, " rows"]:
    """Logs of the rows' l2 norms, or l1, each with a scale of its own."""
    scale = row_sizes(matrix)
    norms = np.linalg.norm(matrix / scale[:, None], ord=order, axis=1)
    return np.log(scale) + log(norms)


def log_frobenius(matrix: Float[np.ndarray, "rows cols"]) -> float:
    """Log of the root of the sum of squares."""
    scale = size(matrix)
    return float(np.log(scale) + log(float(np.linalg.norm(matrix / scale))))


def log_spectral(matrix: Float[np.ndarray, "rows cols"]) -> float:
    """Log of the largest singular value, by the smaller Gram matrix.

    Cost: rows cols k + 2 k^3 multiplications, k the lesser of rows and cols.
    """
    scale = size(matrix)
    part = matrix / scale
    gram = part.T @ part if part.shape[0] > part.shape[1] else part @ part.T
    last = len(gram) - 1
    (value,) = scipy.linalg.eigvalsh(
        gram, subset_by_index=(last, last), overwrite_a=True, check_finite=False
    )
    return float(np.log(scale) + log(max(float(value), 0.0)) / 2)


class InputNorms(NamedTuple):
    """Logs of norms of the inputs.

    Fields:
        frobenius: |X|_F.
        largest: max_i |x_i|_2.
        entry: max_i |x_i|_inf.
        program_entry: Root of (1/N) sum over batches of the squared largest signed
            entry of each: what the authors' program takes for `entry`.
    """

    frobenius: float
    largest: float
    entry: float
    program_entry: float


def input_norms(x: Real[np.ndarray, "n d"]) -> InputNorms:
    """Norms of all the inputs, of block after block."""
    scale = size(x)
    squares, most = 0.0, 0.0
    for block in blocks(x, x.shape[1]):
        norms = np.square(block / scale).sum(1)
        squares, most = squares + norms.sum(), max(most, norms.max())
    tops = np.maximum.reduceat(
        x.max(1).astype(np.float64) / scale, np.arange(0, len(x), BATCH)
    )
    base = np.log(scale)
    return InputNorms(
        frobenius=float(base + log(squares) / 2),
        largest=float(base + log(most) / 2),
        entry=float(log(size(x)) if x.any() else -np.inf),
        program_entry=float(base + log(np.square(tops).sum() / len(x)) / 2),
    )


class StartNorms(NamedTuple):
    """Logs of norms of each unit at its start, all but the first over the points.

    Fields:
        weights: |u_j^0|_2.
        linear: |u_j^0 X|_2.
        active: |[u_j^0 X]_+|_2.
        biased: |[u_j^0 X + b_j^0]_+|_2; `active` where there are no biases.
        moved: The largest |[u X]_+|_2 of u_j^0 and of u_j^0 +- beta_j m, m a unit
            vector along which the inputs are large.
    """

    weights: Float[np.ndarray, " h"]
    linear: Float[np.ndarray, " h"]
    active: Float[np.ndarray, " h"]
    biased: Float[np.ndarray, " h"]
    moved: Float[np.ndarray, " h"]


def start_norms(
    u0: Float[np.ndarray, "h d"],
    capacity: Float[np.ndarray, " h"],
    x: Real[np.ndarray, "n d"],
    bias: Float[np.ndarray, " h"] | None = None,
) -> StartNorms:
    """Norms of the units' responses about the start, of block after block.

    Every unit has a scale of its own.
    """
    shift = np.zeros(len(u0)) if bias is None else bias
    scale, inputs = row_sizes(np.column_stack([u0, capacity, shift])), size(x)
    weights, reach = (u0 / scale[:, None]).T, capacity / scale
    # Of (x, 1), as a bias is a weight of a constant input.
    wide = max(inputs, 1.0)
    way = leading_input(x, inputs)
    sums = np.zeros((5, len(u0)))
    for block in blocks(x, len(u0)):
        rows = block / inputs
        z = rows @ weights
        step = np.outer(rows @ way, reach)
        sums[0] += np.einsum("ij,ij->j", z, z)
        sums[1] += _active_squares(z)
        sums[2] += _active_squares(z + step)
        sums[3] += _active_squares(z - step)
        if bias is not None:
            sums[4] += _active_squares(z * (inputs / wide) + shift / scale / wide)
    logs = np.log(scale) + log(sums) / 2
    linear, active, *moved = logs[:4] + np.log(inputs)
    return StartNorms(
        weights=log_rows(u0),
        linear=linear,
        active=active,
        biased=active if bias is None else logs[4] + np.log(wide),
        moved=np.maximum.reduce([active, *moved]),
    )


def _active_squares(z: np.ndarray) -> np.ndarray:
    active = np.maximum(z, 0)
    return np.einsum("ij,ij->j", active, active)


def leading_input(x: np.ndarray, scale: float) -> Float[np.ndarray, " d"]:
    """A unit vector m with |X m| near its largest, by the power method."""
    way = x[np.maximum(x.max(axis=1), -x.min(axis=1).astype(float)).argmax()] / scale
    for _ in range(_POWERS):
        way = way / (np.linalg.norm(way) or 1.0)
        parts = (block / scale for block in blocks(x, x.shape[1]))
        way = sum((rows.T @ (rows @ way) for rows in parts), np.zeros(x.shape[1]))
    return way / (np.linalg.norm(way) or 1.0)


def scaled_outputs(
    u: Float[np.ndarray, "h d"],
    v: Float[np.ndarray, "c h"],
    x: Real[np.ndarray, "n d"],
    biases: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, "n c"], float]:
    """V [U x + b]_+ + e divided by a scale, and the log of that scale.

    Every unit has scales of its own; that of f is by the largest of their products.
    """
    b, e = (np.zeros(len(u)), np.zeros(len(v))) if biases is None else biases
    # Of (x, 1) where there are biases, which are weights of a constant input.
    wide = size(x) if biases is None else max(size(x), 1.0)
    joined = np.column_stack([u, b])
    inner, outer = row_sizes(joined), row_sizes(v.T)
    logs = log(_largest(joined)) + log(_largest(v.T)) + np.log(wide)
    most = max(float(logs.max()), float(log(_largest(e[None, :]))[0]))
    most = most if most > -np.inf else 0.0
    weights, shift = (u / inner[:, None]).T, b / inner / wide
    readout = (v / outer * np.exp(logs - most)).T
    rows = [
        np.maximum((block / wide) @ weights + shift, 0) @ readout
        for block in blocks(x, len(u))
    ]
    last = e / size(e) * np.exp(np.log(size(e)) - most) if e.any() else e
    return np.concatenate(rows) + last, most


def blocks(
    x: Real[np.ndarray, "n d"], columns: int
) -> Iterator[Float[np.ndarray, "rows d"]]:
    """Float64 rows of x, so many that a table of them and `columns` stays small."""
    rows = block_size(len(x), 8 * columns, _BLOCK_BYTES)
    for i in range(0, len(x), rows):
        yield np.asarray(x[i : i + rows], np.float64)
