"""What snapshots say of the law of a neuron: densities on a grid, clouds of neurons."""

import math
from collections.abc import Sequence

import numpy as np
import xarray

from mfsim.errors import ConfigError
from mfsim.figures.facts import clock_of, setting
from mfsim.figures.style import formula, number
from mfsim.storage import Trajectory

LAYER = "layer_1_3d"
"""The neurons of the first hidden layer: two components of w, the outgoing norm."""

_FAINT = 1e-4


def axis_label(name: str) -> str:
    """What an axis of the coordinate w_1, ..., w_d or u is called."""
    return f"${name}$ [parameter]"


def clock_times(run: Trajectory, snapshots: xarray.DataArray, clock: str) -> np.ndarray:
    """When snapshots were taken, in a clock; the flow time if there are no rows."""
    time = snapshots["time"].values
    rows = run.series
    return np.interp(time, rows["time"], rows[clock]) if rows.sizes["step"] else time


def time_words(run: Trajectory, time: float) -> str:
    """Symbol and value of a time, in the clock of a run's schedule."""
    symbol = run.series[clock_of(run)].attrs["symbol"]
    return f"{formula(symbol)} = {number(time)}"


def chosen(times: np.ndarray, wanted: Sequence[float] | None, most: int) -> np.ndarray:
    """Indices of the snapshots nearest to wanted times, else of a few, evenly spread.

    Raises:
        ConfigError: If no time is wanted, or one is not a number.
    """
    if wanted is None:
        count = min(len(times), most)
        return np.linspace(0, len(times) - 1, count).round().astype(int)
    if not len(wanted) or not np.isfinite(wanted).all():
        raise ConfigError(f"times must be one or more numbers, got {list(wanted)}.")
    return np.unique([np.abs(times - time).argmin() for time in wanted])


def has_density(run: Trajectory) -> bool:
    """Whether there is a snapshot of a density."""
    return "density" in run.snapshots and run.snapshots["density"].sizes["step"] > 0


def density_of(run: Trajectory) -> xarray.DataArray:
    """The density's snapshots, read when used.

    Raises:
        ConfigError: If there are none.
    """
    if not has_density(run):
        raise ConfigError(
            f"{run.path} must hold snapshots of a density, got {_held(run)}; take a "
            "run of DensityFlow with schedule.snapshots of 2 or more."
        )
    return run.snapshots["density"]


def neurons_of(run: Trajectory) -> xarray.DataArray:
    """The neurons' snapshots, read when used.

    Raises:
        ConfigError: If there are none.
    """
    if "neurons" not in run.snapshots or not run.snapshots["neurons"].sizes["step"]:
        raise ConfigError(
            f"{run.path} must hold snapshots of neurons, got {_held(run)}; take a run "
            "of ParticleFlow with schedule.snapshots of 2 or more."
        )
    return run.snapshots["neurons"]


def cloud_of(run: Trajectory) -> xarray.DataArray:
    """The snapshots of the neurons, or of those of a deep network's first layer.

    Raises:
        ConfigError: If there are none.
    """
    return run.snapshots[LAYER] if LAYER in run.snapshots else neurons_of(run)


def _held(run: Trajectory) -> str:
    return f"those of {sorted(run.snapshots)}" if run.snapshots else "no snapshots"


def coordinates(density: xarray.DataArray) -> list[str]:
    """The names of a density's axes: w_1, ..., w_d, u."""
    return [str(dim) for dim in density.dims if dim != "step"]


def width(centres: xarray.DataArray) -> float:
    """The width of the cells of an axis."""
    return float(np.diff(centres.values).mean())


def marginal(density: xarray.DataArray, *names: str) -> xarray.DataArray:
    """The density of some coordinates: the integral over the others."""
    others = [name for name in coordinates(density) if name not in names]
    cell = math.prod(width(density[name]) for name in others)
    return density.sum(others) * cell


def edges(centres: xarray.DataArray) -> np.ndarray:
    """The edges of the cells of an axis."""
    inner = (centres.values[:-1] + centres.values[1:]) / 2
    half = width(centres) / 2
    return np.array([inner[0] - 2 * half, *inner, inner[-1] + 2 * half])


def reach(
    centres: xarray.DataArray, marginals: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Where densities of one coordinate are not next to nothing."""
    places = np.max(marginals, axis=0) > _FAINT * np.max(marginals)
    ends = edges(centres)
    return ends[:-1][places][0], ends[1:][places][-1]


def prior_density(run: Trajectory, name: str, places: np.ndarray) -> np.ndarray:
    """The density of a coordinate under p_0; NaN if the run does not tell."""
    block = "output_std" if name == "u" else "input_std"
    std = setting(run, f"flow.network.{block}") or math.nan
    return np.exp(-np.square(places / std) / 2) / (math.sqrt(2 * math.pi) * std)


def some(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of the neurons, the same at every call."""
    drawn = np.random.default_rng(0).permutation(count)[:most]
    return np.sort(drawn)


def bin_edges(count: int, low: float, high: float) -> np.ndarray:
    """The edges of the bins of a histogram of so many points."""
    bins = int(np.clip(1.5 * count ** (1 / 3), 8, 40))
    return np.histogram_bin_edges([], bins, (low, high))
