"""How fast, and in how much memory, is the tangent kernel?

    python benchmarks/bench_kernel.py [--quick] [--large] [--cpu-time]

`mfsim.kernels.tangent_kernel` beside the Jacobian J by `jax.jacrev` with J J^T, and the
recipe of PyTorch's tutorial "Neural Tangent Kernels", all in float64 on a CPU, in one
process with one allocator. The limit is the time of all products of the layer formula
at the rate of NumPy's `a @ b` of two arrays; the kernel is symmetric and takes little
more than half of the largest of them, so that it may pass 1 of the limit. Memory is the
peak of one call, compiled before, in a process of its own. Prints README.md's table.
"""

import ctypes
import functools
import gc
import importlib
import math
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import harness
import jax
import numpy as np
import peers

import mfsim
from mfsim.kernels import tangent_kernel
from mfsim.networks import AbstractNetwork, DeepRelu

Kernel = Callable[[], np.ndarray]


class Case(NamedTuple):
    """A network of `depth` weight matrices and `n` inputs."""

    network: str
    n: int
    m: int
    depth: int
    d: int

    def __str__(self) -> str:
        return "{}, n = {}, m = {}, L = {}, d = {}".format(*self)

    @property
    def jacobian_bytes(self) -> int:
        """What the n x p Jacobian takes."""
        return 8 * self.n * self.m * (self.d + (self.depth - 2) * self.m + 1)

    @property
    def flops(self) -> int:
        """Of A A^T and B B^T of all layers, and of the forward and backward pass."""
        n, m, d, hidden = self.n, self.m, self.d, self.depth - 1
        gram = n * n * (2 * hidden * m + d)
        return 2 * (gram + n * m * d + 2 * n * m * m * (hidden - 1))


CASES = (
    Case("DeepRelu", 256, 256, 2, 784),
    Case("DeepRelu", 256, 256, 3, 784),
    Case("DeepRelu", 1_024, 1_024, 3, 784),
    Case("TwoLayer", 1_000, 10_000, 2, 32),
)
LARGE = Case("DeepRelu", 4_000, 4_096, 5, 784)
_REPEATS = 9, 9, 9, 3
_MOST_JACOBIAN = 2**32
_SQUARE = 1_024
_MFSIM, _LIMIT = "mfsim", "limit"


def problem(case: Case) -> tuple[AbstractNetwork, Any, jax.Array]:
    """A network at its start and inputs of about unit norm, in float64."""
    if case.network == "TwoLayer":
        network = mfsim.TwoLayer(width=case.m, antithetic=False)
    else:
        network = DeepRelu(width=case.m, depth=case.depth)
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[1], (case.n, case.d), np.float64) / math.sqrt(case.d)
    return network, network.init(keys[0], case.d, np.float64), x


def ours(case: Case) -> Kernel:
    """The kernel by the layer formula."""
    network, params, x = problem(case)
    return lambda: np.asarray(tangent_kernel(network, params, x))


def jax_jacobian(case: Case) -> Kernel:
    """J by jax.jacrev, one backward pass an input, and J J^T a weight matrix."""
    network, params, x = problem(case)

    @jax.jit
    def kernel(params: Any, x: Any) -> Any:
        def output(params: Any, one: Any) -> Any:
            return network(params, one[None, :])[0]

        jacobian = jax.vmap(jax.jacrev(output), (None, 0))(params, x)
        parts = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)]
        return network.kernel_scale * sum(part @ part.T for part in parts)

    return lambda: np.asarray(kernel(params, x))


def torch_jacobian(case: Case) -> Kernel:
    """The tutorial's Jacobian contraction, with one Jacobian for both sides."""
    torch = importlib.import_module("torch")
    _, params, x = problem(case)
    two_layer = case.network == "TwoLayer"
    layers, named = [], {}
    for array in map(np.atleast_2d, params):
        columns, rows = array.shape
        named[f"{len(layers)}.weight"] = torch.tensor(array)
        # The weights of the layer itself are not used: functional_call replaces them.
        layers.append(torch.nn.Linear(rows, columns, bias=False, device="meta"))
        layers.append(torch.nn.Tanh() if two_layer else torch.nn.ReLU())
    net = torch.nn.Sequential(*layers[:-1])
    inputs = torch.tensor(np.asarray(x))
    scale = 1 / case.m if two_layer else 1.0

    def output(named: Any, one: Any) -> Any:
        return torch.func.functional_call(net, named, (one.unsqueeze(0),)).squeeze(0)

    def kernel() -> np.ndarray:
        jacobian = torch.func.vmap(torch.func.jacrev(output), (None, 0))(named, inputs)
        parts = [part.flatten(2) for part in jacobian.values()]
        parts = [torch.einsum("Naf,Mbf->NMab", part, part) for part in parts]
        return scale * torch.stack(parts).sum(0)[:, :, 0, 0].numpy()

    return kernel


def makers(case: Case, *, torch: bool) -> dict[str, Callable[[Case], Kernel]]:
    """Everyone who can make the kernel in reasonable memory."""
    found: dict[str, Callable[[Case], Kernel]] = {_MFSIM: ours}
    if case.jacobian_bytes > _MOST_JACOBIAN:
        print(f"\n{case}: J has {case.jacobian_bytes / 1e9:.3g} GB; mfsim alone.")
        return found
    found["jax.jacrev"] = jax_jacobian
    return found | ({"torch.func": torch_jacobian} if torch else {})


def repeated(kernel: Kernel) -> peers.Contender:
    """The kernel over and over."""

    def go(count: int) -> None:
        for _ in range(count):
            kernel()

    return go


