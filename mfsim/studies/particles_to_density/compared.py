"""Distances of runs from the density, by width, step and integrator."""

import functools
from dataclasses import dataclass

import numpy as np
import xarray
from jaxtyping import Float

from mfsim.studies.statistics import Estimate, TooFew, log_log_slope

OUTPUTS = ("output_mean", "output_std")


@dataclass(frozen=True, eq=False)
class Compared:
    """The parts of the study.

    Attributes:
        fine: The density on the finer grid.
        coarse: That on cells twice as wide.
        widths: Neurons, over width and seed.
        steps: Neurons, over integrator, eta and seed.
        integrators: One run of each.
        cloud_width: Neurons where integrators are compared.
        setting: Alpha, lambda and the data, in words.
    """

    fine: xarray.Dataset
    coarse: xarray.Dataset
    widths: xarray.Dataset
    steps: xarray.Dataset
    integrators: xarray.Dataset
    cloud_width: int
    setting: str

    @functools.cached_property
    def by_width(self) -> Float[np.ndarray, "widths seeds"]:
        """Distance of the outputs of each run from the density's."""
        return self.distance(self.widths).transpose("width", "seed").values

    @functools.cached_property
    def scatter(self) -> Estimate:
        """The power of m in them.

        Raises:
            TooFew: If widths or seeds are too few.
        """
        return log_log_slope(self.widths.width.values, self.by_width)

    @functools.cached_property
    def expected(self) -> float:
        """Root mean square distance of m = cloud_width neurons, by m^-1/2."""
        scaled = self.by_width * np.sqrt(self.widths.width.values)[:, None]
        return float(np.sqrt(np.nanmean(scaled**2) / self.cloud_width))

    def by_step(self, integrator: str) -> Float[np.ndarray, "steps seeds"]:
        """How much too large the outputs' spread is, the mean over the saves."""
        runs = self.steps.sel(integrator=integrator)
        off = self._off(runs, "output_std")
        return (
            off.isel(save=slice(1, None)).mean("save").transpose("eta", "seed").values
        )

    def order(self, integrator: str) -> Estimate:
        """The power of eta in it.

        Raises:
            TooFew: If steps or seeds are too few, or noise hides it.
        """
        values = self.by_step(integrator)
        spread = np.nanstd(values, axis=1, ddof=1) if values.shape[1] > 1 else np.inf
        if not np.all(np.abs(np.nanmean(values, axis=1)) > 2 * spread):
            raise TooFew(
                "step_width must be large enough for the error of each step to be "
                "above two deviations of the seeds"
            )
        return log_log_slope(self.steps.eta.values, np.abs(values))

    def distance(self, runs: xarray.Dataset) -> xarray.DataArray:
        """Root mean square over saves of |(mean, std) of f - those of the density|."""
        mean, std = (self._off(runs, name) for name in OUTPUTS)
        return (mean**2 + std**2).isel(save=slice(1, None)).mean("save") ** 0.5

    @functools.cached_property
    def truth(self) -> xarray.Dataset:
        """The outputs without error of the cells, which is of second order in them."""
        return (4 * self.fine[list(OUTPUTS)] - self.coarse[list(OUTPUTS)]) / 3

    def _off(self, runs: xarray.Dataset, name: str) -> xarray.DataArray:
        """A series less the density's at the same times."""
        times = runs.time.max([dim for dim in runs.time.dims if dim != "save"])
        rows = [int(np.abs(self.fine.time.values - t).argmin()) for t in times.values]
        return runs[name] - self.truth[name].isel(save=rows)
