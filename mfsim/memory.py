"""How many bytes there are, asked before a large array is made."""

import os
from pathlib import Path
from typing import Any

import jax

_CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says what a container may take, if that is limited."""


def default_device() -> Any:
    """Where arrays are made unless said, also while a function is traced."""
    config: Any = jax.config
    chosen = config.jax_default_device
    if chosen is None or isinstance(chosen, str):
        return jax.devices(chosen)[0]
    return chosen


def memory_of(device: Any) -> int:
    """Bytes of memory of a device; a CPU's is the machine's, or its container's."""
    stats = device.memory_stats() or {}
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if _CONTAINER.exists() and (limit := _CONTAINER.read_text().strip()).isdigit():
        there = min(there, int(limit))
    return stats.get("bytes_limit", there)


def require_memory(needed: int, what: str, device: Any = None) -> None:
    """Refuse what a device cannot hold.

    Args:
        needed: Bytes.
        what: Begins the message: what must be smaller, and what it takes.
        device: The default one unless given.

    Raises:
        ValueError: If there are fewer bytes than needed; says both.
    """
    there = memory_of(device or default_device())
    if needed > there:
        raise ValueError(
            f"{what}; that needs {needed / 2**30:.3g} GiB of {there / 2**30:.3g}."
        )
