"""Does the device multiply matrices in the precision that it is asked for?"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mfsim.errors import ConfigError
from mfsim.memory import default_device

_UNITS = 64
"""Units in the last place, of the largest entry. On a CPU float32 is off by 6, float64
by 7; products of TensorFloat-32 and bfloat16, which some drivers put in the stead of
float32, are off by 590 and 5600 of it."""


def require_precision() -> None:
    """Refuse a default device on which products silently lose digits.

    A small Gram matrix is compared with NumPy's, once a device.

    Raises:
        ConfigError: If float64, or float32 at precision "highest", is not what it says.
    """
    _require(default_device())


@functools.cache
def _require(device: Any) -> None:
    factor = np.random.default_rng(0).standard_normal((64, 512))
    for dtype in (np.float32, np.float64):
        rounded = factor.astype(dtype)
        wide = rounded.astype(np.float64)
        exact = wide @ wide.T
        error = np.abs(product(rounded, device) - exact).max() / exact.max()
        limit = _UNITS * np.finfo(dtype).eps
        if error > limit:
            raise ConfigError(
                f"device {device} must multiply {np.dtype(dtype).name} matrices to "
                f"{limit:.0e}, got errors of {error:.0e}; unset NVIDIA_TF32_OVERRIDE "
                "and XLA flags that trade precision for speed, or take --device cpu."
            )


def product(factor: np.ndarray, device: Any) -> np.ndarray:
    """The Gram matrix of some rows as the device makes it, in the rows' dtype."""
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(True),
        jax.default_device(device),
        jax.default_matmul_precision("highest"),
    ):
        rows = jnp.asarray(factor)
        return np.asarray(rows @ rows.T)
