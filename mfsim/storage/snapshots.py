"""Full states kept along a run, the populations of neurons as H5MD trajectories."""

import h5py
import numpy as np

from mfsim.storage.layout import dataset_at, group_at

_NEURONS = "particles/neurons"
VIEW = "particles/neurons_3d"


def element_path(name: str) -> str:
    """Where the `step`, `time` and `value` of a snapshot lie in the file."""
    return f"{name}/position" if name.startswith("particles/") else name


def write_box(particles: h5py.Group, dimension: int) -> None:
    """Write the H5MD box of a population: so many dimensions, without boundaries."""
    box = particles.create_group("box")
    box.attrs["dimension"] = dimension
    box.attrs["boundary"] = np.array([b"none"] * dimension)


def write_neurons_3d(file: h5py.File) -> None:
    """Write the neurons as points in space, for molecular viewers.

    The coordinates are u, the last one of a neuron, and the components of w along the
    two leading principal directions of its uncentred second moment in the last finite
    snapshot; zero where w has fewer. An earlier view is replaced.
    """
    if f"{_NEURONS}/position/value" not in file:
        return
    if VIEW in file:
        del file[VIEW]
    source = group_at(file, f"{_NEURONS}/position")
    values = dataset_at(source, "value")
    basis = _principal_basis(values)
    target = file.create_group(f"{VIEW}/position")
    write_box(group_at(file, VIEW), 3)
    # The same neurons at the same times: one dataset under two names, as H5MD allows.
    target["step"] = dataset_at(source, "step")
    target["time"] = dataset_at(source, "time")
    shape = (*values.shape[:2], 3)
    view = target.create_dataset("value", shape=shape, dtype=values.dtype)
    for row in range(len(values)):
        view[row] = values[row] @ basis
    _put_first(group_at(file, "particles"), "neurons_3d")


def _put_first(group: h5py.Group, first: str) -> None:
    """MDAnalysis opens the oldest group: the others are linked anew."""
    for name in [str(name) for name in group if name != first]:
        group.move(name, "moving")
        group.move("moving", name)


def _principal_basis(values: h5py.Dataset) -> np.ndarray:
    """The (d + 1, 3) matrix that takes (w, u) to (u, two components of w)."""
    dim = values.shape[-1] - 1
    basis = np.zeros((dim + 1, 3), dtype=values.dtype)
    basis[-1, 0] = 1.0
    weights = _last_finite(values)[:, :-1].astype("float64")
    _, vectors = np.linalg.eigh(weights.T @ weights)
    leading = vectors[:, ::-1][:, :2]
    # A direction has no sign of its own: its largest component is made positive.
    peaks = np.abs(leading).argmax(axis=0) if dim else np.zeros(0, dtype=int)
    signs = np.sign(leading[peaks, np.arange(leading.shape[1])])
    basis[:-1, 1 : 1 + leading.shape[1]] = leading * signs
    return basis


def _last_finite(values: h5py.Dataset) -> np.ndarray:
    for row in reversed(range(len(values))):
        if np.isfinite(state := values[row]).all():
            return state
    return np.zeros(values.shape[1:])
