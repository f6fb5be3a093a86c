"""Work on the rows of arrays block by block, so that no large intermediate is held."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def block_size(rows: int, bytes_per_row: int, budget: int) -> int:
    """Rows a block: the fewest equal blocks of at most `budget` bytes each."""
    most = max(1, min(rows, budget // max(1, bytes_per_row)))
    return -(-rows // -(-rows // most)) if rows else 1


def sum_blocks(f: Callable[..., PyTree], arrays: tuple, block: int) -> PyTree:
    """The sum of f over consecutive blocks of the arrays' rows.

    Args:
        f: Takes one block of each array, returns a tree of arrays of fixed shape.
        arrays: Arrays with the same number of rows; `None` passes through.
        block: Rows a block; the last block may be shorter.
    """
    whole, rest = _split(arrays, block)
    if whole is None:
        return f(*rest)
    total = jax.eval_shape(lambda: f(*jax.tree.map(lambda a: a[0], whole)))
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), total)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, f(*part)), None

    total, _ = jax.lax.scan(add, start, whole)
    return total if rest is None else jax.tree.map(jnp.add, total, f(*rest))


def map_blocks(f: Callable[..., Any], arrays: tuple, block: int) -> Any:
    """F over consecutive blocks of rows, its rows joined again in order."""
    whole, rest = _split(arrays, block)
    if whole is None:
        return f(*rest)
    _, rows = jax.lax.scan(lambda _, part: (None, f(*part)), None, whole)
    rows = rows.reshape(-1, *rows.shape[2:])
    return rows if rest is None else jnp.concatenate([rows, f(*rest)])


def map_members(f: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """f(*args), but under `jax.vmap` on a CPU its members run one after another.

    On a CPU a member at a time keeps its activations in cache; what is not vmapped,
    such as noise that members share, is still computed once for all of them.
    """
    batched = jax.custom_batching.custom_vmap(f)

    @batched.def_vmap
    def rule(size: int, in_batched: list, *args: PyTree) -> tuple[PyTree, PyTree]:
        leaves, tree = jax.tree.flatten(args)
        flags = jax.tree.leaves(in_batched)
        varying = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]

        def one(varying: list) -> PyTree:
            rest = iter(varying)
            merged = [
                next(rest) if flag else leaf
                for leaf, flag in zip(leaves, flags, strict=True)
            ]
            return f(*tree.unflatten(merged))

        over = jax.lax.map if on_cpu() else lambda one, xs: jax.vmap(one)(xs)
        out = over(one, varying)
        return out, jax.tree.map(lambda _: True, out)

    return batched(*args)


def on_cpu() -> bool:
    """Whether arrays are made on a CPU unless said otherwise."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    device = chosen or jax.devices()[0]
    return getattr(device, "platform", device) == "cpu"


def _split(arrays: tuple, block: int) -> tuple[Any, Any]:
    """Whole blocks with a leading block axis, then the shorter last one, if any."""
    rows = jax.tree.leaves(arrays)[0].shape[0]
    number = rows // block
    if number <= 1 and rows == number * block or number == 0:
        return None, arrays
    cut = number * block
    whole = jax.tree.map(lambda a: a[:cut].reshape(number, block, *a.shape[1:]), arrays)
    return whole, jax.tree.map(lambda a: a[cut:], arrays) if cut < rows else None
