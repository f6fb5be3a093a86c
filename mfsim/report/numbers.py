"""Numbers as a page keeps and shows them."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from mfsim.findings import Cell

Plain = list[float | int | None]


def compact(values: ArrayLike, digits: int = 5) -> Plain:
    """Numbers to some digits for JSON, which has no NaN: null."""
    return [_rounded(value, digits) for value in np.ravel(values).tolist()]


def _rounded(value: float | None, digits: int) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits - 1}e}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def thinned(size: int, at_most: int) -> np.ndarray:
    """Indices of at most so many of a row, evenly spread, both ends among them."""
    places = np.linspace(0, max(size - 1, 0), min(size, at_most))
    return np.unique(places.round().astype(int))


def shown(cell: Cell) -> str:
    """A cell of a table: numbers to four digits, nothing as a dash."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    return cell if isinstance(cell, str) else f"{cell:.4g}".replace("-", "−")


def interval(ends: Iterable[float] | None) -> str:
    """An interval in brackets."""
    return "–" if ends is None else f"[{', '.join(map(shown, ends))}]"
