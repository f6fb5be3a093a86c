"""Work on the rows of arrays block by block, so that no large intermediate is held."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def block_size(rows: int, bytes_per_row: int, budget: int) -> int:
    """Rows a block: the fewest equal blocks of at most `budget` bytes each."""
    most = max(1, min(rows, budget // max(1, bytes_per_row)))
    return -(-rows // -(-rows // most)) if rows else 1


def fold_blocks(
    f: Callable[..., tuple[PyTree, PyTree]], arrays: tuple, block: int
) -> tuple[PyTree, PyTree]:
    """The sum of the first, the joined rows of the second that f gives of each block.

    Args:
        f: Takes one block of each array, returns a tree of fixed shape to add up and a
            tree of arrays with a row for each of the block.
        arrays: Arrays with the same number of rows; `None` passes through.
        block: Rows a block; the last block may be shorter.
    """
    whole, rest = _split(arrays, block)
    if whole is None:
        return f(*rest)
    total, _ = jax.eval_shape(lambda: f(*jax.tree.map(lambda a: a[0], whole)))
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), total)

    def add(total: Any, part: Any) -> tuple[Any, Any]:
        more, rows = f(*part)
        return jax.tree.map(jnp.add, total, more), rows

    total, rows = jax.lax.scan(add, start, whole)
    rows = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows)
    if rest is None:
        return total, rows
    more, last = f(*rest)
    rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), rows, last)
    return jax.tree.map(jnp.add, total, more), rows


def sum_blocks(f: Callable[..., PyTree], arrays: tuple, block: int) -> PyTree:
    """The sum of f over consecutive blocks of the arrays' rows, as in `fold_blocks`."""
    return fold_blocks(lambda *part: (f(*part), None), arrays, block)[0]


def map_blocks(f: Callable[..., PyTree], arrays: tuple, block: int) -> PyTree:
    """F over consecutive blocks of rows, its rows joined again in order."""
    return fold_blocks(lambda *part: (None, f(*part)), arrays, block)[1]


_IN_TURN = contextvars.ContextVar("in_turn", default=False)


@contextlib.contextmanager
def in_turn(on: bool) -> Iterator[None]:
    """While functions are traced: whether `map_members` takes members in turn.

    On a CPU a member at a time keeps its activations in cache.
    """
    token = _IN_TURN.set(on)
    try:
        yield
    finally:
        _IN_TURN.reset(token)


def map_members(f: Callable[..., PyTree], *args: PyTree) -> PyTree:
    """f(*args), but vmapped within `in_turn()` its members run one after another.

    What is not vmapped, such as noise that members share, is still computed once.
    """
    if not _IN_TURN.get():
        return f(*args)
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

        out = jax.lax.map(one, varying)
        return out, jax.tree.map(lambda _: True, out)

    return batched(*args)


def _split(arrays: tuple, block: int) -> tuple[Any, Any]:
    """Whole blocks with a leading block axis, then the shorter last one, if any."""
    rows = jax.tree.leaves(arrays)[0].shape[0]
    number = rows // block
    if number <= 1 and rows == number * block or number == 0:
        return None, arrays
    cut = number * block
    whole = jax.tree.map(lambda a: a[:cut].reshape(number, block, *a.shape[1:]), arrays)
    return whole, jax.tree.map(lambda a: a[cut:], arrays) if cut < rows else None
