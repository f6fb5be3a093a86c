"""Errors at the temperatures that other draws chose, and the n that is needed."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    geometric_mean,
    joined,
    level_crossing,
)

TEMPERATURE = "relative_temperature"


@dataclass(frozen=True, eq=False)
class Measured:
    """Errors of all draws; an error is a test risk over Var y.

    An alpha of None stands for the kernel H(p_0) at t = infinity.

    Attributes:
        errors: Of networks, over shift, size, alpha and seed.
        kernel: Of the kernel, over shift, size and seed.
        temperatures: lambda over Var y with the least mean error of all draws, over
            shift, size and alpha.
        level: The error that n is needed for.
    """

    errors: xarray.DataArray
    kernel: xarray.DataArray
    temperatures: xarray.DataArray
    level: float

    @property
    def shifts(self) -> list[float]:
        """In rising order."""
        return self.errors["shift"].values.tolist()

    @property
    def sizes(self) -> list[int]:
        """In rising order."""
        return self.errors["size"].values.tolist()

    @property
    def alphas(self) -> list[float]:
        """1 and sqrt(m)."""
        return self.errors["alpha"].values.tolist()

    def learners(self) -> list[tuple[float | None, str]]:
        """Those that are compared, and what they are called."""
        networks = [(alpha, f"α = {alpha:.3g}") for alpha in self.alphas]
        return [*networks, (None, "kernel H(p_0), t = ∞")]

    def curve(
        self, shift: float, alpha: float | None
    ) -> Float[np.ndarray, "sizes seeds"]:
        """Errors of all draws at each size."""
        errors = self.kernel if alpha is None else self.errors.sel(alpha=alpha)
        return errors.sel(shift=shift).transpose("size", "seed").values

    def means(self, shift: float, alpha: float | None) -> list[Estimate]:
        """Geometric means over the draws, at each size."""
        return self._means[shift, alpha]

    def needed(self, shift: float, alpha: float | None) -> Estimate:
        """The n at which the geometric mean of the draws' errors is `level`.

        Raises:
            TooFew: If it is at no n that was tried, or draws are too few.
        """
        found = self._needs[shift, alpha]
        if isinstance(found, TooFew):
            raise found
        return found

    @functools.cached_property
    def _means(self) -> dict[tuple[float, float | None], list[Estimate]]:
        return {
            place: [geometric_mean(row) for row in self.curve(*place)]
            for place in self._places()
        }

    @functools.cached_property
    def _needs(self) -> dict[tuple[float, float | None], Estimate | TooFew]:
        return {place: self._need(*place) for place in self._places()}

    def _places(self) -> Iterator[tuple[float, float | None]]:
        return itertools.product(self.shifts, (*self.alphas, None))

    def _need(self, shift: float, alpha: float | None) -> Estimate | TooFew:
        sizes = np.array(self.sizes)
        try:
            return level_crossing(sizes, self.curve(shift, alpha), self.level)
        except TooFew as error:
            return error


def chosen(errors: xarray.DataArray) -> xarray.DataArray:
    """The error of every draw at the temperature that the other draws choose.

    They choose the one of the least mean error. So the points that an error is reported
    on have no say in its temperature. NaN where there is no other draw.
    """
    there = errors.notnull()
    known = errors.fillna(0.0)
    votes = there.sum("seed") - there
    others = (known.sum("seed") - known) / votes.where(votes > 0)
    best = others.fillna(np.inf).argmin(TEMPERATURE)
    return errors.isel({TEMPERATURE: best}).where(others.notnull().any(TEMPERATURE))


def best_temperatures(errors: xarray.DataArray) -> xarray.DataArray:
    """The temperature of the least mean error of all draws."""
    best = errors.mean("seed").fillna(np.inf).argmin(TEMPERATURE)
    return errors[TEMPERATURE].isel({TEMPERATURE: best})


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """a/b of two positive estimates, as if they were independent.

    Distances from value to end add up by squares in logarithms.

    Source: Zou, Donner, Statistics in Medicine 27, 2008, sec. 2 (MOVER).
    """
    up, down = np.log(a.high / a.value), np.log(a.value / a.low)
    up_b, down_b = np.log(b.high / b.value), np.log(b.value / b.low)
    value = a.value / b.value
    low, high = -np.hypot(down, up_b), np.hypot(up, down_b)
    low, high = (value * float(np.exp(end)) for end in (low, high))
    return Estimate(value, low, high, joined(a.warning, b.warning))
