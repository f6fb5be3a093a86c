"""mfsim: where does a neural network stop being a kernel?

The public names, loaded on first use, so that `import mfsim` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfsim import activations as activations
    from mfsim import component as component
    from mfsim import datasets as datasets
    from mfsim import flows as flows
    from mfsim import integrators as integrators
    from mfsim import kernels as kernels
    from mfsim import losses as losses
    from mfsim import networks as networks
    from mfsim import observables as observables
    from mfsim import theory as theory
    from mfsim.activations import Erf as Erf
    from mfsim.activations import Identity as Identity
    from mfsim.activations import Relu as Relu
    from mfsim.activations import Sigmoid as Sigmoid
    from mfsim.activations import Softplus as Softplus
    from mfsim.activations import Tanh as Tanh
    from mfsim.config import load as load
    from mfsim.config import load_table as load_table
    from mfsim.ensemble import run as run
    from mfsim.errors import ConfigError as ConfigError
    from mfsim.errors import Diverged as Diverged
    from mfsim.errors import FormatError as FormatError
    from mfsim.errors import MfsimError as MfsimError
    from mfsim.experiment import Experiment as Experiment
    from mfsim.experiment import Schedule as Schedule
    from mfsim.flows import DensityFlow as DensityFlow
    from mfsim.flows import LinearisedFlow as LinearisedFlow
    from mfsim.flows import ParticleFlow as ParticleFlow
    from mfsim.flows import WeightFlow as WeightFlow
    from mfsim.integrators import DiffraxSolver as DiffraxSolver
    from mfsim.integrators import ExponentialLangevin as ExponentialLangevin
    from mfsim.integrators import FiniteVolume as FiniteVolume
    from mfsim.integrators import MomentumSGD as MomentumSGD
    from mfsim.integrators import NoisyGD as NoisyGD
    from mfsim.integrators import Proximal as Proximal
    from mfsim.losses import Logistic as Logistic
    from mfsim.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
    from mfsim.losses import SquaredError as SquaredError
    from mfsim.networks import DeepRelu as DeepRelu
    from mfsim.networks import ReluClassifier as ReluClassifier
    from mfsim.networks import TwoLayer as TwoLayer
    from mfsim.storage import Trajectory as Trajectory
    from mfsim.storage import open_sweep as open_sweep
    from mfsim.storage import open_trajectory as open
    from mfsim.sweep import Sweep as Sweep

_HOMES = {
    "mfsim.activations": ("Erf", "Identity", "Relu", "Sigmoid", "Softplus", "Tanh"),
    "mfsim.config": ("load", "load_table"),
    "mfsim.ensemble": ("run",),
    "mfsim.errors": ("ConfigError", "Diverged", "FormatError", "MfsimError"),
    "mfsim.experiment": ("Experiment", "Schedule"),
    "mfsim.flows": ("DensityFlow", "LinearisedFlow", "ParticleFlow", "WeightFlow"),
    "mfsim.integrators": (
        "DiffraxSolver",
        "ExponentialLangevin",
        "FiniteVolume",
        "MomentumSGD",
        "NoisyGD",
        "Proximal",
    ),
    "mfsim.losses": ("Logistic", "SoftmaxCrossEntropy", "SquaredError"),
    "mfsim.networks": ("DeepRelu", "ReluClassifier", "TwoLayer"),
    "mfsim.storage": ("Trajectory", "open_sweep"),
    "mfsim.sweep": ("Sweep",),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}
_PACKAGES = (
    "activations",
    "component",
    "datasets",
    "flows",
    "integrators",
    "kernels",
    "losses",
    "networks",
    "observables",
    "theory",
)

__all__ = [*sorted(_WHERE), *_PACKAGES, "open"]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"mfsim.{name}")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("mfsim")
    if name == "open":
        return importlib.import_module("mfsim.storage").open_trajectory
    if name not in _WHERE:
        raise AttributeError(f"module 'mfsim' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
