"""What do the theorems of over-parameterisation say of a network at its start?

    f_W(x) = m^a W_L s(W_{L-1} ... s(W_1 x)),   f_lin(x) = f_0(x) + <grad f_0(x), U>
    error <= 4 inf (1/n) sum_i phi(f_lin(x_i), y_i) + L R/sqrt(n) + sqrt(log(1/delta)/n)

over |U_l| <= R m^{-a} in every layer (Cao, Gu 2019, 3.3, constants in O(.) set to 1);
online SGD on the same network beside it. Takes about 20 s on 2 cores:

    python examples/over_parameterisation.py [FOLDER]    # a temporary one unless given
"""

import sys
import tempfile
from pathlib import Path

import mfsim
from mfsim import kernels, theory
from mfsim.datasets import Digits, Prepare, RandomLabels
from mfsim.observables import LayerDistance, OnlineError

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
n, depth, radii = 200, 3, (0.5, 1.0, 2.0, 5.0, 10.0)

# Problem
dataset = Digits(classes=(3, 8), num_train=n, prepare=Prepare(unit_norm=True))
network = mfsim.DeepRelu(width=256, depth=depth)
flow = mfsim.WeightFlow(network=network, dataset=dataset, loss=mfsim.Logistic())
one_pass = mfsim.Schedule(num_steps=n, unit="kernel", saves=5)
sgd = mfsim.NoisyGD(step=0.2, batch_size=1)
experiment = mfsim.Experiment(flow, sgd, one_pass, (OnlineError(), LayerDistance()))

# Run
run = mfsim.run(experiment, folder / "online.h5", overwrite=True)
x, y = dataset.load()[:2]
start = network.init(experiment.key("init"), x.shape[1])
balls = theory.ntrf_balls(network, start, x, y, radii)

# Results
print("    R      loss       gap   CG 3.3   vacuous")
for ball in balls:
    kept = {"radius": ball.radius, "depth": depth, "num_train": n}
    bound = theory.ntrf_error_bound(ball.loss, **kept)
    row = f"{ball.radius:5g}  {ball.loss:.3e}  {ball.gap:.1e}  {bound.value:6.3f}"
    print(row, "   yes" if bound.vacuous else "   no")
last = run.series.isel(step=-1)
error, radius = float(last.online_error), float(last.layer_radius)
print(f"online SGD: error {error:.3f}, of W-hat {float(last.iterate_error):.3f}")
print(f"it went as far as R = {radius:.2f}")
limit = kernels.infinite_width_kernel(network, x)
for name, labels in (("true", y), ("random", RandomLabels(dataset).load().y_train)):
    score = theory.classifiability(limit, labels)
    print(f"{name} labels: classifiability {score:.3f}")
