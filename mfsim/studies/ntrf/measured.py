"""What runs say: errors on the way, and how far weights went."""

from collections.abc import Mapping

import xarray

from mfsim.studies.base import last


def measured(runs: Mapping[int, xarray.Dataset]) -> xarray.Dataset:
    """One number a run, over (size, labels, seed, width, depth).

    online_error and online_risk over all samples, each before its step; drawn_error of
    W-hat on the test points, the mean over its draw; layer_radius, the largest R on the
    way.

    Args:
        runs: By depth.
    """
    parts = [_of_depth(part) for part in runs.values()]
    joined = xarray.concat(parts, "depth").assign_coords(depth=list(runs))
    return joined.transpose("size", "labels", "seed", "width", "depth")


def _of_depth(runs: xarray.Dataset) -> xarray.Dataset:
    bare = runs.reset_coords(["step", "time", "kernel_time"])
    return xarray.Dataset(
        {
            "online_error": last(bare, "online_error"),
            "online_risk": last(bare, "online_risk"),
            "drawn_error": _path_mean(bare.test_error),
            "layer_radius": bare.layer_radius.max("save"),
        }
    )


def _path_mean(error: xarray.DataArray) -> xarray.DataArray:
    """The mean along the path of values at even spacing, by the trapezoid rule."""
    inner = (error.isel(save=slice(1, None)) + error.isel(save=slice(None, -1))) / 2
    return inner.mean("save", skipna=False)
