"""What does a step of noisy gradient descent cost, and how near is that to the least?

    python benchmarks/bench_step.py [--quick] [--cpu-time]

Contenders go through time from the same start; the limit is the unavoidable work at the
best rates measured in the same rounds: GEMM flops at NumPy's rate, the activation in
cache, the normals at the fastest generator.
"""

import math
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
import peers

import mfsim
from mfsim.flows import State
from mfsim.integrators.noise import normal
from mfsim.networks import Neurons

SIZES = (
    (1_000, 100, 10),
    (10_000, 1_000, 32),
    (100_000, 1_000, 32),
    (10_000, 10_000, 784),
)
_BASELINE = "PyTorch by hand"
_PEERS = {
    "jax.grad, Python loop": peers.jax_python_loop,
    "jax.random.normal, compiled loop": peers.jax_compiled_loop,
}
_TORCH_PEERS = {
    _BASELINE: peers.torch_by_hand,
    "PyTorch autograd": peers.torch_autograd,
}
_BLOCKS = 2**20, 2**22
"""Activations in a block that NumPy multiplies: the better of the two is the limit."""
_CACHED = 2**17


def mfsim_loop(
    integrator: type, p: peers.Problem, reals: peers.Reals, *, shadow: bool = False
) -> peers.Contender:
    """The integrator's own `advance`, compiled with traced reals and step count.

    Without a `shadow` it does what the others do.
    """
    network = mfsim.TwoLayer(width=len(p.u), alpha=reals.alpha, antithetic=False)
    flow = mfsim.ParticleFlow(
        network, dataset=None, temperature=reals.temperature, shadow=shadow
    )
    traced = jax.tree.map(jnp.float32, (flow, integrator(step=reals.eta)))
    x, y, w, u = map(jnp.asarray, p)
    neurons = Neurons(w, u)
    start = traced[1].init(flow, State(neurons, neurons if shadow else None))

    @jax.jit
    def go(traced: Any, data: Any, carry: Any, count: int, key: Any) -> Any:
        flow, stepper = traced
        return stepper.advance(flow, data, carry, count, key)

    def advance(count: int) -> Any:
        steps = jnp.asarray(count, jnp.int32)
        return go(traced, (x, y), start, steps, jax.random.key(0)).state.params

    return advance


def step_contenders(p: peers.Problem, reals: peers.Reals) -> dict[str, peers.Contender]:
    """Everyone who takes steps."""
    contenders = {
        "mfsim NoisyGD": mfsim_loop(mfsim.NoisyGD, p, reals),
        "mfsim ExponentialLangevin": mfsim_loop(mfsim.ExponentialLangevin, p, reals),
        "mfsim NoisyGD, shadow": mfsim_loop(mfsim.NoisyGD, p, reals, shadow=True),
    }
    makers = _PEERS | (_TORCH_PEERS if peers.has_torch() else {})
    return contenders | {name: make(p, reals) for name, make in makers.items()}


