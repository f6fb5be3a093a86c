"""Add an activation of your own: a class is a kind, nothing else to register.

    h(z) = exp(-(g z)^2/2)

Its derivatives come from autodiff, its field `gain` is a key of the config. The parity
of two signs is even in x: a network of this h learns it; one of the odd tanh, without a
bias, cannot. Takes about 8 s on 2 cores:

    python examples/own_activation.py [FOLDER]    # a temporary folder unless given
"""

import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp

import mfsim
from mfsim.activations import AbstractActivation
from mfsim.component import real
from mfsim.config import load_table

# Parameters
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())


# Problem
class Bump(AbstractActivation):
    """h(z) = exp(-(g z)^2/2)."""

    gain: float = real(1.0, above=0.0)

    def __call__(self, z):
        """The value h(z)."""
        return jnp.exp(-jnp.square(self.gain * z) / 2)


config = {
    "flow": {
        "kind": "ParticleFlow",
        "network": {"kind": "TwoLayer", "width": 256, "alpha": 4.0},
        "dataset": {"kind": "Parity", "dim": 6, "order": 2, "num_train": 48},
    },
    "integrator": {"kind": "NoisyGD", "step": "auto"},
    "schedule": {"horizon": 300.0, "unit": "kernel", "saves": 10},
    "observables": ["Risk", "Accuracy"],
    "sweep": {"flow.network.activation": ["Tanh", {"kind": "Bump", "gain": 2.0}]},
}

# Run
sweep = load_table(config, base=folder)
runs = mfsim.run(sweep, folder / "own_activation", overwrite=True)

# Results
for name in runs.activation.values:
    last = runs.sel(activation=name).isel(save=-1)
    risk, error = float(last.train_risk), float(last.test_error)
    print(f"{name:14} train risk {risk:.4f}, test error {error:.3f}")
