"""Integrators: how time is cut."""

from mfsim.integrators.base import AbstractIntegrator as AbstractIntegrator
from mfsim.integrators.base import Carry as Carry
from mfsim.integrators.diffrax_solver import DiffraxSolver as DiffraxSolver
from mfsim.integrators.exponential import ExponentialLangevin as ExponentialLangevin
from mfsim.integrators.finite_volume import FiniteVolume as FiniteVolume
from mfsim.integrators.momentum_sgd import MomentumSGD as MomentumSGD
from mfsim.integrators.noisy_gd import NoisyGD as NoisyGD
from mfsim.integrators.proximal import Proximal as Proximal
