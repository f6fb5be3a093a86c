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


def log_rows(
    matrix: Float[np.ndarray, "rows cols"], order: int = 2
) -> Float[np.ndarray, " rows"]:
    """Logs of the rows' l2 norms, or l1."""
    scale = size(matrix)
    return np.log(scale) + log(np.linalg.norm(matrix / scale, ord=order, axis=1))


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
    """Logs of norms over the points of what each unit does about its start.

    Fields:
        linear: |u_j^0 X|_2.
        active: |[u_j^0 X]_+|_2.
        biased: |[u_j^0 X + b_j^0]_+|_2; `active` where there are no biases.
        moved: The largest |[u X]_+|_2 of u_j^0 and of u_j^0 +- beta_j m, m a unit
            vector along which the inputs are large.
    """

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
    """Norms of the units' responses about the start, of block after block."""
    scale, inputs = _scales(np.column_stack([u0, capacity]), x, bias)
    weights, reach = (u0 / scale).T, capacity / scale
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
            sums[4] += _active_squares(z + bias / scale / inputs)
    linear, active, *moved, biased = np.log(scale) + np.log(inputs) + log(sums) / 2
    return StartNorms(
        linear=linear,
        active=active,
        biased=active if bias is None else biased,
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
    """V [U x + b]_+ + e divided by a scale, and the log of that scale."""
    hidden_bias, output_bias = (None, None) if biases is None else biases
    scale, inputs = _scales(u, x, hidden_bias)
    outer = size(v) if output_bias is None else max(size(v), size(output_bias))
    rows, inner = [], (u / scale).T
    for block in blocks(x, len(u)):
        z = (block / inputs) @ inner
        if hidden_bias is not None:
            z += hidden_bias / scale / inputs
        rows.append(np.maximum(z, 0, out=z) @ (v / outer).T)
    outputs = np.concatenate(rows)
    if output_bias is not None:
        outputs += output_bias / outer / scale / inputs
    return outputs, float(np.log(scale) + np.log(inputs) + np.log(outer))


def blocks(
    x: Real[np.ndarray, "n d"], columns: int
) -> Iterator[Float[np.ndarray, "rows d"]]:
    """Float64 rows of x, so many that a table of them and `columns` stays small."""
    rows = block_size(len(x), 8 * columns, _BLOCK_BYTES)
    for i in range(0, len(x), rows):
        yield np.asarray(x[i : i + rows], np.float64)


def _scales(
    u: np.ndarray, x: np.ndarray, bias: np.ndarray | None
) -> tuple[float, float]:
    # With biases no scale is below 1, as they would be divided by it.
    if bias is None:
        return size(u), size(x)
    return max(size(u), size(bias), 1.0), max(size(x), 1.0)
