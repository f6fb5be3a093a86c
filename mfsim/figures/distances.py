r"""Talagrand's bound, by which a KL divergence is a distance to draw beside others."""

from typing import Any

import numpy as np
import xarray

from mfsim.figures.facts import setting
from mfsim.figures.style import last_word
from mfsim.storage import Trajectory

TALAGRAND = "talagrand"
_STDS = ("input_std", "output_std")


def with_talagrand(series: xarray.Dataset, run: Trajectory | None) -> xarray.Dataset:
    r"""A run's or a sweep's series and $\sigma\sqrt{2 KL^+} \ge W_2(p_t, p_0)$.

    Args:
        series: With `kl_upper`, else nothing is added.
        run: Tells the standard deviations of the prior, of which sigma is the larger,
            where they are not swept.

    Source: Talagrand 1996, Theorem 1.1 for N(0, I); the unit is that of the neurons.
    """
    stds = [_prior_std(series, run, name) for name in _STDS]
    known = [std for std in stds if std is not None]
    if "kl_upper" not in series or len(known) < len(_STDS):
        return series
    kl = series["kl_upper"].where(series["kl_upper"] >= 0)
    bound = np.sqrt(2 * kl) * np.maximum(*known)
    found = {TALAGRAND: bound.transpose(*kl.dims)}
    if "kl_upper_se" in series:
        error = bound * series["kl_upper_se"] / (2 * kl.where(kl > 0))
        found[f"{TALAGRAND}_se"] = error.transpose(*kl.dims)
    for array in found.values():
        array.attrs = {"unit": "parameter"}
    return series.assign(found)


def _prior_std(series: xarray.Dataset, run: Trajectory | None, name: str) -> Any:
    """A standard deviation of the prior, swept or configured; or None."""
    for coordinate in series.coords:
        if last_word(str(coordinate)) == name:
            return series[coordinate]
    return setting(run, f"flow.network.{name}") if run else None
