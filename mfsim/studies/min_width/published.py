"""The smallest widths that were published, read off the figure."""

import numpy as np
from jaxtyping import Float

_SIZES: tuple[int, ...] = (100, 200, 400, 1000, 2000, 4000, 10000)
_WIDTHS = {
    "cat/dog": (6.2, 9.2, 12.1, 14.6, 18.0, 22.0, 31.0),
    "cat/ship": (5.9, 7.1, 10.1, 13.3, 14.3, 17.0, 20.7),
}


def published_widths(
    dataset: str, pair: str, sizes: tuple[int, ...]
) -> Float[np.ndarray, " sizes"]:
    """The smallest width of 5 layers at each n; NaN where none was published.

    Args:
        dataset: Kind of the images.
        pair: The two classes.
        sizes: Numbers n of training images.

    Source: Chen, Cao, Zou, Gu 2021 (arXiv 1911.12360), Figure 1.
    """
    widths = _WIDTHS.get(pair, ()) if dataset == "cifar10" else ()
    known: dict[int, float] = dict(zip(_SIZES, widths, strict=False))
    return np.array([known.get(size, np.nan) for size in sizes])
