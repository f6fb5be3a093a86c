"""Order parameters of the transition: what they are, and their values by alpha."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.studies.base import last

Alphas = Float[np.ndarray, " points"]
Values = Float[np.ndarray, "points seeds"]


class Order(NamedTuple):
    """An order parameter that is a power of alpha when training is lazy.

    Attributes:
        name: Of its series.
        short: In a word.
        label: In words, with its symbol.
        unit: Of its values.
        exponent: The power.
        bound: The power in the upper bound of the theorem, and which theorem it is.
    """

    name: str
    short: str
    label: str
    unit: str
    exponent: float
    bound: str


DISPLACEMENT = Order(
    "displacement_relative",
    "displacement",
    "relative displacement d/|θ₀|",
    "1",
    -1,
    "",
)
COUPLED = Order(
    "w2_upper_coupling",
    "coupled displacement",
    "coupled displacement d(θ, s)",
    "parameter",
    -1,
    "−1 (W2, 4.4)",
)
KL = Order("kl_upper", "KL⁺", "KL⁺, upper bound on KL(p_t‖p_0)", "nat", -2, "−2 (4.4)")
DRIFT = Order(
    "kernel_drift_relative",
    "kernel drift",
    "relative kernel drift ‖H_t − H_0‖/‖H_0‖",
    "1",
    -2,
    "−1 (4.7)",
)
GAP = Order("ntk_gap", "NTK gap", "NTK gap |f − f_NTK|²/n", "output²", -4, "−2 (4.8)")
ORDERS = (DISPLACEMENT, COUPLED, KL, DRIFT, GAP)

GAIN = "alignment_gain"
DIRECTIONS = "directions"
TEST_RISK = "test_risk"
TEST_ERROR = "test_error"
OTHERS = {
    GAIN: "kernel alignment gain A_t − A_0 (1)",
    DIRECTIONS: "participation ratio of the neurons (1)",
    TEST_RISK: "test risk/E y² (1)",
    TEST_ERROR: "test error (1)",
}
"""Labels of what has no power: it may be of either sign, or does not vanish."""

CAPACITY = {
    "measure_frobenius": "(3) ‖U‖_F ‖V‖_F (output)",
    "measure_spectral_l21": "(4) spectral, l2,1 (output)",
    "measure_spectral_frobenius": "(5) spectral, Frobenius (output)",
    "measure_unit_wise": "(6) unit-wise (output)",
    "unit_capacity": "mean unit capacity β_j (parameter)",
    "unit_impact": "mean unit impact α_j (parameter)",
}
"""Labels of the measures of capacity of f = V [U x], U = w, V = (α/m) u^T."""


@dataclass(frozen=True)
class Part:
    """What the runs of one sweep had come to at their ends.

    Attributes:
        name: Of the sweep.
        title: Of its data.
        setting: Of all its runs, for claims and captions.
        values: Order parameters by name, over (width, alpha, seed); NaN where a run is
            missing.
    """

    name: str
    title: str
    setting: str
    values: dict[str, xarray.DataArray]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(m) for m in self.values[DRIFT.name].width.values)

    def curve(self, name: str, width: int) -> tuple[Alphas, Values]:
        """Values of one width over its alphas, those without a run left out."""
        found = self.values[name].sel(width=width).transpose("alpha", "seed")
        present = found.notnull().any("seed").values
        return found.alpha.values[present].astype(float), found.values[present]


def measure(runs: xarray.Dataset) -> dict[str, xarray.DataArray]:
    """The order parameters of a sweep by name, over (width, alpha, seed).

    The start is at f = 0, so that its test risk is E y^2 and the relative one 1.
    """
    found = {order.name: last(runs, order.name) for order in ORDERS}
    alignment, risk = runs["kernel_alignment"], runs["test_risk"]
    found[GAIN] = last(runs, "kernel_alignment") - alignment.isel(save=0)
    found[TEST_RISK] = last(runs, "test_risk") / risk.isel(save=0)
    found[DIRECTIONS] = participation_ratio(
        last(runs, "neuron_mean"), last(runs, "neuron_covariance")
    )
    for name in (TEST_ERROR, *CAPACITY):
        if name in runs:
            found[name] = last(runs, name)
    return found


def participation_ratio(
    mean: xarray.DataArray, covariance: xarray.DataArray
) -> xarray.DataArray:
    r"""$(\mathrm{tr} M)^2/\mathrm{tr} M^2$, $M = E \theta\theta^T$: directions.

    1 where all neurons lie on one line through 0, d + 1 where none is preferred; large
    neurons count for more.
    """
    second = covariance + mean * mean.rename(coordinate="other_coordinate")
    trace = second.where(second.coordinate == second.other_coordinate, 0.0)
    axes = ("coordinate", "other_coordinate")
    ratio = trace.sum(axes) ** 2 / (second**2).sum(axes)
    return ratio.where(second.notnull().all(axes))
