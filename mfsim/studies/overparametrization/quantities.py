"""What is asked of trained networks: powers of the width, rank correlations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray
from jaxtyping import Float
from scipy import stats

from mfsim.studies.statistics import (
    Estimate,
    TooFew,
    bootstrap_mean,
    exponential,
    log_log_slope,
)

Values = Float[np.ndarray, "widths seeds"]

LABELS = "true", "random"
"""Those of the data, and drawn ones."""

NUM_RESAMPLES = 500
"""Of the bootstrap."""


class Quantity(NamedTuple):
    """What is measured of a network.

    Attributes:
        name: Of the measured variable.
        label: In symbols.
        short: In words, or its number in Table 1.
        particles: Its power of m at alpha = m^s and fixed kernel time, given s.
        networks: Its power of h at fixed loss where training is lazy, h to infinity.
    """

    name: str
    label: str
    short: str
    particles: Callable[[float], float]
    networks: float


# Of particles at fixed kernel time |theta_j - theta_j(0)| goes as 1/alpha and V as
# alpha/m; |U|_2 goes as sqrt(m). Of networks V goes as h^(-1/2), and a fixed change of
# the outputs takes a time of 1/h, as |[U x]_+|^2 goes as h: each column of V - V_0 then
# goes as 1/h, each row of U - U_0 as h^(-3/2).
DISTANCE = Quantity(
    "u_distance_frobenius",
    "|U − U₀|_F",
    "distance from the start",
    lambda s: 0.5 - s,
    -1.0,
)
UNIT_CAPACITY = Quantity(
    "unit_capacity_mean", "|u_j − u_j⁰|", "mean unit capacity", lambda s: -s, -1.5
)
UNIT_IMPACT = Quantity(
    "unit_impact_mean", "|v_j|", "mean unit impact", lambda s: s - 1, -0.5
)
SCALE_FREE = Quantity(
    "scale_free", "Σ_j |v_j| |u_j − u_j⁰|", "scale-free sum", lambda s: 0.0, -1.0
)
VC = Quantity("measure_vc", "h d", "(1)", lambda s: 1.0, 1.0)
L1 = Quantity("measure_l1", "|U|_(∞,1) |V|_(∞,1)", "(2)", lambda s: s, 0.5)
FROBENIUS = Quantity("measure_frobenius", "|U|_F |V|_F", "(3)", lambda s: s, 0.5)
SPECTRAL_L21 = Quantity(
    "measure_spectral_l21",
    "|U|₂ |V − V₀|_(1,2) + |U − U₀|_(1,2) |V|₂",
    "(4)",
    lambda s: 0.5,
    0.0,
)
SPECTRAL_FROBENIUS = Quantity(
    "measure_spectral_frobenius",
    "|U|₂ |V − V₀|_F + √h |U − U₀|_F |V|₂",
    "(5)",
    lambda s: 0.5,
    0.0,
)
UNIT_WISE = Quantity(
    "measure_unit_wise",
    "|U₀|₂ |V|_F + |U − U₀|_F |V|_F + √h",
    "(6)",
    lambda s: 0.5,
    0.5,
)
UNIT_WISE_TERMS = Quantity(
    "unit_wise_terms",
    "|U₀|₂ |V|_F + |U − U₀|_F |V|_F",
    "(6) without √h",
    lambda s: s,
    0.5,
)
START_TERM = Quantity(
    "start_term", "|U₀|₂ |V|_F", "the first term of (6)", lambda s: s, 0.5
)
DISTANCE_TERM = Quantity(
    "distance_term", "|U − U₀|_F |V|_F", "the second term of (6)", lambda s: 0.0, -1.0
)
MEASURES = VC, L1, FROBENIUS, SPECTRAL_L21, SPECTRAL_FROBENIUS, UNIT_WISE
"""Table 1 of the paper."""

UNITS = DISTANCE, UNIT_CAPACITY, UNIT_IMPACT, SCALE_FREE
TERMS = UNIT_WISE_TERMS, START_TERM, DISTANCE_TERM
QUANTITIES = *UNITS, *MEASURES, *TERMS


def bound_of(measure: Quantity) -> str:
    """The variable of the bound on the test error that a measure goes into."""
    return measure.name.replace("measure", "bound")


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks and particle systems of a study.

    Attributes:
        networks: What was measured, over labels, seed and width.
        particles: The same over exponent, seed and width.
        level: Training cross-entropy below which a network is trained.
        batch_size: Points a step.
        setting: Of the networks, in words.
        particle_setting: Of the particles.
    """

    networks: xarray.Dataset
    particles: xarray.Dataset
    level: float
    batch_size: int
    setting: str
    particle_setting: str

    @property
    def is_trained(self) -> xarray.DataArray:
        """Which networks came to the level."""
        return self.networks.train_risk < self.level

    @property
    def is_whole(self) -> xarray.DataArray:
        """At which labels and widths every network that ended came to the level.

        Those that do are no fair sample of all.
        """
        short = self.networks.train_risk.notnull() & ~self.is_trained
        return ~short.any("seed")

    @property
    def epochs(self) -> xarray.DataArray:
        """Passes over the training points until the end."""
        return self.networks.steps // (self.networks.samples // self.batch_size)

    def widths(self, labels: str = "true") -> Float[np.ndarray, " widths"]:
        """Those at which a network of these labels ended."""
        some = self.networks.train_risk.sel(labels=labels).notnull().any("seed")
        return self.networks.width.values[some.values].astype(float)

    def values(self, name: str, labels: str = "true") -> Values:
        """A variable of the networks, NaN at widths where one is above the level."""
        array = self.networks[name].where(self.is_whole)
        array = array.sel(labels=labels, width=self.widths(labels))
        return array.transpose("width", "seed").values

    def over_margin(self, name: str, labels: str = "true") -> Values:
        """A variable over the margin, NaN where that is not positive."""
        margin = self.values("margin", labels)
        return self.values(name, labels) / np.where(margin > 0, margin, np.nan)

    def power(self, name: str, labels: str = "true") -> Estimate:
        """The power of h.

        Raises:
            TooFew: If there are fewer than three widths.
        """
        values = self.values(name, labels)
        return log_log_slope(self.widths(labels), values, num_resamples=NUM_RESAMPLES)

    def growth(self, name: str, other: str, labels: str = "true") -> Estimate:
        """The power of h of one variable less that of another, paired by network.

        Raises:
            TooFew: If there are fewer than three widths.
        """
        ratio = self.values(name, labels) / self.values(other, labels)
        return log_log_slope(self.widths(labels), ratio, num_resamples=NUM_RESAMPLES)

    def random_over_true(self, values: Callable[[str], Values]) -> Estimate:
        """A variable with random labels over that with true ones, by seed and width.

        The geometric mean over the widths that both have for every seed.

        Args:
            values: Takes labels.

        Raises:
            TooFew: If there is no such width, or fewer than three seeds.
        """
        shared = np.isin(self.widths("true"), self.widths("random"))
        logs = np.log(values("random") / values("true")[shared])
        kept = np.isfinite(logs).all(axis=1)
        if not kept.any():
            raise TooFew("networks must come to the level with random labels, got none")
        mean = bootstrap_mean(logs[kept].mean(axis=0), num_resamples=NUM_RESAMPLES)
        return exponential(mean)

    def correlation(self, values: Values, other: Values) -> Estimate:
        """Kendall's rank correlation over the widths of a seed, the mean over seeds.

        Raises:
            TooFew: If fewer than three seeds have three widths.
        """
        taus = [_tau(*pair) for pair in zip(values.T, other.T, strict=True)]
        mean = bootstrap_mean(np.array(taus), num_resamples=NUM_RESAMPLES)
        return mean._replace(low=max(mean.low, -1.0), high=min(mean.high, 1.0))

    def particle_values(self, name: str, exponent: float) -> Values:
        """A variable of the particle systems at alpha = m^s."""
        array = self.particles[name].sel(exponent=exponent)
        return array.transpose("width", "seed").values

    def particle_power(self, name: str, exponent: float) -> Estimate:
        """The power of m.

        Raises:
            TooFew: If there are fewer than three widths.
        """
        values = self.particle_values(name, exponent)
        widths = self.particles.width.values.astype(float)
        return log_log_slope(widths, values, num_resamples=NUM_RESAMPLES)

    def capped(self) -> tuple[str, ...]:
        """Which networks did not come to the level."""
        ended = self.networks.train_risk.notnull()
        short = (ended & ~self.is_trained).sum("seed")
        return tuple(
            f"{short.sel(labels=labels, width=width).item()} of "
            f"{ended.sel(labels=labels, width=width).sum().item()} networks of h = "
            f"{width} with {labels} labels ended above cross-entropy {self.level:g}, "
            f"after {self.epochs.sel(labels=labels, width=width).max().item():g} "
            "epochs: no fit, mean or rank correlation takes this width along."
            for labels in self.networks.labels.values
            for width in self.networks.width.values
            if short.sel(labels=labels, width=width) > 0
        )


def dimension(found: xarray.Dataset) -> float:
    """D of the inputs."""
    return float((found.measure_vc / found.width).max())


def _tau(a: Float[np.ndarray, " widths"], b: Float[np.ndarray, " widths"]) -> float:
    """Over the places that both have; NaN of fewer than three or if one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return float("nan")
    found: Any = stats.kendalltau(a[both], b[both])
    return float(found.statistic)
