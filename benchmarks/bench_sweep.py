"""What does a sweep gain over the same runs one after another?

    python benchmarks/bench_sweep.py [--steps 2000] [--cpu-time]

9 alpha x 4 seeds at m = 1000, n = 100, d = 10. Every contender compiles in
its first, untimed call; compiled programs of mfsim are kept from call to call.
"""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import harness
import jax
import numpy as np
import peers

import mfsim
from mfsim import ensemble
from mfsim.datasets import SphereTeacher
from mfsim.ensemble.program import Programs
from mfsim.observables import Risk
from mfsim.sweep import Point

_M, _N, _D, _SEEDS = 1_000, 100, 10, 4
_ALPHAS = np.geomspace(1, math.sqrt(_M), 9)
_STEP = 0.01
_BASELINE = "jax.random.normal, compiled loop"


def experiment(alpha: float, seed: int, steps: int) -> mfsim.Experiment:
    """One point; the step is in kernel time, so that all alpha are as stable."""
    flow = mfsim.ParticleFlow(
        mfsim.TwoLayer(width=_M, alpha=alpha),
        SphereTeacher(dim=_D, num_train=_N, num_test=0),
        temperature=1e-3,
    )
    schedule = mfsim.Schedule(num_steps=steps, unit="kernel", saves=2, snapshots=0)
    stepper = mfsim.NoisyGD(step=_STEP)
    return mfsim.Experiment(flow, stepper, schedule, (Risk(),), seed=seed)


def sweep(steps: int) -> mfsim.Sweep:
    """All points."""
    points = tuple(
        Point(
            experiment(float(alpha), seed, steps),
            {"alpha": i, "seed": seed},
            {"alpha": float(alpha), "seed": seed},
        )
        for i, alpha in enumerate(_ALPHAS)
        for seed in range(_SEEDS)
    )
    dims = {"alpha": len(_ALPHAS), "seed": _SEEDS}
    return mfsim.Sweep("bench", dims, {name: (name,) for name in dims}, points)


def together(folder: Path, steps: int) -> Callable[[int], Any]:
    """The sweep through the ensemble, to a file a run."""
    return lambda count: [
        ensemble.run_all(sweep(steps), folder, overwrite=True) for _ in range(count)
    ]


def one_by_one(folder: Path, steps: int) -> Callable[[int], Any]:
    """Its runs by mfsim, each on its own."""
    runs = [point.experiment for point in sweep(steps).points]
    return lambda count: [
        ensemble.run_all(run, folder / f"{i}.h5", overwrite=True)
        for _ in range(count)
        for i, run in enumerate(runs)
    ]


def peer(make: Callable[..., peers.Contender], steps: int) -> Callable[[int], Any]:
    """Its steps by another program, run after run, nothing measured or written."""
    start = peers.problem(_M, _N, _D)
    runs = [
        make(start, peers.Reals(alpha=alpha, eta=_STEP / alpha**2), seed)
        for alpha in map(float, _ALPHAS)
        for seed in range(_SEEDS)
    ]
    return lambda count: [
        jax.block_until_ready(run(steps)) for _ in range(count) for run in runs
    ]


def shares(folder: Path) -> dict[str, float]:
    """How the time of the groups was spent, from /timing of the files."""
    by_seed: dict[int, dict[str, float]] = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            spent = by_seed.setdefault(int(file.attrs["seed"]), {})
            for name, seconds in file["timing"].attrs.items():
                spent[name] = max(spent.get(name, 0.0), float(seconds))
    names = next(iter(by_seed.values()))
    sums = {name: sum(spent[name] for spent in by_seed.values()) for name in names}
    return {name: seconds / sum(sums.values()) for name, seconds in sums.items()}


def main() -> None:
    """Race the sweep against its runs one after another."""
    parser = harness.arguments(__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    steps = given.steps
    jax.config.update("jax_enable_x64", True)
    kept = Programs()
    ensemble.Programs = lambda: kept
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = {
            "mfsim sweep": together(folder / "sweep", steps),
            "mfsim one by one": one_by_one(folder / "single", steps),
            _BASELINE: peer(peers.jax_compiled_loop, steps),
        }
        if peers.has_torch():
            contenders["PyTorch by hand"] = peer(peers.torch_by_hand, steps)
        timings = harness.race(
            contenders, repeats=given.repeats, min_seconds=0, cpu_time=given.cpu_time
        )
        spent = shares(folder / "sweep")
    table = harness.summarise(timings, _BASELINE)
    runs = len(_ALPHAS) * _SEEDS
    harness.show(f"{runs} runs of {steps} steps", table, _BASELINE)
    print("time of the sweep:", {name: f"{share:.1%}" for name, share in spent.items()})
    size = {"m": _M, "n": _N, "d": _D, "steps": steps, "runs": runs}
    case = {"size": size, "baseline": _BASELINE, "contenders": table, "shares": spent}
    harness.write("sweep", [case], cpu_time=given.cpu_time)


if __name__ == "__main__":
    main()
