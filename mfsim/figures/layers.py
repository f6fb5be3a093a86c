"""Series of one number a layer, as one series for each layer."""

import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray

AXES = ("layer", "hidden_layer")
"""Axes along which a series has one number for each layer."""

_MARKERS = "os^DvP"
_NUMBER = re.compile(r"_(\d+)$")


def by_layer(series: xarray.Dataset) -> dict[str, xarray.Variable]:
    """Of each series along the layers, that of layer 3 as `<name>_3`, and so on."""
    found = {}
    # Of variables, not of arrays with coordinates, which take a millisecond each.
    for name in series.data_vars:
        variable = series.variables[name]
        for axis in {*AXES} & {*variable.dims}:
            for i, number in enumerate(series[axis].values):
                found[f"{name}_{number}"] = variable.isel({axis: i})
    return found


def number_of(key: str) -> int | None:
    """The layer of a series that `by_layer` gives; None of any other."""
    found = _NUMBER.search(key)
    return int(found[1]) if found else None


def layers_of(key: str, known: Sequence[str]) -> list[str]:
    """The series for each layer of `key`; of more than six six, evenly spread."""
    own = [name for name in known if _NUMBER.sub("", name) == key and number_of(name)]
    places = np.linspace(0, len(own) - 1, min(len(own), len(_MARKERS)))
    return [own[place] for place in places.round().astype(int)]


def layer_looks(count: int) -> list[dict[str, Any]]:
    """Looks of so many layers: shades in their order, in grey by the marker."""
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count))
    return [
        {"color": shade, "marker": marker, "linestyle": "-"}
        for shade, marker in zip(shades, _MARKERS, strict=False)
    ]
