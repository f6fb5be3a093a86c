"""Scalar functions h(z) of the teachers, in float64 whatever JAX's flags say."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import erf

ScalarFunction = Literal["Erf", "Identity", "Relu", "Square", "Tanh"]

SCALAR_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Erf": erf,
    "Identity": lambda z: z,
    "Relu": lambda z: np.maximum(z, 0.0),
    "Square": np.square,
    "Tanh": np.tanh,
}
