"""Pickles of plain arrays, read without making anything that a pickle could misuse.

A pickle is a program: it may call what it can import. Here it can import only stand-ins
that note what they are called with; bytes become arrays once all is read and checked.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mfsim.errors import ConfigError

_ARRAY, _TYPE, _ENCODE, _CLASS = "array", "dtype", "encode", "class"
# What NumPy, old and new, writes for an array, and Python 3 for bytes in protocol 2.
_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy", "dtype"): _TYPE,
    ("numpy", "ndarray"): _CLASS,
    ("_codecs", "encode"): _ENCODE,
}


class _Name:
    """Stands for a function that a pickle names; a call is noted, not made."""

    __slots__ = ("kind",)

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self, *arguments: Any) -> "bytes | _Noted":
        if self.kind == _ENCODE and isinstance(arguments[0], str):
            return arguments[0].encode("latin1")
        return _Noted(self.kind, arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a name has no state")


class _Noted:
    """Stands for an array or its type: what it was called with, and its state."""

    __slots__ = ("arguments", "kind", "state")

    def __init__(self, kind: str, arguments: tuple):
        self.kind, self.arguments, self.state = kind, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in _KNOWN:
            raise ConfigError(f"{module}.{name}")
        return _Name(_KNOWN[module, name])


def read_pickle(path: Path) -> dict[str, Any]:
    """The entries of a pickled dictionary; an array of bytes as a NumPy array.

    Raises:
        ConfigError: If it is damaged or holds anything but arrays of bytes, lists,
            dictionaries, bytes, text and numbers; the message begins with its name.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except ConfigError as error:
        raise ConfigError(
            f"{path.name} must be a pickle of plain arrays alone, got one that names "
            f"{' '.join(str(error).split())[:80]!r}; take the publisher's file."
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{path.name} must be a whole pickle, got: {reason[:200]}."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} must be a pickled dictionary.")
    return {_text(key): _plain(value) for key, value in content.items()}


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return _as_array(value) if isinstance(value, _Noted) else value


def _as_array(noted: _Noted) -> UInt8[np.ndarray, "n d"] | None:
    """The matrix of bytes that was noted, None for an empty or any other array."""
    match noted.state:
        case (_, (int(rows), int(columns)), _Noted() as dtype, order, bytes(content)):
            if dtype.arguments[:1] not in (("u1",), (b"u1",)):
                return None
            # Beside 0 rows any number of columns would do, also one beyond an array's.
            if min(rows, columns) < 1 or rows * columns != len(content):
                return None
            flat = np.frombuffer(content, np.uint8)
            return flat.reshape((rows, columns), order="F" if order else "C")
    return None
