"""Random draws of the datasets: named streams, and points on the unit sphere."""

import zlib

import numpy as np
from jaxtyping import Float


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one named part of a dataset, such as `teacher`."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def uniform_on_sphere(
    rng: np.random.Generator, num: int, dim: int
) -> Float[np.ndarray, "n d"]:
    """Independent points of norm one; the first ones are the same for every `num`."""
    normal = rng.standard_normal((num, dim))
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def sphere_inputs(
    seed: int, num_train: int, num_test: int, dim: int
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "k d"]]:
    """Training and test inputs on the unit sphere, from streams of their own."""
    x_train = uniform_on_sphere(stream(seed, "train inputs"), num_train, dim)
    return x_train, uniform_on_sphere(stream(seed, "test inputs"), num_test, dim)
