"""Which members go through time together."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import equinox as eqx
import jax.numpy as jnp

from mfsim.ensemble.member import Member
from mfsim.ensemble.preparation import measuring_bytes, state_bytes
from mfsim.ensemble.program import physics, stack


def make_groups(
    members: Sequence[Member], workers: int, memory: int
) -> list[list[Member]]:
    """Members that can go together, in groups of one size for each shape.

    One size means one program; larger groups share more noise, more groups keep more
    workers busy: the size is the best of both by the count of rounds, as far as the
    arrays of all that run at once fit in `memory` bytes.
    """
    by_shape: dict[Hashable, dict[Hashable, list[Member]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for member in members:
        shape, lockstep = likeness(member)
        by_shape[shape][lockstep].append(member)
    groups = []
    for alike in by_shape.values():
        sizes = [len(group) for group in alike.values()]
        needed = max(map(member_bytes, alike[next(iter(alike))]))
        most = max(1, memory // (needed * workers))
        size = group_size(sizes, workers, most)
        for group in alike.values():
            groups += [group[i : i + size] for i in range(0, len(group), size)]
    return groups


def likeness(member: Member) -> tuple[Hashable, Hashable]:
    """What members share that share a program, and beyond it their every step."""
    experiment = member.experiment
    dtype = jnp.dtype(experiment.dtype)
    _, static = eqx.partition(stack([physics(experiment)], dtype), eqx.is_array)
    arrays = tuple(a.shape for a in member.data)
    shape = (static, experiment.observables, arrays, experiment.dtype)
    start = member.start[0] if member.start else None
    steps = tuple(member.saves.tolist())
    return shape, (experiment.seed, id(member.data), steps, start)


def member_bytes(member: Member) -> int:
    """Bytes that a member holds at most: its states, and what is measured."""
    experiment = member.experiment
    state = state_bytes(experiment, member.data)
    return state + measuring_bytes(experiment, member.data)


def group_size(sizes: list[int], workers: int, most: int) -> int:
    """The divisor of all sizes with the least time, noise costing one member a step."""
    common = math.gcd(*sizes)

    def rounds(size: int) -> int:
        return -(-(sum(sizes) // size) // workers) * (size + 1)

    fitting = range(1, min(common, most) + 1)
    divisors = [size for size in fitting if common % size == 0]
    return min(divisors, key=lambda size: (rounds(size), size))
