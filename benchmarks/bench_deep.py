"""What does a step of a deep network cost, online and over the full batch?

    python benchmarks/bench_deep.py [--quick] [--cpu-time]

The program that `mfsim run` executes for a WeightFlow under NoisyGD with logistic loss,
beside PyTorch eager and compiled, on a CPU. The limit of the full batch is the time of
all matrix products of a step at NumPy's rate, that of online steps the traffic of the
weights: read forwards and backwards, then read and written; all in the same rounds.
"""

from typing import Any, NamedTuple

import deep_peers
import equinox as eqx
import harness
import jax
import jax.numpy as jnp
import numpy as np
import peers
from deep_peers import Problem, Size

import mfsim
from mfsim.datasets import Data
from mfsim.ensemble.program import Program, Shape, numerics, stack, to_arrays
from mfsim.flows import State


class Case(NamedTuple):
    """What is trained, by how many samples a step, in how many rounds."""

    name: str
    size: Size
    batch: int
    repeats: int


ONLINE = (
    Case("online, m = 256", Size(256, 1_000), 1, 9),
    Case("online, m = 1024", Size(1_024, 1_000), 1, 9),
)
FULL = Case("full batch, m = 1024", Size(1_024, 1_000), 1_000, 7)
_SMALL = Size(48, 20, d=96)
_ETA = 1e-3
_CHUNK = 0.5
"""Seconds of a turn: those of the chunks in which a run goes through its steps."""
_MFSIM, _LIMIT = "mfsim", "limit"
_EAGER, _COMPILED = "PyTorch eager", "PyTorch compiled"
_HAND, _PLAIN = "PyTorch by hand", "jax.grad, compiled loop"


def mfsim_run(p: Problem, eta: float, batch: int) -> peers.Contender:
    """The program of a run alone in its group, from the problem's start."""
    network = mfsim.DeepRelu(width=len(p.weights[0]), depth=len(p.weights))
    flow = mfsim.WeightFlow(network, dataset=None, loss=mfsim.Logistic())
    everything = None if batch == len(p.x) else batch
    stepper = mfsim.NoisyGD(step=eta, batch_size=everything)
    with numerics(jax.devices()[0]):
        reals, static = eqx.partition(
            stack([(flow, stepper)], jnp.float32), eqx.is_array
        )
        data = to_arrays(Data(p.x, p.y, p.x, p.y), jnp.float32)
        carry = stepper.init(
            flow, State(tuple(jnp.asarray(w[None]) for w in p.weights))
        )
        arrays = tuple(a.shape for a in data)
        shape = Shape(static, (), arrays, 1, "float32", together=False, device=0)
        args = reals, data, carry, jax.random.key(0)
        program = Program(shape, args)

    def go(count: int) -> Any:
        with numerics(jax.devices()[0]):
            steps = jnp.asarray(count, jnp.int32)
            carry, _ = program.advance(*args[:3], steps, args[3])
        return [w[0] for w in jax.block_until_ready(carry.state.params)]

    return go


def contenders(p: Problem, batch: int, *, torch: bool) -> dict[str, peers.Contender]:
    """Everyone who takes steps."""
    makers = {_MFSIM: mfsim_run, _PLAIN: deep_peers.jax_compiled_loop}
    if torch:
        makers |= {
            _EAGER: deep_peers.torch_autograd,
            _HAND: deep_peers.torch_by_hand,
        }
    if torch and deep_peers.has_compiler():
        makers[_COMPILED] = deep_peers.torch_compiled
    return {name: make(p, _ETA, batch) for name, make in makers.items()}


def gemms(p: Problem, *, turned: bool) -> peers.Contender:
    """All matrix products of a full step by NumPy, of weights as they are or turned.

    L - 1 go forwards, L - 2 backwards, L - 1 make gradients; those with the single
    output of W_L take 1/m of the time of others.
    """
    (n, _), m = p.x.shape, len(p.weights[0])
    rng = np.random.default_rng(0)
    inner, signal = (rng.standard_normal((n, m), np.float32) for _ in range(2))
    hidden = [np.ascontiguousarray(w.T) if turned else w for w in p.weights[:-1]]
    inputs = [p.x] + [inner] * (len(hidden) - 1)
    out, moves = np.empty_like(inner), [np.empty_like(w) for w in hidden]

    def go(count: int) -> None:
        for _ in range(count):
            for w, x, move in zip(hidden, inputs, moves, strict=True):
                np.dot(x, w if turned else w.T, out=out)
                if x is not p.x:
                    np.dot(signal, w.T if turned else w, out=out)
                left, right = (x, signal) if turned else (signal, x)
                np.dot(left.T, right, out=move)

    return go


