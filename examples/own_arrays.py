"""Train on your own arrays: any x (n, d) and y (n,), here y = sin(3 x_1) x_2.

    phi(f, y) = (f - y)^2,    a bias is a constant last input: prepare = {bias = true}

Writes an .npz file and a run's file; takes about 6 s on 2 cores:

    python examples/own_arrays.py [FOLDER]        # a temporary folder unless given
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import mfsim
from mfsim.datasets import ArrayFile, Prepare

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
folder.mkdir(parents=True, exist_ok=True)

# Problem: the file holds x_train, y_train and, if wanted, x_test, y_test.
x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
y = np.sin(3 * x[:, 0]) * x[:, 1]
np.savez(
    folder / "own.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:]
)
experiment = mfsim.Experiment(
    flow=mfsim.ParticleFlow(
        network=mfsim.TwoLayer(width=256, alpha=4.0, input_std=2.0),
        dataset=ArrayFile(folder / "own.npz", prepare=Prepare(bias=True)),
    ),
    integrator=mfsim.NoisyGD(step="auto"),
    schedule=mfsim.Schedule(num_steps=4000, saves=20, spacing="log"),
)

# Run
run = mfsim.run(experiment, folder / "own.h5", overwrite=True)

# Results: the series are an xarray Dataset, the snapshots full states.
print(f"{run.status}; step chosen: {run.config['integrator']['step']:g}")
table = run.series[["train_risk", "test_risk"]].to_dataframe()
columns = ["time", "train_risk", "test_risk"]
print(table[columns].iloc[::-4][::-1].to_string(float_format="%.5f"))
share = float(run.series.test_risk[-1]) / np.mean(y[100:] ** 2)
print(f"test risk over the mean square of the labels: {share:.4f}")
print(f"neurons at the end: {run.snapshots['neurons'].isel(step=-1).shape}")
