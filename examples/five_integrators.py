"""One law by five integrators: a density on a grid, and neurons drawn from it.

    d_t p = lambda div(M grad(p/M)), M = exp(-V);  dtheta = -lambda grad V dt + noise

Writes five runs and a picture; takes about 40 s on 2 cores:

    python examples/five_integrators.py [FOLDER]    # FOLDER is runs unless given
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import mfsim

# Parameters: what moves, in which steps, and how it is drawn.
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs") / "five_integrators"
config = Path(__file__).parent.parent / "configs" / "particles_vs_density.toml"
grid = {"flow.cells": 64, "flow.extent": 6.5}
cloud = {"flow.kind": "ParticleFlow", "flow.network.width": 4096}
rough = cloud | {"integrator.rtol": 1e-3, "integrator.atol": 1e-3}
ways = {
    "FiniteVolume": (grid, 0.02, {"color": "black", "fmt": "-"}),
    "Proximal": (grid, 0.1, {"color": "#E69F00", "fmt": "--"}),
    "NoisyGD": (cloud, 0.02, {"color": "#009E73", "fmt": "s", "mfc": "none", "ms": 7}),
    "ExponentialLangevin": (cloud, 0.02, {"color": "#0072B2", "fmt": "o", "ms": 4}),
    "DiffraxSolver": (rough, 0.1, {"color": "#CC79A7", "fmt": "^", "ms": 5}),
}

# Problem: a config, with some of its values overridden.
problems = {}
for kind, (flow, step, _) in ways.items():
    own = {"integrator.kind": kind, "integrator.step": step}
    problems[kind] = mfsim.load(config, {"observables": ["Risk", "KL"]} | own | flow)

# Run
runs = {kind: mfsim.run(problems[kind], folder / f"{kind}.h5", overwrite=True) for kind in ways}

# Results: KL of a density is exact, neurons give bounds (bands) and an estimate.
figure = Figure((9, 7), layout="constrained")
(risks, kls), sides = figure.subplots(2, 2)
bins = np.linspace(-4.5, 4.5, 37)
exact = runs["FiniteVolume"].series.train_risk.values
print(f"{'':20} risk   farthest from FiniteVolume's   KL [nat]")
for kind, run in runs.items():
    s, look = run.series, {"lw": 1.5, "elinewidth": 0.8} | ways[kind][2]
    risk = s.train_risk.values
    said = f"{kind:20}{risk[-1]:.4f}{abs(risk - exact).max():10.4f}"
    if "density" in run.snapshots:
        law = run.snapshots["density"].isel(step=-1)
        kl, error, every = s.kl, None, 1
    shown = s.isel(step=slice(None, None, 1 if "kl" in s else 4))
    risks.errorbar(shown.time, shown.train_risk, label=kind, **look)
    if "kl" in s:
        kls.errorbar(s.time, s.kl, **look)
        law = run.snapshots["density"].isel(step=-1)
        for axes, name, other in zip(sides, ("w_1", "u"), ("u", "w_1")):
            axes.errorbar(law[name], law.integrate(other), **look)
        print(said, f"KL = {float(s.kl[-1]):.3f}")
        continue
    kls.errorbar(shown.time, shown.kl_knn, shown.kl_knn_se, **look)
    if "kl_upper" in s:
        kls.fill_between(s.time, s.kl_lower, s.kl_upper, color=look["color"], alpha=0.15)
