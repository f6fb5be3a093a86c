"""Standard normals as a function of a key, a step and a place; what they do alone.

`jax.random.normal` keeps its generator in a loop of its own on a CPU, apart from the
inverse error function and the update. Unrolled, as here, all of a step's noise is one
fused pass (benchmarks/bench_step.py measures both).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, UInt32

_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
_PARITY = 0x1BD11BDA


def threefry(
    key: Key[Array, ""], first: UInt32[Array, "..."], second: UInt32[Array, "..."]
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """The two words of Threefry-2x32 (20 rounds) at a counter of two words.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    k0, k1 = jax.random.key_data(key)
    keys = k0, k1, k0 ^ k1 ^ jnp.uint32(_PARITY)
    a, b = first + keys[0], second + keys[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << jnp.uint32(turn)) | (b >> jnp.uint32(32 - turn)))
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def normal(
    key: Key[Array, ""], step: Int[Array, ""], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "..."]:
    """The standard normals of one step; the same however steps are cut into calls.

    Entry i of step k comes from the counter (k, i), by inversion of the normal law at
    the middle of one of 2^24 (float32) or 2^53 (float64) equal cells.

    Raises:
        ValueError: If the array has 2^32 entries or more: the counter would repeat.
    """
    if math.prod(shape) >= 2**32:
        raise ValueError(
            f"noise must have fewer than 2^32 entries a block, got shape {shape}."
        )
    counter = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        place = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        counter, stride = counter + place * jnp.uint32(stride), stride * shape[axis]
    words = threefry(key, jnp.broadcast_to(step.astype(jnp.uint32), shape), counter)
    return jnp.asarray(math.sqrt(2), dtype) * jax.lax.erf_inv(_symmetric(words, dtype))


def _symmetric(
    words: tuple[UInt32[Array, "..."], UInt32[Array, "..."]], dtype: DTypeLike
) -> Float[Array, "..."]:
    """Uniform on (-1, 1), never at an end, symmetric about 0."""
    first, second = words
    if jnp.dtype(dtype) == jnp.float32:
        cell = ((first ^ second).astype(jnp.int32) >> 8).astype(jnp.float32)
        return (cell + jnp.float32(0.5)) * jnp.float32(2**-23)
    high = first.astype(jnp.int32).astype(jnp.float64) * 2.0**21
    low = (second >> jnp.uint32(11)).astype(jnp.float64)
    return (high + low + 0.5) * 2.0**-52


def free_change(theta: Array, noise: Any, step: Any, temperature: Any, std: Any) -> Any:
    """What an exact Ornstein-Uhlenbeck step adds: N(0, std^2) stays as it is.

    theta <- e^{-a} theta + std sqrt(1 - e^{-2a}) xi, a = temperature step/std^2.
    """
    a = temperature * step / std**2
    spread = std * jnp.sqrt(-jnp.expm1(-2 * a))
    # Rounding e^{-a} to 1 would lose the decay; expm1 keeps it.
    return jnp.expm1(-a) * theta + spread * noise