def reads(p: Problem) -> peers.Contender:
    """All weights read forwards, all but W_1 backwards, by NumPy's products."""
    ones = [(np.ones(len(w), "f4"), np.ones(w.shape[1], "f4")) for w in p.weights]

    def go(count: int) -> None:
        for _ in range(count):
            for k, (w, (left, right)) in enumerate(zip(p.weights, ones, strict=True)):
                np.dot(w, right)
                if k:
                    np.dot(left, w)

    return go


def writes(p: Problem) -> peers.Contender:
    """All weights read and written in place by one compiled pass."""
    start = tuple(map(jnp.asarray, p.weights))

    @jax.jit
    def go(weights: Any, factor: Any, count: int) -> Any:
        def scale(_: Any, weights: Any) -> Any:
            return jax.tree.map(lambda w: w * factor, weights)

        return jax.lax.fori_loop(0, count, scale, weights)

    return lambda count: go(start, jnp.float32(0.999), count)


def limit_parts(p: Problem, batch: int) -> dict[str, peers.Contender]:
    """What a step cannot do without."""
    if batch == 1:
        return {"limit: reads": reads(p), "limit: writes": writes(p)}
    ways = {"as they are": False, "turned": True}
    return {
        f"limit: gemm, weights {way}": gemms(p, turned=turned)
        for way, turned in ways.items()
    }


def limit(timings: dict[str, harness.Timing], batch: int) -> harness.Timing:
    """The sum of the parts of every round, or the faster of two ways."""
    parts = [t.rounds for name, t in timings.items() if name.startswith("limit: ")]
    join = sum if batch == 1 else min
    return harness.Timing(0.0, [join(row) for row in zip(*parts, strict=True)])


def disagreement(*, torch: bool) -> float:
    """Largest relative difference in the weights' change after ten steps, two cases."""
    worst = 0.0
    for samples in 1, _SMALL.n:
        p = deep_peers.problem(_SMALL._replace(n=samples))
        ends = [
            [np.asarray(w) - w0 for w, w0 in zip(go(10), p.weights, strict=True)]
            for go in contenders(p, samples, torch=torch).values()
        ]
        for end in ends:
            for mine, other in zip(ends[0], end, strict=True):
                worst = max(worst, float(abs(mine - other).max() / abs(mine).max()))
    return worst


def bench(case: Case, *, torch: bool, cpu_time: bool) -> dict:
    """One case: everyone's steps and the limit, in the same rounds."""
    p = deep_peers.problem(case.size)
    steppers = contenders(p, case.batch, torch=torch)
    baseline = _EAGER if torch else _PLAIN
    timings = harness.race(
        steppers | limit_parts(p, case.batch),
        repeats=case.repeats,
        min_seconds=_CHUNK,
        cpu_time=cpu_time,
    )
    timings[_LIMIT] = limit(timings, case.batch)
    table = harness.summarise(timings, baseline)
    over = harness.summarise(timings, _MFSIM)
    for name, row in table.items():
        row["times_of_mfsim"] = over[name]["ratio"]
        row["times_of_mfsim_rounds"] = [
            over[name]["ratio_low"],
            over[name]["ratio_high"],
        ]
    harness.show(f"{case.name}, L = 5, d = 3072: a step", table, baseline)
    return {"case": case._asdict(), "baseline": baseline, "contenders": table}


def main() -> None:
    """Race online at both widths and over the full batch, or the narrow one."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="online at m = 256 alone")
    given = parser.parse_args()
    torch = peers.has_torch()
    error = disagreement(torch=torch)
    print(f"largest disagreement: {error:.1e}")
    cases: list[dict] = [{"disagreement": error}]
    for case in ONLINE[:1] if given.quick else (*ONLINE, FULL):
        cases.append(bench(case, torch=torch, cpu_time=given.cpu_time))
    harness.write("deep", cases, cpu_time=given.cpu_time)


if __name__ == "__main__":
    main()
