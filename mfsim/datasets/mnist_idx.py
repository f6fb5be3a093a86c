"""The MNIST files, or files of their format and names."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import equinox as eqx
import numpy as np
from jaxtyping import UInt8

from mfsim.component import count, static
from mfsim.datasets.base import AbstractDataset
from mfsim.datasets.image_folders import Layout, named_folder
from mfsim.datasets.images import Images, Labels, check_classes, draw
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError

_STEMS = (
    ("train-images", "idx3-ubyte"),
    ("train-labels", "idx1-ubyte"),
    ("t10k-images", "idx3-ubyte"),
    ("t10k-labels", "idx1-ubyte"),
)
MNIST = Layout(
    name="mnist",
    places=(".", "mnist", "MNIST", "MNIST/raw"),
    files=tuple(
        tuple(f"{stem}{dot}{kind}{gz}" for gz in ("", ".gz") for dot in "-.")
        for stem, kind in _STEMS
    ),
)

# Third byte: the type, 8 is uint8; fourth: the number of dimensions.
_MAGIC = {3: 2051, 1: 2049}


class MnistIdx(AbstractDataset):
    """MNIST's handwritten digits, 28x28 pixels from 0 to 1: two classes, or all ten.

    The four files as published, gzipped or not, with `-idx` or `.idx` in their names;
    other sets in this format, such as Fashion-MNIST, are read as well.

    Attributes:
        folder: Where the files are, or a folder with them in `mnist/`; in a config,
            relative to the config. Unless given it is the environment's MFSIM_DATA.
        classes: The two digits labelled -1 and 1, in this order; without it all ten,
            labelled (digit - 4.5)/4.5, from -1 to 1.
        num_train: Number n of training images, drawn from those of these classes; all
            unless given. Fewer are part of more.
        num_test: The same of the test images; it does not change the training images.
        labels: "scaled", as said, or "classes": numbers 0, 1, ... of the classes, as
            SoftmaxCrossEntropy wants them.
        seed: Of what is drawn, training and test in their own streams.
        prepare: What is done to the arrays.

    Cost: 6 KB an image in float64, 376 MB for the 60,000 training images.
    Source: LeCun, Bottou, Bengio, Haffner 1998, Proc. IEEE 86(11), 2278-2324.
    """

    folder: Path | None = eqx.field(static=True, default=None, converter=named_folder)
    classes: tuple[int, int] | None = static(None)
    num_train: int | None = count(None)
    num_test: int | None = count(None, at_least=0)
    labels: Labels = static("scaled")
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.classes is None:
            return
        if len(set(self.classes)) != 2 or not set(self.classes) <= set(range(10)):
            raise ValueError(
                f"classes must be two different digits from 0 to 9, got {self.classes}."
            )

    def files(self):
        return MNIST.find(self.folder)

    def raw(self):
        files = self.files()
        try:
            train, test = _read(*files[:2]), _read(*files[2:])
        except ConfigError as error:
            raise ConfigError(f"folder {str(files[0].parent)!r}: {error}") from error
        return draw(
            train,
            test,
            classes=self.classes,
            num_train=self.num_train,
            num_test=self.num_test,
            seed=self.seed,
            labels=self.labels,
        )


def _read(images: Path, labels: Path) -> Images:
    pixels, classes = read_idx(images), read_idx(labels)
    if len(pixels) != len(classes):
        raise ConfigError(
            f"{labels.name} must have {len(pixels)} labels, one for each image of "
            f"{images.name}, got {len(classes)}."
        )
    return Images(pixels.reshape(len(pixels), -1), classes)


def read_idx(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The array of an IDX file of bytes: images (n, rows, columns), or labels (n,).

    Raises:
        ConfigError: If it is not one, or not whole; the message begins with its name.
    """
    dim = 3 if "idx3" in path.name else 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(path.name, file.read(4 + 4 * dim), dim)
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path.name} must be a whole file that can be read, got: {reason}."
        ) from error
    size = math.prod(shape)
    if len(content) != size:
        raise ConfigError(
            f"{path.name} must have {size} bytes after its header, which says "
            f"{'x'.join(map(str, shape))}, got {len(content)}; it is damaged."
        )
    array = np.frombuffer(content, np.uint8).reshape(shape)
    if dim == 1:
        check_classes(path.name, array)
    return array


def _read_shape(name: str, header: bytes, dim: int) -> tuple[int, ...]:
    if len(header) < 4 + 4 * dim:
        raise ConfigError(f"{name} must be a whole IDX file, got {len(header)} bytes.")
    magic, *shape = struct.unpack(f">{1 + dim}I", header)
    if magic != _MAGIC[dim]:
        raise ConfigError(
            f"{name} must begin with the magic number {_MAGIC[dim]} of its kind of "
            f"IDX file, got {magic}."
        )
    return tuple(shape)