def gemms(m: int, n: int, d: int, block: int) -> peers.Contender:
    """Both products of a step by NumPy, in blocks of samples, into warm arrays."""
    rows = min(n, max(1, block // m))
    rng = np.random.default_rng(0)
    x, w, back = (
        rng.standard_normal(s, np.float32) for s in ((rows, d), (d, m), (rows, m))
    )
    hidden, gradient = np.empty_like(back), np.empty_like(w)

    def go(count: int) -> None:
        for _ in range(math.ceil(count * n / rows)):
            np.dot(x, w, out=hidden)
            np.dot(x.T, back, out=gradient)

    return go


def activations(size: int) -> peers.Contender:
    """The tanh of as many numbers, in an array that stays in cache."""
    cached = min(size, _CACHED)
    z = jnp.linspace(-3, 3, cached, dtype=jnp.float32)

    @jax.jit
    def go(z: Any, passes: int) -> Any:
        return jax.lax.fori_loop(0, passes, lambda _, z: jnp.tanh(z), z)

    return lambda count: go(z, math.ceil(count * size / cached))


def normals(shape: tuple[int, ...], *, ours: bool) -> peers.Contender:
    """Fresh normals, added to an array, by mfsim or by jax.random.normal."""

    def draw(key: Any, k: Any) -> Any:
        if ours:
            return normal(key, k, shape, jnp.float32)
        return jax.random.normal(jax.random.fold_in(key, k), shape, jnp.float32)

    @jax.jit
    def go(count: int, key: Any) -> Any:
        def add(k: Any, total: Any) -> Any:
            return total + draw(key, k)

        return jax.lax.fori_loop(0, count, add, jnp.zeros(shape, jnp.float32))

    return lambda count: go(jnp.asarray(count, jnp.int32), jax.random.key(0))


def limit_contenders(m: int, n: int, d: int) -> dict[str, peers.Contender]:
    """The parts of the unavoidable work of a step."""
    parts = {
        f"limit: gemm in blocks of {b}": gemms(m, n, d, b)
        for b in _BLOCKS
        if b == _BLOCKS[0] or m * n > _BLOCKS[0]
    }
    parts["limit: activation"] = activations(m * n)
    parts["limit: normals, mfsim"] = normals((d + 1, m), ours=True)
    parts["limit: normals, jax"] = normals((d + 1, m), ours=False)
    return parts


def limit(timings: dict[str, harness.Timing]) -> harness.Timing:
    """The parts of every round summed, each by its faster way."""

    def fastest(part: str) -> list[float]:
        found = [t.rounds for name, t in timings.items() if name.startswith(part)]
        return list(map(min, zip(*found, strict=True)))

    parts = fastest("limit: gemm"), fastest("limit: act"), fastest("limit: normals")
    return harness.Timing(0.0, [sum(row) for row in zip(*parts, strict=True)])


def disagreement(size: tuple[int, int, int]) -> float:
    """Largest relative difference between contenders after ten steps without noise."""
    p = peers.problem(*size)
    ends = [
        np.asarray(go(10)[0])
        for go in step_contenders(p, peers.Reals(temperature=0.0)).values()
    ]
    return max(float(abs(w - ends[0]).max()) for w in ends) / float(
        abs(ends[0] - p.w).max()
    )


def bench_size(size: tuple[int, int, int], **options: Any) -> dict:
    """One size: everyone's steps and the limit, in the same rounds."""
    contenders = step_contenders(peers.problem(*size), peers.Reals())
    baseline = _BASELINE if _BASELINE in contenders else "jax.grad, Python loop"
    on_cpu = jax.default_backend() == "cpu"
    parts = limit_contenders(*size) if on_cpu else {}
    timings = harness.race(contenders | parts, **options)
    if on_cpu:
        timings["limit"] = limit(timings)
    table = harness.summarise(timings, baseline)
    for row in table.values():
        row["of_limit"] = table["limit"]["min"] / row["min"] if on_cpu else None
    harness.show("m = {}, n = {}, d = {}: a step".format(*size), table, baseline)
    if on_cpu:
        print(f"mfsim NoisyGD: {table['mfsim NoisyGD']['of_limit']:.2f} of the limit")
    return {"size": size, "baseline": baseline, "contenders": table}


def bench_noise(shape: tuple[int, int], **options: Any) -> dict:
    """The noise alone."""
    contenders = {"mfsim": normals(shape, ours=True), "jax": normals(shape, ours=False)}
    table = harness.summarise(harness.race(contenders, **options), "jax")
    for row in table.values():
        row["giga_normals_per_second"] = math.prod(shape) / row["min"] / 1e9
    harness.show("normals {} x {} in a loop".format(*shape), table, "jax")
    print(
        {name: f"{r['giga_normals_per_second']:.3f} G/s" for name, r in table.items()}
    )
    return {"normals": shape, "baseline": "jax", "contenders": table}


def main() -> None:
    """Race at all sizes, or at the first two."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    error = disagreement(SIZES[0])
    print(f"largest disagreement without noise: {error:.1e}")
    options = {"min_seconds": 0.05, "cpu_time": given.cpu_time}
    cases: list[dict] = [{"disagreement": error}]
    for shape in (10, 1_000), (32, 10_000):
        cases.append(bench_noise(shape, repeats=20, **options))
    sizes = list(zip(SIZES, (30, 15, 5, 3), strict=True))
    for size, repeats in sizes[:2] if given.quick else sizes:
        cases.append(bench_size(size, repeats=repeats, **options))
    harness.write("step", cases, cpu_time=given.cpu_time)


if __name__ == "__main__":
    main()