def product(rows: int, inner: int) -> Kernel:
    """NumPy's product of two arrays into a warm third: no symmetry to make use of."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, rows))
    return functools.partial(np.matmul, a, b, out=np.empty((rows, rows)))


def race(
    case: Case, made: dict[str, Kernel], **options: Any
) -> dict[str, harness.Timing]:
    """Everyone's kernels and, from the better product of every round, the limit."""
    shapes = {f"a @ b {s}": s for s in ((case.n, case.m), (_SQUARE, _SQUARE))}
    kernels = made | {name: product(*shape) for name, shape in shapes.items()}
    contenders = {name: repeated(kernel) for name, kernel in kernels.items()}
    timings = harness.race(contenders, **options)
    of_flop = [
        [seconds / (2 * rows**2 * inner) for seconds in timings.pop(name).rounds]
        for name, (rows, inner) in shapes.items()
    ]
    limit = [case.flops * least for least in map(min, zip(*of_flop, strict=True))]
    return timings | {_LIMIT: harness.Timing(0.0, limit)}


def times(timings: dict[str, harness.Timing], slow: str, fast: str) -> dict[str, float]:
    """How much more time one takes than the other, over the rounds."""
    pairs = zip(timings[slow].rounds, timings[fast].rounds, strict=True)
    ratios = sorted(a / b for a, b in pairs)
    median = statistics.median(ratios)
    return {"median": median, "low": ratios[0], "high": ratios[-1]}


def peak_memory(make: Callable[[Case], Kernel], case: Case) -> int:
    """Most bytes that a call takes, its result included, beyond those held before.

    Outside Linux the peak cannot be set back: the compilation counts too.
    """
    kernel, reset = make(case), Path("/proc/self/clear_refs")
    if not reset.exists():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kernel()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    kernel()
    gc.collect()
    # What the first call freed goes back to the system, or the second finds it there.
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")
    before = _status("VmRSS")
    kernel()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def apart(function: Callable[..., int], *args: Any) -> int:
    """The function's value in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=configure) as pool:
        return pool.submit(function, *args).result()


def configure() -> None:
    """Double precision on the CPU, in every process."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)


def bench_case(case: Case, *, torch: bool, **options: Any) -> dict:
    """One case: memory, times in the same rounds, equality."""
    chosen = makers(case, torch=torch)
    peaks = {name: apart(peak_memory, make, case) for name, make in chosen.items()}
    made = {name: make(case) for name, make in chosen.items()}
    timings = race(case, made, **options)
    table = harness.summarise(timings, _LIMIT)
    for name, row in table.items():
        row["of_limit"] = times(timings, _LIMIT, name)
        row["over_mfsim"] = times(timings, name, _MFSIM)
        row["peak_bytes"] = peaks.get(name)
    harness.show(str(case), table, _LIMIT)
    error = disagreement(made) if len(made) > 1 else None
    rate = case.flops / table[_LIMIT]["median"]
    print(f"a @ b: {rate / 1e9:.3g} GFLOP/s; largest disagreement: {error}")
    found = {"size": case._asdict(), "baseline": _LIMIT, "contenders": table}
    found |= {"gram_bytes": 8 * case.n**2, "jacobian_bytes": case.jacobian_bytes}
    return found | {"disagreement": error, "gemm_flops_per_second": rate}


def disagreement(made: dict[str, Kernel]) -> float:
    """Largest difference of another's kernel from ours, over our largest entry."""
    mine, *others = [kernel() for kernel in made.values()]
    return max(float(abs(other - mine).max() / mine.max()) for other in others)


def markdown(cases: list[dict], others: list[str]) -> str:
    """The table of README.md: medians over the rounds with their spread, and MB."""
    ratio = "{median:.3g} ({low:.3g} to {high:.3g})"

    def cells(case: dict) -> list[str]:
        mine, *rows = [case["contenders"].get(name) for name in (_MFSIM, *others)]
        gains = [row and ratio.format(**row["over_mfsim"]) for row in rows]
        taken = [row and row["peak_bytes"] for row in (mine, *rows)]
        sizes = [case["gram_bytes"], case["jacobian_bytes"], *taken]
        return [
            "{network}, {n}, {m}, {depth}, {d}".format(**case["size"]),
            ratio.format(**mine["of_limit"]),
            *(gain or "-" for gain in gains),
            *(f"{size / 1e6:.3g}" if size else "-" for size in sizes),
        ]

    head = ["network, n, m, L, d", "share of the limit"]
    head += [f"times {name}" for name in others] + ["kernel, MB", "J, MB"]
    head += [f"peak of {name}, MB" for name in (_MFSIM, *others)]
    lines = [" | ".join(line) for line in (head, *map(cells, cases))]
    lines.insert(1, "|".join(["---"] * len(head)))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Race in all cases, or in the first two."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest cases")
    parser.add_argument("--large", action="store_true", help=f"also {LARGE}, minutes")
    given = parser.parse_args()
    configure()
    options = {"torch": peers.has_torch(), "cpu_time": given.cpu_time}
    chosen = list(zip(CASES, _REPEATS, strict=True))[: 2 if given.quick else None]
    chosen += [(LARGE, 3)] if given.large else []
    cases = [bench_case(case, repeats=repeats, **options) for case, repeats in chosen]
    others = ["jax.jacrev", *(["torch.func"] if options["torch"] else [])]
    print("\n" + markdown(cases, others))
    harness.write("kernel", cases, cpu_time=given.cpu_time)


if __name__ == "__main__":
    main()
