"""Whether the files of the image data sets are there, whole and as published."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mfsim.datasets.cifar10 import CIFAR10, read_batch
from mfsim.datasets.image_folders import Layout
from mfsim.datasets.mnist_idx import MNIST, read_idx
from mfsim.datasets.official import SHA256
from mfsim.errors import ConfigError


class Finding(NamedTuple):
    """What one file is.

    Attributes:
        dataset: The data set in the words of `mfsim data get`.
        path: The file.
        content: What it holds; "" if it cannot be told.
        fault: What is wrong with it; "" if nothing is.
    """

    dataset: str
    path: Path
    content: str
    fault: str


def examine(folder: Path) -> Iterator[Finding]:
    """Every file of each data set of which the folder has a file.

    Raises:
        ConfigError: If it is no folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"FOLDER must be an existing folder, got {str(folder)!r}.")
    for layout in (MNIST, CIFAR10):
        yield from _examine(layout, folder)


def _examine(layout: Layout, folder: Path) -> Iterator[Finding]:
    place, files = layout.search(folder)
    for names, path in zip(layout.files, files, strict=True):
        if path is not None:
            yield _check(layout.name, path)
        elif any(files):
            yield Finding(layout.name, place / names[0], "", "missing")


def _check(dataset: str, path: Path) -> Finding:
    try:
        content = _read_idx(path) if dataset == MNIST.name else _read_batch(path)
    except ConfigError as error:
        return Finding(dataset, path, "", str(error).removesuffix("."))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = SHA256[path.name.replace(".idx", "-idx")]
    if found == wanted:
        return Finding(dataset, path, content, "")
    wrong = f"must have SHA-256 {wanted[:12]}..., got {found[:12]}..."
    return Finding(dataset, path, content, f"{path.name} {wrong}")


def _read_idx(path: Path) -> str:
    shape = read_idx(path).shape
    images = f"images of {'x'.join(map(str, shape[1:]))}"
    return f"{shape[0]} {images if len(shape) > 1 else 'labels'}"


def _read_batch(path: Path) -> str:
    return f"{len(read_batch(path).classes)} images of 32x32x3"
