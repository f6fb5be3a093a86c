"""The CIFAR-10 files, python or binary version."""

from pathlib import Path

import equinox as eqx
import numpy as np

from mfsim.component import count, static
from mfsim.datasets.base import AbstractDataset
from mfsim.datasets.image_folders import Layout, named_folder
from mfsim.datasets.images import Images, Labels, check_classes, draw
from mfsim.datasets.pickled import read_pickle
from mfsim.datasets.prepare import Prepare
from mfsim.errors import ConfigError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_PIXELS = 3 * 32 * 32
_PLACES = ("cifar-10-batches-py", "cifar-10-batches-bin")

CIFAR10 = Layout(
    name="cifar10",
    places=(".", *_PLACES, "cifar10", *(f"cifar10/{place}" for place in _PLACES)),
    files=tuple(
        (name, f"{name}.bin")
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    ),
)


class Cifar10(AbstractDataset):
    """CIFAR-10's photographs, 32x32x3 pixels from 0 to 1: two classes, or all ten.

    The six batches as published: the python version, read without running what a pickle
    may contain, or the binary version. An input is 1024 red, then 1024 green, then 1024
    blue values, each row by row.

    Attributes:
        folder: Where the batches are, or a folder with them in `cifar-10-batches-py/`,
            `cifar-10-batches-bin/` or `cifar10/`; in a config, relative to the config.
            Unless given it is the environment's MFSIM_DATA.
        classes: The two classes labelled -1 and 1, in this order, such as cat and dog;
            without it all ten, labelled (k - 4.5)/4.5 for the k-th of airplane,
            automobile, bird, cat, deer, dog, frog, horse, ship, truck, from 0.
        num_train: Number n of training images, drawn from those of these classes; all
            unless given. Fewer are part of more.
        num_test: The same of the test images; it does not change the training images.
        labels: "scaled", as said, or "classes": numbers 0, 1, ... of the classes, as
            SoftmaxCrossEntropy wants them.
        seed: Of what is drawn, training and test in their own streams.
        prepare: What is done to the arrays.

    Cost: 25 KB an image in float64, 1.2 GB for the 50,000 training images.
    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    folder: Path | None = eqx.field(static=True, default=None, converter=named_folder)
    classes: tuple[str, str] | None = static(None)
    num_train: int | None = count(None)
    num_test: int | None = count(None, at_least=0)
    labels: Labels = static("scaled")
    seed: int = count(0, at_least=0, at_most=2**32 - 1)
    prepare: Prepare = Prepare()

    def __check_init__(self):
        if self.classes is None:
            return
        if len(set(self.classes)) != 2 or not set(self.classes) <= set(CLASSES):
            raise ValueError(
                f"classes must be two different ones of {list(CLASSES)}, "
                f"got {list(self.classes)}."
            )

    def files(self):
        return CIFAR10.find(self.folder)

    def raw(self):
        files = self.files()
        try:
            *train, test = map(read_batch, files)
        except ConfigError as error:
            raise ConfigError(f"folder {str(files[0].parent)!r}: {error}") from error
        first, second = self.classes or (None, None)
        return draw(
            Images(*map(np.concatenate, zip(*train, strict=True))),
            test,
            classes=(CLASSES.index(first), CLASSES.index(second)) if first else None,
            num_train=self.num_train,
            num_test=self.num_test,
            seed=self.seed,
            labels=self.labels,
        )


def read_batch(path: Path) -> Images:
    """The images of one batch; the binary version is that of the suffix .bin.

    Raises:
        ConfigError: If it is not one, or not whole; the message begins with its name.
    """
    try:
        images = (_read_binary if path.suffix == ".bin" else _read_python)(path)
    except OSError as error:
        raise ConfigError(
            f"{path.name} must be a file that can be read, got: {error.strerror}."
        ) from error
    check_classes(path.name, images.classes)
    return images


def _read_binary(path: Path) -> Images:
    content = np.fromfile(path, np.uint8)
    if content.size % (1 + _PIXELS):
        raise ConfigError(
            f"{path.name} must have whole records of {1 + _PIXELS} bytes, got "
            f"{content.size} bytes; it is damaged."
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return Images(records[:, 1:], records[:, 0])


def _read_python(path: Path) -> Images:
    batch = read_pickle(path)
    for key in ("data", "labels"):
        if key not in batch:
            raise ConfigError(
                f"{path.name} must have data and labels, got {sorted(batch)[:9]}."
            )
    pixels, labels = batch["data"], batch["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.shape[1] != _PIXELS:
        raise ConfigError(
            f"{path.name} must have data of bytes, of shape (n, {_PIXELS})."
        )
    if not isinstance(labels, list) or not all(map(_is_class, labels)):
        raise ConfigError(f"{path.name} must have a list of labels from 0 to 9.")
    if len(labels) != len(pixels):
        raise ConfigError(
            f"{path.name} must have {len(pixels)} labels, one for each row of its "
            f"data, got {len(labels)}."
        )
    return Images(pixels, np.array(labels, np.uint8))


def _is_class(label: object) -> bool:
    return type(label) is int and 0 <= label < len(CLASSES)
