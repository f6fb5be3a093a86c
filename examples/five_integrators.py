"""One law by five integrators: a density on a grid, and neurons drawn from it.

    d_t p = lambda div(M grad(p/M)), M = exp(-V);  dtheta = -lambda grad V dt + noise

Writes five runs and a picture; takes about 35 s on 2 cores:

    python examples/five_integrators.py [FOLDER]    # FOLDER is runs unless given
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import mfsim

# Parameters: what each integrator overrides, and how it is drawn.
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs") / "five_integrators"
config = Path(__file__).parent.parent / "configs" / "particles_vs_density.toml"
grid = {"flow.cells": 64, "flow.extent": 6.5}
cloud = {"flow.kind": "ParticleFlow", "flow.network.width": 4096}
rough = {"integrator.step": 0.1, "integrator.rtol": 3e-3, "integrator.atol": 3e-3}
ways = {
    "FiniteVolume": (grid, {"fmt": "-", "color": "black"}),
    "Proximal": (grid | {"integrator.step": 0.1}, {"fmt": "--", "color": "#E69F00"}),
    "NoisyGD": (cloud, {"fmt": "s", "color": "#009E73", "mfc": "none"}),
    "ExponentialLangevin": (cloud, {"fmt": ".", "color": "#0072B2"}),
    "DiffraxSolver": (cloud | rough, {"fmt": "^", "color": "#CC79A7", "mfc": "none"}),
}

# Problem
both = {"observables": ["Risk", "KL"]}
what = {k: mfsim.load(config, both | {"integrator.kind": k} | ways[k][0]) for k in ways}
# Run
runs = {k: mfsim.run(what[k], folder / f"{k}.h5", overwrite=True) for k in ways}

# Results: KL of a density is exact; neurons give estimates, and bounds (shaded).
figure, edges = Figure((9, 7), layout="constrained"), np.linspace(-6.5, 6.5, 65)
(risks, kls), sides = figure.subplots(2, 2)
for kind, run in runs.items():
    s, look = run.series, ways[kind][1] | {"markevery": 2, "errorevery": 2, "ms": 5}
    risks.errorbar(s.time, s.train_risk, label=kind, **look)
    kls.errorbar(s.time, s.get("kl", s.get("kl_knn")), s.get("kl_knn_se"), **look)
    if "kl_upper" in s:
        kls.fill_between(s.time, s.kl_lower, s.kl_upper, fc=look["color"], alpha=0.1)
    law = run.snapshots["density" if "kl" in s else "neurons"].values[-1]
    law = law if "kl" in s else np.histogram2d(*law.T, edges, density=True)[0]
    for axes, name, other in zip(sides, "wu", (1, 0), strict=True):
        axes.errorbar(edges[1:] - 0.1, law.sum(other) * np.diff(edges), **look)
        axes.set(xlabel=f"{name} [parameter]", ylabel="p [1/parameter]", xlim=(-5, 5))
    off = abs(s.train_risk - runs["FiniteVolume"].series.train_risk.values).max()
    kl = [f"{k} {s[k][-1]:.3f}" for k in ("kl", "kl_lower", "kl_upper") if k in s]
    print(f"{kind:20} risk {s.train_risk[-1]:.4f}, at most {off:.4f} off;", *kl)
risks.set(xlabel="flow time", ylabel="training risk [loss]")
kls.set(xlabel="flow time", ylabel="KL($p_t$ | $p_0$) [nat]")
facts = "alpha = {0.network.alpha:g}, lambda = {0.temperature:g}, 64 x 64 cells, "
facts += "n = {0.dataset.num_train}, m = {0.network.width}, seed = 0"
figure.legend(title=facts.format(what[kind].flow), ncols=5, loc="outside upper center")
figure.savefig(folder / "five_integrators.png", dpi=150)
