"""Observables: what may be recorded along a run."""

from mfsim.observables.base import AbstractObservable as AbstractObservable
from mfsim.observables.kernels import KernelAlignment as KernelAlignment
from mfsim.observables.kernels import KernelDrift as KernelDrift
from mfsim.observables.moments import NeuronMoments as NeuronMoments
from mfsim.observables.moments import OutputMoments as OutputMoments
from mfsim.observables.movement import Displacement as Displacement
from mfsim.observables.movement import Regulariser as Regulariser
from mfsim.observables.risk import Accuracy as Accuracy
from mfsim.observables.risk import Risk as Risk
