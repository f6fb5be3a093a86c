"""What the searches came to: smallest widths, and the growth that fits them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray
from jaxtyping import Bool, Float

from mfsim.studies.base import last
from mfsim.studies.min_width.search import Search
from mfsim.studies.statistics import Estimate, TooFew, akaike_weights, drawn_mean
from mfsim.studies.statistics.censored import (
    CensoredLine,
    censored_exponent,
    censored_line,
)

LAWS = {"c·log^k n": lambda n: np.log(np.log(n)), "c·n^a": np.log}
"""What log m is linear in if the width grows like this."""


class Trial(NamedTuple):
    """One training: whether it reached zero training error, and its passes over it."""

    passed: bool
    epochs: float


class Growth(NamedTuple):
    """One law of growth, fitted.

    Attributes:
        law: Its name, of `LAWS`.
        line: log m against what it is linear in.
        power: The power k or a.
        weight: Akaike weight among the laws.
    """

    law: str
    line: CensoredLine
    power: Estimate
    weight: float


Place = tuple[str, int, int]
"""Pair of classes, number of points, seed."""

Trials = dict[Place, dict[int, Trial]]
"""The trainings of every search, by width."""


def trials(runs: xarray.Dataset, epochs_a_step: xarray.DataArray) -> Trials:
    """The trainings of every search by width; one that diverged has not passed.

    Args:
        runs: Over pair, size, seed and width, the widths being 1, 2, 3, ...
        epochs_a_step: Passes over the data a step, over size.
    """
    runs = runs.transpose("pair", "size", "seed", "width", ...)
    passed = (last(runs, "train_error") <= 0).values
    epochs = (runs.step.max("save") * epochs_a_step).transpose(*runs.status.dims).values
    axes = [runs[name].values.tolist() for name in ("pair", "size", "seed")]
    found: Trials = {}
    for index in zip(*np.nonzero(runs.status.values != "missing"), strict=True):
        place = tuple(axis[i] for axis, i in zip(axes, index, strict=False))
        trial = Trial(bool(passed[index]), float(epochs[index]))
        found.setdefault(place, {})[int(index[-1]) + 1] = trial
    return found


@dataclass(frozen=True, eq=False)
class Widths:
    """The smallest widths of one pair of classes, beside the published ones.

    Attributes:
        pair: The two classes.
        sizes: Numbers n of training points.
        values: Smallest widths of each size and seed; of a search that reached the cap
            the cap; NaN where it did not end.
        is_censored: Whether the search reached the cap, so that more is needed.
        published: At each size, NaN where nothing was.
    """

    pair: str
    sizes: tuple[int, ...]
    values: Float[np.ndarray, "sizes seeds"]
    is_censored: Bool[np.ndarray, "sizes seeds"]
    published: Float[np.ndarray, " sizes"]

    def means(self) -> list[Estimate]:
        """Over seeds, at each size; one with a censored search is a lower bound."""
        return [
            self._bounded(drawn_mean(row), censored)
            for row, censored in zip(self.values, self.is_censored, strict=True)
        ]

    def ratios(self) -> list[Estimate | None]:
        """Means over the published widths; None where nothing was published."""
        return [
            None
            if np.isnan(width)
            else Estimate(
                mean.value / width, mean.low / width, mean.high / width, mean.warning
            )
            for mean, width in zip(self.means(), self.published, strict=True)
        ]

    def growths(self) -> list[Growth]:
        """The laws, fitted to all seeds.

        Raises:
            TooFew: If points or seeds are too few.
        """
        if isinstance(self._growths, TooFew):
            raise self._growths
        return self._growths

    @functools.cached_property
    def _growths(self) -> list[Growth] | TooFew:
        try:
            return fit_laws(self.sizes, self.values, self.is_censored)
        except TooFew as error:
            return error

    def published_growths(self) -> list[Growth]:
        """The same of the published widths.

        Raises:
            TooFew: If they are too few.
        """
        known = np.isfinite(self.published)
        sizes = tuple(np.array(self.sizes)[known].tolist())
        widths = self.published[known][:, None]
        return fit_laws(sizes, widths, np.zeros_like(widths, bool))

    @staticmethod
    def _bounded(mean: Estimate, censored: Bool[np.ndarray, " seeds"]) -> Estimate:
        if not censored.any():
            return mean
        note = f"{censored.sum()} of {censored.size} searches reached the cap"
        return Estimate(mean.value, mean.low, np.inf, f"a lower bound: {note}")


def fit_laws(
    sizes: tuple[int, ...],
    widths: Float[np.ndarray, "sizes seeds"],
    is_censored: Bool[np.ndarray, "sizes seeds"],
) -> list[Growth]:
    """Every law of `LAWS`, to logarithms of all widths alike.

    Raises:
        TooFew: If points or seeds are too few.
    """
    n, v = np.array(sizes, float), np.log(widths)
    there = np.isfinite(v)
    found = []
    for law, of in LAWS.items():
        u = np.broadcast_to(of(n)[:, None], v.shape)
        line = censored_line(u[there], v[there], is_censored[there])
        power = censored_exponent(np.exp(of(n)), widths, is_censored)
        found.append(Growth(law, line, power, np.nan))
    weights = akaike_weights([growth.line.aic for growth in found]).tolist()
    return [g._replace(weight=w) for g, w in zip(found, weights, strict=True)]


def widths_of(
    pair: str,
    sizes: tuple[int, ...],
    seeds: int,
    searches: Mapping[Place, Search],
    published: Float[np.ndarray, " sizes"],
) -> Widths:
    """The smallest widths of one pair."""
    values = np.full((len(sizes), seeds), np.nan)
    is_censored = np.zeros(values.shape, bool)
    for i, size in enumerate(sizes):
        for seed in range(seeds):
            search = searches[pair, size, seed]
            if search.is_bracketed or search.is_censored:
                values[i, seed] = search.high or search.low
                is_censored[i, seed] = search.is_censored
    return Widths(pair, sizes, values, is_censored, published)
