"""What is said of a recorded series: its unit, symbol, meaning and axes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One recorded quantity.

    Attributes:
        unit: Its unit; "1" where it has none.
        symbol: Its symbol in the papers.
        description: One sentence that a reader of the file alone understands.
        dims: Names of the axes after the row axis.
        shape: Their lengths.
        dtype: NumPy name of its type.
    """

    unit: str
    symbol: str
    description: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float64"
