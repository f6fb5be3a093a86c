"""Enough to continue a run exactly, in two slots written in turn.

A slot's line in `/checkpoint/slots` (number in order, step, checksum) is written after
its arrays. A kill between leaves a checksum that does not fit, and the other slot.
"""

import zlib
from collections.abc import Sequence

import h5py
import numpy as np

from mfsim.storage.layout import dataset_at, group_at

Checkpoint = tuple[int, tuple[np.ndarray, ...]]


def create_slots(file: h5py.File, leaves: Sequence[np.ndarray]) -> None:
    """Make two empty slots for arrays of these shapes, replacing any others."""
    if "checkpoint" in file:
        del file["checkpoint"]
    group = file.create_group("checkpoint")
    group.create_dataset("slots", data=np.zeros((2, 3), dtype="int64"))
    for slot in range(2):
        for index, leaf in enumerate(leaves):
            group.create_dataset(f"slot_{slot}/leaf_{index}", data=np.zeros_like(leaf))


def slots_fit(file: h5py.File, leaves: Sequence[np.ndarray]) -> bool:
    """Whether the file has slots for arrays of these shapes and types."""
    if "checkpoint" not in file:
        return False
    stored = _datasets(group_at(file, "checkpoint"), 0)
    return [(found.shape, found.dtype) for found in stored] == [
        (leaf.shape, leaf.dtype) for leaf in leaves
    ]


def write_checkpoint(file: h5py.File, step: int, leaves: Sequence[np.ndarray]) -> None:
    """Write the slot that is not the newest, its line last."""
    group = group_at(file, "checkpoint")
    slots = dataset_at(group, "slots")
    lines = slots[...]
    slot = int(lines[:, 0].argmin())
    for dataset, leaf in zip(_datasets(group, slot), leaves, strict=True):
        dataset[...] = leaf
    file.flush()
    slots[slot] = (lines[:, 0].max() + 1, step, _checksum(step, leaves))


def read_checkpoint(file: h5py.File) -> Checkpoint | None:
    """The newest whole checkpoint: its step and arrays; None if there is none."""
    if "checkpoint" not in file:
        return None
    group = group_at(file, "checkpoint")
    lines = dataset_at(group, "slots")[...]
    for slot in lines[:, 0].argsort()[::-1]:
        number, step, checksum = (int(entry) for entry in lines[slot])
        leaves = tuple(found[...] for found in _datasets(group, slot))
        if number > 0 and _checksum(step, leaves) == checksum:
            return step, leaves
    return None


def _datasets(group: h5py.Group, slot: int) -> list[h5py.Dataset]:
    if f"slot_{slot}" not in group:
        return []
    stored = group_at(group, f"slot_{slot}")
    return [dataset_at(stored, f"leaf_{index}") for index in range(len(stored))]


def _checksum(step: int, leaves: Sequence[np.ndarray]) -> int:
    checksum = zlib.crc32(str(step).encode())
    for leaf in leaves:
        checksum = zlib.crc32(np.ascontiguousarray(leaf).data, checksum)
    return checksum
