"""How long does the law of the neurons take to a given error, beside other solvers?

    python benchmarks/bench_density.py [--quick] [--cpu-time]

The Ornstein-Uhlenbeck law of `density_peers.Problem` to t = 1: every contender over its
settings (steps or tolerance) in the same rounds, its L1 error known. The fluxes on this
grid alone give 1.55e-4. Prints README.md's tables: all settings, and the quickest of
every contender within an error. Set-up counts (factors, matrices), compilation does
not. `pip install py-pde` for its contenders.
"""

import statistics
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

import density_peers as peers
import harness
import jax
import jax.numpy as jnp
import numpy as np
from density_peers import Problem, Solve

import mfsim
from mfsim.flows import State

ERRORS = 1e-3, 2e-4
_MFSIM = "mfsim"


class Contender(NamedTuple):
    """A solver and the settings that it runs with."""

    solve: Solve
    settings: tuple[float, ...]


def finite_volume(problem: Problem) -> Solve:
    """DensityFlow without a force, by FiniteVolume, at a number of steps."""
    std_x, std_y = problem.std
    network = mfsim.TwoLayer(width=2, input_std=std_x, output_std=std_y)
    flow = mfsim.DensityFlow(
        network,
        dataset=None,
        temperature=problem.temperature,
        cells=problem.cells,
        extent=problem.extent,
    )
    # h(w 0) = 0 and the label is 0: the potential is that of the prior.
    data = jnp.zeros((1, 1)), jnp.zeros(1)
    density = problem.law(0.0)
    start = jnp.asarray(density / density.sum())

    @jax.jit
    def run(start: Any, step: Any, count: Any) -> Any:
        integrator = mfsim.FiniteVolume(step)
        carry = integrator.init(flow, State(start), data)
        return integrator.advance(flow, data, carry, count, jax.random.key(0))

    def solve(steps: float) -> np.ndarray:
        masses = run(start, 1 / steps, int(steps)).state.params
        return np.asarray(masses) / problem.widths.prod()

    return solve


def contenders(problem: Problem, *, py_pde: bool, quick: bool) -> dict[str, Contender]:
    """All solvers; the slow ones of py-pde only where there is time."""
    steps = 4, 5, 6, 8, 12, 16, 24
    chosen = {
        _MFSIM: Contender(finite_volume(problem), steps),
        "splu": Contender(peers.splu_crank_nicolson(problem), (6, 9, 12, 18, 32)),
        "splu, factors at hand": Contender(
            peers.splu_crank_nicolson(problem, keep_factors=True), (6, 9, 12, 18, 32)
        ),
        "ADI, solve_banded": Contender(
            peers.peaceman_rachford(problem, peers.solve_banded_lines), steps
        ),
        "ADI, LAPACK pttrs": Contender(
            peers.peaceman_rachford(problem, peers.pttrs_lines), steps
        ),
    }
    if not py_pde:
        return chosen
    fitted = peers.py_pde_fitted(problem)
    stable = int(np.ceil(1.005 * problem.stable_steps))
    euler = peers.py_pde_euler(problem, fitted, "jax")
    chosen["py-pde, Euler"] = Contender(euler, (stable,))
    if quick:
        return chosen
    operators = peers.py_pde_operators(problem)
    euler = peers.py_pde_euler(problem, operators, "numba")
    chosen["py-pde, Euler, its operators"] = Contender(euler, (stable,))
    implicit = peers.py_pde_crank_nicolson(problem, fitted)
    chosen["py-pde, Crank-Nicolson"] = Contender(implicit, (int(1.05 * stable),))
    options = {"method": "RK23", "rtol": 1e-3}
    stepper = peers.py_pde_scipy(problem, fitted, **options)
    chosen["py-pde, scipy's RK23"] = Contender(stepper, (5e-5, 1e-5))
    return chosen


def repeated(solve: Solve, setting: float) -> Callable[[int], None]:
    """So many runs."""

    def work(count: int) -> None:
        for _ in range(count):
            solve(setting)

    return work


def bench(problem: Problem, chosen: dict[str, Contender], **options: Any) -> list[dict]:
    """Every setting of every contender: its error, and times in the same rounds."""
    pairs = [(name, at) for name, made in chosen.items() for at in made.settings]
    work = {f"{k} @ {at:g}": repeated(chosen[k].solve, at) for k, at in pairs}
    timings = harness.race(work, **options)
    return [
        {
            "contender": name,
            "setting": at,
            "error": problem.error(chosen[name].solve(at)),
            "median": statistics.median(timings[f"{name} @ {at:g}"].rounds),
            "rounds": timings[f"{name} @ {at:g}"].rounds,
        }
        for name, at in pairs
    ]


def quickest(points: list[dict], most: float) -> list[dict]:
    """Each contender's quickest setting within an error, with its time over mfsim's."""
    best: dict[str, dict] = {}
    for point in sorted(points, key=lambda point: -min(point["rounds"])):
        if point["error"] <= most:
            best[point["contender"]] = point
    ours = best[_MFSIM]["rounds"]
    rows = []
    for point in sorted(best.values(), key=lambda point: point["median"]):
        ratios = sorted(a / b for a, b in zip(point["rounds"], ours, strict=True))
        over = statistics.median(ratios), ratios[0], ratios[-1]
        rows.append(point | {"over_mfsim": over})
    return rows


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(point: dict) -> list[str]:
    """What both tables say of a point."""
    setting, error = f"{point['setting']:g}", f"{point['error']:.3g}"
    return [point["contender"], setting, error, f"{1e3 * point['median']:.3g}"]


def main() -> None:
    """Race all, or without the slow solvers of py-pde."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="py-pde's best alone")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    problem, py_pde = Problem(), peers.has_py_pde()
    options = {"repeats": given.repeats, "cpu_time": given.cpu_time}
    chosen = contenders(problem, py_pde=py_pde, quick=given.quick)
    points = bench(problem, chosen, **options)
    head = ["contender", "steps or tolerance", "L1 error", "ms"]
    print("\n" + markdown(head, [cells(point) for point in points]))
    within = {f"{most:g}": quickest(points, most) for most in ERRORS}
    for most, rows in within.items():
        print(f"\nL1 error at most {most}:\n")
        ratio = "{:.3g} ({:.3g} to {:.3g})"
        shown = [[*cells(row), ratio.format(*row["over_mfsim"])] for row in rows]
        print(markdown([*head, "times mfsim"], shown))
    versions = {"scipy": metadata.version("scipy")}
    if py_pde:
        versions |= {name: metadata.version(name) for name in ("py-pde", "numba")}
    case = {"problem": problem._asdict(), "points": points, "within": within}
    harness.write("density", [case], cpu_time=given.cpu_time, **versions)


if __name__ == "__main__":
    main()
