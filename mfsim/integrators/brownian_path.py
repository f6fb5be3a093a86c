"""A Brownian path that depends on a key and on time alone, whoever follows it."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_BLOCK = 2.0**4
"""Flow time that one Brownian tree covers."""
FINEST = 2.0**-20
"""Flow time below which the path is smooth."""


class BrownianPath(diffrax.AbstractBrownianPath):
    """W(t) for t >= 0 as a function of a key and of t alone, with its Levy area.

    Flow time is cut into blocks, each with a tree of its own, so that neither the
    horizon nor the solver's steps shape the path. At multiples of 2^-20 it is Brownian
    exactly, in between off by some sqrt(2^-20) at most, which additive noise forgives.
    Times and increments are of JAX's widest type, as the latter are small differences.

    Attributes:
        key: Of the whole path.
        start: The flow time that `evaluate` counts from.
        size: Numbers that it moves.

    Cost: 48 draws of W and of its area an increment, and as many a block it touches.
    """

    key: Key[Array, ""]
    start: Float[Array, ""]
    size: int = eqx.field(static=True)
    levy_area: ClassVar[Any] = diffrax.SpaceTimeLevyArea
    t0: ClassVar[Any] = 0
    t1: ClassVar[Any] = jnp.inf

    def evaluate(
        self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False
    ) -> Any:
        """W(start + t1) - W(start + t0), with its area if `use_levy`."""
        begin, end = (self.start + jnp.asarray(t, float) for t in (t0, t1))
        first, last = (jnp.floor(t / _BLOCK).astype(jnp.int32) for t in (begin, end))

        def add(j: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
            """Chen's relation for the increment and the integral of the path."""
            past = j.astype(float) * _BLOCK
            inside = [jnp.clip(t - past, 0, _BLOCK) for t in (begin, end)]
            w, integral = sums
            more: Any = self._block(j).evaluate(inside[0], inside[1], use_levy=True)
            return w + more.W, integral + more.dt * (w + more.W / 2 + more.H)

        zeros = jnp.zeros(self.size)
        w, integral = jax.lax.fori_loop(first, last + 1, add, (zeros, zeros))
        if not use_levy:
            return w
        length = end - begin
        mean = integral / jnp.where(length > 0, length, 1)
        return diffrax.SpaceTimeLevyArea(length, w, mean - w / 2)

    def _block(self, j: Array) -> diffrax.VirtualBrownianTree:
        """The path over block j, from 0 at its beginning."""
        key, shape = jax.random.fold_in(self.key, j), (self.size,)
        return diffrax.VirtualBrownianTree(
            0.0, _BLOCK, FINEST, shape, key, levy_area=self.levy_area
        )
