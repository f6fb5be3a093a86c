"""What is read off the runs: powers of alpha, plateaus above their floor."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.flows import ParticleFlow
from mfsim.studies.base import last
from mfsim.studies.statistics import Estimate, joined, log_log_slope
from mfsim.theory import (
    ALPHA_EXPONENTS,
    AlphaExponent,
    long_time_limit,
    prior_kernels,
    risk_plateau,
)

Values = Float[np.ndarray, "alphas seeds"]

ABOVE = 0.25
"""Of the floor: means over seeds below so much of it are not fitted."""


class Quantity(NamedTuple):
    """What is a power of alpha when training is lazy.

    Attributes:
        name: Among `ALPHA_EXPONENTS`.
        series: That it is measured by.
        label: In words, with its symbol.
        unit: Of its values.
        tolerance: By which the exponent may miss the true one.
        theorem: That bounds it.
        how: It is measured.
    """

    name: str
    series: str
    label: str
    unit: str
    tolerance: float
    theorem: str
    how: str

    @property
    def exponents(self) -> AlphaExponent:
        """The theorem's and the true one."""
        return ALPHA_EXPONENTS[self.name]


QUANTITIES = (
    Quantity(
        "kl",
        "kl_upper",
        "KL(p_t‖p_0)",
        "nat",
        0.1,
        "4.4",
        "by entropy production, which is exact at λ = 0",
    ),
    Quantity(
        "w2",
        "w2",
        "W2(p_t, p_0)",
        "parameter",
        0.1,
        "4.4",
        "by optimal transport of neurons to their shadow",
    ),
    Quantity(
        "kernel_drift",
        "kernel_drift",
        "kernel drift max|H(p_t) − H(p_0)|",
        "output²/parameter²",
        0.3,
        "4.7",
        "from the kernel of the shadow",
    ),
    Quantity(
        "ntk_gap",
        "ntk_gap",
        "NTK gap |f − f_NTK|²/n",
        "output²",
        0.3,
        "4.8",
        "f_NTK of the start's own kernel",
    ),
)
PLATEAU = Quantity(
    "risk_plateau",
    "train_risk",
    "loss plateau L(t → ∞)",
    "loss",
    0.3,
    "4.4",
    "from the middle of long runs on, less the floor",
)


@dataclass(frozen=True, eq=False)
class Part:
    """Runs over alpha and seed, and what they are of.

    Attributes:
        runs: Their series.
        flow: The flow at an alpha and seed.
        fit_from: The least alpha that exponents are fitted from.
    """

    runs: xarray.Dataset
    flow: Callable[[float, int], ParticleFlow]
    fit_from: float

    @property
    def alphas(self) -> Float[np.ndarray, " alphas"]:
        """In rising order."""
        return self.runs.alpha.values.astype(float)

    @property
    def seeds(self) -> list[int]:
        """All of them."""
        return self.runs.seed.values.tolist()

    @functools.cached_property
    def one(self) -> ParticleFlow:
        """The flow at the largest alpha and the first seed."""
        return self.flow(float(self.alphas[-1]), self.seeds[0])

    @functools.cached_property
    def floor(self) -> float:
        """What noise leaves in the risk and the NTK gap: lambda n/2m."""
        return self.one.sampling_noise * self.num_train

    @functools.cached_property
    def num_train(self) -> int:
        """Number n of training points."""
        return len(self.one.dataset.load().y_train)

    @property
    def setting(self) -> str:
        """lambda, m, n, d and the number of seeds, in words."""
        flow, data = self.one, self.one.dataset.load()
        return (
            f"λ = {flow.temperature:g}, m = {flow.network.width}, n = "
            f"{self.num_train}, d = {data.x_train.shape[1]}, {len(self.seeds)} seeds"
        )

    def fitted(self) -> np.ndarray:
        """Whether exponents are fitted there."""
        return self.alphas >= self.fit_from * (1 - 1e-9)

    def values(self, quantity: Quantity) -> Values:
        """The largest over time; with noise the last, less the gap's floor."""
        if self.one.temperature == 0:
            found = self.runs[quantity.series].max("save")
            return found.transpose("alpha", "seed").values
        found = self.final(quantity.series)
        return found - self.floor if quantity.name == "ntk_gap" else found

    def final(self, series: str) -> Values:
        """The last row of each run."""
        return last(self.runs, series).transpose("alpha", "seed").values

    def power(self, values: Values) -> Estimate:
        """The power of alpha over all that is fitted.

        Raises:
            TooFew: If it is fewer than three points.
        """
        return log_log_slope(self.alphas[self.fitted()], values[self.fitted()])

    def exponent(self, values: Values) -> Estimate:
        """The power of alpha of values less a floor, where they are not far below it.

        Raises:
            TooFew: If fewer than three points are left.
        """
        keep = self.fitted()
        low = keep & ~(means(values) >= ABOVE * self.floor)
        found = log_log_slope(self.alphas[keep & ~low], values[keep & ~low])
        if not low.any():
            return found
        listed = ", ".join(f"{alpha:g}" for alpha in self.alphas[low])
        left = f"left out as below {ABOVE:g} of the floor λn/2m: α = {listed}"
        return found._replace(warning=joined(found.warning, left))


def means(values: Values) -> Float[np.ndarray, " alphas"]:
    """Over the seeds that are there; NaN where none is."""
    present = np.isfinite(values)
    total = np.where(present, values, 0.0).sum(axis=1)
    return total / np.where(present.any(axis=1), present.sum(axis=1), np.nan)


class Plateaus(NamedTuple):
    """Risks of long runs, over alpha and seed.

    Attributes:
        measured: Above the floor.
        exact: Those of infinitely many neurons at t = infinity; NaN if not fitted.
        leading: Their leading term, n lambda^2 |K_u^-1 y|^2/(4 alpha^4).
    """

    measured: Values
    exact: Values
    leading: Values


def plateaus(part: Part) -> Plateaus:
    """Of all runs."""
    return Plateaus(excess(part), limits(part), leading_terms(part))


def excess(part: Part) -> Values:
    """The mean risk from the middle of the runs on, less the floor."""
    middle = part.runs.time.max("save") / 2
    late = part.runs.train_risk.where(part.runs.time >= middle)
    return late.mean("save").transpose("alpha", "seed").values - part.floor


def limits(part: Part) -> Values:
    """The exact risk at t = infinity of infinitely many neurons; NaN if not fitted."""
    found = np.full((len(part.alphas), len(part.seeds)), np.nan)
    for place in np.flatnonzero(part.fitted()):
        for number, seed in enumerate(part.seeds):
            flow = part.flow(float(part.alphas[place]), seed)
            found[place, number] = long_time_limit(flow, memory_mib=32).risk
    return found


def leading_terms(part: Part) -> Values:
    """The risk at t = infinity to leading order in 1/alpha."""
    terms = []
    for seed in part.seeds:
        flow = part.flow(1.0, seed)
        data = flow.dataset.load()
        kernel = prior_kernels(flow.network, data.x_train).output
        temperature = float(flow.temperature)
        terms.append(
            risk_plateau(data.y_train, kernel, alpha=1.0, temperature=temperature)
        )
    return np.outer(part.alphas**-4, terms)
