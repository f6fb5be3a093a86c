"""Train a two-layer network on handwritten digits and see how far it moves.

    f(x) = (alpha/m) sum_j u_j tanh(w_j.x)
    dtheta = -(m grad L + lambda theta/sigma^2) dt + sqrt(2 lambda) dB,  theta = (w, u)

alpha = 1 is the mean-field regime, alpha = sqrt(m) the kernel regime. Writes a run's
file and a picture; takes about 8 s on 2 cores:

    python examples/quickstart.py [FOLDER]        # FOLDER is runs unless given
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import mfsim
from mfsim.datasets import Digits, Prepare
from mfsim.observables import Accuracy, Displacement, KernelDrift, Risk

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
width, alpha, temperature = 512, 2.0, 1e-5

# Problem
experiment = mfsim.Experiment(
    flow=mfsim.ParticleFlow(
        network=mfsim.TwoLayer(width=width, alpha=alpha, activation=mfsim.Tanh()),
        dataset=Digits(classes=(3, 8), prepare=Prepare(pca=16, unit_norm=True)),
        temperature=temperature,
    ),
    integrator=mfsim.ExponentialLangevin(step="auto"),
    schedule=mfsim.Schedule(horizon=300.0, unit="kernel", saves=50, spacing="log"),
    observables=(Risk(), Accuracy(), Displacement(), KernelDrift()),
)

# Run
run = mfsim.run(experiment, folder / "quickstart.h5", overwrite=True)

# Results
last = run.series.isel(step=-1)
print(f"{run.path}: {run.status} after {int(last.step)} steps")
for name in ("train_risk", "test_error", "displacement_relative"):
    print(f"{name} = {float(last[name]):.4f}  ({last[name].description})")

figure = Figure(layout="constrained")
axes = figure.subplots()
for name in ("train_risk", "test_risk", "kernel_drift_relative"):
    axes.loglog(run.series.kernel_time[1:], run.series[name][1:], label=name)
axes.set_xlabel("kernel time alpha^2 t")
axes.legend()
figure.savefig(folder / "quickstart.png")
print(f"picture in {folder / 'quickstart.png'}")
