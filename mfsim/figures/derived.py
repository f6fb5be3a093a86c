r"""Series that follow from recorded ones: Talagrand's bounds, the decay of KL."""

from typing import Any

import numpy as np
import xarray

from mfsim.figures.facts import setting
from mfsim.figures.layers import by_layer
from mfsim.figures.style import last_word
from mfsim.storage import Trajectory

TALAGRAND, TALAGRAND_EXACT = "talagrand", "talagrand_exact"
KL_DECAY = "kl_decay"
_BOUNDS = {TALAGRAND: "kl_upper", TALAGRAND_EXACT: "kl"}
_NETWORK = "flow.network"


def with_derived(series: xarray.Dataset, run: Trajectory | None) -> xarray.Dataset:
    r"""A run's or a sweep's series and those that follow from them.

    $\sigma\sqrt{2 KL} \ge W_2(p_t, p_0)$ from `kl_upper` and from `kl`, by which a KL
    divergence is a distance to draw beside others; $\lambda I$, which lowers KL, from
    `fisher_information`; and those of single layers.

    Args:
        series: With or without those that something follows from.
        run: Tells the standard deviations of the prior, of which sigma is the larger,
            and lambda, where they are not swept.

    Source: Talagrand 1996, Theorem 1.1 for N(0, I); the unit is that of the neurons.
    """
    found: dict[str, Any] = {**by_layer(series)}
    for name, kl in _BOUNDS.items():
        found |= _talagrand(series, run, name, kl)
    temperature = _value(series, run, "flow", "temperature")
    if "fisher_information" in series and temperature is not None:
        information = series["fisher_information"]
        decay = (temperature * information).transpose(*information.dims)
        found[KL_DECAY] = decay.assign_attrs(unit="nat/time")
    return series.assign(found)


def _talagrand(
    series: xarray.Dataset, run: Trajectory | None, name: str, key: str
) -> dict[str, xarray.DataArray]:
    """The bound by one KL, with its standard error if KL has one."""
    stds = [_value(series, run, _NETWORK, std) for std in ("input_std", "output_std")]
    known = [std for std in stds if std is not None]
    if key not in series or len(known) < len(stds):
        return {}
    kl = series[key].where(series[key] >= 0)
    bound = np.sqrt(2 * kl) * np.maximum(*known)
    found = {name: bound.transpose(*kl.dims)}
    if f"{key}_se" in series:
        error = bound * series[f"{key}_se"] / (2 * kl.where(kl > 0))
        found[f"{name}_se"] = error.transpose(*kl.dims)
    return {k: array.assign_attrs(unit="parameter") for k, array in found.items()}


def _value(
    series: xarray.Dataset, run: Trajectory | None, where: str, name: str
) -> Any:
    """A quantity, swept or configured; or None."""
    for coordinate in series.coords:
        if last_word(str(coordinate)) == name:
            return series[coordinate]
    return setting(run, f"{where}.{name}") if run else None
