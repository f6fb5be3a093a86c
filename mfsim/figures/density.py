"""A density on a grid at some times, its marginals, and neurons of another run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from mfsim.errors import ConfigError
from mfsim.figures import laws, style
from mfsim.figures.facts import clock_of, facts
from mfsim.storage import Trajectory

COLOURS = "Blues"
"""From white to dark: what lies over it stands out, and so does the absence of mass."""
DOTS: dict[str, Any] = {"s": 3.0, "linewidths": 0.0, "alpha": 0.6, "color": "#D55E00"}
PRIOR: dict[str, Any] = {"color": "0.3", "linestyle": "--", "linewidth": 1.2}
DENSITY = "density of $(w_1, u)$ [1/parameter$^2$]"
_MOST_TIMES, _MOST_DOTS = 4, 800


class _Moment(NamedTuple):
    """A density at a time and, if there are any, neurons about then."""

    words: str
    shade: Any
    density: xarray.DataArray
    neurons: np.ndarray | None


@style.styled
def density_figure(
    run: Trajectory,
    particles: Trajectory | None = None,
    *,
    times: Sequence[float] | None = None,
) -> Figure:
    """The density of (w_1, u) at some times, above the marginals of each coordinate.

    Args:
        run: A run on a grid.
        particles: A run of neurons in as many dimensions, to draw over it.
        times: In the clock of the grid run's schedule; the nearest snapshots are
            taken. Unless given, at most four, evenly spread.

    Raises:
        ConfigError: If snapshots are missing, or the dimensions differ.
    """
    moments = _moments(run, particles, times)
    names = laws.coordinates(moments[0].density)
    figure = Figure(
        figsize=(max(6.4, 1.5 + 2.2 * len(moments)), 6.4), layout="constrained"
    )
    rows = figure.add_gridspec(2, 1, height_ratios=(1.15, 1))
    maps = rows[0].subgridspec(1, len(moments)).subplots(sharey=True, squeeze=False)[0]
    sides = rows[1].subgridspec(1, len(names)).subplots(squeeze=False)[0]
    _draw_maps(figure, maps, moments)
    for axes, name in zip(sides, names, strict=True):
        _draw_marginals(axes, run, name, moments)
    sides[0].set_ylabel("marginal density\n[1/parameter]")
    sides[-1].legend(
        handles=_entries(moments), loc="upper left", bbox_to_anchor=(1.02, 1)
    )
    style.write(figure, facts(run), _notes(names, particles, moments))
    return figure


def _moments(
    run: Trajectory, particles: Trajectory | None, times: Sequence[float] | None
) -> list[_Moment]:
    density, clock = laws.density_of(run), clock_of(run)
    own = laws.clock_times(run, density, clock)
    picked = laws.chosen(own, times, _MOST_TIMES)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(picked)))
    found = []
    for i, shade in zip(picked, shades, strict=True):
        now = float(own[i])
        words, neurons = laws.time_words(run, now), None
        if particles is not None:
            neurons, time = _nearest(particles, now, clock, density)
            if not np.isclose(time, now, rtol=1e-6):
                words += f"\n(neurons: {style.number(time)})"
        found.append(_Moment(words, shade, density.isel(step=i).load(), neurons))
    return found


def _nearest(
    particles: Trajectory, time: float, clock: str, density: xarray.DataArray
) -> tuple[np.ndarray, float]:
    """The finite neurons of the snapshot nearest to a time, and its time."""
    snapshots = laws.neurons_of(particles)
    dims, axes = snapshots.sizes["coordinate"], len(laws.coordinates(density))
    if dims != axes:
        raise ConfigError(
            f"particles must have inputs of the density's dimension {axes - 1}, got "
            f"{dims - 1}; prepare both runs' data alike."
        )
    times = laws.clock_times(particles, snapshots, clock)
    nearest = int(np.abs(times - time).argmin())
    neurons = snapshots.isel(step=nearest).values
    return neurons[np.isfinite(neurons).all(axis=1)], float(times[nearest])


def heat_map(axes: Axes, density: xarray.DataArray, norm: Normalize) -> AxesImage:
    """Draw the density of (w_1, u)."""
    law = laws.marginal(density, "w_1", "u")
    w, u = laws.edges(law["w_1"]), laws.edges(law["u"])
    image = axes.imshow(
        law.values.T,
        cmap=COLOURS,
        norm=norm,
        origin="lower",
        extent=(w[0], w[-1], u[0], u[-1]),
        aspect="auto",
        interpolation="nearest",
    )
    axes.grid(False)
    axes.set_xlabel(laws.axis_label("w_1"))
    return image


def _draw_maps(
    figure: Figure, grid: Sequence[Axes], moments: Sequence[_Moment]
) -> None:
    planes = [laws.marginal(m.density, "w_1", "u") for m in moments]
    norm = Normalize(0, max(float(plane.max()) for plane in planes))
    bar = ScalarMappable(norm, COLOURS)
    figure.colorbar(bar, ax=list(grid), label=DENSITY, pad=0.02)
    for axes, moment in zip(grid, moments, strict=True):
        heat_map(axes, moment.density, norm)
        if moment.neurons is not None:
            dots = laws.some(len(moment.neurons), _MOST_DOTS)
            w, u = moment.neurons[dots][:, [0, -1]].T
            axes.scatter(w, u, rasterized=True, **DOTS)
        axes.set_xlim(*_reach(moments, "w_1"))
        axes.set_ylim(*_reach(moments, "u"))
        axes.set_title(moment.words, fontsize=10, color=moment.shade)
    grid[0].set_ylabel(laws.axis_label("u"))


def _reach(moments: Sequence[_Moment], name: str) -> tuple[float, float]:
    every = [laws.marginal(m.density, name).values for m in moments]
    return laws.reach(moments[0].density[name], every)


def _draw_marginals(
    axes: Axes, run: Trajectory, name: str, moments: Sequence[_Moment]
) -> None:
    """Lines of the density, points of the neurons, dashes of p_0."""
    centres = moments[0].density[name].values
    for moment in moments:
        law = laws.marginal(moment.density, name)
        axes.plot(centres, law, color=moment.shade, linewidth=1.6)
        if moment.neurons is not None:
            column = laws.coordinates(moment.density).index(name)
            _draw_histogram(axes, moment.neurons[:, column], moment.shade)
    axes.plot(centres, laws.prior_density(run, name, centres), zorder=3, **PRIOR)
    axes.set_xlim(*_reach(moments, name))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(laws.axis_label(name))


def _draw_histogram(axes: Axes, points: np.ndarray, shade: Any) -> None:
    """Points at the middle of bins, with the standard error of their counts."""
    if not len(points):
        return
    edges = laws.bin_edges(len(points), points.min(), points.max())
    counts = np.histogram(points, edges)[0]
    scale = 1 / (len(points) * np.diff(edges))
    axes.errorbar(
        (edges[:-1] + edges[1:]) / 2,
        counts * scale,
        np.sqrt(counts) * scale,
        color=shade,
        linestyle="",
        marker="o",
        markersize=3,
        elinewidth=0.8,
        capsize=0,
    )


def _entries(moments: Sequence[_Moment]) -> list[Line2D]:
    """What a legend tells of the marginals."""
    lines = [
        Line2D([], [], color=m.shade, label=m.words.partition("\n")[0]) for m in moments
    ]
    lines.append(Line2D([], [], label="$p_0$", **PRIOR))
    if moments[0].neurons is not None:
        look = {"color": "0.3", "linestyle": "", "marker": "o", "markersize": 3}
        lines.append(Line2D([], [], label="neurons", **look))
    return lines


def _notes(
    names: Sequence[str], particles: Trajectory | None, moments: Sequence[_Moment]
) -> list[str]:
    """What is drawn, where the axes do not say it."""
    notes = marginalised(names)
    if particles is None:
        return notes
    dots = min(
        _MOST_DOTS, max(len(m.neurons) for m in moments if m.neurons is not None)
    )
    notes.append(f"Neurons: {', '.join(facts(particles))}.")
    return [
        *notes,
        f"Dots: {dots} of them. Points: their share in bins, with the root of counts.",
    ]


def marginalised(names: Sequence[str]) -> list[str]:
    """A sentence on the coordinates that a heat map does not show, if there are any."""
    hidden = [f"${name}$" for name in names if name not in ("w_1", "u")]
    return [f"Heat maps: integrated over {', '.join(hidden)}."] if hidden else []
