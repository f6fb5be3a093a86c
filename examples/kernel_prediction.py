"""Ask the tangent kernel at the start where gradient descent will take a network.

    f(x) = (alpha/m) sum_j u_j h(w_j.x),  H_ik = (m/alpha^2) <grad f(x_i), grad f(x_k)>
    f_NTK - y = -(I - (2 alpha^2 eta/n) H)^k y,  in the limit of small steps
    df_NTK/dt = -(2 alpha^2/n) H (f_NTK - y)

The larger alpha, the closer the network stays to it. Takes about 8 s on 2 cores:

    python examples/kernel_prediction.py [FOLDER]    # a temporary folder unless given
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import mfsim
from mfsim import kernels
from mfsim.datasets import Digits, Prepare
from mfsim.networks import Neurons
from mfsim.theory import classifiability, label_complexity

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
alphas, step, horizon = (4.0, 16.0), 0.5, 100.0  # in kernel time alpha^2 t

# Problem: plain gradient descent (lambda = 0), five states kept.
prepare = Prepare(pca=16, unit_norm=True)
dataset = Digits(classes=(3, 8), num_train=100, prepare=prepare)
x, y = dataset.load().x_train, dataset.load().y_train
schedule = mfsim.Schedule(horizon=horizon, unit="kernel", saves=5)

# Run
runs = {}
for alpha in alphas:
    network = mfsim.TwoLayer(width=1024, alpha=alpha)
    flow = mfsim.ParticleFlow(network=network, dataset=dataset)
    what = mfsim.Experiment(flow, mfsim.NoisyGD(step=step), schedule)
    runs[network] = mfsim.run(what, folder / f"alpha_{alpha:g}.h5", overwrite=True)

# Results: H does not depend on alpha; in kernel time 2/n stands for 2 alpha^2/n.
rate = 2 / len(y)
for network, run in runs.items():
    states = run.snapshots["neurons"]
    params = [Neurons(w=s[:, :-1], u=s[:, -1]) for s in states.values]
    count = states.step.values
    h = kernels.tangent_kernel(network, params[0], x)
    steps = kernels.kernel_gradient_descent(h, y, rate, step, count)
    smooth = kernels.kernel_gradient_flow(h, y, rate, step * count)
    print(f"alpha = {network.alpha:g}: kernel time, |f - f_NTK|^2/n, to the flow's")
    for k, p, *predicted in zip(count, params, steps, smooth, strict=True):
        gaps = (np.mean(np.square(network(p, x) - f)) for f in predicted)
        print("{:7g}   {:.2e}   {:.2e}".format(step * k, *gaps))
low, high, _ = kernels.extreme_eigenvalues(h)
most = kernels.critical_step(h, rate)
print(f"eigenvalues of H: {low:.4g} to {high:.4g}; largest step {most:.3g}")
both = classifiability(h, y), label_complexity(h, y)
print("classifiability {:.4f}, label complexity {:.4f}".format(*both))
