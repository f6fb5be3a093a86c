"""What do the shadow, the entropy balance and the audit add to a step?

    python benchmarks/bench_bracket.py [--quick] [--cpu-time]

One flow, four loops from the same start: without a shadow, with it, with the sums of
`KL` along the path, with those of `Audit` as well; ratios are to the first. Then one
save of the whole bracket (KL, Wasserstein, ChiSquare, FreeEnergy), in steps.
"""

from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

import mfsim
from mfsim.datasets import Data
from mfsim.observables import (
    KL,
    Audit,
    ChiSquare,
    FreeEnergy,
    Look,
    Wasserstein,
    accounts_of,
)

SIZES = (
    (1_000, 100, 10),
    (10_000, 1_000, 32),
    (2_000, 1_000, 784),
)
BRACKET = KL(), Wasserstein(), ChiSquare(), FreeEnergy()
_LATE = 100_001
_BASELINE = "no shadow"
_LOOPS: dict[str, tuple[bool, tuple]] = {
    _BASELINE: (False, ()),
    "shadow": (True, ()),
    "shadow, KL": (True, (KL(),)),
    "shadow, KL, audit": (True, (KL(), Audit())),
}


class Problem:
    """A network on random points, its loop compiled with traced reals."""

    def __init__(self, size: tuple[int, int, int], shadow: bool, observables: tuple):
        width, samples, dim = size
        network = mfsim.TwoLayer(width=width, alpha=4.0)
        self.flow = jax.tree.map(
            jnp.float32,
            mfsim.ParticleFlow(network, dataset=None, temperature=1e-3, shadow=shadow),
        )
        self.integrator = jax.tree.map(jnp.float32, mfsim.ExponentialLangevin(1e-4))
        draws = np.random.default_rng(0)
        x = draws.standard_normal((samples, dim)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        y = np.sign(draws.standard_normal(samples)).astype(np.float32)
        self.batch, self.observables = (jnp.asarray(x), jnp.asarray(y)), observables
        self.accounts = accounts_of(observables)
        self.start = self.flow.init(jax.random.key(0), dim, jnp.float32)
        self.carry = self.integrator.init(
            self.flow, self.start, self.batch, self.accounts
        )

    def steps(self) -> Any:
        """Takes a number of steps on."""

        @jax.jit
        def advance(physics: Any, carry: Any, count: Any) -> Any:
            flow, integrator = physics
            key = jax.random.key(1)
            return integrator.advance(
                flow, self.batch, carry, count, key, self.accounts
            )

        physics = self.flow, self.integrator
        # Looks are more frequent in the first steps than in most of a run.
        begun = self.carry._replace(step=jnp.int32(_LATE))
        return lambda count: jax.block_until_ready(
            advance(physics, begun, jnp.int32(count))
        )

    def saves(self) -> Any:
        """Takes a number of looks, each finished on the host."""
        x, y = self.batch

        @jax.jit
        def measure(physics: Any, carry: Any) -> Any:
            look = Look(
                *physics,
                Data(x, y, x[:0], y[:0]),
                *(carry.state, self.start, carry.step, carry.ledger),
                self.observables,
            )
            return look.measure()

        def work(count: int) -> None:
            for _ in range(count):
                found = measure((self.flow, self.integrator), self.carry)
                for observable, part in zip(self.observables, found, strict=True):
                    arrays = {name: np.asarray(a) for name, a in part.items()}
                    observable.finish(self.flow, arrays, None)

        return work


def bench_size(size: tuple[int, int, int], **options: Any) -> dict:
    """Steps of all loops and a save of the bracket, in turns."""
    contenders = {name: Problem(size, *loop).steps() for name, loop in _LOOPS.items()}
    contenders["a save of the bracket"] = Problem(size, True, BRACKET).saves()
    table = harness.summarise(harness.race(contenders, **options), _BASELINE)
    harness.show("m = {}, n = {}, d = {}: a step".format(*size), table, _BASELINE)
    return {"size": size, "baseline": _BASELINE, "contenders": table}


def main() -> None:
    """Race at all sizes, or at the first."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    options = {"min_seconds": 1.0, "repeats": 5, "cpu_time": given.cpu_time}
    cases = [
        bench_size(size, **options) for size in SIZES[: 1 if given.quick else None]
    ]
    harness.write("bracket", cases, cpu_time=given.cpu_time)


if __name__ == "__main__":
    main()
