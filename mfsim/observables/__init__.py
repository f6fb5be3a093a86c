"""Observables: what may be recorded along a run."""

from mfsim.observables.audit import Audit as Audit
from mfsim.observables.base import AbstractObservable as AbstractObservable
from mfsim.observables.base import Look as Look
from mfsim.observables.base import Start as Start
from mfsim.observables.base import accounts_of as accounts_of
from mfsim.observables.base import train_outputs as train_outputs
from mfsim.observables.densities import GridQuality as GridQuality
from mfsim.observables.densities import Marginals as Marginals
from mfsim.observables.distances import MMD as MMD
from mfsim.observables.distances import ChiSquare as ChiSquare
from mfsim.observables.distances import Wasserstein as Wasserstein
from mfsim.observables.energy import Certificate as Certificate
from mfsim.observables.energy import FreeEnergy as FreeEnergy
from mfsim.observables.kernels import KernelAlignment as KernelAlignment
from mfsim.observables.kernels import KernelDrift as KernelDrift
from mfsim.observables.kernels import KernelSpectrum as KernelSpectrum
from mfsim.observables.kl import KL as KL
from mfsim.observables.moments import NeuronMoments as NeuronMoments
from mfsim.observables.moments import OutputMoments as OutputMoments
from mfsim.observables.movement import Displacement as Displacement
from mfsim.observables.movement import Regulariser as Regulariser
from mfsim.observables.ntk import NtkGap as NtkGap
from mfsim.observables.recursion import ResidualRecursion as ResidualRecursion
from mfsim.observables.risk import Accuracy as Accuracy
from mfsim.observables.risk import Risk as Risk
