"""Which regime runs are in, by how far neurons and kernel went."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import xarray

Regime = Literal["lazy", "crossover", "mean field", "condensed", "unknown"]

SMALL = 0.1
"""Below it, relative displacement and relative kernel drift are lazy."""

LARGE = 0.5
"""From it on, a relative kernel drift is that of the mean field."""

FAR = 1.0
"""From it on, a relative displacement is condensed: farther than from the origin."""

RULE = (
    "Regimes, by the last relative displacement D and relative kernel drift K, means"
    f" over seeds. Lazy: K < {SMALL} and D < {SMALL}; condensed: D ≥ {FAR:g}; mean"
    f" field: K ≥ {LARGE}; crossover: what is left. D is the coupled displacement over"
    " the root mean square of the start where there is noise and a shadow, else that"
    " of the neurons; with noise and no shadow it counts noise as movement and is left"
    " out. s = log α / log m: 0 is the mean-field scale, ½ the kernel one."
)
"""The definition, for the reader."""


@dataclass(frozen=True)
class Movement:
    """How far a run went; NaN where that was not recorded.

    Attributes:
        displacement: Relative displacement of the neurons, without the noise's.
        drift: Relative drift of the tangent kernel.
    """

    displacement: float
    drift: float


def movement(series: xarray.Dataset, temperature: float) -> Movement:
    """How far a run went until its last save.

    Args:
        series: Its series over `step`.
        temperature: λ; above 0 the raw displacement holds that of the noise.
    """
    relative = _last(series, "displacement_relative")
    raw = _last(series, "displacement")
    if temperature > 0:
        relative *= _last(series, "w2_upper_coupling") / raw if raw else math.nan
    return Movement(relative, _last(series, "kernel_drift_relative"))


def regime(found: Movement) -> Regime:
    """The regime of a run that went so far, by `RULE`."""
    displacement, drift = found.displacement, found.drift
    if displacement >= FAR:
        return "condensed"
    if math.isnan(drift):
        return "unknown"
    if drift >= LARGE:
        return "mean field"
    # A displacement that is not known does not speak against it.
    is_lazy = drift < SMALL and not displacement >= SMALL
    return "lazy" if is_lazy else "crossover"


def scale_exponent(network: dict[str, Any]) -> float:
    """The s of α = m^s, of a network's configuration; NaN where there is no width."""
    width, alpha = network.get("width"), network.get("alpha")
    if width is None or width < 2:
        return math.nan
    if alpha is None:
        return float(network.get("scale_exponent", math.nan))
    return math.log(alpha) / math.log(width)


def _last(series: xarray.Dataset, name: str) -> float:
    return float(series[name][-1]) if name in series else math.nan
