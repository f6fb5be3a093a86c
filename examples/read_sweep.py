"""Sweep the scale alpha and read the results with xarray.

    f(x) = (alpha/m) sum_j u_j h(w_j.x):  the larger alpha, the less the neurons move

Writes a folder with one file a point and sweep.csv; takes about 13 s on 2 cores:

    python examples/read_sweep.py [FOLDER]        # FOLDER is runs unless given
"""

import sys
from pathlib import Path

import xarray

import mfsim

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs") / "read_sweep"
config = Path(__file__).parent.parent / "configs" / "alpha_transition.toml"
changes = {
    "flow.network.width": 256,
    "schedule.horizon": 100.0,
    "schedule.saves": 20,
    "sweep.flow.network.alpha.num": 4,
}

# Problem: a config, with some of its values overridden.
sweep = mfsim.load(config, changes)

# Run
points = mfsim.run(sweep, folder, overwrite=True)

# Results: swept axes are dimensions, `save` counts the rows.
done = int((points.status == "completed").sum())
print(f"axes {dict(points.status.sizes)}; {done} of {points.status.size} completed")
final = points[["train_risk", "displacement_relative", "kernel_drift_relative"]]
final = final.isel(save=-1)
mean = final.mean("seed")
error = final.std("seed", ddof=1) / final.sizes["seed"] ** 0.5
print("\nalpha: mean over the seeds +- standard error of")
print(f"{'':8}" + "".join(f"{name:>24}" for name in final))
for i, alpha in enumerate(final.alpha.values):
    cells = (f"{mean[k].values[i]:.4f} +- {error[k].values[i]:.4f}" for k in final)
    print(f"{alpha:8.2f}" + "".join(f"{cell:>24}" for cell in cells))

# A point's file is netCDF to plain xarray, without mfsim.
first = str(points.run_id.isel(alpha=0, seed=0).values)
path = folder / f"{first}.h5"
with xarray.open_dataset(path, group="series", engine="h5netcdf") as series:
    risk = series["train_risk"]
    print(f"\n{path.name}: {risk.description} Unit: {risk.unit}.")
    print(f"  from {float(risk[0]):.4f} to {float(risk[-1]):.4f}")
