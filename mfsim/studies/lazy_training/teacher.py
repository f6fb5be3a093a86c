"""Nets that learn from a teacher of three neurons, as Chizat et al. have them.

Rows of unit norm and outputs -1 and 1, x uniform on the sphere in d = 100.

Source: Chizat, Oyallon, Bach 2019 (arXiv 1812.07956), sec. 3; draws and steps as in the
authors' code, github.com/edouardoyallon/lazy-training-CNN, shallow-nn.
"""

import numpy as np
from jaxtyping import Float

from mfsim.datasets import SphereTeacher
from mfsim.experiment import Experiment, Schedule
from mfsim.flows import ParticleFlow
from mfsim.integrators import NoisyGD
from mfsim.networks import TwoLayer
from mfsim.observables import Risk

DIM = 100

UNIT = 500.0
"""1000 x the half that their loss has."""

LOSS = "1000 × test loss, with ½"


def learn(
    network: TwoLayer,
    step: float,
    *,
    num_train: int,
    num_steps: int,
    trial: int,
    gain: float = 1.0,
) -> Experiment:
    """Full-batch gradient descent; each trial has a teacher, data and start of its own.

    Args:
        network: What learns.
        step: In flow time.
        num_train: Training points.
        num_steps: Steps.
        trial: Seed of all that is drawn.
        gain: What the labels are multiplied by.
    """
    dataset = SphereTeacher(dim=DIM, num_train=num_train, gain=gain, seed=trial)
    return Experiment(
        ParticleFlow(network=network, dataset=dataset, shadow=False),
        NoisyGD(step),
        Schedule(num_steps=num_steps, saves=40, spacing="log", snapshots=0),
        observables=(Risk(),),
        seed=trial,
    )


def mean_and_spread(trials: Float[np.ndarray, " trials"]) -> tuple[float, float | None]:
    """Mean and standard deviation of the trials that there are."""
    present = trials[np.isfinite(trials)]
    mean = float(present.mean()) if len(present) else np.nan
    return mean, float(present.std(ddof=1)) if len(present) > 1 else None
