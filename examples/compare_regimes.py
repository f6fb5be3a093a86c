"""Compare what a network learns at alpha = 1 and at alpha = sqrt(m), draw by draw.

    y = E u h(w.x) under (1 - epsilon) p_0 + epsilon N(mu, Lambda),   h = erf

A share epsilon of the teacher's neurons lies rho = 12 deviations from the start: few
nats, which a law at alpha = 1 can pay. Takes about 12 s on 2 cores:

    python examples/compare_regimes.py [FOLDER]    # a temporary folder unless given
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import mfsim
from mfsim.config import load_table
from mfsim.datasets import GaussianTeacher
from mfsim.studies.statistics import difference, level_crossing

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
width, shift, sizes, seeds = 256, 12 / 2**0.5, [12, 24, 48, 96], [0, 1, 2, 3]

# Problem: half of rho^2 in w, half in u; a seed draws data, teacher, start and noise.
teacher = {"dim": 8, "epsilon": 0.0587, "input_shift": shift, "output_shift": shift}
config = {
    "flow": {
        "kind": "ParticleFlow",
        "temperature": 1e-4,
        "network": {"kind": "TwoLayer", "width": width, "activation": "Erf"},
        "dataset": {"kind": "GaussianTeacher", "num_train": 1, **teacher},
    },
    "integrator": {"kind": "ExponentialLangevin", "step": "auto"},
    "schedule": {"horizon": 500.0, "unit": "kernel", "saves": 2, "snapshots": 0},
    "observables": ["Risk"],
    "sweep": {
        "flow.network.alpha": [1.0, width**0.5],
        "flow.dataset.num_train": sizes,
        "seed, flow.dataset.seed": seeds,
    },
}

# Run
sweep = load_table(config, base=folder)
runs = mfsim.run(sweep, folder / "compare_regimes", overwrite=True)

# Results: test error over the labels' mean square, and the n at which it is 0.1.
known = GaussianTeacher(num_train=1, num_test=10_000, **teacher)
errors = runs.test_risk.isel(save=-1).values / np.mean(known.load().y_test ** 2)
print(f"KL = {known.kl():.3f}; n, error/Var y at alpha = 1 and sqrt(m), their ratio:")
for n, small, large in zip(sizes, *errors, strict=True):
    found = np.exp(difference(np.log(large), np.log(small), paired=True)[:3])
    means = f"{n:4} {small.mean():8.4f} {large.mean():8.4f}"
    print(means, "  {:.3g} ({:.3g} to {:.3g})".format(*found))
for alpha, curve in zip(runs.alpha.values, errors, strict=True):
    needed = level_crossing(np.array(sizes), curve, level=0.1)
    print("alpha = {:g} needs n = {:.3g} ({:.3g} to {:.3g})".format(alpha, *needed[:3]))
