"""Full states kept along a run, the populations of neurons as H5MD trajectories."""

import itertools
from collections.abc import Callable

import h5py
import numpy as np
import scipy.linalg

from mfsim.storage.layout import dataset_at, group_at

_NEURONS = "particles/neurons"
_VIEW = "_3d"


def element_path(name: str) -> str:
    """Where the `step`, `time` and `value` of a snapshot lie in the file."""
    return f"{name}/position" if name.startswith("particles/") else name


def write_box(particles: h5py.Group, dimension: int) -> None:
    """Write the H5MD box of a population: so many dimensions, without boundaries."""
    box = particles.create_group("box")
    box.attrs["dimension"] = dimension
    box.attrs["boundary"] = np.array([b"none"] * dimension)


def write_views(file: h5py.File) -> None:
    """Write the neurons as points in space, for molecular viewers.

    Those of two-layer networks are (u, w_a, w_b), u the last coordinate of a neuron;
    those of hidden layer l of a deep network are (w_a, w_b, v), v the norm of the
    outgoing weights: column j of W_{l+1}. The incoming weights w, row j of W_l, are
    taken along the two leading principal directions a, b of their uncentred second
    moment in the last finite snapshot; zero where w has fewer. Earlier views are
    replaced.

    Cost: an eigenproblem of min(m, d) a population; two snapshots are held at once.
    """
    remove_views(file)
    if f"{_NEURONS}/position/value" in file:
        _write_neurons(file)
    for layer in itertools.count(1):
        if f"weights/layer_{layer + 1}/value" not in file:
            return
        _write_layer(file, layer)


def remove_views(file: h5py.File) -> None:
    """Remove what `write_views` wrote."""
    particles = group_at(file, "particles")
    for name in [str(name) for name in particles]:
        if name.endswith(_VIEW):
            del particles[name]


def _write_neurons(file: h5py.File) -> None:
    source = group_at(file, f"{_NEURONS}/position")
    values = dataset_at(source, "value")
    plane = _plane(_last_finite(values)[:, :-1])

    def view(row: int) -> np.ndarray:
        neurons = values[row]
        return np.column_stack([neurons[:, -1], neurons[:, :-1] @ plane])

    _write_view(file, f"neurons{_VIEW}", source, view)
    _put_first(group_at(file, "particles"), f"neurons{_VIEW}")


def _write_layer(file: h5py.File, layer: int) -> None:
    source = group_at(file, f"weights/layer_{layer}")
    values = dataset_at(source, "value")
    outgoing = dataset_at(file, f"weights/layer_{layer + 1}/value")
    plane = _plane(_last_finite(values))

    def view(row: int) -> np.ndarray:
        norms = np.linalg.norm(outgoing[row], axis=0)
        return np.column_stack([values[row] @ plane, norms])

    _write_view(file, f"layer_{layer}{_VIEW}", source, view)


def _write_view(
    file: h5py.File, name: str, source: h5py.Group, view: Callable[[int], np.ndarray]
) -> None:
    """Write the points that `view` gives for each row of a snapshot."""
    target = file.create_group(f"particles/{name}/position")
    write_box(group_at(file, f"particles/{name}"), 3)
    # The same neurons at the same times: one dataset under two names, as H5MD allows.
    target["step"] = dataset_at(source, "step")
    target["time"] = dataset_at(source, "time")
    values = dataset_at(source, "value")
    shape = (*values.shape[:2], 3)
    points = target.create_dataset("value", shape=shape, dtype=values.dtype)
    # What a diverged run left need not be finite.
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(len(values)):
            points[row] = view(row)


def _put_first(group: h5py.Group, first: str) -> None:
    """MDAnalysis opens the oldest group: the others are linked anew."""
    for name in [str(name) for name in group if name != first]:
        group.move(name, "moving")
        group.move("moving", name)


def _plane(weights: np.ndarray) -> np.ndarray:
    """The two leading principal directions of the rows of (m, d), as (d, 2)."""
    count, dim = min(2, *weights.shape), weights.shape[1]
    plane = np.zeros((dim, 2), dtype=weights.dtype)
    if not count:
        return plane
    # Squares of the largest numbers would overflow.
    weights = weights.astype("float64") / (np.abs(weights).max() or 1)
    # Of W'W and WW', which have the same eigenvalues, the smaller is taken.
    is_wide = dim > len(weights)
    square = weights @ weights.T if is_wide else weights.T @ weights
    ends = [len(square) - count, len(square) - 1]
    leading = scipy.linalg.eigh(square, subset_by_index=ends)[1][:, ::-1]
    if is_wide:
        leading = np.linalg.qr(weights.T @ leading)[0]
    # A direction has no sign of its own: its largest component is made positive.
    peaks = np.abs(leading).argmax(axis=0)
    plane[:, :count] = leading * np.sign(leading[peaks, np.arange(count)])
    return plane


def _last_finite(values: h5py.Dataset) -> np.ndarray:
    for row in reversed(range(len(values))):
        if np.isfinite(state := values[row]).all():
            return state
    return np.zeros(values.shape[1:], values.dtype)
