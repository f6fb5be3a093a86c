"""What goes by a power of the width when training is lazy, and that power."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.studies.statistics import Estimate, level_crossing, log_log_slope

Values = Float[np.ndarray, "widths seeds"]

NUM_RESAMPLES = 500
"""Of the bootstrap."""


@dataclass(frozen=True, eq=False)
class Part:
    """The descents of one depth.

    Attributes:
        depth: L.
        runs: Their series over width, exponent and seed.
        dim: Dimension d of the inputs.
        setting: n, d, horizon and seeds, in words.
    """

    depth: int
    runs: xarray.Dataset
    dim: int
    setting: str

    @property
    def widths(self) -> Float[np.ndarray, " widths"]:
        """In rising order."""
        return self.runs.width.values.astype(float)

    @property
    def exponents(self) -> list[float]:
        """a, in rising order."""
        return self.runs.exponent.values.tolist()

    def values(self, quantity: "Quantity", exponent: float) -> Values:
        """The largest over time."""
        found = quantity.read(self).sel(exponent=exponent).max("save")
        return found.transpose("width", "seed").values

    def power(self, quantity: "Quantity", exponent: float) -> Estimate:
        """The power of m.

        Raises:
            TooFew: If there are fewer than three widths.
        """
        values = self.values(quantity, exponent)
        return log_log_slope(self.widths, values, num_resamples=NUM_RESAMPLES)

    def follows_from(self, exponent: float, level: float) -> Estimate:
        """The width beyond which the test twin gap is below a level.

        Raises:
            TooFew: If it is nowhere, or everywhere.
        """
        values = self.values(TEST_TWIN, exponent)
        return level_crossing(self.widths, values, level, num_resamples=NUM_RESAMPLES)


class Quantity(NamedTuple):
    """What is a power -(c a + b) of the width when training is lazy.

    Attributes:
        short: In few words.
        label: In words, with its symbol.
        unit: Of its values.
        read: Takes its values from the runs of a part.
        per_exponent: c.
        besides: b.
        published: What is said of it at a = 1/2, and where.
    """

    short: str
    label: str
    unit: str
    read: Callable[[Part], xarray.DataArray]
    per_exponent: float
    besides: float
    published: str

    def power(self, exponent: float) -> float:
        """The power of m at a scale exponent a."""
        return -(self.per_exponent * exponent + self.besides)

    def of(self, parts: Sequence[Part]) -> list[Part]:
        """Those that have it: with two layers there is none between."""
        return [part for part in parts if self is not INNER or part.depth > 2]


def relative_change(part: Part) -> xarray.DataArray:
    """|W_l - W_l(0)|_F over the root mean square of |W_l(0)|_F, by layer."""
    distance = part.runs.layer_distance
    width = np.asarray(part.runs.width, dtype=float)
    inner = [np.sqrt(2 * width)] * (part.depth - 2)
    first, last = np.full_like(width, np.sqrt(2.0 * part.dim)), np.ones_like(width)
    norms = np.stack([first, *inner, last], axis=1)
    return distance / xarray.DataArray(norms, dims=("width", "layer"))


def _largest_change(part: Part) -> xarray.DataArray:
    return relative_change(part).max("layer")


def _inner_change(part: Part) -> xarray.DataArray:
    return relative_change(part).isel(layer=slice(1, -1)).max("layer")


def _root(series: str) -> Callable[[Part], xarray.DataArray]:
    return lambda part: part.runs[series] ** 0.5


def _itself(series: str) -> Callable[[Part], xarray.DataArray]:
    return lambda part: part.runs[series]


WEIGHTS = Quantity(
    "change of the weights",
    "relative change of the weights, largest of the layers",
    "1",
    _largest_change,
    1.0,
    0.0,
    "at a = 1/2 −1/2 of the first and the last layer is published (LEE fig. 1)",
)
INNER = Quantity(
    "change of inner weights",
    "relative change of the weights of inner layers",
    "1",
    _inner_change,
    1.0,
    0.5,
    "at a = 1/2 −1 is published (LEE fig. 1)",
)
KERNEL = Quantity(
    "change of the kernel",
    "relative change of the kernel, |Θ_t − Θ_0|_F/|Θ_0|_F",
    "1",
    _itself("kernel_drift_relative"),
    2.0,
    0.0,
    "at a = 1/2 −1/2 is proved and closer to −1 published (LEE fig. 1)",
)
TWIN = Quantity(
    "training twin gap",
    "distance of training outputs from the twin's, root mean square",
    "output",
    _root("twin_gap"),
    2.0,
    0.0,
    "at a = 1/2 −1/2 is proved (LEE theorem 2.1); mean squares have twice the power",
)
TEST_TWIN = TWIN._replace(
    short="test twin gap",
    label="distance of test outputs from the twin's, root mean square",
    read=_root("test_twin_gap"),
)
RECURSION = Quantity(
    "residual recursion",
    "error of the residual recursion, summed over steps",
    "output",
    _itself("residual_recursion_sum"),
    2.0,
    0.0,
    "of second order in the step",
)
QUANTITIES = WEIGHTS, INNER, KERNEL, TWIN, TEST_TWIN, RECURSION
