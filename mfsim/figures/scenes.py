"""What a film shows: the plane of (w, u), and the density of each at its sides."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mfsim.errors import ConfigError
from mfsim.figures import laws
from mfsim.figures.density import DENSITY, PRIOR, heat_map, marginalised
from mfsim.figures.facts import facts, setting
from mfsim.figures.style import LOOKS, write
from mfsim.storage import Trajectory

Turn = Callable[[int], None]
"""Draws the snapshot of this index."""

Pair = tuple[np.ndarray, np.ndarray]
"""Something of w, and the same of u."""

_LOOK: dict[str, Any] = {"color": LOOKS[0]["color"], "linewidth": 1.6}
_MOST_DOTS = 5000
_PRINCIPAL = "$w$ along its leading direction [parameter]"
_OUTGOING = "norm of outgoing weights [parameter]"


class Stage(NamedTuple):
    """The plane of (w, u), with the density of w above it and that of u beside it."""

    figure: Figure
    plane: Axes
    above: Axes
    beside: Axes


def grid_scene(
    run: Trajectory, density: xarray.DataArray, picked: Sequence[int]
) -> tuple[Stage, Turn]:
    """The heat map of a density and its marginals, on scales for all that is picked."""

    def sides_of(law: xarray.DataArray) -> Pair:
        return laws.marginal(law, "w_1").values, laws.marginal(law, "u").values

    top, sides = 0.0, []
    for i in picked:
        # One at a time: all of them may be more than memory holds.
        law = density.isel(step=i).load()
        top = max(top, float(laws.marginal(law, "w_1", "u").max()))
        sides.append(sides_of(law))
    stage = _stage(run, marginalised(laws.coordinates(density)))
    image = heat_map(stage.plane, density.isel(step=picked[0]), Normalize(0, top))
    stage.figure.colorbar(image, ax=stage.beside, label=DENSITY)
    edges = laws.edges(density["w_1"]), laws.edges(density["u"])
    show = _draw_sides(stage, run, edges, sides)
    stage.plane.set_xlim(*laws.reach(density["w_1"], [w for w, _ in sides]))
    stage.plane.set_ylim(*laws.reach(density["u"], [u for _, u in sides]))

    def turn(i: int) -> None:
        law = density.isel(step=i).load()
        image.set_data(laws.marginal(law, "w_1", "u").values.T)
        show(sides_of(law))

    return stage, turn


def cloud_scene(
    run: Trajectory, neurons: xarray.DataArray, picked: Sequence[int]
) -> tuple[Stage, Turn]:
    """Neurons as dots, with histograms, on scales for all that is picked.

    Raises:
        ConfigError: If no neuron is finite.
    """
    plane, labels = _plane_of(run, neurons)
    edges = _edges_of(run, plane, picked)

    def sides_of(points: np.ndarray) -> Pair:
        w, u = (
            np.histogram(p, e)[0] / (np.diff(e) * max(1, len(p)))
            for p, e in zip(_finite(points).T, edges, strict=True)
        )
        return w, u

    width = neurons.sizes["neuron"]
    dots = laws.some(width, _MOST_DOTS)
    notes = ["Hidden layer 1."] * (neurons.name == laws.LAYER)
    notes += [f"{len(dots)} of {width} neurons."] * (len(dots) < width)
    stage = _stage(run, notes)
    stage.plane.set_xlabel(labels[0])
    stage.plane.set_ylabel(labels[1])
    cloud = stage.plane.scatter(
        [], [], s=5, linewidths=0, alpha=0.5, color=_LOOK["color"]
    )
    sides = [sides_of(plane.isel(step=i).values) for i in picked]
    show = _draw_sides(stage, run, edges, sides)
    stage.plane.set_xlim(edges[0][0], edges[0][-1])
    stage.plane.set_ylim(edges[1][0], edges[1][-1])

    def turn(i: int) -> None:
        points = plane.isel(step=i).values
        cloud.set_offsets(points[dots])
        show(sides_of(points))

    return stage, turn


def _plane_of(
    run: Trajectory, neurons: xarray.DataArray
) -> tuple[xarray.DataArray, tuple[str, str]]:
    """Neurons as points (w, u), read when used, and what these are called."""
    if neurons.name == laws.LAYER:
        return neurons.isel(coordinate=[0, 2]), (_PRINCIPAL, _OUTGOING)
    u = laws.axis_label("u")
    dim, view = neurons.sizes["coordinate"] - 1, run.snapshots.get("neurons_3d")
    # A file that is still written may have the view of an earlier end, or none.
    if dim == 1 or view is None or view.sizes["step"] < neurons.sizes["step"]:
        return neurons.isel(coordinate=[0, dim]), (laws.axis_label("w_1"), u)
    # The view's coordinates are u and the leading components of w.
    return view.isel(coordinate=[1, 0]), (_PRINCIPAL, u)


def _edges_of(run: Trajectory, plane: xarray.DataArray, picked: Sequence[int]) -> Pair:
    """The edges of bins, from the least to the largest of all times."""
    clouds = (_finite(plane.isel(step=i).values) for i in picked)
    ends = [(p.min(axis=0), p.max(axis=0)) for p in clouds if len(p)]
    if not ends:
        raise ConfigError(
            f"snapshots of {run.path} must hold finite neurons, got none; take a "
            "smaller step."
        )
    low, high = np.min(ends, axis=(0, 1)), np.max(ends, axis=(0, 1))
    count = plane.sizes["neuron"]
    w, u = (laws.bin_edges(count, *pair) for pair in zip(low, high, strict=True))
    return w, u


def _finite(points: np.ndarray) -> np.ndarray:
    return points[np.isfinite(points).all(axis=1)].astype(float)


def _stage(run: Trajectory, notes: Sequence[str]) -> Stage:
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 1), height_ratios=(1, 3))
    plane = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=plane)
    beside = figure.add_subplot(grid[1, 1], sharey=plane)
    corner = figure.add_subplot(grid[0, 1])
    corner.axis("off")
    lines = [Line2D([], [], label="$p_t$", **_LOOK)]
    if setting(run, "flow.network.output_std") is not None:
        lines.append(Line2D([], [], label="$p_0$", **PRIOR))
    corner.legend(handles=lines, loc="center")
    plane.set_ylabel(laws.axis_label("u"))
    above.set_ylabel("density\n[1/parameter]")
    beside.set_xlabel("density\n[1/parameter]")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    write(figure, facts(run), notes)
    return Stage(figure, plane, above, beside)


def _draw_sides(
    stage: Stage, run: Trajectory, edges: Sequence[np.ndarray], sides: Sequence[Pair]
) -> Callable[[Pair], None]:
    """Draw the densities of w and of u with p_0; gives what shows others."""
    above = stage.above.stairs(sides[0][0], edges[0], baseline=None, **_LOOK)
    beside = stage.beside.stairs(
        sides[0][1], edges[1], baseline=None, orientation="horizontal", **_LOOK
    )
    tops = []
    for name, side, heights in zip(
        ("w_1", "u"), edges, zip(*sides, strict=True), strict=True
    ):
        places = np.linspace(side[0], side[-1], 300)
        prior = laws.prior_density(run, name, places)
        xy = (places, prior) if name == "w_1" else (prior, places)
        (stage.above if name == "w_1" else stage.beside).plot(*xy, **PRIOR)
        tops.append(1.05 * np.nanmax([np.max(heights), *prior]))
    stage.above.set_ylim(0, tops[0])
    stage.beside.set_xlim(0, tops[1])

    def show(pair: Pair) -> None:
        above.set_data(pair[0])
        beside.set_data(pair[1])

    return show
