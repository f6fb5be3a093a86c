"""Classes, labels and draws that the sets of ten kinds of images share."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from mfsim.datasets.arrays import Data
from mfsim.datasets.draws import stream
from mfsim.errors import ConfigError

NUM_CLASSES = 10


Labels = Literal["scaled", "classes"]


def label(
    found: UInt8[np.ndarray, " n"] | Int[np.ndarray, " n"],
    classes: tuple[int, int] | None,
    labels: Labels,
) -> Float[np.ndarray, " n"]:
    """What is learned of the classes of images.

    Args:
        found: The classes, 0 to 9; of two classes, only these.
        classes: The two, if there are two.
        labels: "scaled": -1 and 1 of two classes, (k - 4.5)/4.5 of ten; "classes": the
            place of the class, from 0 on, among the two or the ten.
    """
    place = (found == classes[1]).astype(float) if classes else found.astype(float)
    if labels == "classes":
        return place
    return 2 * place - 1 if classes else (place - 4.5) / 4.5


class Images(NamedTuple):
    """Images as they are in the files: pixels 0 to 255, an image a row, and classes."""

    pixels: UInt8[np.ndarray, "n d"]
    classes: UInt8[np.ndarray, " n"]


def check_classes(name: str, classes: UInt8[np.ndarray, " n"]) -> None:
    """Refuse what is no class, naming the file it came from.

    Raises:
        ConfigError: If there is no image or a class is not one of 0 to 9.
    """
    if len(classes) == 0:
        raise ConfigError(f"{name} must hold at least one image, got none.")
    if classes.max() >= NUM_CLASSES:
        raise ConfigError(
            f"{name} must have labels from 0 to {NUM_CLASSES - 1}, got {classes.max()}."
        )


def draw(
    train: Images,
    test: Images,
    *,
    classes: tuple[int, int] | None,
    num_train: int | None,
    num_test: int | None,
    seed: int,
    labels: Labels = "scaled",
) -> Data:
    """Some of the images, pixels from 0 to 1, with the labels that are learned.

    Args:
        train: All images to train on.
        test: All images to test on.
        classes: The two that are drawn; None for all ten.
        num_train: How many are drawn; all unless given. Fewer are the first of more.
        num_test: The same of the test images.
        seed: Of both draws, each in its own stream.
        labels: As in `label`.

    Raises:
        ConfigError: If there are fewer images, or if of two classes only one is drawn.
    """
    rows = _rows("train", train, classes, num_train, seed)
    if classes and len(set(train.classes[rows])) < 2:
        raise ConfigError(
            f"num_train must draw images of both classes, got {len(rows)} of one class "
            f"only with seed = {seed}; raise num_train or change seed or classes."
        )
    test_rows = _rows("test", test, classes, num_test, seed)
    return Data(
        *_as_data(train, rows, classes, labels),
        *_as_data(test, test_rows, classes, labels),
    )


def _rows(
    part: str,
    images: Images,
    classes: tuple[int, int] | None,
    num: int | None,
    seed: int,
) -> Int[np.ndarray, " k"]:
    kept = np.arange(len(images.classes))
    if classes:
        kept = np.flatnonzero(np.isin(images.classes, classes))
    if num is not None and num > len(kept):
        raise ConfigError(
            f"num_{part} must be at most {len(kept)}, the {part} images of these "
            f"classes, got {num}."
        )
    return kept[stream(seed, f"{part} images").permutation(len(kept))[:num]]


def _as_data(
    images: Images,
    rows: Int[np.ndarray, " k"],
    classes: tuple[int, int] | None,
    labels: Labels,
) -> tuple[np.ndarray, np.ndarray]:
    # Chosen as bytes: all of CIFAR-10 in float64 is 1.4 GiB.
    x = np.divide(images.pixels[rows], 255, dtype=np.float64)
    return x, label(images.classes[rows], classes, labels)
