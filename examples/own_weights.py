"""How large is the class of your own trained network? Arrays in, table out.

    f(x) = V [U x]_+,   trained from U_0, V_0:   |u_j - u_j^0| and |v_j|, unit by unit

Reads an .npz file of u (h, d), v (c, h), u0, v0, x (n, d) and labels 0 ... c - 1, or
-1 and 1 where c = 1; without one trains on digits first. Takes about 8 s on 2 cores:

    python examples/own_weights.py [FILE.npz]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import mfsim
from mfsim import theory

# Parameters
file = Path(*sys.argv[1:2] or (tempfile.mkdtemp(), "own_weights.npz"))
draws, units = 16, 32

# Problem: a file keeps two snapshots of the weights, the start and the end.
if len(sys.argv) == 1:
    digits = mfsim.datasets.Digits(num_train=1000, labels="classes")
    network, loss = mfsim.ReluClassifier(width=256), mfsim.SoftmaxCrossEntropy()
    flow = mfsim.WeightFlow(network=network, dataset=digits, loss=loss)
    sgd = mfsim.MomentumSGD(step=0.05, batch_size=64)
    until = mfsim.Schedule(epochs=60, saves=61, snapshots=2, stop="train_risk < 0.01")
    run = mfsim.run(mfsim.Experiment(flow, sgd, until), file.with_name("run.h5"))
    (u0, u), (v0, v) = (run.snapshots[f"weights/layer_{i}"].values for i in (1, 2))
    x, labels = digits.load()[:2]
    np.savez(file, u=u, v=v, u0=u0, v0=v0, x=x, labels=labels)
    print(f"Trained 256 units on digits; weights and points are in {file}")
elif not file.is_file():
    sys.exit(f"FILE must be an .npz file, got {file}, which is not there.")

# Run
with np.load(file) as arrays:
    net = [arrays[name] for name in ("u", "v", "u0", "v0", "x", "labels")]
paper = theory.capacity_measures(*net)
program = theory.capacity_measures(*net, mode="code2018")
few = paper["unit_capacity"][:units], paper["unit_impact"][:units]
found = theory.rademacher_search(
    net[2][:units], *few, net[4], outputs=len(net[1]), draws=draws, restarts=4, steps=50
)

# Results
print("                        measure     of the error  samples     as in the program")
for name in theory.CAPACITY_MEASURES:
    row = [paper[key + name] for key in ("measure_", "bound_")]
    row += [each[f"bound_{name}_samples"] for each in (paper, program)]
    print(f"{name:20}" + "".join(f"{value:13.4g}" for value in row))
for name in ("unit_capacity", "unit_impact"):
    print(f"{name}: mean {paper[name].mean():.4f}, largest {paper[name].max():.4f}")
print(f"margin {paper['margin']:.4g}, sum of products {paper['scale_free']:.4g}")
print(f"Rademacher complexity of {len(few[0])} units: {found.value:.4g}", end=" ")
print(f"+- {found.standard_error:.1g}, from {found.lower:.4g} to {found.upper:.4g}")
print(*paper["notes"], sep="\n")
